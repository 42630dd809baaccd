//! Durations as people read them.

use super::CellContext;
use jiff::Timestamp;

const UNKNOWN: &str = "<unknown>";

/// How long ago a time of an object was.
pub fn since(time: &str, context: CellContext) -> String {
    time.parse::<Timestamp>().map_or_else(|_| UNKNOWN.to_owned(), |time| between(time, context.now))
}

pub fn between(from: Timestamp, to: Timestamp) -> String {
    // Whole seconds, rounded to zero as Go does.
    duration(i64::try_from((to.as_nanosecond() - from.as_nanosecond()) / 1_000_000_000).unwrap_or(i64::MAX))
}

/// Two units at most, the fewer the longer: `3m20s`, `5h`, `8d`, `2y40d`.
pub fn duration(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let two = |large: i64, large_unit: char, small: i64, small_unit: char| {
        if small == 0 { format!("{large}{large_unit}") } else { format!("{large}{large_unit}{small}{small_unit}") }
    };
    match () {
        // Clocks may differ by a second.
        () if seconds < -1 => "<invalid>".to_owned(),
        () if seconds < 0 => "0s".to_owned(),
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, 'm', seconds % 60, 's'),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => two(hours, 'h', minutes % 60, 'm'),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 24 * 8 => two(days, 'd', hours % 24, 'h'),
        () if days < 365 * 2 => format!("{days}d"),
        () if days < 365 * 8 => two(days / 365, 'y', days % 365, 'd'),
        () => format!("{}y", days / 365),
    }
}
