//! Admission around the kind's own rules: what the plugins are told of a write, and where validation stands between them.

use crate::Error;
use crate::admission::service_account;
use crate::api::Api;
use crate::resource::{Context, Object};
use crate::stage::{Admission, Operation};
use crate::stage::{mutate as plugins_mutate, validate as plugins_validate};
use crate::status;
use crate::write::{Action, Admitted, Intent, Mutated, Outcome, Prepared, Proposed};
use tokio::sync::MutexGuard;

/// Waits for what a create needs before it can be decided: its turn to be counted, and the ServiceAccount of a new namespace.
pub async fn ready<'a>(api: &'a Api, intent: &Intent) -> Option<MutexGuard<'a, ()>> {
    let Action::Create(pod) = &intent.action else { return None };
    let resource = &intent.found.resource;
    if resource.plural == "pods" && resource.group.is_empty() && intent.target.subresource.is_empty() {
        let account = pod.str_at(&intent.found.served().shape.schema, "spec.serviceAccountName").unwrap_or_default();
        if matches!(account, "" | service_account::DEFAULT) {
            service_account::await_default(&api.store, &intent.target.namespace).await;
        }
    }
    api.turns.take(&api.store.snapshot(), &intent.target.namespace).await
}

/// Runs the mutating plugins, then fills in defaults for what they added.
pub fn mutate(api: &Api, intent: &Intent, mut proposed: Proposed) -> Result<Mutated, Error> {
    let mut outcome = std::mem::replace(&mut proposed.outcome, Outcome::Unchanged);
    if let Outcome::Put(tree) = &mut outcome
        && operation(intent, &proposed) != Operation::Delete
    {
        let mut extra = std::mem::take(&mut proposed.extra);
        plugins_mutate::mutate(tree, &admission(api, intent, &proposed), &mut extra)?;
        proposed.extra = extra;
        (intent.found.resource.rules.defaults)(tree, &intent.found.resource.storage.shape);
    }
    proposed.outcome = outcome;
    Ok(Mutated(proposed))
}

/// Validates by schema and rules, then by the validating plugins.
pub fn validate(api: &Api, intent: &Intent, Prepared(mut proposed): Prepared) -> Result<Admitted, Error> {
    let resource = &*intent.found.resource;
    let schema = &*resource.storage.shape.schema;
    let outcome = std::mem::replace(&mut proposed.outcome, Outcome::Unchanged);
    let deleting = operation(intent, &proposed) == Operation::Delete;
    // A binding changes what an update may not, and nothing else.
    let binding = matches!(intent.action, Action::Bind(_));
    if let Outcome::Put(tree) = &outcome
        && !deleting
        && !binding
    {
        let context = Context { user: &intent.user, now: intent.now, schema, subresource: &intent.target.subresource, resource };
        let old = proposed.old.as_ref().map(|old| Object { schema, tree: &old.tree });
        let mut errors = Vec::new();
        (resource.rules.validate)(Object { schema, tree }, old, &context, &mut errors);
        if !errors.is_empty() {
            return Err(status::invalid(resource, &proposed.name, errors));
        }
    }
    let mut extra = std::mem::take(&mut proposed.extra);
    let object = match &outcome {
        Outcome::Put(tree) if !deleting => Some(tree),
        _ => None,
    };
    plugins_validate::validate(object, &admission(api, intent, &proposed), &mut extra)?;
    proposed.warnings.append(&mut extra.warnings);
    proposed.extra = extra;
    proposed.outcome = outcome;
    Ok(Admitted(proposed))
}

fn operation(intent: &Intent, proposed: &Proposed) -> Operation {
    match (&intent.action, &proposed.old) {
        (Action::Delete(_) | Action::Evict(_), _) => Operation::Delete,
        // Binding a Pod is a create, of the Binding.
        (Action::Bind(_), _) => Operation::Create,
        (_, None) => Operation::Create,
        _ => Operation::Update,
    }
}

fn admission<'a>(api: &'a Api, intent: &'a Intent, proposed: &'a Proposed) -> Admission<'a> {
    let resource = &*intent.found.resource;
    Admission {
        user: &intent.user,
        target: &intent.target,
        name: &proposed.name,
        operation: operation(intent, proposed),
        resource,
        old: proposed.old.as_ref().map(|old| Object { schema: &resource.storage.shape.schema, tree: &old.tree }),
        dry_run: intent.dry_run(),
        now: intent.now,
        snapshot: &proposed.snapshot,
        auth: &api.auth,
        node_ports: &api.config.service_node_port_range,
    }
}
