//! Objects of every kind as upstream's own types encode them: JSON and protobuf must come out byte for byte, from either.
//!
//! `extract/golden.go` says what the files hold.

use apiserver_machinery::schema::{Schema, Shape};
use apiserver_machinery::tree::Struct;
use apiserver_machinery::{builtin, json, protobuf, yaml};
use base64::Engine as _;

struct Golden {
    name: String,
    shape: Shape,
    json: &'static str,
    /// `None` of kinds without a protobuf form.
    protobuf: Option<Vec<u8>>,
}

fn golden() -> Vec<Golden> {
    let files = [include_str!("../testdata/golden/full.tsv"), include_str!("../testdata/golden/hollow.tsv")];
    let all: Vec<Golden> = files.into_iter().flat_map(str::lines).map(read).collect();
    assert!(all.len() > 200, "{}", all.len());
    all
}

fn read(line: &'static str) -> Golden {
    let mut columns = line.split('\t');
    let mut next = || columns.next().expect("four columns");
    let (group_version, kind, json, protobuf) = (next(), next(), next(), next());
    let (group, version) = group_version.split_once('/').unwrap_or(("", group_version));
    Golden {
        name: format!("{group_version} {kind}"),
        shape: builtin::shape(group, version, kind).unwrap_or_else(|| panic!("{group_version} {kind}")),
        json,
        protobuf: (protobuf != "-").then(|| base64::engine::general_purpose::STANDARD.decode(protobuf).expect("base64")),
    }
}

fn decode(golden: &Golden) -> Struct {
    let mut report = json::Report::new();
    let object = json::decode(&golden.shape, golden.json.as_bytes(), &mut report).unwrap_or_else(|error| panic!("{}: {error}", golden.name));
    assert!(report.is_empty(), "{}: {:?}", golden.name, report.problems());
    object
}

fn encode(schema: &Schema, object: &Struct) -> String {
    let mut out = Vec::new();
    json::encode(schema, object, &mut out);
    String::from_utf8(out).expect("UTF-8")
}

/// Fails with the first place where two texts differ.
#[track_caller]
fn assert_same(name: &str, got: &[u8], expect: &[u8]) {
    if got == expect {
        return;
    }
    let at = got.iter().zip(expect).take_while(|(a, b)| a == b).count();
    let around = |bytes: &[u8]| String::from_utf8_lossy(&bytes[at.saturating_sub(120)..(at + 80).min(bytes.len())]).into_owned();
    panic!("{name} differs at byte {at}:\n got    {:?}\n expect {:?}", around(got), around(expect));
}

/// A protobuf message has no apiVersion and kind of its own.
fn without_type(schema: &Schema, mut object: Struct) -> Struct {
    let ty = schema.get(object.ty);
    for name in ["apiVersion", "kind"] {
        if let Some(field) = ty.field(name)
            && field.proto.is_empty()
        {
            object.take(schema, name);
        }
    }
    object
}

#[test]
fn json_comes_out_as_it_went_in() {
    for golden in golden() {
        let object = decode(&golden);
        assert_same(&golden.name, encode(&golden.shape.schema, &object).as_bytes(), golden.json.as_bytes());
    }
}

#[test]
fn protobuf_from_json_is_upstreams() {
    for golden in golden() {
        let Some(expect) = &golden.protobuf else { continue };
        let mut out = Vec::new();
        protobuf::encode(&golden.shape.schema, &decode(&golden), &mut out);
        assert_same(&golden.name, &out, expect);
    }
}

#[test]
fn a_tree_from_protobuf_is_the_tree_from_json() {
    for golden in golden() {
        let Some(raw) = &golden.protobuf else { continue };
        let object = protobuf::decode(&golden.shape, raw).unwrap_or_else(|error| panic!("{}: {error}", golden.name));
        let expect = without_type(&golden.shape.schema, decode(&golden));
        let (got, want) = (encode(&golden.shape.schema, &object), encode(&golden.shape.schema, &expect));
        assert_same(&golden.name, got.as_bytes(), want.as_bytes());
        assert!(object == expect, "{}: the trees differ, though not their JSON", golden.name);
    }
}

#[test]
fn the_order_of_names_does_not_matter() {
    for golden in golden() {
        let sorted: serde_json::Value = serde_json::from_str(golden.json).expect("JSON");
        let object = json::decode(&golden.shape, sorted.to_string().as_bytes(), &mut json::Report::new()).expect("decode");
        assert_same(&golden.name, encode(&golden.shape.schema, &object).as_bytes(), golden.json.as_bytes());
    }
}

#[test]
fn yaml_says_what_json_says() {
    for golden in golden() {
        let object = decode(&golden);
        let text = yaml::from_json(golden.json.as_bytes()).expect("JSON");
        let mut report = json::Report::new();
        let again = yaml::decode(&golden.shape, &text, &mut report).unwrap_or_else(|error| panic!("{}: {error}", golden.name));
        assert!(report.is_empty(), "{}: {:?}", golden.name, report.problems());
        assert!(again == object, "{}", golden.name);
    }
}

#[test]
fn a_filled_draft_is_the_encoded_object() {
    for golden in golden() {
        let schema = &golden.shape.schema;
        let object = decode(&golden);
        let Some(version) = object.str_at(schema, "metadata.resourceVersion").map(str::to_owned) else { continue };
        if object.at(schema, "metadata.name").is_none() {
            continue;
        }
        assert_same(&golden.name, &json::encode_draft(schema, &object).filled(&version), golden.json.as_bytes());
        if let (Some(draft), Some(expect)) = (protobuf::encode_draft(schema, &object), &golden.protobuf) {
            let mut out = Vec::new();
            draft.fill(&version, &mut out);
            assert_same(&golden.name, &out, expect);
        }
    }
}
