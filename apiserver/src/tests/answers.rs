//! What bad requests get, held against an upstream kube-apiserver's answers: see testdata/requests/cases.py.

use super::Server;
use serde_json::{Value, json};

const ANSWERS: &str = include_str!("../../testdata/requests/answers.json");

/// Cases that are answered otherwise than upstream answers them, by method, end of the path and part of the body.
const DIFFERENT: &[(&str, &str, &str)] = &[
    // The parser names another fault of the same line.
    ("POST", "/configmaps", "a: ["),
    ("PATCH", "/one?fieldManager=m", "a: ["),
];

/// Leaves out what no two servers share.
fn normalised(code: u16, body: &[u8]) -> Value {
    let Ok(answer) = serde_json::from_slice::<Value>(body) else { return json!({ "code": code, "text": true }) };
    if answer["kind"] != "Status" {
        return json!({ "code": code, "kind": answer["kind"] });
    }
    let mut out = json!({ "code": code });
    for name in ["status", "reason", "message", "details"] {
        if let Some(value) = answer.get(name) {
            out[name] = value.clone();
        }
    }
    without_ids(&mut out);
    out
}

/// Uids become `UID`, the current revision `N`; of a message that shows a whole object or a difference of two only the beginning counts.
fn without_ids(value: &mut Value) {
    match value {
        Value::String(text) => {
            for cut in ["Invalid value: \"{\\\"", "Invalid value: \"{\"", "\n@@ ", "\n- spec.", "current: "] {
                if let Some(at) = text.find(cut) {
                    text.truncate(at);
                }
            }
            let words: Vec<String> = text.split(' ').map(uid_free).collect();
            *text = words.join(" ");
        }
        Value::Array(items) => items.iter_mut().for_each(without_ids),
        Value::Object(members) => members.values_mut().for_each(without_ids),
        _ => {}
    }
}

fn uid_free(word: &str) -> String {
    let bare = word.trim_matches(|c: char| matches!(c, '(' | ')' | ',' | '.'));
    let is_uid = bare.len() == 36 && bare.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if is_uid { word.replace(bare, "UID") } else { word.to_owned() }
}

#[tokio::test]
async fn requests_get_the_answers_that_upstream_gives() {
    let server = Server::new().await;
    let cases: Vec<Value> = serde_json::from_str(ANSWERS).unwrap();
    assert!(cases.len() > 130);
    let mut faults = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let text = |name: &str| case[name].as_str().unwrap();
        let mut headers = vec![("user-agent", "cases/1")];
        for (header, name) in [("content-type", "content"), ("accept", "accept")] {
            if !text(name).is_empty() {
                headers.push((header, text(name)));
            }
        }
        let reply = server.send(text("method"), text("path"), &headers, text("body").as_bytes()).await;
        let mut expect = case["answer"].clone();
        without_ids(&mut expect);
        let seen = normalised(reply.code, &reply.bytes);
        // A path that is nobody's gets plain text upstream and a Status here; both say 404.
        let same = seen == expect || (expect["text"] == true && seen["code"] == expect["code"]);
        let known =
            DIFFERENT.iter().any(|(method, path, body)| *method == text("method") && text("path").ends_with(path) && text("body").contains(body));
        if same == known {
            faults.push(format!("{number} {} {} {}\n  want {expect}\n  got  {seen}", text("method"), text("path"), text("body")));
        }
    }
    assert!(faults.is_empty(), "{} of {} differ:\n{}", faults.len(), cases.len(), faults.join("\n"));
}
