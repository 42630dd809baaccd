//! Columns of the small kinds of the core group, and of Leases.

use super::{AGE, ColumnRow, NAME, condition, text};
use crate::resource::Object;

pub const COMPONENT_STATUS: &[ColumnRow] = &[
    NAME,
    text("Status", "Whether the component is healthy.", |object, _| {
        match condition(object, "conditions", "Healthy") {
            "" => "Unknown",
            "True" => "Healthy",
            _ => "Unhealthy",
        }
        .into()
    }),
    text("Message", "What the component's health check said.", |object, _| healthy(object, "message").into()),
    text("Error", "What went wrong with the health check.", |object, _| healthy(object, "error").into()),
];

fn healthy<'a>(object: Object<'a>, field: &str) -> &'a str {
    object.items("conditions").find(|condition| condition.text("type") == "Healthy").map_or("", |condition| condition.text(field))
}

fn count(object: Object<'_>, path: &str) -> i64 {
    object.map(path).map_or(0, |map| i64::try_from(map.len()).unwrap_or(i64::MAX))
}

pub const CONFIG_MAP: &[ColumnRow] =
    &[NAME, text("Data", "How many keys it holds.", |object, _| (count(object, "data") + count(object, "binaryData")).into()), AGE];

pub const NAMESPACE: &[ColumnRow] =
    &[NAME, text("Status", "The phase of the namespace's life.", |object, _| object.text("status.phase").into()), AGE];

pub const SECRET: &[ColumnRow] = &[
    NAME,
    text("Type", "What its data is for.", |object, _| object.text("type").into()),
    text("Data", "How many keys it holds.", |object, _| count(object, "data").into()),
    AGE,
];

pub const LEASE: &[ColumnRow] = &[NAME, text("Holder", "Who holds the lease.", |object, _| object.text("spec.holderIdentity").into()), AGE];

pub const RESOURCE_QUOTA: &[ColumnRow] = &[
    NAME,
    text("Request", "Used and allowed amounts of all but limits.", |object, _| quotas(object, false).into()),
    text("Limit", "Used and allowed sums of the containers' limits.", |object, _| quotas(object, true).into()),
    AGE,
];

/// `NAME: USED/HARD, …` of the limits or of the others.
fn quotas(object: Object<'_>, limits: bool) -> String {
    let mut hard: Vec<_> = object.pairs("status.hard").filter(|(name, _)| name.starts_with("limits.") == limits).collect();
    hard.sort_unstable();
    let used = object.map("status.used");
    let of = |name: &str| used.and_then(|used| used.get(name)?.as_str()).unwrap_or("0");
    hard.iter().map(|(name, hard)| format!("{name}: {}/{hard}", of(name))).collect::<Vec<_>>().join(", ")
}
