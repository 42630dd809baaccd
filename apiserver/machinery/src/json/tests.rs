use super::*;
use crate::builtin;

fn shape(kind: &str) -> Shape {
    let group = match kind {
        "Deployment" | "ControllerRevision" => "apps",
        "ClusterRole" => "rbac.authorization.k8s.io",
        "CustomResourceDefinition" => "apiextensions.k8s.io",
        "Lease" => "coordination.k8s.io",
        _ => "",
    };
    builtin::shape(group, "v1", kind).expect(kind)
}

/// Decodes and encodes again.
#[track_caller]
fn check(kind: &str, text: &str, expect: &str) {
    let shape = shape(kind);
    let object = decode(&shape, text.as_bytes(), &mut Report::new()).expect(text);
    let mut out = Vec::new();
    encode(&shape.schema, &object, &mut out);
    assert_eq!(String::from_utf8(out).expect("UTF-8"), expect);
}

#[track_caller]
fn check_error(kind: &str, text: &str, expect: &str) {
    let error = decode(&shape(kind), text.as_bytes(), &mut Report::new()).expect_err(text);
    assert_eq!(error.to_string(), expect);
}

#[track_caller]
fn check_report(kind: &str, text: &str, expect: &[&str]) {
    let mut report = Report::new();
    decode(&shape(kind), text.as_bytes(), &mut report).expect(text);
    assert_eq!(report.problems(), expect);
}

#[test]
fn presence_follows_go_rules() {
    check(
        "Pod",
        r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","labels":{},"creationTimestamp":null}}"#,
        r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"},"spec":{"containers":null},"status":{}}"#,
    );
    check(
        "Deployment",
        r#"{"spec":{"replicas":0,"paused":false,"selector":{}}}"#,
        r#"{"metadata":{},"spec":{"replicas":0,"selector":{},"template":{"metadata":{},"spec":{"containers":null}},"strategy":{}},"status":{}}"#,
    );
    check("ClusterRole", r#"{"rules":[]}"#, r#"{"metadata":{},"rules":null}"#);
    check(
        "Service",
        r#"{"spec":{"ports":[{"port":80,"targetPort":"web"},{"port":81}]}}"#,
        r#"{"metadata":{},"spec":{"ports":[{"port":80,"targetPort":"web"},{"port":81,"targetPort":0}]},"status":{"loadBalancer":{}}}"#,
    );
    check(
        "Event",
        r#"{"involvedObject":{},"firstTimestamp":"2026-01-01T02:00:00+02:00","eventTime":null}"#,
        r#"{"metadata":{},"involvedObject":{},"source":{},"firstTimestamp":"2026-01-01T00:00:00Z","lastTimestamp":null,"eventTime":null,"reportingComponent":"","reportingInstance":""}"#,
    );
}

#[test]
fn scalars_take_their_canonical_form() {
    check(
        "ResourceQuota",
        r#"{"spec":{"hard":{"pods":10,"cpu":"1000m","memory":"0.5Gi"}}}"#,
        r#"{"metadata":{},"spec":{"hard":{"cpu":"1","memory":"512Mi","pods":"10"}},"status":{}}"#,
    );
    check("Secret", r#"{"data":{"b":"aGk=","a":""}}"#, r#"{"metadata":{},"data":{"a":"","b":"aGk="}}"#);
    check(
        "Lease",
        r#"{"spec":{"renewTime":"2026-01-01T02:00:00.123456+02:00"}}"#,
        r#"{"metadata":{},"spec":{"renewTime":"2026-01-01T00:00:00.123456Z"}}"#,
    );
    check(
        "ControllerRevision",
        r#"{"data":{"b":[1,2.50,1e3,null],"a":"<"}}"#,
        r#"{"metadata":{},"data":{"a":"\u003c","b":[1,2.5,1000,null]},"revision":0}"#,
    );
    check(
        "Pod",
        r#"{"metadata":{"managedFields":[{"fieldsV1":{ "f:a b" : {} }}]},"spec":{"containers":[]}}"#,
        r#"{"metadata":{"managedFields":[{"fieldsV1":{"f:a b":{}}}]},"spec":{"containers":null},"status":{}}"#,
    );
}

#[test]
fn strings_are_escaped_as_go_does() {
    check(
        "ConfigMap",
        r#"{"data":{"a":"<&>\u2028\u2029 \u00e9\ud83d\ude00 \ud800 \"\\\/\b\f\n\r\t\u0001\u007f"}}"#,
        "{\"metadata\":{},\"data\":{\"a\":\"\\u003c\\u0026\\u003e\\u2028\\u2029 é😀 \u{fffd} \\\"\\\\/\\b\\f\\n\\r\\t\\u0001\u{7f}\"}}",
    );
}

#[test]
fn what_is_not_utf8_is_replaced() {
    let object = decode(&shape("ConfigMap"), b"{\"data\":{\"a\":\"x\xff\xe2\x82y\"}}", &mut Report::new()).expect("lenient");
    assert_eq!(object.str_at(builtin::schema(), "data.a"), Some("x\u{fffd}\u{fffd}\u{fffd}y"));
}

#[test]
fn a_schema_of_a_custom_resource_may_hold_a_choice() {
    let text = r#"{"metadata":{},"spec":{"group":"","names":{"plural":"","kind":""},"scope":"","versions":[{"name":"v1","served":true,"storage":false,"schema":{"openAPIV3Schema":{"items":[{"type":"string"}],"properties":{"a":{"items":{"type":"object","additionalProperties":true}},"b":{"additionalProperties":{"type":"string"},"default":{"z":1,"a":null}}},"dependencies":{"x":["y"],"z":{"type":"string"}},"enum":[null,1]}}}]},"status":{"conditions":null,"acceptedNames":{"plural":"","kind":""},"storedVersions":null}}"#;
    let expect = text.replace(r#"{"z":1,"a":null}"#, r#"{"a":null,"z":1}"#);
    let shape = shape("CustomResourceDefinition");
    let object = decode(&shape, text.as_bytes(), &mut Report::new()).expect(text);
    let mut out = Vec::new();
    encode(&shape.schema, &object, &mut out);
    let got: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
    assert_eq!(got, serde_json::from_str::<serde_json::Value>(&expect).expect("JSON"));
}

#[test]
fn values_of_a_wrong_type_are_told_in_gos_words() {
    let field = "json: cannot unmarshal string into Go struct field";
    check_error("Pod", r#"{"spec":{"containers":"x"}}"#, &format!("{field} PodSpec.spec.containers of type []v1.Container"));
    check_error("Pod", r#"{"spec":{"hostNetwork":"x"}}"#, &format!("{field} PodSpec.spec.hostNetwork of type bool"));
    check_error(
        "Pod",
        r#"{"spec":{"restartPolicy":5}}"#,
        "json: cannot unmarshal number into Go struct field PodSpec.spec.restartPolicy of type v1.RestartPolicy",
    );
    check_error(
        "Pod",
        r#"{"spec":{"containers":[{"ports":[{"containerPort":99999999999}]}]}}"#,
        "json: cannot unmarshal number 99999999999 into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32",
    );
    check_error(
        "Pod",
        r#"{"spec":{"volumes":[{"emptyDir":[]}]}}"#,
        "json: cannot unmarshal array into Go struct field Volume.spec.volumes.VolumeSource.emptyDir of type v1.EmptyDirVolumeSource",
    );
    check_error(
        "Pod",
        r#"{"metadata":{"labels":{"a":1}}}"#,
        "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
    );
    check_error("Pod", "[]", "json: cannot unmarshal array into Go value of type v1.Pod");
    check_error(
        "Pod",
        r#"{"metadata":{"creationTimestamp":5}}"#,
        "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.creationTimestamp of type string",
    );
    check_error(
        "Service",
        r#"{"spec":{"ports":[{"targetPort":1.5}]}}"#,
        "json: cannot unmarshal number 1.5 into Go struct field ServicePort.spec.ports.targetPort of type int32",
    );
    check_error("Secret", r#"{"data":{"a":"a*=="}}"#, "illegal base64 data at input byte 1");
    check_error(
        "ResourceQuota",
        r#"{"spec":{"hard":{"cpu":"x"}},"status":5}"#,
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    );
}

#[test]
fn a_text_that_is_not_json_outranks_wrong_values() {
    check_error("Pod", r#"{"spec":5,"metadata":{"creationTimestamp":"x"},}"#, "invalid character '}' looking for beginning of object key string");
    check_error("Pod", &format!("{}{}", r#"{"spec":"#, "[".repeat(100_000)), "exceeded max depth");
}

#[test]
fn unknown_and_duplicate_fields_are_reported_with_their_paths() {
    check_report(
        "Pod",
        r#"{"kind":"Pod","spec":{"containers":[{"name":"a","foo":1},{"bar":{"x":[]}}],"nodeName":"x","nodeName":"y"},"Metadata":{},"foo":1}"#,
        &[
            r#"unknown field "spec.containers[0].foo""#,
            r#"unknown field "spec.containers[1].bar""#,
            r#"duplicate field "spec.nodeName""#,
            r#"unknown field "Metadata""#,
            r#"unknown field "foo""#,
        ],
    );
    check_report("Pod", r#"{"metadata":{"labels":{"b":"1","a":"2","b":"3"}}}"#, &[r#"duplicate field "metadata.labels.b""#]);
    check_report("ControllerRevision", r#"{"data":{"a":1,"a":2}}"#, &[]);
}

#[test]
fn of_duplicate_fields_the_last_scalar_counts_and_structs_merge() {
    check(
        "ConfigMap",
        r#"{"metadata":{"name":"a","labels":{"a":"1"}},"immutable":true,"metadata":{"namespace":"b","labels":{"b":"2"}},"immutable":false}"#,
        r#"{"metadata":{"name":"a","namespace":"b","labels":{"a":"1","b":"2"}},"immutable":false}"#,
    );
}

#[test]
fn a_draft_leaves_a_gap_for_the_resource_version() {
    let shape = shape("ConfigMap");
    let text = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","uid":"u","resourceVersion":"7","generation":3},"data":{"k":"v"}}"#;
    let object = decode(&shape, text.as_bytes(), &mut Report::new()).expect(text);
    let draft = encode_draft(&shape.schema, &object);
    assert_eq!(String::from_utf8_lossy(&draft.bytes), text.replace(r#","resourceVersion":"7""#, ""));
    assert_eq!(String::from_utf8_lossy(&draft.filled("7")), text);
}

#[test]
fn the_type_of_an_object_is_read_first() {
    let check = |text: &str, expect: &str| {
        let got = type_meta(text.as_bytes()).map(|meta| format!("{} {}", meta.api_version, meta.kind));
        assert_eq!(got.unwrap_or_else(|error| error.to_string()), expect);
    };
    check(r#"{"apiVersion":"apps/v1","kind":"Deployment","spec":5}"#, "apps/v1 Deployment");
    check("x", "couldn't get version/kind; json parse error: invalid character 'x' looking for beginning of value");
    check(r#"{"kind":1}"#, "couldn't get version/kind; json parse error: json: cannot unmarshal number into Go struct field .kind of type string");
}

/// A custom resource: `spec.replicas` is a number, `spec.any` keeps what it does not know, everything else is pruned.
fn custom() -> Shape {
    use crate::schema::{Field, Kind, StructType, TypeId};
    let dynamic = |name: &str, fields: Vec<Field>| {
        let mut ty = StructType::new(name, fields);
        ty.dynamic = true;
        ty
    };
    let mut any = dynamic("any", vec![Field::new("known", Kind::Bool)]);
    any.preserve_unknown = true;
    let spec = dynamic("spec", vec![Field::new("any", Kind::Struct(TypeId(2))), Field::new("replicas", Kind::Int64)]);
    let root = dynamic("root", vec![Field::new("kind", Kind::String), Field::new("spec", Kind::Struct(TypeId(1)))]);
    let schema = Schema { types: vec![root, spec, any], ..Schema::default() };
    Shape::new(&std::sync::Arc::new(schema), TypeId(0))
}

#[test]
fn custom_resources_keep_zeros_nulls_and_wrong_types() {
    let check = |text: &str, expect: &str, problems: &[&str]| {
        let (shape, mut report) = (custom(), Report::new());
        let object = decode(&shape, text.as_bytes(), &mut report).expect(text);
        let mut out = Vec::new();
        encode(&shape.schema, &object, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), expect);
        assert_eq!(report.problems(), problems);
    };
    check(r#"{"spec":{"replicas":0,"any":{}}}"#, r#"{"spec":{"any":{},"replicas":0}}"#, &[]);
    check(r#"{"spec":{"replicas":"x","any":null}}"#, r#"{"spec":{"any":null,"replicas":"x"}}"#, &[]);
    check(r#"{"spec":{"foo":1},"kind":""}"#, r#"{"kind":"","spec":{}}"#, &[r#"unknown field "spec.foo""#]);
    check(
        r#"{"spec":{"any":{"z":[1.5,{"a":1,"a":2}],"known":false,"a":{}}}}"#,
        r#"{"spec":{"any":{"a":{},"known":false,"z":[1.5,{"a":2}]}}}"#,
        &[r#"duplicate field "spec.any.z[1].a""#],
    );
}

#[test]
fn a_custom_resource_has_the_metadata_of_every_object_in_the_order_of_names() {
    use crate::schema::{Field, Kind, StructType, TypeId};
    let mut schema = Schema { types: vec![StructType::default()], ..Schema::default() };
    let source = builtin::schema();
    let metadata = schema.import(source, source.named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta").expect("ObjectMeta"));
    let mut root = StructType::new("root", vec![Field::new("apiVersion", Kind::String), Field::new("metadata", Kind::Struct(metadata))]);
    root.dynamic = true;
    root.preserve_unknown = true;
    schema.types[0] = root;
    let shape = Shape::new(&std::sync::Arc::new(schema), TypeId(0));
    let text = r#"{"zz":0,"metadata":{"uid":"u","name":"a","resourceVersion":"5","foo":1,"ownerReferences":[{"uid":"x","name":"y"}]},"b":null}"#;
    let mut report = Report::new();
    let object = decode(&shape, text.as_bytes(), &mut report).expect(text);
    assert_eq!(report.problems(), [r#"unknown field "metadata.foo""#]);
    let owner = r#"[{"apiVersion":"","kind":"","name":"y","uid":"x"}]"#;
    let expect = format!(r#"{{"b":null,"metadata":{{"name":"a","ownerReferences":{owner},"resourceVersion":"5","uid":"u"}},"zz":0}}"#);
    assert_eq!(String::from_utf8_lossy(&encode_draft(&shape.schema, &object).filled("5")), expect);
    assert_eq!(object.str_at(&shape.schema, "metadata.name"), Some("a"));
}

#[test]
fn the_deepest_objects_fit_a_small_stack() {
    let nest = |open: &str, close: &str, levels: usize| format!("{}null{}", open.repeat(levels), close.repeat(levels));
    let any = format!(r#"{{"data":{}}}"#, nest(r#"{"a":["#, "]}", crate::codec::DEPTH_MAX / 2 - 1));
    let not = nest(r#"{"not":"#, "}", crate::codec::DEPTH_MAX - 10);
    let schema = format!(r#"{{"spec":{{"versions":[{{"schema":{{"openAPIV3Schema":{not}}}}}]}}}}"#);
    // Tokio's workers have 2 MiB; half of it must do.
    let worker = std::thread::Builder::new().stack_size(1 << 20).spawn(move || {
        for (kind, text) in [("ControllerRevision", any), ("CustomResourceDefinition", schema)] {
            let shape = shape(kind);
            let object = decode(&shape, text.as_bytes(), &mut Report::new()).expect("deep, but not too deep");
            let (mut json, mut raw) = (Vec::new(), Vec::new());
            encode(&shape.schema, &object, &mut json);
            crate::protobuf::encode(&shape.schema, &object, &mut raw);
            assert!(crate::protobuf::decode(&shape, &raw).expect("what was encoded") == object);
            assert!(object.clone() == object);
        }
    });
    worker.expect("a thread").join().expect("no overflow");
}

#[test]
fn a_value_is_four_words() {
    assert_eq!(size_of::<Value>(), 32);
}
