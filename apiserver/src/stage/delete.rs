//! What a delete does to an object: removes it, marks it, or waits for what marks it already; and evictions, which are deletes that a
//! disruption budget allows.

use crate::Error;
use crate::api::Api;
use crate::resource::{Object, Resource};
use crate::stage::Extra;
use crate::stage::commit;
use crate::status::Cause;
use crate::write::{DeleteOptions, Intent, Old, Outcome, Propagation};
use crate::{convert, custom};
use apiserver_machinery::labels;
use apiserver_machinery::schema::Schema;
use apiserver_machinery::tree::{Map, Struct, Value};
use apiserver_store::{Compare, Key, Range, Snapshot};

const FINALIZER_ORPHAN: &str = "orphan";
const FINALIZER_FOREGROUND: &str = "foregroundDeletion";

pub fn delete(resource: &Resource, old: &Old, options: &DeleteOptions, now: jiff::Timestamp) -> Result<Outcome, Error> {
    let schema = &*resource.storage.shape.schema;
    check_preconditions(resource, old, options, schema)?;
    let mut tree = old.tree.clone();
    let mut changed = set_propagation(&mut tree, schema, options.propagation);
    if old.tree.at(schema, "metadata.deletionTimestamp").is_none() {
        changed |= begin(resource, &mut tree, schema);
    }
    let requested = options.grace_period_seconds.map(|seconds| if seconds < 0 { 1 } else { seconds });
    let deleting = tree.at(schema, "metadata.deletionTimestamp").is_some();
    let pending = !tree.list_at(schema, "metadata.finalizers").is_empty() || waits_for_content(resource, &tree, schema);
    let grace = tree.int_at(schema, "metadata.deletionGracePeriodSeconds").unwrap_or(0);
    match resource.rules.grace_seconds {
        Some(_) if deleting && grace > 0 => {
            let Some(period) = requested.filter(|period| *period < grace) else {
                return Ok(if changed { Outcome::Put(tree) } else { Outcome::Unchanged });
            };
            shorten(&mut tree, schema, grace, period, now);
            if period == 0 && !pending {
                return Ok(Outcome::Remove);
            }
            return Ok(Outcome::Put(tree));
        }
        Some(grace_seconds) if !deleting => {
            let period = grace_seconds(Object { schema, tree: &tree }, requested);
            if period > 0 || pending {
                mark(&mut tree, schema, now, period);
                return Ok(Outcome::Put(tree));
            }
            return Ok(Outcome::Remove);
        }
        _ => {}
    }
    if !pending {
        return Ok(Outcome::Remove);
    }
    if !deleting {
        mark(&mut tree, schema, now, 0);
        changed = true;
    } else if grace != 0 {
        tree.put(schema, "metadata.deletionGracePeriodSeconds", 0_i64);
        changed = true;
    }
    Ok(if changed { Outcome::Put(tree) } else { Outcome::Unchanged })
}

/// What the first delete of a kind does beside the mark.
fn begin(resource: &Resource, tree: &mut Struct, schema: &Schema) -> bool {
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Namespace") if waits_for_content(resource, tree, schema) => {
            tree.put(schema, "status.phase", "Terminating");
            true
        }
        // Its objects go first.
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            let mut finalizers = tree.list_at(schema, "metadata.finalizers").to_vec();
            if !finalizers.iter().any(|item| item.as_str() == Some(custom::CLEANUP_FINALIZER)) {
                finalizers.push(custom::CLEANUP_FINALIZER.into());
                tree.put(schema, "metadata.finalizers", Value::List(finalizers));
            }
            true
        }
        _ => false,
    }
}

/// A namespace stays until its own finalizers are gone, too.
fn waits_for_content(resource: &Resource, tree: &Struct, schema: &Schema) -> bool {
    resource.kind == "Namespace" && resource.group.is_empty() && !tree.list_at(schema, "spec.finalizers").is_empty()
}

/// Whether an update has removed the last thing that a deletion waited for.
pub fn is_finished(resource: &Resource, tree: &Struct) -> bool {
    let schema = &*resource.storage.shape.schema;
    tree.at(schema, "metadata.deletionTimestamp").is_some()
        && tree.int_at(schema, "metadata.deletionGracePeriodSeconds").unwrap_or(0) == 0
        && tree.list_at(schema, "metadata.finalizers").is_empty()
        && !waits_for_content(resource, tree, schema)
}

fn check_preconditions(resource: &Resource, old: &Old, options: &DeleteOptions, schema: &Schema) -> Result<(), Error> {
    let name = old.tree.str_at(schema, "metadata.name").unwrap_or_default();
    let fault = |message: String| {
        Err(Error::Conflict {
            group: resource.group.clone(),
            resource: resource.kind.clone(),
            name: name.into(),
            message: message.into(),
            causes: Vec::new(),
        })
    };
    let uid = old.tree.str_at(schema, "metadata.uid").unwrap_or_default();
    if let Some(wanted) = options.uid.as_deref()
        && wanted != uid
    {
        return fault(format!(
            "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
        ));
    }
    if let Some(wanted) = options.resource_version.as_deref()
        && wanted.parse() != Ok(old.row.modified.0)
    {
        return fault(format!(
            "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({}). The object might have been modified",
            old.row.modified
        ));
    }
    Ok(())
}

/// Puts or removes the finalizers that tell the garbage collector what to do with dependents.
fn set_propagation(tree: &mut Struct, schema: &Schema, propagation: Option<Propagation>) -> bool {
    let Some(propagation) = propagation else { return false };
    let wanted = match propagation {
        Propagation::Orphan => Some(FINALIZER_ORPHAN),
        Propagation::Foreground => Some(FINALIZER_FOREGROUND),
        Propagation::Background => None,
    };
    let before = tree.list_at(schema, "metadata.finalizers").to_vec();
    let mut after: Vec<Value> = before
        .iter()
        .filter(|item| !matches!(item.as_str(), Some(FINALIZER_ORPHAN | FINALIZER_FOREGROUND)) || item.as_str() == wanted)
        .cloned()
        .collect();
    if let Some(wanted) = wanted
        && !after.iter().any(|item| item.as_str() == Some(wanted))
    {
        after.push(wanted.into());
    }
    let changed = after != before;
    if after.is_empty() {
        tree.take(schema, "metadata.finalizers");
    } else {
        tree.put(schema, "metadata.finalizers", Value::List(after));
    }
    changed
}

fn mark(tree: &mut Struct, schema: &Schema, now: jiff::Timestamp, grace_seconds: i64) {
    let at = now.checked_add(jiff::SignedDuration::from_secs(grace_seconds)).unwrap_or(now);
    tree.put(schema, "metadata.deletionTimestamp", crate::meta::time(at));
    tree.put(schema, "metadata.deletionGracePeriodSeconds", grace_seconds);
    if let Some(generation) = tree.int_at(schema, "metadata.generation").filter(|generation| *generation > 0) {
        tree.put(schema, "metadata.generation", generation + 1);
    }
}

/// A grace period that runs already may only become shorter, and its end never lies in the past.
fn shorten(tree: &mut Struct, schema: &Schema, grace: i64, mut period: i64, now: jiff::Timestamp) {
    let marked = tree.str_at(schema, "metadata.deletionTimestamp").and_then(|text| text.parse::<jiff::Timestamp>().ok()).unwrap_or(now);
    let mut at = marked.checked_add(jiff::SignedDuration::from_secs(period.saturating_sub(grace))).unwrap_or(now);
    if at < now {
        at = now;
        if period != 0 {
            period = 1;
        }
    }
    tree.put(schema, "metadata.deletionTimestamp", crate::meta::time(at));
    tree.put(schema, "metadata.deletionGracePeriodSeconds", period);
}

/// An eviction: the Pod's disruption budget, if it has one, is charged in the same transaction.
pub fn evict(api: &Api, intent: &Intent, old: &Old, options: &DeleteOptions, snapshot: &Snapshot, extra: &mut Extra) -> Result<Outcome, Error> {
    let resource = &intent.found.resource;
    let schema = &*resource.storage.shape.schema;
    let phase = old.tree.str_at(schema, "status.phase").unwrap_or_default();
    let pending = old.tree.str_at(schema, "spec.nodeName").unwrap_or_default().is_empty();
    let deleting = old.tree.at(schema, "metadata.deletionTimestamp").is_some();
    if !matches!(phase, "Succeeded" | "Failed") && phase != "Pending" && !pending && !deleting {
        charge(api, intent, old, snapshot, extra)?;
    }
    delete(resource, old, options, intent.now)
}

fn charge(api: &Api, intent: &Intent, old: &Old, snapshot: &Snapshot, extra: &mut Extra) -> Result<(), Error> {
    let Some(budgets) = api.catalog().resource("policy", "poddisruptionbudgets").cloned() else { return Ok(()) };
    let schema = &*budgets.storage.shape.schema;
    let mut matching = Vec::new();
    for (key, row) in snapshot.range(&Range::prefix(format!("{}{}/", budgets.prefix, intent.target.namespace))) {
        let budget = convert::stored(&budgets, row)?;
        let selector = labels::Selector::of_label_selector(schema, budget.at(schema, "spec.selector").and_then(Value::as_struct));
        if selector.is_ok_and(|selector| selector.matches(|label| old.row.facts.label(label))) {
            matching.push((key.clone(), row.modified, budget));
        }
    }
    let [(key, modified, budget)] = matching.as_mut_slice() else {
        if matching.is_empty() {
            return Ok(());
        }
        return Err(Error::Internal("This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.".into()));
    };
    let name = budget.str_at(schema, "metadata.name").unwrap_or_default().to_owned();
    let observed = budget.int_at(schema, "status.observedGeneration").unwrap_or(0);
    if observed < budget.int_at(schema, "metadata.generation").unwrap_or(0) {
        return Err(refused(format!("The disruption budget {name} is still being processed by the server."), 10));
    }
    let allowed = budget.int_at(schema, "status.disruptionsAllowed").unwrap_or(0);
    if allowed <= 0 {
        let desired = budget.int_at(schema, "status.desiredHealthy").unwrap_or(0);
        let healthy = budget.int_at(schema, "status.currentHealthy").unwrap_or(0);
        return Err(refused(format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"), 0));
    }
    budget.put(schema, "status.disruptionsAllowed", allowed - 1);
    let mut disrupted = budget
        .take(schema, "status.disruptedPods")
        .and_then(|value| if let Value::Map(map) = value { Some(map) } else { None })
        .unwrap_or_else(Map::default);
    disrupted.insert(intent.target.name.clone(), crate::meta::time(intent.now));
    budget.put(schema, "status.disruptedPods", Value::Map(disrupted));
    let key: Key = key.clone();
    extra.compares.push(Compare::Modified { key: key.clone(), is: *modified });
    extra.ops.push(commit::put(&budgets, key, budget.clone()));
    Ok(())
}

fn refused(message: String, retry_after_seconds: u32) -> Error {
    Error::TooManyRequests {
        message: "Cannot evict pod as it would violate the pod's disruption budget.".into(),
        retry_after_seconds,
        causes: vec![Cause { reason: "DisruptionBudget".into(), message, field: String::new() }],
    }
}
