use super::*;
use crate::{builtin, json};

fn pod(text: &str) -> Struct {
    let shape = builtin::shape("", "v1", "Pod").expect("Pod");
    json::decode(&shape, text.as_bytes(), &mut json::Report::new()).expect(text)
}

#[test]
fn an_envelope_is_read_as_it_was_written() {
    let mut bytes = Vec::new();
    envelope::write("apps/v1", "Deployment", b"raw", &mut bytes);
    assert_eq!(bytes, b"k8s\0\x0a\x15\x0a\x07apps/v1\x12\x0aDeployment\x12\x03raw\x1a\x00\x22\x00");
    let unknown = envelope::read(&bytes).expect("read");
    assert_eq!(unknown, envelope::Unknown { api_version: "apps/v1", kind: "Deployment", raw: b"raw" });
}

#[test]
fn what_is_no_envelope_is_refused_in_upstreams_words() {
    let check = |bytes: &[u8], expect: &str| assert_eq!(envelope::read(bytes).expect_err("refused").to_string(), expect);
    check(b"", "empty data");
    check(b"{}", "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]");
    check(b"k8s\0", "empty body");
    check(b"k8s\0\x0a\x7f", "unexpected EOF");
    check(b"k8s\0\x08\x01", "proto: wrong wireType = 0 for field TypeMeta");
}

#[test]
fn a_malformed_message_is_refused() {
    let shape = builtin::shape("", "v1", "Pod").expect("Pod");
    let check = |bytes: &[u8], expect: &str| assert_eq!(decode(&shape, bytes).expect_err("refused").to_string(), expect);
    check(b"\x0a\x05", "unexpected EOF");
    check(b"\x08\x05", "proto: wrong wireType = 0 for field Metadata");
    check(b"\x0f", "proto: illegal wireType 7");
    check(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "proto: integer overflow");
    check(b"\x02\x00", "proto: illegal tag 0 (wire type 2)");
    check(b"\x0c", "proto: wiretype end group for non-group");
}

#[test]
fn a_message_that_nests_too_deeply_is_refused() {
    let shape = builtin::shape("apiextensions.k8s.io", "v1", "CustomResourceDefinition").expect("CRD");
    let schema = &shape.schema;
    let ty = schema.named("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps").expect("JSONSchemaProps");
    let not = schema.get(ty).field("not").expect("not").proto[0];
    let mut raw = Vec::new();
    for _ in 0..2 * crate::codec::DEPTH_MAX {
        let mut outer = Vec::new();
        tag(not, BYTES, &mut outer);
        varint(raw.len() as u64, &mut outer);
        outer.extend_from_slice(&raw);
        raw = outer;
    }
    assert_eq!(decode(&Shape::new(schema, ty), &raw).expect_err("refused").to_string(), "proto: exceeded max depth");
}

#[test]
fn a_filled_draft_is_the_encoded_object() {
    let schema = builtin::schema();
    for version in ["1", "18446744073709551615"] {
        let padding = "x".repeat(90);
        let mut object = pod(&format!(r#"{{"metadata":{{"name":"a","uid":"{padding}","generation":3}},"spec":{{"nodeName":"n"}}}}"#));
        let mut filled = Vec::new();
        encode_draft(schema, &object).expect("draft").fill(version, &mut filled);
        object.put(schema, "metadata.resourceVersion", version).expect("a field");
        let mut whole = Vec::new();
        encode(schema, &object, &mut whole);
        assert_eq!(filled, whole);
    }
}

#[test]
fn a_watch_frame_holds_its_event() {
    let mut out = Vec::new();
    write_watch_frame("ADDED", b"k8s\0x", &mut out);
    assert_eq!(out, b"\x00\x00\x00\x10\x0a\x05ADDED\x12\x07\x0a\x05k8s\0x");
    let mut message = decode::Message { rest: &out[4..] };
    let (_, event) = message.next().expect("a message").expect("a field");
    assert_eq!(event.bytes("type").expect("a string"), b"ADDED");
}
