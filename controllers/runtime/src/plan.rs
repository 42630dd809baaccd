//! What a controller wants done: data, so that tests can read it.

use crate::kind::{Kind, Target};
use apiserver_client::EventType;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use serde::Serialize;
use serde_json::Value;
use std::fmt;

/// The outcome of looking at one object.
#[derive(Default)]
pub struct Plan {
    /// Done in order; the first failure ends the plan.
    pub actions: Vec<Action>,
    /// Done after the actions, if they succeeded.
    pub status: Option<Action>,
    /// What to do instead of `status` where an action failed.
    pub status_after_failure: Option<AfterFailure>,
    /// Reported when the actions succeeded.
    pub events: Vec<PlannedEvent>,
    /// When to look again although nothing changed.
    pub again_at: Option<Timestamp>,
}

pub type AfterFailure = Box<dyn Fn(&Failure) -> Option<Action> + Send + Sync>;

impl Plan {
    /// Nothing to do.
    pub fn nothing() -> Self {
        Self::default()
    }

    pub fn act(action: Action) -> Self {
        Self { actions: vec![action], ..Self::default() }
    }

    pub fn event(&mut self, about: &ObjectReference, kind: EventType, reason: &'static str, message: impl Into<String>) {
        self.events.push(PlannedEvent { about: about.clone(), kind, reason, message: message.into() });
    }

    /// Looks again at `at`, or earlier if that was asked for before.
    pub fn again(&mut self, at: Timestamp) {
        self.again_at = Some(self.again_at.map_or(at, |before| before.min(at)));
    }

    /// One line an action, for tests and logs.
    pub fn describe(&self) -> Vec<String> {
        self.actions.iter().chain(&self.status).map(ToString::to_string).collect()
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct PlannedEvent {
    pub about: ObjectReference,
    pub kind: EventType,
    pub reason: &'static str,
    pub message: String,
}

/// Why a plan ended early.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// What the server said.
    pub message: String,
    /// Its HTTP status, where there was an answer.
    pub code: Option<u16>,
    /// Which of the plan's actions failed.
    pub action: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

impl Propagation {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Background => "Background",
            Self::Foreground => "Foreground",
            Self::Orphan => "Orphan",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// Lists are replaced whole.
    Merge,
    /// Lists are merged by key; built-in kinds only.
    Strategic,
    Json,
    /// Server-side apply, forced, as the manager named.
    Apply(&'static str),
}

/// Two Events, of which one is reported about the object that caused an action.
#[derive(Clone, Debug, PartialEq)]
pub struct Announce {
    pub about: ObjectReference,
    /// Reason and the beginning of the message; the name of what was written follows.
    pub success: Option<(&'static str, String)>,
    /// Reason and the beginning of the message; what the server said follows.
    pub failure: (&'static str, String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct DeleteOptions {
    pub grace_seconds: Option<i64>,
    pub propagation: Option<Propagation>,
    pub resource_version: Option<String>,
}

/// One call to the API. "Gone" objects are no failure: the next look finds out.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Create {
        kind: Kind,
        namespace: String,
        object: Value,
        /// An object of that name counts as success.
        exists_ok: bool,
        announce: Option<Announce>,
    },
    Patch {
        target: Target,
        subresource: Option<&'static str>,
        kind: PatchKind,
        patch: Value,
    },
    Delete {
        target: Target,
        options: DeleteOptions,
        announce: Option<Announce>,
    },
    /// POST to a subresource (eviction, binding).
    Post {
        target: Target,
        subresource: &'static str,
        body: Value,
    },
    /// Fails unless the object is there, has its uid and is not being deleted, asked of the server itself: before adopting for it.
    Verify(Target),
    /// All at once; the first failure counts.
    All(Vec<Action>),
    /// In batches of 1, 2, 4, …, so that what fails for all fails for one first.
    SlowStart(Vec<Action>),
}

impl Action {
    pub fn create(kind: &Kind, namespace: &str, object: Value) -> Self {
        Self::Create { kind: kind.clone(), namespace: namespace.into(), object, exists_ok: false, announce: None }
    }

    pub fn merge(target: Target, patch: Value) -> Self {
        Self::Patch { target, subresource: None, kind: PatchKind::Merge, patch }
    }

    pub fn strategic(target: Target, patch: Value) -> Self {
        Self::Patch { target, subresource: None, kind: PatchKind::Strategic, patch }
    }

    /// Replaces fields of the status of the object as it was seen: a change by others meanwhile makes it fail.
    pub fn status(target: Target, resource_version: Option<&str>, status: Value) -> Self {
        let mut patch = serde_json::json!({ "status": status });
        if let Some(version) = resource_version {
            patch["metadata"]["resourceVersion"] = version.into();
        }
        Self::Patch { target, subresource: Some("status"), kind: PatchKind::Merge, patch }
    }

    /// Makes the status of an object what `new` says; None where it is that already.
    pub fn status_change<S: Serialize>(target: Target, resource_version: Option<&str>, old: &S, new: &S) -> Option<Self> {
        let (old, new) = (serde_json::to_value(old).ok()?, serde_json::to_value(new).ok()?);
        merge_patch(&old, &new).map(|patch| Self::status(target, resource_version, patch))
    }

    pub fn delete(target: Target) -> Self {
        Self::Delete { target, options: DeleteOptions { grace_seconds: None, propagation: None, resource_version: None }, announce: None }
    }
}

/// The JSON merge patch (RFC 7386) that makes `old` into `new`; None where they are equal. Lists are replaced whole.
///
/// `{"a": 1, "b": 2}` to `{"a": 3}` is `{"a": 3, "b": null}`.
pub fn merge_patch(old: &Value, new: &Value) -> Option<Value> {
    match (old, new) {
        _ if old == new => None,
        (Value::Object(old), Value::Object(new)) => {
            let mut patch = serde_json::Map::new();
            for (key, value) in new {
                if let Some(change) = merge_patch(old.get(key).unwrap_or(&Value::Null), value) {
                    patch.insert(key.clone(), change);
                }
            }
            for key in old.keys().filter(|key| !new.contains_key(*key)) {
                patch.insert(key.clone(), Value::Null);
            }
            Some(Value::Object(patch))
        }
        _ => Some(new.clone()),
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { kind, namespace, object, .. } => {
                let meta = &object["metadata"];
                let generated = || meta["generateName"].as_str().map(|prefix| format!("{prefix}*"));
                let name = meta["name"].as_str().map(str::to_string).or_else(generated).unwrap_or_default();
                if namespace.is_empty() { write!(f, "create {kind} {name}") } else { write!(f, "create {kind} {namespace}/{name}") }
            }
            Self::Patch { target, subresource, patch, .. } => {
                write!(f, "patch {target}{} {patch}", subresource.map(|name| format!("/{name}")).unwrap_or_default())
            }
            Self::Delete { target, options, .. } => {
                write!(f, "delete {target}")?;
                if let Some(propagation) = options.propagation {
                    write!(f, " {}", propagation.as_str())?;
                }
                options.grace_seconds.map_or(Ok(()), |grace| write!(f, " grace {grace}"))
            }
            Self::Post { target, subresource, .. } => write!(f, "post {target}/{subresource}"),
            Self::Verify(target) => write!(f, "verify {target}"),
            Self::All(actions) => {
                f.write_str("all:")?;
                actions.iter().try_for_each(|action| write!(f, " {action};"))
            }
            Self::SlowStart(actions) => match actions.first() {
                Some(first) => write!(f, "{} × {first}", actions.len()),
                None => f.write_str("nothing"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_merge_patch_holds_only_what_differs() {
        let check = |old: Value, new: Value, expect: Option<Value>| assert_eq!(merge_patch(&old, &new), expect, "{old} {new}");
        check(json!({"a": 1}), json!({"a": 1}), None);
        check(json!({"a": 1, "b": {"c": 2, "d": 3}}), json!({"b": {"c": 4, "d": 3}, "e": [1]}), Some(json!({"a": null, "b": {"c": 4}, "e": [1]})));
        check(json!({"a": [1, 2]}), json!({"a": [1]}), Some(json!({"a": [1]})));
        check(json!(null), json!({"a": 1}), Some(json!({"a": 1})));
    }
}
