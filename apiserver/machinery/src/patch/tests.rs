use super::*;
use crate::builtin;

/// Asked of upstream's libraries: the patch, an object, the patch's body, then the result and what strict decoding says of it, or `!`, the
/// step that failed and its message.
const PATCHES: &str = include_str!("../../testdata/patches.tsv");

fn pod() -> Shape {
    builtin::shape("", "v1", "Pod").unwrap()
}

fn object(json: &str) -> Struct {
    json::decode(&pod(), json.as_bytes(), &mut Report::new()).unwrap()
}

fn shown(object: &Struct) -> String {
    let mut out = Vec::new();
    json::encode(&pod().schema, object, &mut out);
    String::from_utf8(out).unwrap()
}

fn run(kind: &str, original: &str, patch: &str, validation: FieldValidation) -> Result<Patched, Error> {
    let patch = patch.as_bytes();
    match kind {
        "json" => json_patch(&pod(), &object(original), patch, validation),
        "merge" => merge_patch(&pod(), &object(original), patch, validation),
        _ => strategic_merge_patch(&pod(), &object(original), patch, validation),
    }
}

/// Upstream walks maps in no order and so may complain of another element of the same map; the rest of these messages is fixed.
fn comparable(message: &str) -> &str {
    match message.split_once(": ") {
        Some((_, rest)) if message.starts_with("map: map[") => rest.rsplit_once(']').map_or(rest, |(_, rest)| rest),
        _ => message,
    }
}

#[test]
fn patches_do_what_upstream_does() {
    let mut wrong = Vec::new();
    for line in PATCHES.lines() {
        let columns: Vec<_> = line.split('\t').collect();
        let [kind, original, patch, ref expect @ ..] = columns[..] else { panic!("{line}") };
        let got = match run(kind, original, patch, FieldValidation::Warn) {
            Ok(Patched { object, warnings }) => format!("{}\t{}", shown(&object), warnings.join(", ")),
            Err(Error::BadRequest(message) | Error::Unprocessable(message) | Error::Internal(message)) => {
                format!("!merge {}", comparable(&message).replace('\n', "\\n"))
            }
            Err(Error::Invalid(error)) => format!("!invalid {}", error.detail),
            Err(Error::TooLarge(message)) => message,
        };
        let mut expect = expect.join("\t");
        for step in ["!bad ", "!apply ", "!merge "] {
            if let Some(message) = expect.strip_prefix(step) {
                expect = format!("!merge {}", comparable(message));
            }
        }
        let expect = match expect.split_once('\t') {
            Some((json, problems)) => format!("{}\t{problems}", shown(&object(json))),
            None => expect,
        };
        if got != expect {
            wrong.push(format!("{kind} on {original}\n  patch {patch}\n  expected {expect}\n  got      {got}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.iter().take(12).cloned().collect::<Vec<_>>().join("\n"));
}

const POD: &str = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"name":"a","image":"i"}]}}"#;

#[test]
fn bodies_that_are_no_patch_are_bad_requests() {
    let check = |kind: &str, patch: &str, expect: &str| {
        assert_eq!(run(kind, POD, patch, FieldValidation::Warn), Err(Error::BadRequest(expect.to_owned())), "{kind} {patch}");
    };
    check("json", "{", "invalid JSON patch");
    check("json", "{}", "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp");
    check("json", "[1]", "error decoding patch: json: cannot unmarshal number into Go value of type handlers.jsonPatchOp");
    check("json", r#"[{"op":1}]"#, "error decoding patch: json: cannot unmarshal number into Go struct field jsonPatchOp.op of type string");
    check("merge", "[]", "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}");
    check("merge", "null", "Invalid JSON Patch");
    check("strategic", "[]", "json: cannot unmarshal array into Go value of type map[string]interface {}");
}

#[test]
fn unknown_and_duplicate_fields_are_warned_of_or_refused() {
    let check = |kind: &str, patch: &str, expect: &[&str]| {
        assert_eq!(run(kind, POD, patch, FieldValidation::Warn).unwrap().warnings, expect, "{kind} {patch}");
        assert!(run(kind, POD, patch, FieldValidation::Ignore).unwrap().warnings.is_empty());
        let Err(Error::Invalid(error)) = run(kind, POD, patch, FieldValidation::Strict) else { panic!("{kind} {patch} was not refused") };
        assert_eq!(error.field, "patch");
        assert_eq!(error.detail, format!("strict decoding error: {}", expect.join(", ")));
    };
    check(
        "json",
        r#"[{"op":"add","path":"/spec/x","value":1,"why":1,"op":"add"}]"#,
        &[r#"json patch unknown field "[0].why""#, r#"json patch duplicate field "[0].op""#, r#"unknown field "spec.x""#],
    );
    check("merge", r#"{"spec":{"x":1,"nodeName":"a","nodeName":"b"}}"#, &[r#"duplicate field "spec.nodeName""#, r#"unknown field "spec.x""#]);
    check(
        "strategic",
        r#"{"spec":{"y":1,"x":1,"nodeName":"a","nodeName":"b"}}"#,
        &[r#"duplicate field "spec.nodeName""#, r#"unknown field "spec.x""#, r#"unknown field "spec.y""#],
    );
}

#[test]
fn json_patches_have_limits() {
    let many = format!("[{}]", vec![r#"{"op":"test","path":"/kind","value":"Pod"}"#; JSON_PATCH_OPERATIONS_MAX + 1].join(","));
    let message = "The allowed maximum operations in a JSON patch is 10000, got 10001".to_owned();
    assert_eq!(run("json", POD, &many, FieldValidation::Ignore), Err(Error::TooLarge(message)));
    let copy = |number| format!(r#"{{"op":"copy","from":"/metadata/annotations","path":"/metadata/annotations/{number}"}}"#);
    let doubling: Vec<_> = (0..25).map(copy).collect();
    let patch = format!(r#"[{{"op":"add","path":"/metadata/annotations","value":{{"a":"{}"}}}},{}]"#, "b".repeat(1000), doubling.join(","));
    let Err(Error::Unprocessable(message)) = run("json", POD, &patch, FieldValidation::Ignore) else { panic!("no limit held") };
    assert!(message.starts_with("Unable to complete the copy, the accumulated size increase of copy is "), "{message}");
}

#[test]
fn json_patches_do_not_nest_without_end() {
    let nest = r#"{"op":"copy","from":"/metadata/annotations","path":"/metadata/annotations/x"}"#;
    let patch = format!(r#"[{{"op":"add","path":"/metadata/annotations","value":{{}}}},{}]"#, vec![nest; 900].join(","));
    assert_eq!(
        run("json", POD, &patch, FieldValidation::Ignore),
        Err(Error::Unprocessable(format!("exceeded max depth of {}", crate::codec::DEPTH_MAX)))
    );
}
