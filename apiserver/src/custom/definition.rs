//! What the API server reads of a CustomResourceDefinition. Off the request path, so serde does it.

use apiserver_store::Row;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

#[derive(Clone, Debug, Deserialize)]
pub struct Definition {
    pub metadata: Metadata,
    pub spec: Spec,
    #[serde(default)]
    pub status: Status,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    pub name: String,
    #[serde(default)]
    pub deletion_timestamp: Option<String>,
    #[serde(default)]
    pub finalizers: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    pub group: String,
    pub names: Names,
    pub scope: String,
    #[serde(default)]
    pub versions: Vec<Version>,
    #[serde(default)]
    pub preserve_unknown_fields: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Names {
    pub plural: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub singular: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub short_names: Vec<String>,
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub list_kind: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    pub name: String,
    #[serde(default)]
    pub served: bool,
    #[serde(default)]
    pub storage: bool,
    #[serde(default)]
    pub deprecated: bool,
    #[serde(default)]
    pub deprecation_warning: Option<String>,
    #[serde(default)]
    pub schema: Option<Schema>,
    #[serde(default)]
    pub subresources: Option<Subresources>,
    #[serde(default)]
    pub additional_printer_columns: Vec<PrinterColumn>,
    #[serde(default)]
    pub selectable_fields: Vec<SelectableField>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Schema {
    #[serde(rename = "openAPIV3Schema", default)]
    pub open_api: Option<Value>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Subresources {
    #[serde(default)]
    pub status: Option<Value>,
    #[serde(default)]
    pub scale: Option<Scale>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scale {
    pub spec_replicas_path: String,
    pub status_replicas_path: String,
    #[serde(default)]
    pub label_selector_path: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrinterColumn {
    pub name: String,
    #[serde(rename = "type")]
    pub ty: String,
    #[serde(default)]
    pub format: String,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub priority: i32,
    pub json_path: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SelectableField {
    pub json_path: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    #[serde(deserialize_with = "null_is_empty")]
    pub conditions: Vec<Condition>,
    pub accepted_names: Names,
    #[serde(deserialize_with = "null_is_empty")]
    pub stored_versions: Vec<String>,
}

/// Go writes a list that it never made as null.
fn null_is_empty<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    #[serde(rename = "type")]
    pub ty: String,
    pub status: String,
    pub last_transition_time: Option<String>,
    pub reason: String,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

impl Definition {
    /// None where the row holds no definition, which a store that only the API server writes does not have.
    pub fn of(row: &Row) -> Option<Self> {
        serde_json::from_slice(row.bytes()).inspect_err(|error| tracing::error!(%error, "a stored custom resource definition cannot be read")).ok()
    }

    pub fn condition(&self, ty: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|condition| condition.ty == ty)
    }

    pub fn is_established(&self) -> bool {
        self.condition("Established").is_some_and(|condition| condition.status == "True")
    }

    pub fn storage_version(&self) -> &str {
        self.spec.versions.iter().find(|version| version.storage).map_or("", |version| version.name.as_str())
    }
}
