//! Quantities as exact integers.
//!
//! An [`Amount`] counts nano-units, the finest grain that the API knows, so sums and comparisons are exact: `"0.1"` and `"100m"`
//! are the same amount. It does not remember the notation; text that is written back to an object keeps the object's own string.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::ops::{Add, AddAssign};

const NANOS_PER_UNIT: u128 = 1_000_000_000;
const NANOS_PER_MILLI: i128 = 1_000_000;
/// What a binary quantity is capped at: 2^63 - 1 units.
const BINARY_MAX: i128 = i64::MAX as i128 * NANOS_PER_UNIT as i128;
/// Fraction digits that are evaluated exactly; what follows can only round the last nano up.
const FRACTION_DIGITS_MAX: u32 = 18;

/// An amount of a resource in nano-units: cores, bytes or pieces times 10^9. Arithmetic saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(i128);

impl Amount {
    pub const ZERO: Self = Self(0);

    pub const fn from_units(units: i64) -> Self {
        Self(units as i128 * NANOS_PER_UNIT as i128)
    }

    pub const fn from_millis(millis: i64) -> Self {
        Self(millis as i128 * NANOS_PER_MILLI)
    }

    /// Reads a quantity as the API writes it: `2`, `100m`, `1.5Gi`, `1e3`. `None` is text that the API server would have refused.
    ///
    /// What is finer than a nano-unit rounds away from zero, so that a request for too little is still a request for something.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, rest) = rest.split_at(digits);
        let (fraction, suffix) = match rest.strip_prefix('.') {
            None => ("", rest),
            Some(rest) => rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count()),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let unit = Unit::parse(suffix)?;
        let magnitude = unit.nanos_of(whole, fraction);
        Some(Self(if negative { -magnitude } else { magnitude }))
    }

    /// Whole units, rounded up: bytes of memory, pieces of an extended resource.
    pub fn value(self) -> i64 {
        self.scaled(NANOS_PER_UNIT as i128)
    }

    /// Thousandths of a unit, rounded up: millicores.
    pub fn millis(self) -> i64 {
        self.scaled(NANOS_PER_MILLI)
    }

    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    fn scaled(self, nanos: i128) -> i64 {
        let quotient = self.0.div_euclid(nanos) + i128::from(self.0.rem_euclid(nanos) != 0);
        quotient.clamp(i64::MIN as i128, i64::MAX as i128) as i64
    }
}

impl From<&Quantity> for Amount {
    /// A quantity that cannot be read counts as nothing; the API server stores none.
    fn from(quantity: &Quantity) -> Self {
        Self::parse(&quantity.0).unwrap_or_default()
    }
}

impl Add for Amount {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// What the suffix multiplies by.
#[derive(Clone, Copy)]
enum Unit {
    /// 2^n units.
    Binary(u32),
    /// 10^n units.
    Decimal(i32),
}

impl Unit {
    fn parse(suffix: &str) -> Option<Self> {
        Some(match suffix {
            "" => Self::Decimal(0),
            "m" => Self::Decimal(-3),
            "Ki" => Self::Binary(10),
            "Mi" => Self::Binary(20),
            "Gi" => Self::Binary(30),
            "Ti" => Self::Binary(40),
            "Pi" => Self::Binary(50),
            "Ei" => Self::Binary(60),
            "n" => Self::Decimal(-9),
            "u" => Self::Decimal(-6),
            "k" => Self::Decimal(3),
            "M" => Self::Decimal(6),
            "G" => Self::Decimal(9),
            "T" => Self::Decimal(12),
            "P" => Self::Decimal(15),
            "E" => Self::Decimal(18),
            _ => {
                let exponent = suffix.strip_prefix(['e', 'E'])?;
                if exponent.bytes().skip(usize::from(exponent.starts_with(['+', '-']))).any(|byte| !byte.is_ascii_digit()) {
                    return None;
                }
                Self::Decimal(exponent.parse().ok()?)
            }
        })
    }

    /// `whole.fraction` of this unit, in nano-units, rounded up and capped.
    fn nanos_of(self, whole: &str, fraction: &str) -> i128 {
        match self {
            Self::Binary(power) => scale(whole, fraction, (1 << power) * NANOS_PER_UNIT).min(BINARY_MAX),
            // 10^27 units times 10^9 is the largest power of ten that the arithmetic holds; anything above is capped anyway.
            Self::Decimal(power) if power > 27 => scale(whole, fraction, 10u128.pow(36)),
            Self::Decimal(power) if power >= -9 => scale(whole, fraction, 10u128.pow((power + 9) as u32)),
            Self::Decimal(power) => {
                let nanos = scale(whole, fraction, 1);
                let divisor = 10i128.checked_pow(power.saturating_add(9).unsigned_abs()).unwrap_or(i128::MAX);
                nanos / divisor + i128::from(nanos % divisor != 0)
            }
        }
    }
}

/// `whole.fraction * nanos`, rounded up; `i128::MAX` when it does not fit.
fn scale(whole: &str, fraction: &str, nanos: u128) -> i128 {
    let Some(whole) = number(whole).and_then(|whole| whole.checked_mul(nanos)) else { return i128::MAX };
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() {
        return i128::try_from(whole).unwrap_or(i128::MAX);
    }
    let exact = fraction.len().min(FRACTION_DIGITS_MAX as usize);
    let rest = fraction.len() > exact;
    let divisor = 10u128.pow(exact as u32);
    let Some(part) = number(&fraction[..exact]) else { return i128::MAX };
    // part < 10^18, so part times the whole units of this suffix (below 2^60, or 10^27 for the few that are capped) is done in two
    // steps: first units, then the nanos of what remains.
    let (units, unit) = if nanos >= NANOS_PER_UNIT { (nanos / NANOS_PER_UNIT, NANOS_PER_UNIT) } else { (1, nanos) };
    let Some(product) = part.checked_mul(units) else { return i128::MAX };
    let remainder = product % divisor * unit;
    let up = u128::from(rest || !remainder.is_multiple_of(divisor));
    let sum = (product / divisor).checked_mul(unit).and_then(|sum| whole.checked_add(sum)).and_then(|sum| sum.checked_add(remainder / divisor + up));
    sum.and_then(|sum| i128::try_from(sum).ok()).unwrap_or(i128::MAX)
}

fn number(digits: &str) -> Option<u128> {
    digits.bytes().try_fold(0u128, |sum, digit| sum.checked_mul(10)?.checked_add(u128::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, millis: i64, value: i64) {
        let amount = Amount::parse(text).unwrap_or_else(|| panic!("{text} is a quantity"));
        assert_eq!((amount.millis(), amount.value()), (millis, value), "{text}");
    }

    #[test]
    fn quantities_are_read_exactly_and_rounded_up() {
        check("0", 0, 0);
        check("2", 2000, 2);
        check("100m", 100, 1);
        check("0.1", 100, 1);
        check(".5", 500, 1);
        check("1.", 1000, 1);
        check("+3", 3000, 3);
        check("-1500m", -1500, -1);
        check("1n", 1, 1);
        check("1u", 1, 1);
        check("1500u", 2, 1);
        check("128Mi", 128 * 1024 * 1024 * 1000, 128 * 1024 * 1024);
        check("1.5Gi", 1_610_612_736_000, 1_610_612_736);
        check("1k", 1_000_000, 1000);
        check("1e3", 1_000_000, 1000);
        check("1E3", 1_000_000, 1000);
        check("12e-1", 1200, 2);
        check("1e-12", 1, 1);
        check("3T", 3_000_000_000_000_000, 3_000_000_000_000);
        check("0.00000000000000000000001", 1, 1);
        check("0.30000000000000000000000", 300, 1);
        check("1.000000000000000000000000001Ki", 1_024_001, 1025);
    }

    #[test]
    fn huge_quantities_are_capped() {
        check("8Ei", i64::MAX, i64::MAX);
        check("9223372036854775807", i64::MAX, i64::MAX);
        check("100E", i64::MAX, i64::MAX);
        check("1e40", i64::MAX, i64::MAX);
        check("0e40", 0, 0);
        check("99999999999999999999999999999999999999999999", i64::MAX, i64::MAX);
        check("7Ei", i64::MAX, 7 << 60);
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "-", ".", "m", "1x", "1mm", "1 Mi", "1e", "1e+", "1e1.5", "1Mi ", "0x10", "1Ki1", "é"] {
            assert_eq!(Amount::parse(text), None, "{text}");
        }
    }

    #[test]
    fn one_amount_has_many_notations() {
        for (one, other) in [("1Gi", "1024Mi"), ("0.25", "250m"), ("1e3m", "1e3m"), ("1000", "1k"), ("0.5Ki", "512")] {
            assert_eq!(Amount::parse(one), Amount::parse(other), "{one} {other}");
        }
    }

    proptest! {
        #[test]
        fn millis_and_units_round_trip(count in -1_000_000_000_000i64..1_000_000_000_000) {
            prop_assert_eq!(Amount::parse(&format!("{count}m")), Some(Amount::from_millis(count)));
            prop_assert_eq!(Amount::parse(&format!("{count}")), Some(Amount::from_units(count)));
            prop_assert_eq!(Amount::from_millis(count).millis(), count);
        }

        #[test]
        fn no_text_panics(text in "[-+]?[0-9]{0,40}(\\.[0-9]{0,40})?([numkMGTPE]|[KMGTPE]i|[eE][-+]?[0-9]{0,12})?") {
            let _ = Amount::parse(&text);
        }
    }
}
