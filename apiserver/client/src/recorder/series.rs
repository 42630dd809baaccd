//! Which events.k8s.io/v1 Event to write for a report: equal reports form a series.
//!
//! The first is created, the second makes it a series of 2 on the server, later ones are only counted here. [`Correlator::close`] writes the final
//! count of a series that was silent for 6 minutes and, every 30 minutes, the present one of a series that goes on.

use super::*;
use jiff::SignedDuration;
use std::collections::HashMap;

/// Series that are followed at a time; reports beyond it are written each by itself.
const SERIES_MAX: usize = 4096;
const ENDS_AFTER: SignedDuration = SignedDuration::from_mins(6);
const REFRESH_AFTER: SignedDuration = SignedDuration::from_mins(30);

pub(super) struct Correlator {
    controller: String,
    instance: String,
    series: HashMap<Key, Series>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    kind: EventType,
    reason: String,
    action: String,
    regarding: [String; 3],
    related: [String; 3],
}

struct Series {
    event: events_v1::Event,
    count: i32,
    last: Timestamp,
    written: Timestamp,
    /// Reports that the server does not know of.
    unwritten: bool,
}

impl Series {
    fn write(&mut self, now: Timestamp) -> Write<events_v1::Event> {
        self.written = now;
        self.unwritten = false;
        let series = events_v1::EventSeries { count: self.count, last_observed_time: time::to_micro_time(self.last) };
        let patch = json!({"series": {"count": self.count, "lastObservedTime": time::rfc3339_micro(self.last)}});
        self.event.series = Some(series);
        Write::Patch { name: self.event.metadata.name.clone().unwrap_or_default(), patch, create: self.event.clone() }
    }
}

impl Correlator {
    pub fn new(controller: &str, instance: &str) -> Self {
        Self { controller: controller.into(), instance: instance.into(), series: HashMap::new() }
    }

    pub fn observe(&mut self, event: Emitted) -> Option<Write<events_v1::Event>> {
        let identity = |object: &ObjectReference| {
            [object.kind.clone(), object.namespace.clone(), object.uid.clone().or(object.name.clone())].map(Option::unwrap_or_default)
        };
        let key = Key {
            kind: event.kind,
            reason: event.reason.clone(),
            action: event.action.clone(),
            regarding: identity(&event.regarding),
            related: event.related.as_ref().map(identity).unwrap_or_default(),
        };
        if let Some(series) = self.series.get_mut(&key) {
            series.count = series.count.saturating_add(1);
            series.last = event.at;
            if series.event.series.is_none() {
                return Some(series.write(event.at));
            }
            series.unwritten = true;
            return None;
        }
        let created = self.render(&event);
        if self.series.len() < SERIES_MAX {
            self.series.insert(key, Series { event: created.clone(), count: 1, last: event.at, written: event.at, unwritten: false });
        }
        Some(Write::Create(created))
    }

    /// What is due at `now`; ended series are forgotten.
    pub fn close(&mut self, now: Timestamp) -> Vec<Write<events_v1::Event>> {
        let mut writes = Vec::new();
        self.series.retain(|_, series| {
            let ended = now.duration_since(series.last) > ENDS_AFTER;
            if series.unwritten && (ended || now.duration_since(series.written) > REFRESH_AFTER) {
                writes.push(series.write(now));
            }
            !ended
        });
        writes
    }

    fn render(&self, event: &Emitted) -> events_v1::Event {
        events_v1::Event {
            metadata: kube::core::ObjectMeta {
                name: Some(event_name(&event.regarding, event.at)),
                namespace: Some(namespace_of(event.regarding.namespace.as_deref())),
                ..Default::default()
            },
            event_time: Some(time::to_micro_time(event.at)),
            reporting_controller: Some(self.controller.clone()),
            reporting_instance: Some(self.instance.clone()),
            action: Some(event.action.clone()),
            reason: Some(event.reason.clone()),
            regarding: Some(event.regarding.clone()),
            related: event.related.clone(),
            note: Some(event.message.clone()),
            type_: Some(event.kind.as_str().into()),
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(write: &Write<events_v1::Event>) -> String {
        match write {
            Write::Create(event) => format!("create {}", event.reason.as_deref().unwrap()),
            Write::Patch { patch, .. } => format!("series {} {}", patch["series"]["count"], patch["series"]["lastObservedTime"].as_str().unwrap()),
        }
    }

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).unwrap()
    }

    fn emitted(reason: &str, minute: i64) -> Emitted {
        let regarding = ObjectReference { kind: Some("Pod".into()), name: Some("p".into()), namespace: Some("a".into()), ..Default::default() };
        Emitted {
            regarding,
            related: None,
            kind: EventType::Warning,
            reason: reason.into(),
            action: "Scheduling".into(),
            message: "m".into(),
            at: at(minute),
        }
    }

    #[test]
    fn a_series_is_created_marked_counted_and_closed() {
        let mut correlator = Correlator::new("default-scheduler", "host");
        assert_eq!(told(&correlator.observe(emitted("FailedScheduling", 0)).unwrap()), "create FailedScheduling");
        assert_eq!(told(&correlator.observe(emitted("FailedScheduling", 1)).unwrap()), "series 2 1970-01-01T00:01:00.000000Z");
        assert!(correlator.observe(emitted("FailedScheduling", 2)).is_none());
        assert_eq!(told(&correlator.observe(emitted("Scheduled", 2)).unwrap()), "create Scheduled");
        assert!(correlator.close(at(8)).is_empty());
        assert_eq!(correlator.close(at(9)).iter().map(told).collect::<Vec<_>>(), ["series 3 1970-01-01T00:02:00.000000Z"]);
        assert_eq!(told(&correlator.observe(emitted("FailedScheduling", 9)).unwrap()), "create FailedScheduling");
    }

    #[test]
    fn a_series_that_goes_on_is_refreshed() {
        let mut correlator = Correlator::new("default-scheduler", "host");
        let mut written = Vec::new();
        for minute in 0..=35 {
            written.extend(correlator.observe(emitted("FailedScheduling", minute)));
            written.extend(correlator.close(at(minute)));
        }
        assert_eq!(written.iter().map(told).collect::<Vec<_>>()[2..], ["series 33 1970-01-01T00:32:00.000000Z"]);
    }
}
