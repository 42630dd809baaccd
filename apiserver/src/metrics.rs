//! The API server's own metrics, under the names that dashboards know.

use crate::request::{Target, Verb};
use crate::resource::Resource;
use apiserver_component::metrics::{prometheus, register};
use http::StatusCode;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts};
use std::time::Duration;

const DURATION_BUCKETS_SECONDS: &[f64] = &[0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

pub struct Metrics {
    requests: IntCounterVec,
    durations: HistogramVec,
    inflight: IntGaugeVec,
    watchers: IntGaugeVec,
}

/// A request that is being answered.
pub struct Request<'a> {
    metrics: &'a Metrics,
    verb: &'static str,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
    inflight: Option<IntGauge>,
}

/// An open watch; counted until it is dropped.
pub struct Watcher(IntGauge);

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Names and labels are constants, so making them does not fail; one that is refused counts unseen.
    pub fn new() -> Result<Self, prometheus::Error> {
        let labels = &["verb", "group", "version", "resource", "subresource", "scope", "component", "code"];
        let requests = IntCounterVec::new(Opts::new("apiserver_request_total", "Requests by verb, resource and HTTP response code."), labels)?;
        let durations = HistogramVec::new(
            HistogramOpts::new("apiserver_request_duration_seconds", "Response latency in seconds by verb and resource.")
                .buckets(DURATION_BUCKETS_SECONDS.to_vec()),
            &labels[..7],
        )?;
        let inflight =
            IntGaugeVec::new(Opts::new("apiserver_current_inflight_requests", "Requests that are being answered, by kind."), &["request_kind"])?;
        let watchers =
            IntGaugeVec::new(Opts::new("apiserver_longrunning_requests", "Open watches by resource."), &["verb", "group", "resource", "component"])?;
        Ok(Self { requests: register(requests), durations: register(durations), inflight: register(inflight), watchers: register(watchers) })
    }

    pub fn begin(&self, verb: Verb, target: &Target) -> Request<'_> {
        let resource = target.is_resource();
        let scope = match (resource, target.name.is_empty(), target.namespace.is_empty()) {
            (false, ..) => "",
            (_, false, _) => "resource",
            (_, _, false) => "namespace",
            _ => "cluster",
        };
        let inflight = (resource && verb != Verb::Watch).then(|| {
            let kind = if matches!(verb, Verb::Get | Verb::List) { "readOnly" } else { "mutating" };
            let gauge = self.inflight.with_label_values(&[kind]);
            gauge.inc();
            gauge
        });
        // What a path that names no resource says is not ours to count by: it is the client's choice, and unbounded.
        let known = |text: &str| if resource { text.to_owned() } else { String::new() };
        Request {
            metrics: self,
            verb: upper(verb),
            group: known(&target.group),
            version: known(&target.version),
            resource: known(&target.resource),
            subresource: known(&target.subresource),
            scope,
            inflight,
        }
    }

    pub fn watcher(&self, resource: &Resource) -> Watcher {
        let gauge = self.watchers.with_label_values(&["WATCH", &resource.group, &resource.plural, "apiserver"]);
        gauge.inc();
        Watcher(gauge)
    }
}

fn upper(verb: Verb) -> &'static str {
    match verb {
        Verb::Get => "GET",
        Verb::List => "LIST",
        Verb::Watch => "WATCH",
        Verb::Create => "POST",
        Verb::Update => "PUT",
        Verb::Patch => "PATCH",
        Verb::Delete => "DELETE",
        Verb::DeleteCollection => "DELETECOLLECTION",
        Verb::Method(_) => "other",
    }
}

impl Request<'_> {
    /// Counts the answer. A resource that does not exist is not named: its name is the client's choice.
    pub fn end(self, code: StatusCode, took: Duration) {
        if let Some(gauge) = &self.inflight {
            gauge.dec();
        }
        let missing = code == StatusCode::NOT_FOUND;
        let (group, version, resource, subresource) =
            if missing { ("", "", "", "") } else { (&*self.group, &*self.version, &*self.resource, &*self.subresource) };
        let labels = [self.verb, group, version, resource, subresource, self.scope, "apiserver"];
        self.metrics.durations.with_label_values(&labels).observe(took.as_secs_f64());
        let mut buffer = [0_u8; 3];
        let number = code.as_u16();
        buffer[0] = b'0' + (number / 100 % 10) as u8;
        buffer[1] = b'0' + (number / 10 % 10) as u8;
        buffer[2] = b'0' + (number % 10) as u8;
        let code = std::str::from_utf8(&buffer).unwrap_or("000");
        let [verb, group, version, resource, subresource, scope, component] = labels;
        self.metrics.requests.with_label_values(&[verb, group, version, resource, subresource, scope, component, code]).inc();
    }
}
