use super::*;
use crate::codec::Report;
use crate::custom;

fn check(schema: serde_json::Value, object: &str, expect: &str) {
    let shape = custom::shape(Some(&schema), false).unwrap();
    let mut object = json::decode(&shape, object.as_bytes(), &mut Report::new()).unwrap();
    apply(&shape, &mut object);
    let mut out = Vec::new();
    json::encode(&shape.schema, &object, &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), expect);
}

#[test]
fn defaults_fill_what_is_absent_wherever_it_is() {
    let schema = serde_json::json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "a": {"type": "integer", "default": 1},
        "b": {"type": "object", "default": {"x": 1, "gone": 2}, "properties": {"x": {"type": "integer"}, "y": {"type": "string", "default": "z"}}},
        "c": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "string", "default": "d"}}}},
        "d": {"type": "object", "additionalProperties": {"type": "object", "properties": {"n": {"type": "string", "default": "d"}}}},
    }}}});
    check(schema.clone(), "{}", "{}");
    check(schema.clone(), r#"{"spec":{}}"#, r#"{"spec":{"a":1,"b":{"x":1,"y":"z"}}}"#);
    check(
        schema,
        r#"{"spec":{"a":0,"b":{},"c":[{},{"n":"own"}],"d":{"k":{}}}}"#,
        r#"{"spec":{"a":0,"b":{"y":"z"},"c":[{"n":"d"},{"n":"own"}],"d":{"k":{"n":"d"}}}}"#,
    );
}

#[test]
fn a_null_is_kept_where_it_may_be_and_replaced_or_dropped_where_not() {
    let schema = serde_json::json!({"type": "object", "properties": {
        "kept": {"type": "string", "nullable": true, "default": "d"},
        "replaced": {"type": "string", "default": "d"},
        "dropped": {"type": "string"},
    }});
    check(schema, r#"{"kept":null,"replaced":null,"dropped":null}"#, r#"{"kept":null,"replaced":"d"}"#);
}

#[test]
fn a_null_in_a_list_takes_the_default_of_its_items() {
    let schema = serde_json::json!({"type": "object", "properties": {
        "l": {"type": "array", "items": {"type": "object", "default": {"a": 1, "gone": 2}, "properties": {"a": {"type": "integer"}, "b": {"type": "integer", "default": 3}}}},
        "m": {"type": "object", "additionalProperties": {"type": "string", "default": "d"}},
        "n": {"type": "object", "additionalProperties": {"type": "string"}},
    }});
    check(schema, r#"{"l":[null],"m":{"k":null},"n":{"k":null}}"#, r#"{"l":[{"a":1,"b":3}],"m":{"k":"d"},"n":{}}"#);
}
