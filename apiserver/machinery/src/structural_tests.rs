use super::*;
use crate::json;

/// Asked of upstream: a schema, then why it is not structural as a JSON list, or `!` and why it is not even read.
const SCHEMAS: &str = include_str!("../testdata/custom-structural.tsv");

#[test]
fn schemas_are_structural_where_upstream_says_so() {
    let mut wrong = Vec::new();
    for line in SCHEMAS.lines() {
        let (schema, expect) = line.split_once('\t').unwrap();
        // What exactly is wrong with a regular expression is the engine's to say.
        let comparable = |text: &str| match text.split_once("but isn't: ") {
            Some((text, _)) => text.to_owned(),
            None => text.to_owned(),
        };
        let got = match Structural::read(&json::to_any(schema.as_bytes()).unwrap()) {
            Err(error) => Err(format!("!{error}")),
            Ok(structural) => {
                let problems = structural.problems(&Path::new("openAPIV3Schema"));
                Ok(problems.iter().map(|problem| comparable(&problem.to_string())).collect::<Vec<_>>())
            }
        };
        let expect = match expect.starts_with('!') {
            true => Err(expect.to_owned()),
            false => Ok(serde_json::from_str::<Vec<String>>(expect).unwrap().iter().map(|text| comparable(text)).collect()),
        };
        if got != expect {
            wrong.push(format!("{schema}\n  expected {expect:?}\n  got      {got:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.iter().take(8).cloned().collect::<Vec<_>>().join("\n"));
}
