//! Times and durations as Go writes and reads them: RFC 3339 for metav1.Time and MicroTime, `1h0m0s` for metav1.Duration.
//!
//! Nothing here asks what time it is.

use crate::Str;
use crate::text::quote;
use std::fmt::Write;

/// Seconds since 1970 and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    pub seconds: i64,
    pub nanos: u32,
}

/// How finely a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// metav1.Time: `2006-01-02T15:04:05Z`.
    Seconds,
    /// metav1.MicroTime: `2006-01-02T15:04:05.000000Z`; it reads only what has six digits of fraction.
    Micros,
}

const DAY_SECONDS: i64 = 86_400;

impl Moment {
    /// Go's zero time, 0001-01-01T00:00:00Z, which counts as none.
    pub const ZERO: Self = Self { seconds: -62_135_596_800, nanos: 0 };

    pub fn parse(text: &str, precision: Precision) -> Result<Self, String> {
        Parse { text, rest: text, layout: precision.layout() }.moment(precision)
    }

    /// Beyond the years 0 to 9999, which is all that RFC 3339 can write.
    pub fn is_out_of_range(self) -> bool {
        !(days(0, 1, 1) * DAY_SECONDS..days(10_000, 1, 1) * DAY_SECONDS).contains(&self.seconds)
    }

    /// In UTC; a finer fraction is cut off.
    pub fn format(self, precision: Precision) -> Str {
        let (days, second) = (self.seconds.div_euclid(DAY_SECONDS), self.seconds.rem_euclid(DAY_SECONDS));
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        put(&mut text[0..4], year);
        put(&mut text[5..7], month);
        put(&mut text[8..10], day);
        put(&mut text[11..13], hour);
        put(&mut text[14..16], minute);
        put(&mut text[17..19], second);
        let end = match precision {
            Precision::Seconds => 19,
            Precision::Micros => {
                put(&mut text[20..26], i64::from(self.nanos / 1000));
                26
            }
        };
        text[end] = b'Z';
        Str::from_utf8_lossy(&text[..=end])
    }
}

/// Writes a number with as many digits as there is room for.
fn put(room: &mut [u8], mut number: i64) {
    for digit in room.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

impl Precision {
    fn layout(self) -> &'static str {
        match self {
            Self::Seconds => "2006-01-02T15:04:05Z07:00",
            Self::Micros => "2006-01-02T15:04:05.000000Z07:00",
        }
    }
}

/// The canonical text of a time; `None` for Go's zero time.
pub fn canonical(text: &str, precision: Precision) -> Result<Option<Str>, String> {
    let moment = Moment::parse(text, precision)?;
    Ok((moment != Moment::ZERO).then(|| moment.format(precision)))
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March have their leap day last: the months before it follow one pattern.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The date of a day; see [`days`].
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

struct Parse<'a> {
    text: &'a str,
    rest: &'a str,
    layout: &'static str,
}

impl<'a> Parse<'a> {
    fn moment(mut self, precision: Precision) -> Result<Moment, String> {
        let year = self.digits(4, "2006")?;
        self.literal("-")?;
        let month = self.two("01")?;
        if !(1..=12).contains(&month) {
            return Err(self.out_of_range("month"));
        }
        self.literal("-")?;
        let day = self.two("02")?;
        self.literal("T")?;
        let hour = self.hour()?;
        self.literal(":")?;
        let minute = self.bounded("04", "minute")?;
        self.literal(":")?;
        let second = self.bounded("05", "second")?;
        let nanos = self.fraction(precision)?;
        let offset = self.zone()?;
        if !self.rest.is_empty() {
            return Err(self.fault(&format!(": extra text: {}", quote(self.rest))));
        }
        if !(1..=days_in(year, month)).contains(&day) {
            return Err(self.out_of_range("day"));
        }
        let seconds = days(year, month, day) * DAY_SECONDS + hour * 3600 + minute * 60 + second - offset;
        let nanos = if precision == Precision::Seconds { 0 } else { nanos };
        Ok(Moment { seconds, nanos })
    }

    fn digits(&mut self, count: usize, element: &str) -> Result<i64, String> {
        let digits = self.rest.as_bytes().get(..count).filter(|digits| digits.iter().all(u8::is_ascii_digit));
        let Some(digits) = digits else { return Err(self.cannot(self.rest, element)) };
        let number = digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        self.rest = &self.rest[count..];
        Ok(number)
    }

    fn two(&mut self, element: &str) -> Result<i64, String> {
        self.digits(2, element)
    }

    fn bounded(&mut self, element: &str, name: &str) -> Result<i64, String> {
        let number = self.two(element)?;
        if number > 59 { Err(self.out_of_range(name)) } else { Ok(number) }
    }

    /// Go takes an hour of one digit too.
    fn hour(&mut self) -> Result<i64, String> {
        let one = matches!(self.rest.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'9', b':', ..]);
        let hour = self.digits(if one { 1 } else { 2 }, "15")?;
        if hour > 23 { Err(self.out_of_range("hour")) } else { Ok(hour) }
    }

    fn literal(&mut self, expected: &str) -> Result<(), String> {
        match self.rest.strip_prefix(expected) {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None => Err(self.cannot(self.rest, expected)),
        }
    }

    fn fraction(&mut self, precision: Precision) -> Result<u32, String> {
        let bytes = self.rest.as_bytes();
        let count = bytes.iter().skip(1).take_while(|byte| byte.is_ascii_digit()).count();
        let begins = matches!(bytes.first(), Some(b'.' | b','));
        let count = match precision {
            Precision::Seconds if begins && count > 0 => count,
            Precision::Seconds => return Ok(0),
            Precision::Micros if begins && count >= 6 => 6,
            Precision::Micros => return Err(self.cannot(self.rest, ".000000")),
        };
        let nanos = bytes[1..=count].iter().chain([b'0'; 9].iter()).take(9).fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
        self.rest = &self.rest[count + 1..];
        Ok(nanos)
    }

    /// `Z`, or hours and minutes east of Greenwich, in seconds.
    fn zone(&mut self) -> Result<i64, String> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(0);
        }
        let bytes = self.rest.as_bytes();
        let [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2, ..] = *bytes else { return Err(self.cannot(self.rest, "Z07:00")) };
        if ![h1, h2, m1, m2].iter().all(u8::is_ascii_digit) {
            return Err(self.cannot(self.rest, "Z07:00"));
        }
        let number = |tens: u8, ones: u8| i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
        let (hours, minutes) = (number(h1, h2), number(m1, m2));
        if hours > 24 {
            return Err(self.out_of_range("time zone offset hour"));
        }
        if minutes > 60 {
            return Err(self.out_of_range("time zone offset minute"));
        }
        self.rest = &self.rest[6..];
        let offset = hours * 3600 + minutes * 60;
        Ok(if sign == b'-' { -offset } else { offset })
    }

    fn cannot(&self, value: &str, element: &str) -> String {
        let (text, layout) = (quote(self.text), quote(self.layout));
        format!("parsing time {text} as {layout}: cannot parse {} as {}", quote(value), quote(element))
    }

    fn out_of_range(&self, what: &str) -> String {
        self.fault(&format!(": {what} out of range"))
    }

    fn fault(&self, what: &str) -> String {
        format!("parsing time {}{what}", quote(self.text))
    }
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Reads a duration as Go does, in nanoseconds: `1h15m30.918s`, `-1.5h`, `300ms`, `0`.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let whole = digits(rest);
        let (integer, after) = rest.split_at(whole);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(digits(after)),
            None => ("", after),
        };
        if whole == 0 && fraction.is_empty() {
            return Err(invalid());
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {}", quote(text)));
        }
        let nanos = unit_nanos(unit).ok_or_else(|| format!("time: unknown unit {} in duration {}", quote(unit), quote(text)))?;
        let integer: u64 = if integer.is_empty() { 0 } else { integer.parse().map_err(|_| invalid())? };
        let part = integer.checked_mul(nanos).filter(|part| *part <= 1 << 63).ok_or_else(invalid)?;
        total = total.checked_add(part + part_of(fraction, nanos)).filter(|total| *total <= 1 << 63).ok_or_else(invalid)?;
        rest = after;
    }
    if negative {
        return Ok((total as i64).wrapping_neg());
    }
    i64::try_from(total).map_err(|_| invalid())
}

fn unit_nanos(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1000,
        "ms" => 1_000_000,
        "s" => NANOS_PER_SECOND,
        "m" => 60 * NANOS_PER_SECOND,
        "h" => 3600 * NANOS_PER_SECOND,
        _ => return None,
    })
}

/// The nanoseconds of a decimal fraction of a unit; digits beyond what 64 bits hold do not count.
fn part_of(fraction: &str, unit: u64) -> u64 {
    let mut value: u64 = 0;
    let mut scale = 1.0;
    for digit in fraction.bytes() {
        let next = value.checked_mul(10).and_then(|value| value.checked_add(u64::from(digit - b'0')));
        let Some(next) = next.filter(|next| *next <= i64::MAX as u64) else { break };
        value = next;
        scale *= 10.0;
    }
    (value as f64 * (unit as f64 / scale)) as u64
}

/// Writes a duration as Go does: `1h15m0.5s`, `1.5ms`, `0s`.
pub fn format_duration(nanos: i64) -> Str {
    let mut out = Str::default();
    if nanos < 0 {
        out.push('-');
    }
    let nanos = nanos.unsigned_abs();
    // Writing to a string cannot fail.
    let _ = match nanos {
        0 => write!(out, "0s"),
        1..1000 => write!(out, "{nanos}ns"),
        1000..1_000_000 => write!(out, "{}\u{b5}s", decimal(nanos, 1000)),
        1_000_000..NANOS_PER_SECOND => write!(out, "{}ms", decimal(nanos, 1_000_000)),
        _ => {
            let seconds = nanos / NANOS_PER_SECOND;
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let rest = decimal(nanos % (60 * NANOS_PER_SECOND), NANOS_PER_SECOND);
            match (hours, minutes) {
                (0, 0) => write!(out, "{rest}s"),
                (0, _) => write!(out, "{minutes}m{rest}s"),
                _ => write!(out, "{hours}h{minutes}m{rest}s"),
            }
        }
    };
    out
}

/// `nanos / unit` without trailing zeros.
fn decimal(nanos: u64, unit: u64) -> String {
    let whole = nanos / unit;
    let fraction = nanos % unit;
    if fraction == 0 {
        return whole.to_string();
    }
    let width = unit.ilog10() as usize;
    let digits = format!("{fraction:0width$}");
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_any_zone_and_written_in_utc() {
        let check = |text: &str, expect: &str| {
            let got = canonical(text, Precision::Seconds);
            assert_eq!(got.map(|text| text.map_or("zero".to_owned(), |text| text.to_string())).unwrap_or_else(|error| error), expect, "{text}");
        };
        check("2026-11-24T22:04:05Z", "2026-11-24T22:04:05Z");
        check("2026-11-24T22:04:05.75Z", "2026-11-24T22:04:05Z");
        check("2026-11-24T22:04:05+02:30", "2026-11-24T19:34:05Z");
        check("2024-02-29T23:59:59-00:01", "2024-03-01T00:00:59Z");
        check("1969-12-31T23:59:59Z", "1969-12-31T23:59:59Z");
        check("0001-01-01T00:00:00Z", "zero");
        let layout = r#""2006-01-02T15:04:05Z07:00""#;
        check("yesterday", &format!(r#"parsing time "yesterday" as {layout}: cannot parse "yesterday" as "2006""#));
        check("", &format!(r#"parsing time "" as {layout}: cannot parse "" as "2006""#));
        check("2026-11-24", &format!(r#"parsing time "2026-11-24" as {layout}: cannot parse "" as "T""#));
        check("2026-13-24T00:00:00Z", r#"parsing time "2026-13-24T00:00:00Z": month out of range"#);
        check("2025-02-29T00:00:00Z", r#"parsing time "2025-02-29T00:00:00Z": day out of range"#);
        check("2026-11-24T22:04:05", &format!(r#"parsing time "2026-11-24T22:04:05" as {layout}: cannot parse "" as "Z07:00""#));
        check("2026-11-24T22:04:05Zx", r#"parsing time "2026-11-24T22:04:05Zx": extra text: "x""#);
    }

    #[test]
    fn micro_times_need_their_six_digits() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(canonical(text, Precision::Micros).ok().flatten().as_deref(), expect, "{text}");
        };
        check("2026-11-24T22:04:05.000750Z", Some("2026-11-24T22:04:05.000750Z"));
        check("2026-11-24T22:04:05.123456+01:00", Some("2026-11-24T21:04:05.123456Z"));
        check("2026-11-24T22:04:05Z", None);
    }

    #[test]
    fn dates_and_days_agree() {
        for day in (-800_000..800_000).step_by(97) {
            let (year, month, of_month) = civil(day);
            assert_eq!(days(year, month, of_month), day);
        }
    }

    #[test]
    fn durations_have_gos_form() {
        let check = |text: &str, expect: &str| {
            let got = parse_duration(text).map(|nanos| format_duration(nanos).to_string());
            assert_eq!(got.unwrap_or_else(|error| error), expect, "{text}");
        };
        check("1h", "1h0m0s");
        check("90m", "1h30m0s");
        check("1.5h", "1h30m0s");
        check("-2m0.5s", "-2m0.5s");
        check("1500ms", "1.5s");
        check("1us", "1\u{b5}s");
        check("0", "0s");
        check("10ns", "10ns");
        check("", r#"time: invalid duration """#);
        check("3", r#"time: missing unit in duration "3""#);
        check("3d", r#"time: unknown unit "d" in duration "3d""#);
        check("9999999h", r#"time: invalid duration "9999999h""#);
    }
}
