use super::*;
use crate::codec::Report;
use crate::custom;
use crate::defaults;
use crate::schema::Shape;

/// Asked of upstream: a schema, an object, the object pruned and with its defaults, the fields that were unknown, what is wrong with it, then
/// another object, and what is wrong with it when it replaces the first.
const OBJECTS: &str = include_str!("../../testdata/custom-objects.tsv");

pub(crate) fn shape(schema: &str) -> Shape {
    custom::shape(Some(&serde_json::from_str(schema).unwrap()), false).unwrap()
}

/// An object pruned and with its defaults, and the fields that were unknown.
pub(crate) fn read(shape: &Shape, object: &str) -> (Struct, Vec<String>) {
    let mut report = Report::new();
    let mut object = json::decode(shape, object.as_bytes(), &mut report).unwrap();
    defaults::apply(shape, &mut object);
    (object, report.problems().to_vec())
}

fn shown(shape: &Shape, object: &Struct) -> serde_json::Value {
    let mut out = Vec::new();
    json::encode(&shape.schema, object, &mut out);
    serde_json::from_slice(&out).unwrap()
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

fn texts(errors: &[Error]) -> Vec<String> {
    sorted(errors.iter().map(Error::to_string).collect())
}

#[test]
fn objects_are_pruned_defaulted_and_judged_as_upstream_does() {
    let mut wrong = Vec::new();
    for line in OBJECTS.lines() {
        let [schema, object, defaulted, unknown, problems, next, next_problems] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let list = |text: &str| sorted(serde_json::from_str::<Vec<String>>(text).unwrap());
        let shape = shape(schema);
        let (object_tree, unknown_got) = read(&shape, object);
        let (next_tree, _) = read(&shape, next);
        let mut errors = Vec::new();
        openapi(&shape.schema, &object_tree, &mut errors);
        let structural = &shape.schema.custom.as_ref().unwrap().structural;
        let unknown: Vec<_> = list(unknown).iter().map(|path| format!("unknown field {}", quote(path))).collect();
        let checks = [
            ("defaulted", serde_json::from_str::<serde_json::Value>(defaulted).unwrap(), shown(&shape, &object_tree)),
            ("unknown", sorted(unknown).into(), sorted(unknown_got).into()),
            ("create", list(problems).into(), texts(&errors).into()),
            ("update", list(next_problems).into(), texts(&against(structural, &shape.schema, &next_tree, Some(&object_tree))).into()),
        ];
        // Fields in a value of a wrong type are dropped, but not told of: the value is refused anyway.
        let mistyped = problems.contains("must be of type");
        for (what, expect, got) in checks.into_iter().filter(|(what, _, _)| !(mistyped && *what == "unknown")) {
            if expect != got {
                wrong.push(format!("{what} by {schema}\n  of {object}\n  then {next}\n  expected {expect}\n  got      {got}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.iter().take(8).cloned().collect::<Vec<_>>().join("\n"));
}
