use super::*;
use crate::builtin;

/// Asked of upstream's libraries, a scenario a line: steps on one Deployment, each with the object that it gave or the error.
const APPLIES: &str = include_str!("../../testdata/applies.jsonl");

fn deployment() -> Shape {
    builtin::shape("apps", "v1", "Deployment").unwrap()
}

fn decode(json: &serde_json::Value) -> Struct {
    json::decode(&deployment(), json.to_string().as_bytes(), &mut Report::new()).unwrap()
}

fn shown(object: &Struct) -> serde_json::Value {
    let mut out = Vec::new();
    json::encode(&deployment().schema, object, &mut out);
    serde_json::from_slice(&out).unwrap()
}

fn no_other_version(_: &Struct, _: &str, version: &str) -> Result<Option<Converted>, String> {
    panic!("no one speaks {version} here")
}

fn request<'a>(shape: &'a Shape, manager: &'a str, subresource: &'a str, now: &'a str, reset: &'a Set) -> Request<'a> {
    Request { shape, api_version: "apps/v1", manager, subresource, now, reset, convert: &no_other_version }
}

#[test]
fn scenarios_go_as_upstreams_do() {
    let shape = deployment();
    let (reset, reset_of_status) = (Set::of_fields(&["status"]), Set::of_fields(&["spec", "metadata.labels"]));
    let mut wrong = Vec::new();
    let mut steps_run = 0;
    for (number, line) in APPLIES.lines().enumerate() {
        let steps: Vec<serde_json::Value> = serde_json::from_str(line).unwrap();
        let mut live: Option<Struct> = None;
        for (at, step) in steps.iter().enumerate() {
            steps_run += 1;
            let (op, manager, input) = (step["op"].as_str().unwrap(), step["manager"].as_str().unwrap(), &step["input"]);
            let now = format!("2020-01-01T00:00:{at:02}Z");
            let got = match op {
                "apply" => {
                    let patch = json::to_any(input.to_string().as_bytes()).unwrap();
                    apply(&request(&shape, manager, "", &now, &reset), "Deployment", live.as_ref(), &patch, step["force"] == true)
                }
                op => {
                    let (subresource, reset) = if op == "status" { ("status", &reset_of_status) } else { ("", &reset) };
                    let mut new = decode(input);
                    update(&request(&shape, manager, subresource, &now, reset), live.as_ref(), &mut new);
                    Ok(new)
                }
            };
            let got = got.map(|object| shown(&object)).map_err(|error| error.to_string());
            let expect = match step.get("object") {
                Some(object) => Ok(shown(&decode(object))),
                None => Err(step["error"].as_str().unwrap_or_default().to_owned()),
            };
            if got != expect {
                wrong.push(format!("{number}/{at} {op} by {manager:?} of {input}\n{}", difference(&expect, &got)));
            }
            if let Some(object) = step.get("object") {
                let mut object = decode(object);
                object.put(&shape.schema, "metadata.uid", "u").unwrap();
                live = Some(object);
            }
        }
    }
    let first: Vec<_> = wrong.iter().take(5).cloned().collect();
    assert!(wrong.is_empty(), "{} of {steps_run} differ:\n{}", wrong.len(), first.join("\n"));
}

fn difference(expect: &Result<serde_json::Value, String>, got: &Result<serde_json::Value, String>) -> String {
    let (Ok(expect), Ok(got)) = (expect, got) else { return format!("  expected {expect:?}\n  got      {got:?}") };
    let mut lines = Vec::new();
    let pretty = |value: &serde_json::Value| serde_json::to_string_pretty(value).unwrap();
    let (expect, got) = (pretty(expect), pretty(got));
    for (sign, own, other) in [('-', &expect, &got), ('+', &got, &expect)] {
        let other: Vec<_> = other.lines().collect();
        lines.extend(own.lines().filter(|line| !other.contains(line)).map(|line| format!("  {sign} {line}")));
    }
    lines.join("\n")
}
