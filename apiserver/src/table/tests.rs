//! Objects of `testdata/tables/`, which must print as Kubernetes prints them.

use super::*;
use crate::resource::catalog::Catalog;
use apiserver_machinery::codec::Report;

/// What we say of the object in a recorded row.
fn printed(catalog: &Catalog, recorded: &serde_json::Value) -> serde_json::Value {
    let object = &recorded["object"];
    let (api_version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let (resource, served) = catalog.kind(group, version, kind).unwrap();
    let served = &resource.versions[served];
    let schema = &*served.shape.schema;
    let tree = json::decode(&served.shape, object.to_string().as_bytes(), &mut Report::ignore()).unwrap();
    let context = CellContext { now: recorded["now"].as_str().unwrap().parse().unwrap() };
    let mut out = Vec::new();
    row(&served.columns, Object { schema, tree: &tree }, Include::Object, "v1", context, &mut out);
    let mut row: serde_json::Value = serde_json::from_slice(&out).unwrap();
    row["columns"] = served.columns.0.iter().map(|column| serde_json::json!([*column.name, *column.ty, *column.format, column.priority])).collect();
    row
}

#[test]
fn objects_print_as_upstream_prints_them() {
    let catalog = Catalog::builtin();
    let recorded: Vec<serde_json::Value> = serde_json::from_str(include_str!("../../testdata/tables/tables.json")).unwrap();
    let mut faults = Vec::new();
    for theirs in &recorded {
        let ours = printed(&catalog, theirs);
        for part in ["columns", "cells", "conditions", "object"] {
            if ours[part] != theirs[part] {
                faults.push(format!(
                    "{} {}: {part}\n  ours   {}\n  theirs {}",
                    theirs["object"]["kind"], theirs["object"]["metadata"]["name"], ours[part], theirs[part]
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{} of {} differ:\n{}", faults.len(), recorded.len(), faults.join("\n"));
}
