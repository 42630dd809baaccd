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

/// Asked of upstream's libraries: the paths of every kind's golden object, by apiVersion and kind.
const FIELD_SETS: &str = include_str!("../../testdata/field-sets.tsv");
const GOLDEN: &str = include_str!("../../testdata/golden/full.tsv");

#[test]
fn every_kind_is_owned_in_the_parts_that_upstream_owns() {
    let golden: Vec<Vec<&str>> = GOLDEN.lines().map(|line| line.split('\t').collect()).collect();
    let mut wrong = Vec::new();
    for line in FIELD_SETS.lines() {
        let [api_version, kind, expect] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let shape = builtin::shape(group, version, kind).unwrap();
        let object = golden.iter().find(|golden| golden[0] == api_version && golden[1] == kind).unwrap();
        let value = json::to_any(object[2].as_bytes()).unwrap();
        let set = field_set::field_set(Types::of(&shape.schema), View::Value(&value), Typed::of(&Kind::Struct(shape.root))).unwrap();
        let got = String::from_utf8(to_json(&set)).unwrap();
        if got != expect {
            wrong.push(format!("{api_version} {kind}\n  expected {expect}\n  got      {got}"));
        }
        assert_eq!(from_json(expect.as_bytes()).unwrap(), from_json(got.as_bytes()).unwrap(), "{api_version} {kind}");
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
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

/// Asked of upstream's libraries: the schemas of a custom resource's two versions, which name its fields differently, and then a scenario a
/// line, whose steps speak either.
const VERSIONS: &str = include_str!("../../testdata/apply-versions.jsonl");

/// As the generator of the scenarios converts.
fn to_version(mut object: serde_json::Value, version: &str) -> serde_json::Value {
    if object["apiVersion"] == version {
        return object;
    }
    object["apiVersion"] = version.into();
    let Some(spec) = object.get_mut("spec").and_then(serde_json::Value::as_object_mut) else { return object };
    let names = [("size", "replicas"), ("items", "entries")];
    let newer = version == "example.com/v2";
    for (old, new) in names {
        let (from, to) = if newer { (old, new) } else { (new, old) };
        if let Some(value) = spec.remove(from) {
            spec.insert(to.to_owned(), value);
        }
    }
    if newer {
        if let Some(flat) = spec.remove("flat") {
            spec.insert("deep".to_owned(), serde_json::json!({ "flat": flat }));
        }
    } else if let Some(flat) = spec.remove("deep").and_then(|deep| deep.get("flat").cloned()) {
        spec.insert("flat".to_owned(), flat);
    }
    object
}

#[test]
fn managers_may_speak_other_versions_than_the_request() {
    let mut lines = VERSIONS.lines();
    let schemas: serde_json::Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    let shape = |version: &str| crate::custom::shape(Some(&schemas[version]), false).unwrap();
    let shapes = HashMap::from([("example.com/v1", shape("v1")), ("example.com/v2", shape("v2"))]);
    let decode = |version: &str, json: &serde_json::Value| json::decode(&shapes[version], json.to_string().as_bytes(), &mut Report::new()).unwrap();
    let shown = |version: &str, object: &Struct| -> serde_json::Value {
        let mut out = Vec::new();
        json::encode(&shapes[version].schema, object, &mut out);
        serde_json::from_slice(&out).unwrap()
    };
    let convert = |object: &Struct, from: &str, to: &str| {
        let Some(shape) = shapes.get(to) else { return Ok(None) };
        Ok(Some(Converted { shape: shape.clone(), object: decode(to, &to_version(shown(from, object), to)) }))
    };
    let (reset, reset_of_status) = (Set::of_fields(&["status"]), Set::of_fields(&["spec"]));
    let mut wrong = Vec::new();
    for (number, line) in lines.enumerate() {
        let steps: Vec<serde_json::Value> = serde_json::from_str(line).unwrap();
        let mut live: Option<serde_json::Value> = None;
        for (at, step) in steps.iter().enumerate() {
            let (op, manager, input) = (step["op"].as_str().unwrap(), step["manager"].as_str().unwrap(), &step["input"]);
            let version = format!("example.com/{}", step["version"].as_str().unwrap());
            let now = format!("2020-01-01T00:00:{at:02}Z");
            let (subresource, reset) = if op == "status" { ("status", &reset_of_status) } else { ("", &reset) };
            let request = Request { shape: &shapes[&*version], api_version: &version, manager, subresource, now: &now, reset, convert: &convert };
            let before = live.take().map(|live| decode(&version, &to_version(live, &version)));
            let got = if op == "apply" {
                let patch = json::to_any(input.to_string().as_bytes()).unwrap();
                apply(&request, "Thing", before.as_ref(), &patch, step["force"] == true)
            } else {
                let mut new = decode(&version, input);
                update(&request, before.as_ref(), &mut new);
                Ok(new)
            };
            let got = got.map(|object| shown(&version, &object)).map_err(|error| error.to_string());
            let expect = match step.get("object") {
                Some(object) => Ok(shown(&version, &decode(&version, object))),
                None => Err(step["error"].as_str().unwrap_or_default().to_owned()),
            };
            if got != expect {
                wrong.push(format!("{number}/{at} {op} by {manager:?} in {version} of {input}\n{}", difference(&expect, &got)));
            }
            live = match step.get("object") {
                Some(object) => {
                    let mut object = object.clone();
                    object["metadata"]["uid"] = "u".into();
                    Some(object)
                }
                None => before.map(|before| shown(&version, &before)),
            };
        }
    }
    let first: Vec<_> = wrong.iter().take(5).cloned().collect();
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), first.join("\n"));
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

const POD: &str = include_str!("../../testdata/pod.json");

#[test]
fn sets_are_sets() {
    let set = |paths: &[&str]| Set::of_fields(paths);
    let (a, b) = (set(&["x", "x.y", "z.w"]), set(&["x.y", "z", "q"]));
    assert_eq!(a.union(&b), set(&["q", "x", "x.y", "z", "z.w"]));
    assert_eq!(a.intersection(&b), set(&["x.y"]));
    assert_eq!(a.difference(&b), set(&["x", "z.w"]));
    assert_eq!(a.recursive_difference(&b), set(&["x"]));
    assert_eq!(to_json(&a), br#"{"f:x":{".":{},"f:y":{}},"f:z":{"f:w":{}}}"#);
    assert_eq!(from_json(&to_json(&a)), Ok(a));
    assert!(from_json(b"{").is_err());
    assert!(from_json(br#"{"f:x":1}"#).is_err());
    assert!(from_json(br#"{"x":{}}"#).is_err());
    assert_eq!(from_json(br#"{"z:x":{},"f:y":{}}"#), Ok(set(&["y"])));
}

#[test]
fn a_text_is_looked_at_without_parsing_it() {
    let text = br#"{"f:spec":{"f:a":{},"f:b":{".":{},"k:{\"name\":\"web\"}":{".":{},"f:c":{}}}}}"#;
    let mut web = Set::default();
    let item = Element::Key([("name".into(), Value::from("web"))].into());
    web.insert(&[Element::Field("spec".into()), Element::Field("b".into()), item.clone(), Element::Field("c".into())]);
    let check = |set: &Set, touched: bool, covered: bool| {
        assert_eq!((touches(text, &Keyed::of(set)), covers(text, &Keyed::of(set))), (touched, covered), "{set:?}");
    };
    check(&web, true, true);
    check(&Set::of_fields(&["spec.a", "spec.b"]), true, true);
    check(&Set::of_fields(&["spec.a", "spec.d"]), true, false);
    check(&Set::of_fields(&["spec.d", "status"]), false, false);
    // What is below a path counts as touched, but does not cover it.
    check(&Set::of_fields(&["spec"]), true, false);
    assert_eq!(
        from_json(text).unwrap().paths().iter().map(|path| path_text(path)).collect::<Vec<_>>(),
        [".spec.a", ".spec.b", ".spec.b[name=\"web\"]", ".spec.b[name=\"web\"].c",]
    );
}

#[test]
fn conflicts_are_told_as_upstream_tells_them() {
    let conflict = |manager: &str, operation, path: &str| Conflict {
        manager: Identity::new(manager, operation, "apps/v1", ""),
        path: path.split('.').map(|name| Element::Field(name.into())).collect(),
    };
    let one = conflict("kubectl", Operation::Update, "spec.replicas");
    assert_eq!(
        conflict_message(std::slice::from_ref(&one)),
        r#"Apply failed with 1 conflict: conflict with "kubectl" using apps/v1: .spec.replicas"#
    );
    let two = conflict("a", Operation::Apply, "spec.paused");
    assert_eq!(
        conflict_message(&[one, two]),
        "Apply failed with 2 conflicts: conflicts with \"a\":\n- .spec.paused\nconflicts with \"kubectl\" using apps/v1:\n- .spec.replicas"
    );
    let mut status = conflict("kubectl", Operation::Update, "status");
    status.manager.subresource = "status".into();
    assert_eq!(status.message(), r#"conflict with "kubectl" with subresource "status" using apps/v1"#);
}

#[test]
fn a_write_that_changes_only_times_changes_nothing() {
    let shape = builtin::shape("", "v1", "Pod").unwrap();
    let reset = Set::default();
    let at = |now: &'static str| Request {
        shape: &shape,
        api_version: "v1",
        manager: "m",
        subresource: "",
        now,
        reset: &reset,
        convert: &no_other_version,
    };
    let pod = json::decode(&shape, POD.as_bytes(), &mut Report::new()).unwrap();
    let mut live = pod.clone();
    live.take(&shape.schema, "metadata.uid");
    live.take(&shape.schema, "metadata.managedFields");
    update(&at("2020-01-01T00:00:00Z"), None, &mut live);
    live.put(&shape.schema, "metadata.uid", "u").unwrap();
    assert_eq!(live.list_at(&shape.schema, "metadata.managedFields").len(), 1);
    // A change and its way back leave a new time behind.
    let mut there = live.clone();
    there.put(&shape.schema, "spec.nodeName", "elsewhere").unwrap();
    update(&at("2020-01-01T00:00:01Z"), Some(&live), &mut there);
    let mut back = live.clone();
    update(&at("2020-01-01T00:00:02Z"), Some(&there), &mut back);
    assert_ne!(back, live);
    assert!(keep_times(&shape, &live, &mut back));
    assert_eq!(back, live);
    assert!(!keep_times(&shape, &live, &mut there));
}

/// Asked of upstream's libraries: managedFields of a Deployment, of its Scale, of the Scale after a write, and of the Deployment after it.
const SCALES: &str = include_str!("../../testdata/apply-scale.tsv");

#[test]
fn owners_of_replicas_go_to_the_scale_and_back_as_upstreams_do() {
    let (parent_shape, scale_shape) = (deployment(), builtin::shape("autoscaling", "v1", "Scale").unwrap());
    let replicas = [("apps/v1", Some("spec.replicas")), ("apps/v1beta1", Some("spec.the.replicas")), ("apps/v1beta2", None)];
    let replicas = replicas.map(|(api_version, path)| scale::Replicas { api_version, path });
    let with = |shape: &Shape, entries: &str| {
        let object = format!(r#"{{"metadata":{{"managedFields":{entries}}}}}"#);
        json::decode(shape, object.as_bytes(), &mut Report::new()).unwrap()
    };
    // Entries that sort the same are in no order upstream.
    let entries = |shape: &Shape, object: &Struct| {
        let layout = Layout::of(shape).unwrap();
        let mut entries: Vec<String> = layout.get(object).iter().map(|entry| format!("{entry:?}")).collect();
        entries.sort();
        entries
    };
    for line in SCALES.lines() {
        let [before, to, scale, after] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let mut parent = with(&parent_shape, before);
        let mut got = Struct::new(scale_shape.root);
        scale::to_scale((&parent_shape, &parent), (&scale_shape, &mut got), &replicas);
        assert_eq!(entries(&scale_shape, &got), entries(&scale_shape, &with(&scale_shape, to)), "{line}");
        scale::from_scale((&scale_shape, &with(&scale_shape, scale)), (&parent_shape, &mut parent), "apps/v1", &replicas);
        assert_eq!(entries(&parent_shape, &parent), entries(&parent_shape, &with(&parent_shape, after)), "{line}");
    }
}
