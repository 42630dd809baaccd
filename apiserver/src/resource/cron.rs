//! The syntax of CronJob schedules: five fields, or a descriptor such as `@hourly`. Whether a schedule is well formed, not when it is due.

use std::ops::RangeInclusive;

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

struct Field {
    range: RangeInclusive<u32>,
    names: &'static [&'static str],
    first_name: u32,
}

const FIELDS: [Field; 5] = [
    Field { range: 0..=59, names: &[], first_name: 0 },
    Field { range: 0..=23, names: &[], first_name: 0 },
    Field { range: 1..=31, names: &[], first_name: 0 },
    Field { range: 1..=12, names: &MONTHS, first_name: 1 },
    Field { range: 0..=6, names: &DAYS, first_name: 0 },
];

/// Why a schedule is not one.
pub fn check(schedule: &str) -> Result<(), String> {
    if schedule.is_empty() {
        return Err("empty spec string".to_owned());
    }
    if let Some(descriptor) = schedule.strip_prefix('@') {
        return match descriptor {
            "yearly" | "annually" | "monthly" | "weekly" | "daily" | "midnight" | "hourly" => Ok(()),
            _ => match descriptor.strip_prefix("every ") {
                Some(period) => apiserver_machinery::time::parse_duration(period)
                    .map(drop)
                    .map_err(|error| format!("failed to parse duration {schedule}: {error}")),
                None => Err(format!("unrecognized descriptor: {schedule}")),
            },
        };
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        let quoted: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), quoted.join(" ")));
    }
    fields.iter().zip(&FIELDS).try_for_each(|(text, field)| text.split(',').try_for_each(|part| field.check(part)))
}

impl Field {
    /// One of `*`, `5`, `5-10`, `mon-fri`, any of them with `/3`.
    fn check(&self, part: &str) -> Result<(), String> {
        let pieces: Vec<&str> = part.split('/').collect();
        let bounds: Vec<&str> = pieces[0].split('-').collect();
        let star = bounds[0] == "*" || bounds[0] == "?";
        let (start, end) = if star {
            (*self.range.start(), *self.range.end())
        } else {
            let start = self.number(bounds[0])?;
            match bounds.len() {
                1 => (start, start),
                2 => (start, self.number(bounds[1])?),
                _ => return Err(format!("too many hyphens: {part}")),
            }
        };
        let step = match pieces.len() {
            1 => 1,
            2 => plain(pieces[1])?,
            _ => return Err(format!("too many slashes: {part}")),
        };
        if start < *self.range.start() {
            return Err(format!("beginning of range ({start}) below minimum ({}): {part}", self.range.start()));
        }
        if end > *self.range.end() {
            return Err(format!("end of range ({end}) above maximum ({}): {part}", self.range.end()));
        }
        if start > end {
            return Err(format!("beginning of range ({start}) beyond end of range ({end}): {part}"));
        }
        if step == 0 {
            return Err(format!("step of range should be a positive number: {part}"));
        }
        Ok(())
    }

    fn number(&self, text: &str) -> Result<u32, String> {
        let lower = text.to_ascii_lowercase();
        match self.names.iter().position(|name| *name == lower) {
            Some(at) => Ok(self.first_name + at as u32),
            None => plain(text),
        }
    }
}

fn plain(text: &str) -> Result<u32, String> {
    match text.parse::<i64>() {
        Ok(number) if number < 0 => Err(format!("negative number ({number}) not allowed: {text}")),
        Ok(number) => u32::try_from(number).map_err(|_| format!("failed to parse int from {text}: value out of range")),
        Err(_) => Err(format!("failed to parse int from {text}: strconv.Atoi: parsing \"{text}\": invalid syntax")),
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn schedules_have_five_fields_or_a_descriptor() {
        for good in ["* * * * *", "*/5 0-6 1,15 jan mon-fri", "@hourly", "@every 1h30m", "0 0 ? * 0", "1/2 * * * *"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", "empty spec string"),
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("@never", "unrecognized descriptor: @never"),
            ("a * * * *", "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax"),
        ] {
            assert_eq!(check(bad), Err(why.to_owned()), "{bad}");
        }
    }
}
