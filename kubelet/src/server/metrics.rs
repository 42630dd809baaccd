//! Metrics of this process, and what Pods and containers use.

use super::{Answer, Context, text};
use crate::view;
use apiserver_component::metrics;
use http::{HeaderValue, StatusCode};
use kubelet_cri::v1;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

fn exposition(body: Vec<u8>) -> Answer {
    let mut answer = text(StatusCode::OK, body);
    answer.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
    answer
}

pub fn process() -> Answer {
    exposition(metrics::exposition())
}

/// What a container uses.
struct Usage {
    namespace: String,
    pod: String,
    uid: String,
    container: String,
    at_ns: i64,
    cpu_ns: u64,
    cpu_nano_cores: Option<u64>,
    memory_bytes: u64,
}

async fn usage(context: &Context) -> Result<Vec<Usage>, kubelet_cri::Error> {
    let stats = context.shared.runtime.list_container_stats(BTreeMap::new()).await?;
    Ok(stats.into_iter().filter_map(|stats| one(&stats)).collect())
}

fn one(stats: &v1::ContainerStats) -> Option<Usage> {
    let labels = &stats.attributes.as_ref()?.labels;
    let label = |key: &str| labels.get(key).cloned();
    let (cpu, memory) = (stats.cpu.as_ref()?, stats.memory.as_ref()?);
    Some(Usage {
        namespace: label(view::POD_NAMESPACE)?,
        pod: label(view::POD_NAME)?,
        uid: label(view::POD_UID)?,
        container: label(view::CONTAINER_NAME)?,
        at_ns: cpu.timestamp,
        cpu_ns: cpu.usage_core_nano_seconds.as_ref()?.value,
        cpu_nano_cores: cpu.usage_nano_cores.as_ref().map(|cores| cores.value),
        memory_bytes: memory.working_set_bytes.as_ref()?.value,
    })
}

/// As nanoseconds are shown in seconds.
#[expect(clippy::cast_precision_loss, reason = "a metric is a float")]
fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

/// The metrics that autoscaling reads: CPU time and memory of containers and Pods.
pub async fn resource(context: &Context) -> Answer {
    let usage = match usage(context).await {
        Ok(usage) => usage,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    };
    exposition(resource_text(&usage).into_bytes())
}

fn resource_text(usage: &[Usage]) -> String {
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, lines: Vec<String>| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP {name} [STABLE] {help}\n# TYPE {name} {kind}");
        lines.into_iter().for_each(|line| text.push_str(&line));
    };
    let container = |name: &str, value: &dyn Fn(&Usage) -> f64| {
        let line = |one: &Usage| {
            format!(
                "{name}{{container={:?},namespace={:?},pod={:?}}} {} {}\n",
                one.container,
                one.namespace,
                one.pod,
                value(one),
                one.at_ns / 1_000_000
            )
        };
        usage.iter().map(line).collect::<Vec<_>>()
    };
    #[expect(clippy::cast_precision_loss, reason = "a metric is a float")]
    let memory = |one: &Usage| one.memory_bytes as f64;
    let cpu = |one: &Usage| seconds(one.cpu_ns);
    let pods = |name: &str, value: &dyn Fn(&Usage) -> f64| {
        let mut sums: BTreeMap<(&str, &str), (f64, i64)> = BTreeMap::new();
        for one in usage {
            let sum = sums.entry((&one.namespace, &one.pod)).or_default();
            *sum = (sum.0 + value(one), sum.1.max(one.at_ns));
        }
        sums.into_iter()
            .map(|((namespace, pod), (sum, at))| format!("{name}{{namespace={namespace:?},pod={pod:?}}} {sum} {}\n", at / 1_000_000))
            .collect::<Vec<_>>()
    };
    let name = "container_cpu_usage_seconds_total";
    family(name, "counter", "Cumulative cpu time consumed by the container in core-seconds", container(name, &cpu));
    let name = "container_memory_working_set_bytes";
    family(name, "gauge", "Current working set of the container in bytes", container(name, &memory));
    let name = "pod_cpu_usage_seconds_total";
    family(name, "counter", "Cumulative cpu time consumed by the pod in core-seconds", pods(name, &cpu));
    let name = "pod_memory_working_set_bytes";
    family(name, "gauge", "Current working set of the pod in bytes", pods(name, &memory));
    let name = "resource_scrape_error";
    family(name, "gauge", "1 if there was an error while getting container metrics, 0 otherwise", vec![format!("{name} 0\n")]);
    text
}

/// What Pods use, as JSON.
pub async fn summary(context: &Context) -> Answer {
    let usage = match usage(context).await {
        Ok(usage) => usage,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    };
    let mut answer = text(StatusCode::OK, summary_json(&context.shared.config.node_name, &usage).to_string());
    answer.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn time(nanoseconds: i64) -> String {
    view::time(nanoseconds).map(|at| crate::status::whole_second(at).to_string()).unwrap_or_default()
}

fn summary_json(node: &str, usage: &[Usage]) -> Value {
    let mut pods: BTreeMap<&str, Vec<&Usage>> = BTreeMap::new();
    usage.iter().for_each(|one| pods.entry(&one.uid).or_default().push(one));
    let container = |one: &&Usage| {
        json!({"name": one.container,
            "cpu": {"time": time(one.at_ns), "usageCoreNanoSeconds": one.cpu_ns, "usageNanoCores": one.cpu_nano_cores},
            "memory": {"time": time(one.at_ns), "workingSetBytes": one.memory_bytes}})
    };
    let pod = |(uid, list): (&str, Vec<&Usage>)| {
        let first = list[0];
        let at = time(list.iter().map(|one| one.at_ns).max().unwrap_or_default());
        json!({"podRef": {"name": first.pod, "namespace": first.namespace, "uid": uid},
            "containers": list.iter().map(container).collect::<Vec<_>>(),
            "cpu": {"time": at, "usageCoreNanoSeconds": list.iter().map(|one| one.cpu_ns).sum::<u64>()},
            "memory": {"time": at, "workingSetBytes": list.iter().map(|one| one.memory_bytes).sum::<u64>()}})
    };
    json!({"node": {"nodeName": node}, "pods": pods.into_iter().map(pod).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage() -> Vec<Usage> {
        let one = |container: &str, cpu_ns, memory_bytes| Usage {
            namespace: "n".to_owned(),
            pod: "p".to_owned(),
            uid: "u".to_owned(),
            container: container.to_owned(),
            at_ns: 5_000_000_000,
            cpu_ns,
            cpu_nano_cores: None,
            memory_bytes,
        };
        vec![one("a", 1_500_000_000, 100), one("b", 500_000_000, 50)]
    }

    #[test]
    fn containers_and_pods_show_in_the_exposition() {
        let text = resource_text(&usage());
        assert!(text.contains("container_cpu_usage_seconds_total{container=\"a\",namespace=\"n\",pod=\"p\"} 1.5 5000\n"), "{text}");
        assert!(text.contains("pod_memory_working_set_bytes{namespace=\"n\",pod=\"p\"} 150 5000\n"), "{text}");
    }

    #[test]
    fn the_summary_sums_a_pods_containers() {
        let summary = summary_json("n1", &usage());
        assert_eq!(summary["pods"][0]["cpu"]["usageCoreNanoSeconds"], 2_000_000_000u64);
        assert_eq!(summary["pods"][0]["containers"][1]["memory"]["workingSetBytes"], 50);
    }
}
