//! What the JSON decoder makes of odd values, compared with what upstream's makes of them: `extract/messages.go` asked it.

use apiserver_machinery::{builtin, json};

/// The result for an object, in the two columns of the file.
fn result(group_version: &str, kind: &str, text: &str) -> (&'static str, String) {
    let (group, version) = group_version.split_once('/').unwrap_or(("", group_version));
    let shape = builtin::shape(group, version, kind).expect(kind);
    let mut report = json::Report::new();
    match json::decode(&shape, text.as_bytes(), &mut report) {
        Err(error) => ("error", error.to_string()),
        Ok(_) if !report.is_empty() => ("strict", report.problems().join(", ")),
        Ok(object) => {
            let mut out = Vec::new();
            json::encode(&shape.schema, &object, &mut out);
            ("ok", String::from_utf8(out).expect("UTF-8"))
        }
    }
}

#[test]
fn odd_values_are_taken_or_refused_as_upstream_does() {
    let file = std::env::var("MESSAGES").map(|path| std::fs::read_to_string(path).expect("a file"));
    let file = file.unwrap_or_else(|_| include_str!("../testdata/golden/messages.tsv").to_owned());
    let (mut count, mut differences) = (0, Vec::new());
    for line in file.lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let [group_version, kind, text, sort, expect] = columns[..] else { panic!("{line}") };
        count += 1;
        let (got_sort, got) = result(group_version, kind, text);
        if (got_sort, got.as_str()) != (sort, expect) {
            differences.push(format!("{kind} {text}\n  got    {got_sort} {got}\n  expect {sort} {expect}"));
        }
    }
    assert!(count > 1000, "{count}");
    assert!(differences.is_empty(), "{} of {count} differ:\n{}", differences.len(), differences.join("\n"));
}
