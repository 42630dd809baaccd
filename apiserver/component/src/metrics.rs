//! The metrics of this process: one registry, its text exposition, and what every process reports about itself.
//!
//! Components make their own metrics with [`prometheus`] and hand them to [`register`]. Nothing here serves HTTP.

pub use prometheus;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, Gauge, Registry, TextEncoder};
use std::sync::OnceLock;

/// What a scrape's `Content-Type` is.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The registry of this process; `process_*` is in it from the start.
pub fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let registry = Registry::new();
        match Process::new() {
            Ok(process) => {
                if let Err(error) = registry.register(Box::new(process)) {
                    tracing::error!(%error, "process metrics are not reported");
                }
            }
            Err(error) => tracing::error!(%error, "process metrics are not reported"),
        }
        registry
    })
}

/// Adds `metric` to the registry and gives it back.
///
/// A name that is taken is logged and the metric then counts unseen: two components in one process (as in tests) must not stop each other.
pub fn register<M: Collector + Clone + 'static>(metric: M) -> M {
    if let Err(error) = registry().register(Box::new(metric.clone())) {
        tracing::debug!(%error, "metric not registered");
    }
    metric
}

/// All metrics of this process in the text exposition format.
pub fn exposition() -> Vec<u8> {
    let mut text = Vec::with_capacity(64 * 1024);
    if let Err(error) = TextEncoder::new().encode(&registry().gather(), &mut text) {
        tracing::error!(%error, "metrics could not be encoded");
    }
    text
}

/// `process_*` as Prometheus' own client libraries define them, read from /proc at each scrape.
struct Process {
    cpu_seconds: Gauge,
    resident_bytes: Gauge,
    virtual_bytes: Gauge,
    start_seconds: Gauge,
    open_fds: Gauge,
    max_fds: Gauge,
}

impl Process {
    fn new() -> prometheus::Result<Self> {
        Ok(Self {
            cpu_seconds: Gauge::new("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.")?,
            resident_bytes: Gauge::new("process_resident_memory_bytes", "Resident memory size in bytes.")?,
            virtual_bytes: Gauge::new("process_virtual_memory_bytes", "Virtual memory size in bytes.")?,
            start_seconds: Gauge::new("process_start_time_seconds", "Start time of the process since unix epoch in seconds.")?,
            open_fds: Gauge::new("process_open_fds", "Number of open file descriptors.")?,
            max_fds: Gauge::new("process_max_fds", "Maximum number of open file descriptors.")?,
        })
    }

    fn gauges(&self) -> [&Gauge; 6] {
        [&self.cpu_seconds, &self.resident_bytes, &self.virtual_bytes, &self.start_seconds, &self.open_fds, &self.max_fds]
    }

    /// What cannot be read keeps its last value.
    fn read(&self) {
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        if let Some(stat) = std::fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(Stat::parse) {
            self.cpu_seconds.set(stat.cpu_ticks as f64 / ticks);
            self.virtual_bytes.set(stat.virtual_bytes as f64);
            self.resident_bytes.set(stat.resident_pages as f64 * rustix::param::page_size() as f64);
            if let Some(boot) = std::fs::read_to_string("/proc/stat").ok().as_deref().and_then(boot_seconds) {
                self.start_seconds.set(boot as f64 + stat.start_ticks as f64 / ticks);
            }
        }
        if let Ok(fds) = std::fs::read_dir("/proc/self/fd") {
            self.open_fds.set(fds.count() as f64);
        }
        if let Some(limit) = std::fs::read_to_string("/proc/self/limits").ok().as_deref().and_then(open_files_limit) {
            self.max_fds.set(limit as f64);
        }
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.read();
        self.gauges().into_iter().flat_map(Collector::collect).collect()
    }
}

#[derive(Debug, PartialEq)]
struct Stat {
    cpu_ticks: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    /// The command in parentheses may hold spaces and parentheses, so fields count from the last `)`: the first after it is number 3 in proc(5).
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self { cpu_ticks: number(14)? + number(15)?, start_ticks: number(22)?, virtual_bytes: number(23)?, resident_pages: number(24)? })
    }
}

fn boot_seconds(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn open_files_limit(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_past_a_command_with_parentheses() {
        let text = "12 (a) b) S 1 12 12 0 -1 4194560 100 0 0 0 7 5 0 0 20 0 3 0 4242 9000 33 18446744073709551615 1";
        assert_eq!(Stat::parse(text), Some(Stat { cpu_ticks: 12, start_ticks: 4242, virtual_bytes: 9000, resident_pages: 33 }));
        assert_eq!(Stat::parse("12 (cut"), None);
    }

    #[test]
    fn a_scrape_holds_this_process_and_what_was_registered() {
        let counter = register(prometheus::IntCounter::new("test_things_total", "Things.").unwrap());
        counter.inc();
        let text = String::from_utf8(exposition()).unwrap();
        assert!(text.contains("test_things_total 1"), "{text}");
        let resident = text.lines().find(|line| line.starts_with("process_resident_memory_bytes ")).unwrap();
        assert!(resident.split(' ').nth(1).unwrap().parse::<f64>().unwrap() > 0.0);
    }
}
