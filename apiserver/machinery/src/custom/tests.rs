use super::*;

fn built(schema: &str) -> Shape {
    shape(Some(&serde_json::from_str(schema).unwrap()), false).unwrap()
}

fn field<'s>(shape: &'s Shape, path: &[&str]) -> &'s Field {
    let mut ty = shape.root();
    let (last, above) = path.split_last().unwrap();
    for name in above {
        ty = match &ty.field(name).unwrap().kind {
            Kind::Struct(inner) => shape.schema.get(*inner),
            other => panic!("{name} is {other:?}"),
        };
    }
    ty.field(last).unwrap()
}

#[test]
fn every_node_has_its_kind() {
    let shape = built(
        r#"{"type":"object","properties":{"spec":{"type":"object","required":["a"],"properties":{
            "a":{"type":"string","nullable":true},"b":{"type":"integer"},"c":{"x-kubernetes-int-or-string":true},
            "d":{"x-kubernetes-preserve-unknown-fields":true},"e":{"type":"object","additionalProperties":{"type":"string"}},
            "f":{"type":"array","items":{"type":"string"},"x-kubernetes-list-type":"set"},
            "g":{"type":"object","properties":{"x":{"type":"boolean"}},"x-kubernetes-map-type":"atomic"}}}}}"#,
    );
    let kind = |name| &field(&shape, &["spec", name]).kind;
    assert!(matches!(kind("a"), Kind::String) && field(&shape, &["spec", "a"]).nullable && field(&shape, &["spec", "a"]).required);
    assert!(matches!(kind("b"), Kind::Int64));
    assert!(matches!(kind("c"), Kind::IntOrString));
    assert!(matches!(kind("d"), Kind::Any));
    assert!(matches!(kind("e"), Kind::Map(map) if matches!(map.value, Kind::String)));
    assert!(matches!(kind("f"), Kind::List(list) if list.merge == ListMerge::Set));
    assert!(matches!(kind("g"), Kind::Struct(ty) if shape.schema.get(*ty).atomic));
    assert!(matches!(&field(&shape, &["metadata", "labels"]).kind, Kind::Map(_)));
}

#[test]
fn a_key_of_a_list_has_the_default_of_its_field() {
    let shape = built(
        r#"{"type":"object","properties":{"ports":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["port","protocol"],
            "items":{"type":"object","properties":{"port":{"type":"integer"},"protocol":{"type":"string","default":"TCP"}}}}}}"#,
    );
    let Kind::List(list) = &field(&shape, &["ports"]).kind else { panic!() };
    let keys = [MapKey { name: "port".into(), default: None }, MapKey { name: "protocol".into(), default: Some("\"TCP\"".into()) }];
    assert_eq!(list.merge, ListMerge::Map(keys.into()));
}

#[test]
fn an_embedded_resource_says_what_it_is_and_has_metadata() {
    let shape = built(
        r#"{"type":"object","properties":{"template":{"type":"object","x-kubernetes-embedded-resource":true,"x-kubernetes-preserve-unknown-fields":true}}}"#,
    );
    let Kind::Struct(template) = field(&shape, &["template"]).kind else { panic!() };
    let template = shape.schema.get(template);
    assert!(template.embedded && template.preserve_unknown);
    assert_eq!(template.fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>(), ["apiVersion", "kind", "metadata"]);
    let problems = |object: &str| {
        let object = json::decode(&shape, object.as_bytes(), &mut crate::codec::Report::new()).unwrap();
        let mut errors = Vec::new();
        crate::validate::openapi(&shape.schema, &object, &mut errors);
        errors.iter().map(Error::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        problems(r#"{"template":{"kind":"","metadata":{"name":"a/b"}}}"#),
        [
            "template.apiVersion: Required value",
            r#"template.kind: Invalid value: "": must not be empty"#,
            r#"template.metadata.name: Invalid value: "a/b": may not contain '/'"#,
        ]
    );
    assert!(problems(r#"{"template":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"x":1}}}"#).is_empty());
}

#[test]
fn without_a_schema_everything_or_nothing_is_kept() {
    let kept = |preserve: bool| {
        let shape = shape(None, preserve).unwrap();
        let mut report = crate::codec::Report::new();
        let object = json::decode(&shape, br#"{"kind":"T","spec":{"a":1}}"#, &mut report).unwrap();
        (object.at(&shape.schema, "spec").is_some(), report.problems().to_vec())
    };
    assert_eq!(kept(true), (true, Vec::new()));
    assert_eq!(kept(false), (false, vec![r#"unknown field "spec""#.to_owned()]));
}

#[test]
fn a_schema_that_is_not_structural_is_refused() {
    let errors = shape(Some(&serde_json::json!({"type": "object", "properties": {"spec": {}}})), false).unwrap_err();
    let expect = "openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields";
    assert_eq!(crate::field::aggregate(&errors), expect);
}
