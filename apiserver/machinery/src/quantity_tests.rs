use super::*;
use proptest::prelude::*;

/// Asked of Go's resource.Quantity: text, canonical text (or `!` and the error), Value, MilliValue.
const PARSED: &str = include_str!("../testdata/quantity-parse.tsv");
/// Asked of Go's resource.Quantity: a, b, Cmp, canonical text of a+b and of a-b.
const PAIRS: &str = include_str!("../testdata/quantity-pairs.tsv");

#[test]
fn texts_are_read_as_go_reads_them() {
    let mut wrong = Vec::new();
    for line in PARSED.lines() {
        let columns: Vec<_> = line.split('\t').collect();
        let got = match Quantity::parse(columns[0]) {
            Ok(quantity) => format!("{}\t{}\t{}", quantity.canonical(), quantity.value(), quantity.milli_value()),
            Err(error) => format!("!{error:?}"),
        };
        if got != columns[1..].join("\t") {
            wrong.push(format!("{line} but got {got}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn sums_and_order_are_gos() {
    let mut wrong = Vec::new();
    for line in PAIRS.lines() {
        let columns: Vec<_> = line.split('\t').collect();
        let (a, b) = (Quantity::parse(columns[0]).unwrap(), Quantity::parse(columns[1]).unwrap());
        let (mut sum, mut difference) = (a.clone(), a.clone());
        sum.add(&b);
        difference.sub(&b);
        let got = format!("{}\t{}\t{}", a.cmp(&b) as i32, sum.canonical(), difference.canonical());
        if got != columns[2..].join("\t") {
            wrong.push(format!("{line} but got {got}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn errors_have_gos_texts() {
    let check = |text: &str, expect: &str| assert_eq!(Quantity::parse(text).unwrap_err().to_string(), expect);
    check("abc", "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
    check("1Kii", "unable to parse quantity's suffix");
}

#[test]
fn enormous_exponents_cost_nothing() {
    let huge = Quantity::parse("1e2000000000").unwrap();
    let one = Quantity::parse("1").unwrap();
    assert!(huge > one);
    let mut sum = one.clone();
    sum.add(&huge);
    assert_eq!(sum, huge);
    assert_eq!(Quantity::parse("12345678901234567890e2000000000").unwrap_err(), ParseError::Numeric);
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in "[-+]?[0-9.]{0,30}[a-zA-Z]{0,3}[-+]?[0-9]{0,4}") {
        if let Ok(quantity) = Quantity::parse(&text) {
            let canonical = quantity.canonical();
            // Go drops suffixes that it has no name for; below that, the canonical text is the same number.
            if quantity.approximate().abs() < 1e20 {
                prop_assert_eq!(Quantity::parse(&canonical).unwrap(), quantity);
            }
        }
    }

    #[test]
    fn what_was_added_can_be_taken_away(a in -1_000_000_000i64..1_000_000_000, b in -1_000_000_000i64..1_000_000_000) {
        let start = Quantity::milli(a, Format::DecimalSi);
        let other = Quantity::new(b, Format::BinarySi);
        let mut end = start.clone();
        end.add(&other);
        prop_assert_eq!(end.milli_value(), a + b * 1000);
        end.sub(&other);
        prop_assert_eq!(end, start);
    }
}
