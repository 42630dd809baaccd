//! Columns of the kinds that say who may do what, and who goes first.

use super::{AGE, ColumnRow, NAME, boolean, integer, text};
use crate::resource::{Object, Value};

const NONE: &str = "<none>";

pub const BUDGET: &[ColumnRow] = &[
    NAME,
    text("Min Available", "How many Pods must stay.", |object, _| number_or_percent(object, "spec.minAvailable")),
    text("Max Unavailable", "How many Pods may be missing.", |object, _| number_or_percent(object, "spec.maxUnavailable")),
    integer("Allowed Disruptions", "How many Pods may be evicted now.", |object, _| object.number("status.disruptionsAllowed").into()),
    AGE,
];

fn number_or_percent(object: Object<'_>, path: &str) -> Value {
    match object.get(path) {
        Some(Value::Int(number)) => number.to_string().into(),
        Some(Value::String(text)) => text.clone().into(),
        _ => "N/A".into(),
    }
}

pub const BINDING: &[ColumnRow] = &[
    NAME,
    text("Role", "The role that it gives.", |object, _| format!("{}/{}", object.text("roleRef.kind"), object.text("roleRef.name")).into()),
    AGE,
    text("Users", "Users that it gives the role to.", |object, _| subjects(object, "User")).wide(),
    text("Groups", "Groups that it gives the role to.", |object, _| subjects(object, "Group")).wide(),
    text("ServiceAccounts", "Service accounts that it gives the role to.", |object, _| subjects(object, "ServiceAccount")).wide(),
];

fn subjects(object: Object<'_>, kind: &str) -> Value {
    let name = |subject: Object<'_>| match kind {
        "ServiceAccount" => format!("{}/{}", subject.text("namespace"), subject.text("name")),
        _ => subject.text("name").to_owned(),
    };
    object.items("subjects").filter(|subject| subject.text("kind") == kind).map(name).collect::<Vec<_>>().join(", ").into()
}

pub const PRIORITY_CLASS: &[ColumnRow] = &[
    NAME,
    integer("Value", "The priority of Pods of the class.", |object, _| object.number("value").into()),
    boolean("Global-Default", "Whether Pods that name no class are of this one.", |object, _| object.flag("globalDefault").into()),
    AGE,
    text("PreemptionPolicy", "Whether its Pods may push out others.", |object, _| object.text("preemptionPolicy").into()),
];

pub const FLOW_SCHEMA: &[ColumnRow] = &[
    NAME,
    text("PriorityLevel", "The priority of its requests.", |object, _| object.text("spec.priorityLevelConfiguration.name").into()),
    text("MatchingPrecedence", "Lower ones are tried first.", |object, _| object.number("spec.matchingPrecedence").into()),
    text("DistinguisherMethod", "What tells its flows apart.", |object, _| object.text_opt("spec.distinguisherMethod.type").unwrap_or(NONE).into()),
    AGE,
    text("MissingPL", "Whether its priority level is missing.", |object, _| {
        object
            .items("status.conditions")
            .find(|condition| condition.text("type") == "Dangling")
            .map_or("?", |condition| condition.text("status"))
            .into()
    }),
];

pub const PRIORITY_LEVEL: &[ColumnRow] = &[
    NAME,
    text("Type", "Limited or Exempt.", |object, _| object.text("spec.type").into()),
    text("NominalConcurrencyShares", "Its part of the server's seats.", |object, _| limited(object, "spec.limited", "nominalConcurrencyShares")),
    text("Queues", "How many queues it has.", |object, _| limited(object, "spec.limited.limitResponse.queuing", "queues")),
    text("HandSize", "Among how many queues a flow chooses.", |object, _| limited(object, "spec.limited.limitResponse.queuing", "handSize")),
    text("QueueLengthLimit", "How many requests may wait in a queue.", |object, _| {
        limited(object, "spec.limited.limitResponse.queuing", "queueLengthLimit")
    }),
    AGE,
];

fn limited(object: Object<'_>, parent: &str, field: &str) -> Value {
    object.child(parent).map_or_else(|| NONE.into(), |parent| parent.number(field).into())
}
