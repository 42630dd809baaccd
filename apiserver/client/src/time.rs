//! Between the clock's timestamps and those in API objects, which come from an older major version of the same crate.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use k8s_openapi::jiff::Timestamp as ApiTimestamp;

/// For `metav1.Time`, which has whole seconds on the wire.
pub fn to_time(at: Timestamp) -> Time {
    Time(ApiTimestamp::from_second(at.as_second()).unwrap_or_default())
}

/// For `metav1.MicroTime`.
pub fn to_micro_time(at: Timestamp) -> MicroTime {
    MicroTime(ApiTimestamp::from_microsecond(at.as_microsecond()).unwrap_or_default())
}

pub fn from_time(time: &Time) -> Timestamp {
    Timestamp::from_nanosecond(time.0.as_nanosecond()).unwrap_or_default()
}

pub fn from_micro_time(time: &MicroTime) -> Timestamp {
    Timestamp::from_nanosecond(time.0.as_nanosecond()).unwrap_or_default()
}

/// As JSON has it: `2026-01-02T03:04:05Z`.
pub fn rfc3339(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or_default().to_string()
}

/// As JSON has it: `2026-01-02T03:04:05.000006Z`.
pub fn rfc3339_micro(at: Timestamp) -> String {
    format!("{:.6}", Timestamp::from_microsecond(at.as_microsecond()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_the_way_there_and_back_at_their_precision() {
        let at: Timestamp = "2026-01-02T03:04:05.123456789Z".parse().unwrap();
        assert_eq!(from_time(&to_time(at)).to_string(), "2026-01-02T03:04:05Z");
        assert_eq!(from_micro_time(&to_micro_time(at)).to_string(), "2026-01-02T03:04:05.123456Z");
        assert_eq!((rfc3339(at), rfc3339_micro(at)), ("2026-01-02T03:04:05Z".into(), "2026-01-02T03:04:05.123456Z".into()));
        assert_eq!(rfc3339_micro("2026-01-02T03:04:05Z".parse().unwrap()), "2026-01-02T03:04:05.000000Z");
    }
}
