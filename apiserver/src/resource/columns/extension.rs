//! Columns of the kinds that extend the API.

use super::{AGE, CREATION, ColumnRow, NAME, boolean, condition, integer, join, selector, text};
use crate::resource::{CellContext, Object, Value};

const UNSET: &str = "<unset>";

pub const API_SERVICE: &[ColumnRow] = &[
    NAME,
    text("Service", "Who serves the group's version.", |object, _| {
        object
            .child("spec.service")
            .map_or_else(|| "Local".into(), |service| format!("{}/{}", service.text("namespace"), service.text("name")).into())
    }),
    text("Available", "Whether it is reachable.", available),
    AGE,
];

fn available(object: Object<'_>, _: CellContext) -> Value {
    let Some(condition) = object.items("status.conditions").find(|condition| condition.text("type") == "Available") else { return "Unknown".into() };
    match (condition.text("status"), condition.text("reason")) {
        ("True", _) => "True".into(),
        (status, "") => status.into(),
        (status, reason) => format!("{status} ({reason})").into(),
    }
}

fn count(object: Object<'_>, path: &str) -> Value {
    i64::try_from(object.list(path).len()).unwrap_or(i64::MAX).into()
}

const PARAM_KIND: ColumnRow = text("ParamKind", "The kind of its parameters.", |object, _| {
    object.child("spec.paramKind").map_or_else(|| UNSET.into(), |kind| format!("{}/{}", kind.text("apiVersion"), kind.text("kind")).into())
});

pub const VALIDATING_POLICY: &[ColumnRow] =
    &[NAME, integer("Validations", "How many expressions it checks.", |object, _| count(object, "spec.validations")), PARAM_KIND, AGE];

pub const MUTATING_POLICY: &[ColumnRow] =
    &[NAME, integer("Mutations", "How many changes it makes.", |object, _| count(object, "spec.mutations")), PARAM_KIND, AGE];

pub const POLICY_BINDING: &[ColumnRow] = &[
    NAME,
    text("PolicyName", "The policy that it puts into force.", |object, _| object.text("spec.policyName").into()),
    text("ParamRef", "The parameters that it gives.", parameters),
    AGE,
];

fn parameters(object: Object<'_>, _: CellContext) -> Value {
    let Some(reference) = object.child("spec.paramRef") else { return UNSET.into() };
    match (reference.text("namespace"), reference.text("name")) {
        (_, "") if reference.has("selector") => selector(reference, "selector", "").into(),
        (_, "") => UNSET.into(),
        ("", name) => format!("*/{name}").into(),
        (namespace, name) => format!("{namespace}/{name}").into(),
    }
}

pub const WEBHOOKS: &[ColumnRow] = &[NAME, integer("Webhooks", "How many webhooks it names.", |object, _| count(object, "webhooks")), AGE];

pub const DEFINITION: &[ColumnRow] = &[
    NAME,
    text("Scope", "Cluster or Namespaced.", |object, _| object.text("spec.scope").into()),
    text("Versions", "Served versions.", versions),
    CREATION,
    text("Group", "The group of the kind.", |object, _| object.text("spec.group").into()).wide(),
    text("Kind", "The kind that it defines.", |object, _| object.text("spec.names.kind").into()).wide(),
    text("ShortNames", "Short names for command lines.", |object, _| join(object.texts("spec.names.shortNames"), ",").into()).wide(),
    boolean("Established", "Whether it is served.", |object, _| (condition(object, "status.conditions", "Established") == "True").into()).wide(),
];

fn versions(object: Object<'_>, _: CellContext) -> Value {
    let label = |version: Object<'_>| format!("{}{}", version.text("name"), if version.flag("storage") { "(storage)" } else { "" });
    let mut versions: Vec<String> = object.items("spec.versions").filter(|version| version.flag("served")).map(label).collect();
    versions.sort_unstable();
    versions.join(",").into()
}
