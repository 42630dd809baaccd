//! What is wrong with the cases of `testdata/refused/`, as Kubernetes says it.

use super::catalog::Catalog;
use super::tests::{admin, created};
use super::{Context, Object};
use apiserver_machinery::codec::Report;
use apiserver_machinery::{field, json};
use serde_json::Value;

/// The errors that we find in a case.
fn found(catalog: &Catalog, mut case: Value) -> Result<Vec<String>, String> {
    let was = case.as_object_mut().unwrap().remove("was");
    let into = case.as_object_mut().unwrap().remove("into").map(|into| into.as_str().unwrap().to_owned()).unwrap_or_default();
    let manifest = was.as_ref().unwrap_or(&case);
    let (resource, served, old) = created(catalog, &manifest.to_string())?;
    let storage = &resource.storage.shape;
    let schema = &*storage.schema;
    let user = admin();
    let context = Context { user: &user, now: super::tests::now(), schema, subresource: &into, resource: &resource };
    let mut errors = Vec::new();
    if was.is_none() {
        (resource.rules.validate)(Object { schema, tree: &old }, None, &context, &mut errors);
        return Ok(texts(&errors));
    }
    let served = &resource.versions[served];
    let mut out = Vec::new();
    json::encode(schema, &old, &mut out);
    let new = merged(serde_json::from_slice(&out).unwrap(), &case);
    let mut new = json::decode(&served.shape, new.to_string().as_bytes(), &mut Report::ignore()).map_err(|error| error.to_string())?;
    (resource.rules.defaults)(&mut new, storage);
    (resource.rules.update)(&old, &mut new, &context);
    (resource.rules.validate)(Object { schema, tree: &new }, Some(Object { schema, tree: &old }), &context, &mut errors);
    Ok(texts(&errors))
}

fn texts(errors: &[field::Error]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

/// Without what we say otherwise on purpose: upstream shows some structs under Go's names, and the difference of two Pods as Go prints them.
/// Uids differ.
fn plain(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(" value: {").or_else(|| rest.find(" value: [{")) {
        let start = at + " value: ".len();
        out.push_str(&rest[..start]);
        let mut values = serde_json::Deserializer::from_str(&rest[start..]).into_iter::<Value>();
        values.next();
        out.push('…');
        rest = &rest[start + values.byte_offset()..];
    }
    out.push_str(rest);
    out
}

/// A JSON merge patch.
fn merged(old: Value, changes: &Value) -> Value {
    let (Value::Object(mut old), Value::Object(changes)) = (old, changes) else { return changes.clone() };
    for (name, value) in changes {
        if value.is_null() {
            old.remove(name);
        } else {
            let before = old.remove(name).unwrap_or_default();
            old.insert(name.clone(), merged(before, value));
        }
    }
    Value::Object(old)
}

#[test]
fn upstream_finds_the_same_faults() {
    let catalog = Catalog::builtin();
    let cases = include_str!("../../testdata/refused/cases.yaml");
    let theirs: Vec<Vec<String>> = serde_json::from_str(include_str!("../../testdata/refused/errors.json")).unwrap();
    let mut faults = Vec::new();
    let cases: Vec<Value> = cases.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(cases.len(), theirs.len());
    for (case, theirs) in cases.into_iter().zip(theirs) {
        let text: String = case.to_string().chars().take(300).collect();
        let mut ours: Vec<String> = found(&catalog, case).unwrap_or_else(|error| vec![error]).iter().map(|text| plain(text)).collect();
        let mut theirs: Vec<String> = theirs.iter().map(|text| plain(text)).collect();
        ours.sort();
        theirs.sort();
        let missing: Vec<&String> = theirs.iter().filter(|error| !ours.contains(error)).collect();
        let surplus: Vec<&String> = ours.iter().filter(|error| !theirs.contains(error)).collect();
        if !missing.is_empty() || !surplus.is_empty() {
            faults.push(format!("{text}\n{}{}", lines("  - ", &missing), lines("  + ", &surplus)));
        } else if ours != theirs {
            faults.push(format!("{text}\n  another number of each: {ours:?}\n  {theirs:?}\n"));
        }
    }
    assert!(faults.is_empty(), "{} cases differ (- upstream's alone, + ours alone):\n{}", faults.len(), faults.join(""));
}

fn lines(prefix: &str, texts: &[&String]) -> String {
    texts.iter().map(|text| format!("{prefix}{text}\n")).collect()
}
