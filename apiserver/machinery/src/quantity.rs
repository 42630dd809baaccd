//! `resource.Quantity`: fixed-point numbers with decimal, binary or exponent suffixes, as in `500m`, `1536Mi`, `12e6`.
//!
//! A tree holds a quantity as its canonical text; this module makes that text and does arithmetic on the numbers. Both follow Go's
//! resource.Quantity digit for digit, oddities included, since the text is what clients and stored objects hold: a text that Go takes
//! for canonical stays as it was written (`+1`, `1.500`), zero is `0` whatever its suffix was, amounts finer than a nano are rounded
//! away from zero, and binary amounts end at 2^63-1.

use crate::Str;
use num_bigint::{BigInt, Sign};
use std::cmp::Ordering;
use std::fmt;

/// Go multiplies out any exponent; beyond this many decimal digits a number is refused (parsing) or absorbs the smaller one (adding).
const SHIFT_DIGITS_MAX: u32 = 10_000;
/// An i64 holds any number of this many decimal digits.
const SMALL_DIGITS: i32 = 18;
const NANO: i32 = -9;
const MILLI: i32 = -3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// The family of suffixes that a quantity is printed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `12e6`
    DecimalExponent,
    /// `12Mi`
    BinarySi,
    /// `12M`
    DecimalSi,
}

/// A number and the way it is printed. Two quantities are equal when their numbers are.
#[derive(Clone, Debug)]
pub struct Quantity {
    amount: Amount,
    format: Format,
    /// The text it was parsed from, if that is canonical.
    text: Option<Str>,
}

#[derive(Clone, Debug)]
enum Amount {
    /// `value * 10^scale`
    Small { value: i64, scale: i32 },
    /// `unscaled / 10^places`
    Big { unscaled: BigInt, places: i32 },
}

/// The canonical form of a quantity's text.
pub fn canonical(text: &str) -> Result<Str, ParseError> {
    Ok(Quantity::parse(text)?.canonical())
}

/// What a quantity's text is made of.
struct Scanned<'a> {
    negative: bool,
    /// Sign, digits and point.
    value: &'a str,
    numerator: &'a str,
    denominator: &'a str,
    suffix: &'a str,
}

fn scan(text: &str) -> Result<Scanned<'_>, ParseError> {
    let bytes = text.as_bytes();
    let digits_end = |from: usize| bytes[from..].iter().position(|b| !b.is_ascii_digit()).map_or(bytes.len(), |n| from + n);
    let negative = bytes.first() == Some(&b'-');
    let mut at = usize::from(matches!(bytes.first(), Some(b'-' | b'+')));
    at = bytes[at..].iter().position(|b| *b != b'0').map_or(bytes.len(), |n| at + n);
    if at == bytes.len() {
        return Ok(Scanned { negative, value: "0", numerator: "0", denominator: "", suffix: "" });
    }
    let end = digits_end(at);
    let numerator = if end == at { "0" } else { &text[at..end] };
    at = end;
    let mut denominator = "";
    if bytes.get(at) == Some(&b'.') {
        let end = digits_end(at + 1);
        denominator = &text[at + 1..end];
        at = end;
    }
    let value = &text[..at];
    let suffix_start = at;
    at = bytes[at..].iter().position(|b| !b"eEinumkKMGTP".contains(b)).map_or(bytes.len(), |n| at + n);
    if matches!(bytes.get(at), Some(b'-' | b'+')) {
        at += 1;
    }
    if digits_end(at) != bytes.len() {
        return Err(ParseError::Format);
    }
    Ok(Scanned { negative, value, numerator, denominator, suffix: &text[suffix_start..] })
}

/// The base's exponent (of ten, or of two for binary suffixes).
fn interpret(suffix: &str) -> Option<(i32, Format)> {
    if let Some((_, exponent)) = DECIMAL_SUFFIXES.iter().find(|(own, _)| *own == suffix) {
        return Some((*exponent, Format::DecimalSi));
    }
    if let Some(power) = BINARY_SUFFIXES.iter().position(|own| *own == suffix) {
        return Some(((power as i32 + 1) * 10, Format::BinarySi));
    }
    let digits = suffix.strip_prefix(['e', 'E']).filter(|digits| !digits.is_empty())?;
    // Go keeps the low 32 bits.
    Some((digits.parse::<i64>().ok()? as i32, Format::DecimalExponent))
}

const DECIMAL_SUFFIXES: [(&str, i32); 10] = [("", 0), ("n", -9), ("u", -6), ("m", -3), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY_SUFFIXES: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

impl Quantity {
    pub fn new(value: i64, format: Format) -> Self {
        Self { amount: Amount::Small { value, scale: 0 }, format, text: None }
    }

    /// A number of thousandths.
    pub fn milli(value: i64, format: Format) -> Self {
        Self { amount: Amount::Small { value, scale: MILLI }, format, text: None }
    }

    pub fn zero() -> Self {
        Self::new(0, Format::DecimalSi)
    }

    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if text.is_empty() {
            return Err(ParseError::Format);
        }
        if text == "0" {
            return Ok(Self { amount: Amount::Small { value: 0, scale: 0 }, format: Format::DecimalSi, text: Some(text.into()) });
        }
        let scanned = scan(text)?;
        let (exponent, format) = interpret(scanned.suffix).ok_or(ParseError::Suffix)?;
        match Self::parse_small(text, &scanned, exponent, format)? {
            Some(quantity) => Ok(quantity),
            None => Self::parse_big(&scanned, exponent, format),
        }
    }

    /// Numbers that surely fit an i64.
    fn parse_small(text: &str, scanned: &Scanned<'_>, exponent: i32, format: Format) -> Result<Option<Self>, ParseError> {
        let (numerator, denominator) = (scanned.numerator, scanned.denominator);
        let (scale, mantissa, spare_digits) = match format {
            Format::DecimalExponent | Format::DecimalSi => (exponent, 1, SMALL_DIGITS - (numerator.len() + denominator.len()) as i32),
            // Go's own estimate of the digits that a power of two takes.
            Format::BinarySi if denominator.is_empty() => (0, 1i64 << exponent, 15 - numerator.len() as i32 - exponent * 3 / 10 - 1),
            Format::BinarySi => return Ok(None),
        };
        let scale = scale.wrapping_sub(denominator.len() as i32);
        if spare_digits < 0 || scale < NANO {
            return Ok(None);
        }
        let value = [numerator, denominator].concat();
        let shifted = value.as_str();
        let value: i64 = shifted.parse().map_err(|_| ParseError::Numeric)?;
        let Some(result) = value.checked_mul(mantissa) else { return Ok(None) };
        let canonical = match format {
            Format::BinarySi => value & 7 != 0,
            _ => scale % 3 == 0 && !shifted.ends_with("000") && !shifted.starts_with('0'),
        };
        let result = if scanned.negative { -result } else { result };
        Ok(Some(Self { amount: Amount::Small { value: result, scale }, format, text: canonical.then(|| text.into()) }))
    }

    fn parse_big(scanned: &Scanned<'_>, exponent: i32, mut format: Format) -> Result<Self, ParseError> {
        let unsigned = scanned.value.trim_start_matches(['+', '-']);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let digits = [whole, fraction].concat();
        let mut unscaled = BigInt::parse_bytes(digits.as_bytes(), 10).ok_or(ParseError::Numeric)?;
        let mut places = fraction.len() as i64;
        if format == Format::BinarySi {
            unscaled <<= exponent;
        } else {
            places -= i64::from(exponent);
        }
        if unscaled.sign() != Sign::NoSign {
            unscaled = rounded_up(unscaled, places, i64::from(-NANO)).ok_or(ParseError::Numeric)?;
            places = i64::from(-NANO);
        } else {
            places = 0;
        }
        let places = places as i32;
        let amount = Amount::Big { unscaled, places };
        if format == Format::BinarySi {
            let max = Amount::Small { value: i64::MAX, scale: 0 };
            if amount.cmp(&max) == Ordering::Greater {
                let amount = if scanned.negative { max.negated() } else { max };
                return Ok(Self { amount: amount.into_big(), format, text: None });
            }
            if !amount.is_zero() && amount.cmp(&Amount::Small { value: 1, scale: 0 }) == Ordering::Less {
                format = Format::DecimalSi;
            }
        }
        let amount = if scanned.negative { amount.negated() } else { amount };
        Ok(Self { amount, format, text: None })
    }

    pub fn format(&self) -> Format {
        self.format
    }

    /// The text that is stored and sent.
    pub fn canonical(&self) -> Str {
        match &self.text {
            Some(text) => text.clone(),
            None => self.render().into(),
        }
    }

    fn render(&self) -> String {
        if self.is_zero() {
            return "0".to_owned();
        }
        let kilo = Amount::Small { value: 1024, scale: 0 };
        let binary = (self.format == Format::BinarySi && self.amount.cmp_magnitude(&kilo) != Ordering::Less).then(|| self.amount.whole());
        if let Some(Some(whole)) = binary {
            let (number, power) = without_factors(whole, 1024);
            // Go has no suffix beyond Ei, and then prints none.
            let suffix = power.checked_sub(1).and_then(|at| BINARY_SUFFIXES.get(at as usize)).unwrap_or(&"");
            return format!("{number}{suffix}");
        }
        let (number, exponent) = self.amount.decimal();
        match self.format {
            Format::DecimalExponent if exponent != 0 => format!("{number}e{exponent}"),
            Format::DecimalExponent => number,
            _ => {
                let suffix = DECIMAL_SUFFIXES.iter().find(|(_, own)| i64::from(*own) == exponent).map_or("", |(suffix, _)| suffix);
                format!("{number}{suffix}")
            }
        }
    }

    pub fn is_zero(&self) -> bool {
        self.amount.is_zero()
    }

    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        self.amount.sign()
    }

    /// The number rounded away from zero to a whole one.
    pub fn value(&self) -> i64 {
        self.scaled_value(0)
    }

    /// The number of thousandths, rounded up.
    pub fn milli_value(&self) -> i64 {
        self.scaled_value(MILLI)
    }

    /// The number in units of `10^scale`, rounded up. What does not fit comes out as Go has it, which is of no use: check the size first.
    pub fn scaled_value(&self, scale: i32) -> i64 {
        match &self.amount {
            Amount::Small { value, scale: own } if *own < scale => divided_up(*value, scale.wrapping_sub(*own)),
            Amount::Small { value, scale: own } => match own.wrapping_sub(scale) {
                // Where Go has a constant factor, the product wraps.
                tens @ (1 | 2 | 3 | 6 | 9) => value.wrapping_mul(10i64.pow(tens as u32)),
                tens => multiplied(*value, tens).unwrap_or(0),
            },
            Amount::Big { unscaled, places } => {
                let shift = i64::from(*places) + i64::from(scale);
                if shift <= 0 {
                    let factor = 10i64.checked_pow(shift.unsigned_abs().min(u64::from(u32::MAX)) as u32).unwrap_or(i64::MIN);
                    return low_bits(unscaled).wrapping_mul(factor);
                }
                if *unscaled < BigInt::from(i64::MAX) && shift < 19 {
                    let (small, divisor) = (low_bits(unscaled), 10i64.pow(shift as u32));
                    return small / divisor + i64::from(small % divisor != 0);
                }
                let divisor = BigInt::from(10).pow(shift.min(i64::from(SHIFT_DIGITS_MAX)) as u32);
                let quotient = unscaled / &divisor;
                let exact = &quotient * &divisor == *unscaled;
                low_bits(&quotient).wrapping_add(i64::from(!exact && unscaled.sign() == Sign::Plus))
            }
        }
    }

    /// Near enough for ratios and metrics.
    pub fn approximate(&self) -> f64 {
        match &self.amount {
            Amount::Small { value, scale } => *value as f64 * 10f64.powi(*scale),
            Amount::Big { unscaled, places } => {
                let base = unscaled.to_string().parse::<f64>().unwrap_or(f64::INFINITY);
                base * 10f64.powi(-*places)
            }
        }
    }

    /// A zero takes the format of what is added to it.
    pub fn add(&mut self, other: &Quantity) {
        self.text = None;
        if self.is_zero() {
            self.format = other.format;
        }
        self.amount = self.amount.sum(&other.amount);
    }

    /// A zero takes the format of what is taken from it.
    pub fn sub(&mut self, other: &Quantity) {
        self.text = None;
        if self.is_zero() {
            self.format = other.format;
        }
        self.amount = self.amount.sum(&other.amount.clone().negated());
    }

    pub fn neg(&mut self) {
        self.text = None;
        self.amount = std::mem::replace(&mut self.amount, Amount::Small { value: 0, scale: 0 }).negated();
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical())
    }
}

impl std::str::FromStr for Quantity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.amount.cmp(&other.amount)
    }
}

impl Amount {
    fn is_zero(&self) -> bool {
        self.sign() == 0
    }

    fn sign(&self) -> i32 {
        match self {
            Amount::Small { value, .. } => value.signum() as i32,
            Amount::Big { unscaled, .. } => match unscaled.sign() {
                Sign::Minus => -1,
                Sign::NoSign => 0,
                Sign::Plus => 1,
            },
        }
    }

    fn negated(self) -> Self {
        match self {
            Amount::Small { value, scale } => match value.checked_neg() {
                Some(value) => Amount::Small { value, scale },
                None => Amount::Small { value, scale }.into_big().negated(),
            },
            Amount::Big { unscaled, places } => Amount::Big { unscaled: -unscaled, places },
        }
    }

    fn parts(&self) -> (BigInt, i64) {
        match self {
            Amount::Small { value, scale } => (BigInt::from(*value), -i64::from(*scale)),
            Amount::Big { unscaled, places } => (unscaled.clone(), i64::from(*places)),
        }
    }

    fn into_big(self) -> Self {
        match self {
            Amount::Small { value, scale } => Amount::Big { unscaled: BigInt::from(value), places: scale.checked_neg().unwrap_or(i32::MAX) },
            big => big,
        }
    }

    fn cmp(&self, other: &Self) -> Ordering {
        match self.sign().cmp(&other.sign()) {
            Ordering::Equal if self.sign() < 0 => other.cmp_magnitude(self),
            Ordering::Equal => self.cmp_magnitude(other),
            decided => decided,
        }
    }

    fn cmp_magnitude(&self, other: &Self) -> Ordering {
        if let (Amount::Small { value: a, scale: x }, Amount::Small { value: b, scale: y }) = (self, other)
            && x == y
        {
            return a.unsigned_abs().cmp(&b.unsigned_abs());
        }
        if self.is_zero() || other.is_zero() {
            return self.sign().abs().cmp(&other.sign().abs());
        }
        let (a, a_places) = self.parts();
        let (b, b_places) = other.parts();
        let (a, b) = (a.magnitude().to_string(), b.magnitude().to_string());
        // The power of ten of the first digit, then the digits one by one.
        let order = |digits: &str, places: i64| digits.len() as i64 - places;
        order(&a, a_places).cmp(&order(&b, b_places)).then_with(|| a.trim_end_matches('0').cmp(b.trim_end_matches('0')))
    }

    fn sum(&self, other: &Self) -> Self {
        if let (Amount::Small { value: a, scale: x }, Amount::Small { value: b, scale: y }) = (self, other) {
            if *b == 0 {
                return self.clone();
            }
            if *a == 0 {
                return other.clone();
            }
            let scale = *x.min(y);
            let sum = multiplied(*a, x.wrapping_sub(scale)).zip(multiplied(*b, y.wrapping_sub(scale))).and_then(|(a, b)| a.checked_add(b));
            if let Some(value) = sum {
                return Amount::Small { value, scale };
            }
        }
        let (a, a_places) = self.parts();
        let (b, b_places) = other.parts();
        let places = a_places.max(b_places);
        match (upscaled(a, places - a_places), upscaled(b, places - b_places)) {
            (Some(a), Some(b)) => Amount::Big { unscaled: a + b, places: i32::try_from(places).unwrap_or(i32::MAX) },
            _ if self.cmp_magnitude(other) == Ordering::Less => other.clone(),
            _ => self.clone(),
        }
    }

    /// The number, if it is a whole one.
    fn whole(&self) -> Option<BigInt> {
        let (unscaled, places) = self.parts();
        if places <= 0 {
            return upscaled(unscaled, -places);
        }
        if places > i64::from(SHIFT_DIGITS_MAX) {
            return None;
        }
        let divisor = BigInt::from(10).pow(places as u32);
        let quotient = &unscaled / &divisor;
        (&quotient * divisor == unscaled).then_some(quotient)
    }

    /// Digits and a power of ten that is a multiple of three, as large as it can be.
    fn decimal(&self) -> (String, i64) {
        let (unscaled, places) = self.parts();
        let all = unscaled.to_string();
        let digits = all.trim_end_matches('0');
        let exponent = (all.len() - digits.len()) as i64 - places;
        let spare = exponent.rem_euclid(3);
        (format!("{digits}{}", &"00"[..spare as usize]), exponent - spare)
    }
}

fn upscaled(unscaled: BigInt, digits: i64) -> Option<BigInt> {
    match u32::try_from(digits) {
        Ok(0) => Some(unscaled),
        Ok(digits) if digits <= SHIFT_DIGITS_MAX => Some(unscaled * BigInt::from(10).pow(digits)),
        _ => None,
    }
}

/// A positive number brought from one count of decimal places to another; what is cut off rounds up.
fn rounded_up(unscaled: BigInt, places: i64, wanted: i64) -> Option<BigInt> {
    if places <= wanted {
        return upscaled(unscaled, wanted - places);
    }
    let digits = unscaled.magnitude().to_string();
    let cut = (places - wanted).min(digits.len() as i64) as usize;
    let (kept, lost) = digits.split_at(digits.len() - cut);
    let kept = if kept.is_empty() { BigInt::ZERO } else { BigInt::parse_bytes(kept.as_bytes(), 10)? };
    Some(kept + i32::from(lost.bytes().any(|digit| digit != b'0')))
}

fn without_factors(mut number: BigInt, factor: u32) -> (BigInt, u32) {
    let mut times = 0;
    let zero = BigInt::ZERO;
    while number != zero && &number % factor == zero {
        number /= factor;
        times += 1;
    }
    (number, times)
}

fn multiplied(value: i64, tens: i32) -> Option<i64> {
    if value == 0 {
        return Some(0);
    }
    value.checked_mul(10i64.checked_pow(u32::try_from(tens).ok()?)?)
}

/// Divides by `10^tens`, away from zero.
fn divided_up(value: i64, tens: i32) -> i64 {
    let divisor = u32::try_from(tens).ok().and_then(|tens| 10i64.checked_pow(tens));
    match divisor {
        Some(divisor) => value / divisor + if value % divisor == 0 { 0 } else { value.signum() },
        None => value.signum(),
    }
}

fn low_bits(number: &BigInt) -> i64 {
    let bytes = number.to_signed_bytes_le();
    let fill = if number.sign() == Sign::Minus { 0xff } else { 0 };
    let mut low = [fill; 8];
    for (to, from) in low.iter_mut().zip(&bytes) {
        *to = *from;
    }
    i64::from_le_bytes(low)
}

#[cfg(test)]
#[path = "quantity_tests.rs"]
mod tests;
