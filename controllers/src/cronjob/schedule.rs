//! Cron schedules: five fields, names, steps, and macros.
//!
//! ```text
//! minute hour day-of-month month day-of-week       */5 8-18 * jan-mar,dec mon-fri
//! @yearly @annually @monthly @weekly @daily @midnight @hourly @every 1h30m
//! TZ=Europe/Berlin 0 8 * * *                       a time zone of the schedule's own
//! ```

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, ZonedDateTime};

/// A schedule that matches no day is given up on after so many years.
const SEARCH_YEARS_MAX: i16 = 5;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Error {
    #[error("empty spec string")]
    Empty,
    #[error("expected exactly 5 fields, found {0}: {1}")]
    Fields(usize, String),
    #[error("too many hyphens: {0}")]
    Hyphens(String),
    #[error("too many slashes: {0}")]
    Slashes(String),
    #[error("failed to parse int from {0}")]
    Number(String),
    #[error("beginning of range ({0}) below minimum ({1}): {2}")]
    Below(u32, u32, String),
    #[error("end of range ({0}) above maximum ({1}): {2}")]
    Above(u32, u32, String),
    #[error("beginning of range ({0}) beyond end of range ({1}): {2}")]
    Reversed(u32, u32, String),
    #[error("step of range should be a positive number: {0}")]
    Step(String),
    #[error("unrecognized descriptor: {0}")]
    Descriptor(String),
    #[error("failed to parse duration {0}")]
    Duration(String),
    #[error("provided bad location {0}: unknown time zone {0}")]
    Zone(String),
}

#[derive(Clone, Debug)]
pub(super) enum Schedule {
    Calendar(Box<Calendar>),
    Every(SignedDuration),
}

#[derive(Clone, Debug)]
pub(super) struct Calendar {
    minutes: Field,
    hours: Field,
    days: Field,
    months: Field,
    weekdays: Field,
    zone: TimeZone,
}

/// The values that match, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    bits: u64,
    /// `*` without a step: the other day field decides.
    any: bool,
}

impl Field {
    fn has(self, value: i8) -> bool {
        u32::try_from(value).is_ok_and(|value| self.bits & (1 << value) != 0)
    }
}

struct Bounds {
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MINUTES: Bounds = Bounds { min: 0, max: 59, names: &[] };
const HOURS: Bounds = Bounds { min: 0, max: 23, names: &[] };
const DAYS: Bounds = Bounds { min: 1, max: 31, names: &[] };
const MONTHS: Bounds = Bounds { min: 1, max: 12, names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"] };
const WEEKDAYS: Bounds = Bounds { min: 0, max: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

/// A time zone by its name in the database that the program carries.
pub(super) fn zone(name: &str) -> Option<TimeZone> {
    match name {
        "" | "UTC" => Some(TimeZone::UTC),
        name => TimeZone::get(name).ok(),
    }
}

impl Schedule {
    /// Without a zone in the text, times are in `default`.
    pub fn parse(text: &str, default: TimeZone) -> Result<Self, Error> {
        if text.is_empty() {
            return Err(Error::Empty);
        }
        let (text, zone) = match text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ=")) {
            None => (text, default),
            Some(rest) => {
                let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                (rest.trim(), zone(name).ok_or_else(|| Error::Zone(name.into()))?)
            }
        };
        if text.starts_with('@') {
            return Self::descriptor(text, zone);
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(Error::Fields(fields.len(), text.into()));
        };
        Ok(Self::Calendar(Box::new(Calendar {
            minutes: field(minutes, &MINUTES)?,
            hours: field(hours, &HOURS)?,
            days: field(days, &DAYS)?,
            months: field(months, &MONTHS)?,
            weekdays: field(weekdays, &WEEKDAYS)?,
            zone,
        })))
    }

    fn descriptor(text: &str, zone: TimeZone) -> Result<Self, Error> {
        let fields = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => {
                let every = other.strip_prefix("@every ").ok_or_else(|| Error::Descriptor(other.into()))?;
                let period = duration(every).ok_or_else(|| Error::Duration(other.into()))?;
                // Whole seconds, one at least.
                return Ok(Self::Every(SignedDuration::from_secs(period.as_secs().max(1))));
            }
        };
        Self::parse(fields, zone)
    }

    /// The first time after `after`; None where none comes in the next years.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every(period) => Timestamp::from_second(after.as_second()).ok()?.checked_add(*period).ok(),
            Self::Calendar(calendar) => calendar.next(after),
        }
    }
}

impl Calendar {
    /// Goes forward in the largest step that does not match yet: months, days, hours, minutes. Days begin when the zone says they do.
    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let minute = Timestamp::from_second(after.as_second().div_euclid(60) * 60 + 60).ok()?;
        let mut at = minute.to_zoned_datetime(self.zone.clone());
        let last_year = at.year().saturating_add(SEARCH_YEARS_MAX);
        while at.year() <= last_year {
            at = if !self.months.has(at.month()) {
                at.first_of_month().ok()?.checked_add(1.month()).ok()?.start_of_day().ok()?
            } else if !self.matches_day(&at) {
                at.tomorrow().ok()?.start_of_day().ok()?
            } else if !self.hours.has(at.hour()) {
                let past = SignedDuration::from_mins(at.minute().into());
                at.checked_sub(past).ok()?.checked_add(SignedDuration::from_hours(1)).ok()?
            } else if !self.minutes.has(at.minute()) {
                at.checked_add(SignedDuration::from_mins(1)).ok()?
            } else {
                return Some(at.timestamp());
            };
        }
        None
    }

    /// Where both day fields are restricted, one is enough.
    fn matches_day(&self, at: &ZonedDateTime) -> bool {
        let (day, weekday) = (self.days.has(at.day()), self.weekdays.has(at.weekday().to_sunday_zero_offset()));
        if self.days.any || self.weekdays.any { day && weekday } else { day || weekday }
    }
}

fn field(text: &str, bounds: &Bounds) -> Result<Field, Error> {
    let mut all = Field { bits: 0, any: false };
    for part in text.split(',') {
        let one = range(part, bounds)?;
        all.bits |= one.bits;
        all.any |= one.any;
    }
    Ok(all)
}

/// `*`, `N`, `N-M`, each with `/STEP`; `N/STEP` goes up to the maximum.
fn range(text: &str, bounds: &Bounds) -> Result<Field, Error> {
    let parts: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = parts[0].split('-').collect();
    let is_single = ends.len() == 1;
    let (start, mut end, mut any) = match ends[..] {
        ["*" | "?", ..] => (bounds.min, bounds.max, true),
        [only] => (value(only, bounds)?, value(only, bounds)?, false),
        [first, last] => (value(first, bounds)?, value(last, bounds)?, false),
        _ => return Err(Error::Hyphens(text.into())),
    };
    let step = match parts[..] {
        [_] => 1,
        [_, step] => {
            let step = number(step)?;
            if is_single {
                end = bounds.max;
            }
            any &= step <= 1;
            step
        }
        _ => return Err(Error::Slashes(text.into())),
    };
    if start < bounds.min {
        return Err(Error::Below(start, bounds.min, text.into()));
    }
    if end > bounds.max {
        return Err(Error::Above(end, bounds.max, text.into()));
    }
    if start > end {
        return Err(Error::Reversed(start, end, text.into()));
    }
    let step = usize::try_from(step).ok().filter(|step| *step > 0).ok_or_else(|| Error::Step(text.into()))?;
    Ok(Field { bits: (start..=end).step_by(step).fold(0, |bits, value| bits | (1 << value)), any })
}

fn value(text: &str, bounds: &Bounds) -> Result<u32, Error> {
    let lower = text.to_ascii_lowercase();
    match bounds.names.iter().position(|name| *name == lower) {
        Some(position) => Ok(bounds.min + u32::try_from(position).unwrap_or(0)),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u32, Error> {
    text.parse().map_err(|_| Error::Number(text.into()))
}

/// Go's notation: `1h30m`, `1.5h`, `90s`.
fn duration(text: &str) -> Option<SignedDuration> {
    let mut seconds = 0.0;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let unit = after.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(after.len());
        seconds += number
            * match &after[..unit] {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = &after[unit..];
    }
    SignedDuration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn utc(text: &str) -> Schedule {
        Schedule::parse(text, TimeZone::UTC).unwrap()
    }

    #[test]
    fn the_next_time_is_the_first_that_matches_all_fields() {
        let check = |schedule: &str, after: &str, expect: &str| {
            let next = utc(schedule).next(after.parse().unwrap()).map(|at| at.to_string()).unwrap_or_default();
            assert_eq!(next, expect, "{schedule} after {after}");
        };
        check("* * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z");
        check("* * * * *", "2026-01-01T00:00:59.5Z", "2026-01-01T00:01:00Z");
        check("*/15 * * * *", "2026-01-01T00:50:00Z", "2026-01-01T01:00:00Z");
        check("5/20 * * * *", "2026-01-01T00:05:00Z", "2026-01-01T00:25:00Z");
        check("0 8-18/5 * * *", "2026-01-01T13:00:00Z", "2026-01-01T18:00:00Z");
        check("30 23 31 * *", "2026-01-31T23:30:00Z", "2026-03-31T23:30:00Z");
        check("0 0 29 feb *", "2025-01-01T00:00:00Z", "2028-02-29T00:00:00Z");
        check("0 0 30 2 *", "2026-01-01T00:00:00Z", "");
        check("0 0 * * MON-fri", "2026-01-02T00:00:00Z", "2026-01-05T00:00:00Z");
        check("0 0 13 * 5", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        check("0 0 13 * *", "2026-01-01T00:00:00Z", "2026-01-13T00:00:00Z");
        check("0 0 */2 * mon", "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z");
        check("0 0 1 1 ?", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
        check("59 23 31 dec *", "2026-12-31T23:59:00Z", "2027-12-31T23:59:00Z");
        check("@hourly", "2026-01-01T00:10:00Z", "2026-01-01T01:00:00Z");
        check("@daily", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        check("@weekly", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z");
        check("@monthly", "2026-01-31T00:00:00Z", "2026-02-01T00:00:00Z");
        check("@yearly", "2026-01-31T00:00:00Z", "2027-01-01T00:00:00Z");
        check("@every 1h30m", "2026-01-01T00:00:00.7Z", "2026-01-01T01:30:00Z");
        check("@every 10ms", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z");
        check("TZ=Asia/Tokyo 0 9 * * *", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        check("CRON_TZ=America/New_York 0 0 * * *", "2026-07-01T00:00:00Z", "2026-07-01T04:00:00Z");
    }

    #[test]
    fn clocks_that_are_changed_skip_what_does_not_exist_and_repeat_what_comes_twice() {
        let check = |schedule: &str, after: &str, expect: &[&str]| {
            let schedule = Schedule::parse(schedule, zone("Europe/Berlin").unwrap()).unwrap();
            let mut at: Timestamp = after.parse().unwrap();
            for expect in expect {
                at = schedule.next(at).unwrap();
                assert_eq!(at.to_string(), *expect);
            }
        };
        // On 2026-03-29 02:00 is followed by 03:00, on 2026-10-25 03:00 by 02:00.
        check("30 2 * * *", "2026-03-28T00:00:00Z", &["2026-03-28T01:30:00Z", "2026-03-30T00:30:00Z"]);
        check("30 2 * * *", "2026-10-24T12:00:00Z", &["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-26T01:30:00Z"]);
        check("0 12 * * *", "2026-03-28T00:00:00Z", &["2026-03-28T11:00:00Z", "2026-03-29T10:00:00Z"]);
    }

    #[test]
    fn a_day_that_begins_at_one_o_clock_is_not_skipped() {
        let schedule = Schedule::parse("30 1 * * *", zone("America/Sao_Paulo").unwrap()).unwrap();
        // 2018-11-04 began at 01:00.
        assert_eq!(schedule.next("2018-11-03T12:00:00Z".parse().unwrap()).unwrap().to_string(), "2018-11-04T03:30:00Z");
    }

    #[test]
    fn what_cannot_be_read_is_told_as_upstream_tells_it() {
        let check = |text: &str, expect: &str| assert_eq!(Schedule::parse(text, TimeZone::UTC).unwrap_err().to_string(), expect, "{text}");
        check("", "empty spec string");
        check("* * * *", "expected exactly 5 fields, found 4: * * * *");
        check("60 * * * *", "end of range (60) above maximum (59): 60");
        check("* * 0 * *", "beginning of range (0) below minimum (1): 0");
        check("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3");
        check("*/0 * * * *", "step of range should be a positive number: */0");
        check("1-2-3 * * * *", "too many hyphens: 1-2-3");
        check("1/2/3 * * * *", "too many slashes: 1/2/3");
        check("x * * * *", "failed to parse int from x");
        check("@often", "unrecognized descriptor: @often");
        check("TZ=Mars/Base * * * * *", "provided bad location Mars/Base: unknown time zone Mars/Base");
    }

    proptest! {
        #[test]
        fn no_minute_that_matches_is_passed_over(minute in 0u32..60, hour in 0u32..24, weekday in 0u32..7, start in 1_700_000_000i64..1_800_000_000) {
            let after = Timestamp::from_second(start).unwrap();
            let next = utc(&format!("{minute} {hour} * * {weekday}")).next(after).unwrap();
            let zoned = next.to_zoned_datetime(TimeZone::UTC);
            prop_assert_eq!((zoned.minute() as u32, zoned.hour() as u32, zoned.weekday().to_sunday_zero_offset() as u32), (minute, hour, weekday));
            prop_assert!(next > after && next.duration_since(after) <= SignedDuration::from_hours(7 * 24));
        }
    }
}
