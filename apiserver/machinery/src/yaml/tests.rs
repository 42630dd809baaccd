use super::*;
use crate::builtin;
use crate::tree::Map;

/// The JSON of a YAML text.
#[track_caller]
fn check(text: &str, expect: &str) {
    let value = to_any(text.as_bytes(), &mut Report::new()).expect(text);
    assert_eq!(String::from_utf8_lossy(&json::from_any(&value)), expect, "{text}");
}

#[track_caller]
fn check_error(text: &str, expect: &str) {
    let error = to_any(text.as_bytes(), &mut Report::new()).expect_err(text);
    assert_eq!(error.to_string(), expect);
}

#[test]
fn scalars_are_those_of_yaml_1_1() {
    check("[yes, No, on, true, y, 'yes', \"no\", !!str yes]", r#"[true,false,true,true,true,"yes","no","yes"]"#);
    check("[~, null, '', \"~\"]", r#"[null,null,"","~"]"#);
    check("[1, -2, +3, 0x1f, 0b101, 0o17, 017, 1_000, 08, 9223372036854775807]", "[1,-2,3,31,5,15,15,1000,8,9223372036854775807]");
    check("[1.5, .5, 1e3, 1., 1.2.3, 1e, '1.5', 1.30.0]", r#"[1.5,0.5,1000,1,"1.2.3","1e","1.5","1.30.0"]"#);
    check("[2026-11-24, 2026-11-24T22:04:05Z, 1:30]", r#"["2026-11-24","2026-11-24T22:04:05Z","1:30"]"#);
    check("[inf, nan, a-b, http://x]", r#"["inf","nan","a-b","http://x"]"#);
    check("!!float 1", "1");
}

#[test]
fn structures_are_read() {
    check(
        "a: 1\nb:\n- x\n- w: {z: [1]}\nc: |\n  one\n  two\nd: >-\n  three\n  four\n",
        r#"{"a":1,"b":["x",{"w":{"z":[1]}}],"c":"one\ntwo\n","d":"three four"}"#,
    );
    check("# nothing\n", "null");
    check("", "null");
    check("a: 1\n---\nb: 2\n", r#"{"a":1}"#);
    check("1: a\ntrue: b\n1.5: c\n", r#"{"1":"a","1.5":"c","true":"b"}"#);
    check(r#"{"a": "b", "c": [1, 2.5, null, true]}"#, r#"{"a":"b","c":[1,2.5,null,true]}"#);
}

#[test]
fn aliases_and_merges_are_followed() {
    check("a: &x {k: 1, l: 2}\nb: *x\nc:\n  <<: *x\n  l: 3\n", r#"{"a":{"k":1,"l":2},"b":{"k":1,"l":2},"c":{"k":1,"l":3}}"#);
    check("a: &x {k: 1}\nb: &y {k: 2, m: 3}\nc: {<<: [*x, *y]}\n", r#"{"a":{"k":1},"b":{"k":2,"m":3},"c":{"k":1,"m":3}}"#);
    check_error("a: {<<: 1}", "yaml: map merge requires map or sequence of maps as the value");
}

#[test]
fn what_is_not_yaml_is_told_in_upstreams_words() {
    check_error("a: b: c", "yaml: mapping values are not allowed in this context");
    check_error("x: 1\na: b: c", "yaml: line 2: mapping values are not allowed in this context");
    check_error("a: @x", "yaml: found character that cannot start any token");
    check_error("a:\n\tb: 1", "yaml: line 2: found character that cannot start any token");
    check_error("a:\n  b:\n c: 1", "yaml: line 2: did not find expected key");
    check_error("- a\nb: c", "yaml: line 1: did not find expected '-' indicator");
    check_error("a: *x", "yaml: unknown anchor 'x' referenced");
    check_error("%YAML 1.2\n---\na: 1", "yaml: found incompatible YAML document");
    check_error("null: 1", "unsupported map key of type: %!s(<nil>), key: <nil>");
    check_error("a: .nan", "json: unsupported value: NaN");
    check_error("a: !!int x", "yaml: cannot decode !!str `x` as a !!int");
    assert!(to_any(b"--- a: 1", &mut Report::new()).is_err());
    assert!(to_any(b"a\n b: c", &mut Report::new()).is_err());
    assert!(to_any(b"a: \xff", &mut Report::new()).is_err());
}

#[test]
fn what_would_grow_without_bound_is_refused() {
    let mut text = String::from("a: &a [x,x,x,x,x,x,x,x,x,x]\n");
    for (name, inner) in ["b", "c", "d", "e", "f", "g"].into_iter().zip(["a", "b", "c", "d", "e", "f"]) {
        text.push_str(&format!("{name}: &{name} [{}]\n", [format!("*{inner}").as_str(); 10].join(",")));
    }
    check_error(&text, "yaml: document contains excessive aliasing");
    assert!(to_any("[".repeat(100_000).as_bytes(), &mut Report::new()).is_err());
    assert!(to_any("- ".repeat(100_000).as_bytes(), &mut Report::new()).is_err());
    assert!(to_any(b"&a [*a]", &mut Report::new()).is_err());
}

#[test]
fn keys_that_come_twice_are_reported_as_upstream_does() {
    let shape = builtin::shape("", "v1", "ConfigMap").expect("ConfigMap");
    let mut report = Report::new();
    let object = decode(&shape, b"metadata:\n  name: a\n  name: b\nfoo: 1\ndata:\n  x: '1'\n  x: '2'\n", &mut report).expect("decode");
    assert_eq!(object.str_at(&shape.schema, "metadata.name"), Some("b"));
    assert_eq!(
        report.problems(),
        ["yaml: unmarshal errors:\n  line 3: key \"name\" already set in map\n  line 7: key \"x\" already set in map", r#"unknown field "foo""#]
    );
}

#[test]
fn wrong_values_are_told_as_in_json() {
    let shape = builtin::shape("", "v1", "ConfigMap").expect("ConfigMap");
    let error = decode(&shape, b"data:\n  x: yes\n", &mut Report::new()).expect_err("a boolean");
    assert_eq!(error.to_string(), "json: cannot unmarshal bool into Go struct field ConfigMap.data of type string");
}

#[test]
fn what_is_written_reads_back() {
    let texts = [
        "",
        " ",
        "a",
        "yes",
        "1",
        "1.5",
        "~",
        "- a",
        "-a",
        "a: b",
        "a:",
        "a #b",
        "#a",
        "'",
        "\"",
        "it's",
        "a\nb",
        "a\nb\n",
        "a\n\n\nb\n\n",
        " a\nb",
        "\na",
        "a\n b",
        "\t",
        "a\tb",
        "\u{1}",
        "\u{feff}x",
        "é",
        "1:30",
        "*a",
        "&a",
        "!a",
        "%a",
        "@a",
        "`a",
        "{",
        "[",
        "null",
        "<<",
        "---",
        "...",
        "? a",
        ": a",
        "0x1",
        "a ",
        "\u{2028}",
        "\n",
    ];
    let value = Value::List(
        texts
            .iter()
            .flat_map(|text| {
                let map: Map = [(crate::Str::from(*text), Value::from(*text))].into_iter().collect();
                [Value::from(*text), Value::Map(map), Value::List(vec![Value::List(vec![Value::from(*text), Value::Int(1)])])]
            })
            .chain([Value::Null, Value::Bool(true), Value::Int(-5), Value::Double(1.5), Value::Map(Map::default()), Value::List(Vec::new())])
            .collect(),
    );
    let written = from_json(&json::from_any(&value)).expect("JSON");
    let read = to_any(&written, &mut Report::new()).unwrap_or_else(|error| panic!("{error}\n{}", String::from_utf8_lossy(&written)));
    let (Value::List(read), Value::List(value)) = (read, value) else { panic!("a list") };
    for (read, value) in read.iter().zip(&value) {
        assert_eq!(read, value, "{}", String::from_utf8_lossy(&written));
    }
}

#[test]
fn the_form_is_that_of_kubectl() {
    let text = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","labels":{}},"data":{"n":"1","s":"x y","t":"l1\nl2\n"},"list":[{"b":[1,[2]],"a":null}]}"#;
    let expect = "apiVersion: v1\ndata:\n  \"n\": \"1\"\n  s: x y\n  t: |\n    l1\n    l2\nkind: ConfigMap\nlist:\n- a: null\n  b:\n  - 1\n  - - 2\nmetadata:\n  labels: {}\n  name: a\n";
    assert_eq!(String::from_utf8(from_json(text.as_bytes()).expect("JSON")).expect("UTF-8"), expect);
}
