//! Numbers that may be given as a share of others.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Round {
    Up,
    Down,
}

/// `25%` of 10 is 2, or 3 rounded up; None where the text is no percentage.
pub(crate) fn of(value: &IntOrString, total: i32, round: Round) -> Option<i32> {
    let text = match value {
        IntOrString::Int(number) => return Some(*number),
        IntOrString::String(text) => text,
    };
    let percent: i64 = text.strip_suffix('%')?.parse().ok()?;
    let product = percent.checked_mul(i64::from(total))?;
    let up = i64::from(round == Round::Up && product.rem_euclid(100) != 0);
    i32::try_from(product.div_euclid(100) + up).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_as_asked() {
        let check = |value: IntOrString, round: Round, expect: Option<i32>| assert!(of(&value, 10, round) == expect);
        check(IntOrString::Int(7), Round::Up, Some(7));
        check(IntOrString::String("25%".into()), Round::Up, Some(3));
        check(IntOrString::String("25%".into()), Round::Down, Some(2));
        check(IntOrString::String("100%".into()), Round::Up, Some(10));
        check(IntOrString::String("25".into()), Round::Up, None);
    }
}
