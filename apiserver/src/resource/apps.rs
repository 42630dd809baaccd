//! Workloads of the apps group, ReplicationControllers and PodTemplates.

use super::rules::{keep, keep_all_but, map_at, raise_generation};
use super::validation::{Errors, immutable, messages, metadata, not_negative, pod_spec, required, selector, value};
use super::{Context, Object, Rules, Selectable, claim, pod, rules};
use apiserver_machinery::Str;
use apiserver_machinery::field::{Error, Path};
use apiserver_machinery::names;
use apiserver_machinery::tree::{Struct, Value};

pub static DEPLOYMENT: Rules = Rules {
    update: update_deployment,
    validate: validate_deployment,
    warnings: |new, old, _| template_warnings(new, old, "spec.template", true),
    generation: true,
    ..Rules::PLAIN
};

pub static REPLICA_SET: Rules = Rules {
    validate: validate_replica_set,
    warnings: |new, old, _| template_warnings(new, old, "spec.template", true),
    selectable: &[Selectable { label: "status.replicas", value: replicas }],
    generation: true,
    ..Rules::PLAIN
};

pub static REPLICATION_CONTROLLER: Rules = Rules {
    validate: validate_replication_controller,
    warnings: |new, old, _| template_warnings(new, old, "spec.template", true),
    selectable: &[Selectable { label: "status.replicas", value: replicas }],
    generation: true,
    ..Rules::PLAIN
};

pub static STATEFUL_SET: Rules = Rules {
    validate: validate_stateful_set,
    warnings: |new, old, _| template_warnings(new, old, "spec.template", false),
    generation: true,
    ..Rules::PLAIN
};

pub static DAEMON_SET: Rules = Rules {
    create: create_daemon_set,
    update: update_daemon_set,
    validate: validate_daemon_set,
    warnings: |new, old, _| template_warnings(new, old, "spec.template", false),
    generation: true,
    ..Rules::PLAIN
};

pub static CONTROLLER_REVISION: Rules = Rules { validate: validate_revision, ..Rules::PLAIN };

pub static POD_TEMPLATE: Rules = Rules {
    validate: validate_pod_template,
    warnings: |new, old, _| template_warnings(new, old, "template", false),
    generation: true,
    ..Rules::PLAIN
};

fn replicas(object: Object<'_>) -> Str {
    compact_str::format_compact!("{}", object.number("status.replicas"))
}

/// Of new objects, and of changed ones.
fn template_warnings(new: Object<'_>, old: Option<Object<'_>>, path: &str, names_pods: bool) -> Vec<String> {
    let mut found = Vec::new();
    if names_pods && old.is_none() {
        pod::label_warning(new, "Pod names and hostnames", &mut found);
    }
    if old.is_none_or(|old| old.get(path) != new.get(path)) {
        found.extend(pod::template_warnings(new.child(path), &format!("{path}.")));
    }
    found
}

/// A changed annotation is a new generation too; the status subresource leaves labels alone.
fn update_deployment(old: &Struct, new: &mut Struct, context: &Context<'_>) {
    rules::update(old, new, context);
    let schema = context.schema;
    if context.subresource == "status" {
        keep(old, new, schema, "metadata.labels");
    } else if old.at(schema, "metadata.annotations") != new.at(schema, "metadata.annotations") {
        raise_generation(old, new, schema);
    }
}

/// The generation of a DaemonSet's template, kept as an annotation since the field is gone.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn template_generation(daemon_set: &Struct, context: &Context<'_>) -> i64 {
    let object = Object { schema: context.schema, tree: daemon_set };
    object.annotation(TEMPLATE_GENERATION).and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn set_template_generation(daemon_set: &mut Struct, context: &Context<'_>, generation: i64) {
    if let Some(annotations) = map_at(daemon_set, context.schema, "metadata.annotations") {
        annotations.insert(TEMPLATE_GENERATION, Value::from(generation.to_string()));
    }
}

fn create_daemon_set(daemon_set: &mut Struct, context: &Context<'_>) {
    rules::create(daemon_set, context);
    let generation = template_generation(daemon_set, context).max(1);
    set_template_generation(daemon_set, context, generation);
}

fn update_daemon_set(old: &Struct, new: &mut Struct, context: &Context<'_>) {
    let schema = context.schema;
    if context.subresource == "status" {
        keep_all_but(old, new, schema, &["metadata", "status"]);
    } else {
        keep(old, new, schema, "status");
        let changed = old.at(schema, "spec.template") != new.at(schema, "spec.template");
        let generation = template_generation(old, context) + i64::from(changed);
        set_template_generation(new, context, generation);
    }
}

/// The template of a workload whose Pods run for ever.
fn lasting_template(spec: Object<'_>, found: Option<&apiserver_machinery::labels::Selector>, kind: &str, at: &Path<'_>, errors: &mut Errors) {
    let at = at.child("template");
    let Some(template) = spec.child("template") else {
        errors.push(Error::required(&at, ""));
        return;
    };
    if found.is_some_and(|found| !found.is_empty() && !selector::matches(found, template)) {
        let shown = value::shown(template, "metadata.labels");
        errors.push(Error::invalid(&at.child("metadata.labels"), shown, "`selector` does not match template `labels`"));
    }
    pod_spec::template(template, &at, errors);
    lasting(template, kind, &at, errors);
}

fn lasting(template: Object<'_>, kind: &str, at: &Path<'_>, errors: &mut Errors) {
    let policy = template.text("spec.restartPolicy");
    if policy != "Always" {
        errors.push(Error::not_supported(&at.child("spec.restartPolicy"), policy, &["Always"]));
    }
    if template.has("spec.activeDeadlineSeconds") {
        let detail = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.push(Error::forbidden(&at.child("spec.activeDeadlineSeconds"), detail));
    }
}

/// Counts in a status: none negative, none above the number of replicas.
fn counts(object: Object<'_>, bounded: &[&str], others: &[&str], ready: &str, errors: &mut Errors) {
    let at = Path::new("status");
    let Some(status) = object.child("status") else { return };
    for field in ["replicas"].iter().chain(bounded).chain(others) {
        not_negative(status, field, &at, errors);
    }
    for field in bounded {
        if status.number(field) > status.number("replicas") {
            errors.push(Error::invalid(&at.child(field), status.number(field), "cannot be greater than status.replicas"));
        }
    }
    if status.number("availableReplicas") > status.number("readyReplicas") {
        let number = status.number("availableReplicas");
        errors.push(Error::invalid(&at.child("availableReplicas"), number, format!("cannot be greater than {ready}")));
    }
}

fn not_decremented(new: Object<'_>, old: Object<'_>, errors: &mut Errors) {
    if let Some(before) = old.int("status.collisionCount")
        && new.number("status.collisionCount") < before
    {
        let number = new.number("status.collisionCount");
        errors.push(Error::invalid(&Path::new("status.collisionCount"), number, "cannot be decremented"));
    }
}

fn validate_deployment(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    if context.subresource == "status" {
        let others = ["observedGeneration", "unavailableReplicas", "terminatingReplicas", "collisionCount"];
        counts(new, &["updatedReplicas", "readyReplicas", "availableReplicas"], &others, "readyReplicas", errors);
        if let Some(old) = old {
            not_decremented(new, old, errors);
        }
        return;
    }
    let at = Path::new("spec");
    let Some(spec) = new.child("spec") else { return };
    not_negative(spec, "replicas", &at, errors);
    let found = selector::workload_selector(spec, &at, "deployment", errors);
    lasting_template(spec, found.as_ref(), "ReplicaSet", &at, errors);
    deployment_strategy(spec, &at.child("strategy"), errors);
    for field in ["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
        not_negative(spec, field, &at, errors);
    }
    if let Some(seconds) = spec.int("progressDeadlineSeconds")
        && seconds <= spec.number("minReadySeconds")
    {
        errors.push(Error::invalid(&at.child("progressDeadlineSeconds"), seconds, "must be greater than minReadySeconds"));
    }
    if let Some(old) = old {
        immutable(new, old, "spec.selector", &at.child("selector"), errors);
    }
}

fn deployment_strategy(spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let Some(strategy) = spec.child("strategy") else { return };
    let rolling = strategy.child("rollingUpdate");
    match (strategy.text("type"), rolling) {
        ("Recreate", Some(_)) => {
            let detail = "may not be specified when strategy `type` is 'Recreate'";
            errors.push(Error::forbidden(&at.child("rollingUpdate"), detail));
        }
        ("Recreate", None) => {}
        ("RollingUpdate", None) => {
            errors.push(Error::required(&at.child("rollingUpdate"), "this should be defaulted and never be nil"));
        }
        ("RollingUpdate", Some(rolling)) => {
            let at = at.child("rollingUpdate");
            let unavailable = count_or_percent(rolling, "maxUnavailable", &at, errors);
            let surge = count_or_percent(rolling, "maxSurge", &at, errors);
            if unavailable == 0 && surge == 0 {
                let shown = value::shown(rolling, "maxUnavailable");
                errors.push(Error::invalid(&at.child("maxUnavailable"), shown, "may not be 0 when `maxSurge` is 0"));
            }
            at_most_all(rolling, "maxUnavailable", &at, errors);
        }
        _ => errors.push(Error::not_supported(at, value::shown(spec, "strategy"), &["Recreate", "RollingUpdate"])),
    }
}

/// A number, or a percentage. Returns it, whichever it is.
pub(super) fn count_or_percent(object: Object<'_>, field: &str, at: &Path<'_>, errors: &mut Errors) -> i64 {
    match object.get(field) {
        Some(Value::String(text)) => {
            let found: Vec<String> = names::percent(text);
            messages(found, text, &at.child(field), errors);
            percentage(text).unwrap_or_default()
        }
        other => {
            let number = other.and_then(Value::as_int).unwrap_or_default();
            not_negative(object, field, at, errors);
            number
        }
    }
}

fn percentage(text: &str) -> Option<i64> {
    text.strip_suffix('%')?.parse().ok()
}

pub(super) fn at_most_all(object: Object<'_>, field: &str, at: &Path<'_>, errors: &mut Errors) {
    if let Some(Value::String(text)) = object.get(field)
        && percentage(text).is_some_and(|percent| percent > 100)
    {
        errors.push(Error::invalid(&at.child(field), text, "must not be greater than 100%"));
    }
}

fn validate_replica_set(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    if context.subresource == "status" {
        let bounded = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
        counts(new, &bounded, &["observedGeneration", "terminatingReplicas"], "readyReplicas", errors);
        return;
    }
    let at = Path::new("spec");
    let Some(spec) = new.child("spec") else { return };
    not_negative(spec, "replicas", &at, errors);
    not_negative(spec, "minReadySeconds", &at, errors);
    let found = selector::workload_selector(spec, &at, "deployment", errors);
    lasting_template(spec, found.as_ref(), "ReplicaSet", &at, errors);
    if let Some(old) = old {
        immutable(new, old, "spec.selector", &at.child("selector"), errors);
    }
}

fn validate_replication_controller(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    if context.subresource == "status" {
        counts(new, &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"], &["observedGeneration"], "readyReplicas", errors);
        return;
    }
    let at = Path::new("spec");
    let Some(spec) = new.child("spec") else {
        errors.push(Error::required(&at.child("selector"), ""));
        return;
    };
    not_negative(spec, "minReadySeconds", &at, errors);
    required(spec, "selector", &at, "", errors);
    not_negative(spec, "replicas", &at, errors);
    let wanted = apiserver_machinery::labels::Selector::of_labels(spec.pairs("selector"));
    lasting_template(spec, Some(&wanted), "ReplicationController", &at, errors);
}

fn validate_stateful_set(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    if old.is_none() && !new.name().is_empty() {
        let found: Vec<String> = names::dns1123_label(new.name());
        // A subdomain that is no label was let through above.
        if names::dns1123_subdomain(new.name()).is_empty() {
            messages(found, new.name(), &Path::new("metadata.name"), errors);
        }
    }
    if context.subresource == "status" {
        let bounded = ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
        counts(new, &bounded, &["observedGeneration", "collisionCount"], "status.readyReplicas", errors);
        if let Some(old) = old {
            not_decremented(new, old, errors);
        }
        return;
    }
    let at = Path::new("spec");
    let Some(spec) = new.child("spec") else { return };
    stateful_set_strategy(spec, &at, errors);
    for (index, template) in spec.items("volumeClaimTemplates").enumerate() {
        if let Some(wanted) = template.child("spec") {
            claim::spec(wanted, &at.child("volumeClaimTemplates").index(index).child("spec"), errors);
        }
    }
    for field in ["replicas", "minReadySeconds"] {
        not_negative(spec, field, &at, errors);
    }
    if let Some(start) = spec.int("ordinals.start")
        && start < 0
    {
        errors.push(Error::invalid(&at.child("ordinals.start"), start, super::validation::NOT_NEGATIVE));
    }
    let service = spec.text("serviceName");
    if !service.is_empty() && old.is_none_or(|old| old.text("spec.serviceName") != service) {
        messages(names::dns1123_label(service), service, &at.child("serviceName"), errors);
    }
    let found = selector::workload_selector(spec, &at, "statefulset", errors);
    stateful_set_template(spec, found.as_ref(), &at, errors);
    if let Some(old) = old {
        for field in ["selector", "volumeClaimTemplates", "serviceName", "podManagementPolicy"] {
            immutable(new, old, &format!("spec.{field}"), &at.child(field), errors);
        }
    }
}

fn stateful_set_strategy(spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    match spec.text("podManagementPolicy") {
        "" => errors.push(Error::required(&at.child("podManagementPolicy"), "")),
        "OrderedReady" | "Parallel" => {}
        other => {
            errors.push(Error::invalid(&at.child("podManagementPolicy"), other, "must be 'OrderedReady' or 'Parallel'"));
        }
    }
    let strategy_at = at.child("updateStrategy");
    let rolling_at = strategy_at.child("rollingUpdate");
    let rolling = spec.child("updateStrategy.rollingUpdate");
    match (spec.text("updateStrategy.type"), rolling) {
        ("", _) => errors.push(Error::required(&strategy_at, "")),
        ("OnDelete", Some(_)) => {
            let shown = value::shown(spec, "updateStrategy.rollingUpdate");
            errors.push(Error::invalid(&rolling_at, shown, "only allowed for updateStrategy 'RollingUpdate'"));
        }
        ("OnDelete" | "RollingUpdate", None) => {}
        ("RollingUpdate", Some(rolling)) => {
            not_negative(rolling, "partition", &rolling_at, errors);
            if rolling.has("maxUnavailable") {
                if count_or_percent(rolling, "maxUnavailable", &rolling_at, errors) == 0 {
                    let shown = value::shown(rolling, "maxUnavailable");
                    errors.push(Error::invalid(&rolling_at.child("maxUnavailable"), shown, "cannot be 0"));
                }
                at_most_all(rolling, "maxUnavailable", &rolling_at, errors);
            }
        }
        _ => {
            let shown = value::shown(spec, "updateStrategy");
            errors.push(Error::invalid(&strategy_at, shown, "must be 'RollingUpdate' or 'OnDelete'"));
        }
    }
    let retention_at = at.child("persistentVolumeClaimRetentionPolicy");
    if let Some(policy) = spec.child("persistentVolumeClaimRetentionPolicy") {
        for field in ["whenDeleted", "whenScaled"] {
            if !matches!(policy.text(field), "Retain" | "Delete") {
                errors.push(Error::not_supported(&retention_at.child(field), policy.text(field), &["Retain", "Delete"]));
            }
        }
    }
}

/// The template of a StatefulSet may mount the claims that each Pod gets; its hostname and subdomain are the controller's.
fn stateful_set_template(spec: Object<'_>, found: Option<&apiserver_machinery::labels::Selector>, at: &Path<'_>, errors: &mut Errors) {
    let schema = spec.schema;
    let Some(mut template) = spec.child("template").map(|template| template.tree.clone()) else { return };
    for field in ["spec.subdomain", "spec.hostname"] {
        template.take(schema, field);
    }
    let Some(ty) = schema.named("io.k8s.api.core.v1.Volume") else { return };
    let claims: Vec<&str> = spec.items("volumeClaimTemplates").map(|claim| claim.name()).collect();
    if !claims.is_empty() {
        let mut volumes: Vec<Value> = Vec::new();
        for name in &claims {
            let mut volume = Struct::new(ty);
            volume.put(schema, "name", *name);
            volume.put(schema, "persistentVolumeClaim.claimName", *name);
            volumes.push(volume.into());
        }
        let own = |value: &Value| value.as_struct().and_then(|volume| volume.str_at(schema, "name")).unwrap_or_default().to_owned();
        let others = template.list_at(schema, "spec.volumes").iter().filter(|volume| !claims.contains(&own(volume).as_str()));
        volumes.extend(others.cloned());
        template.put(schema, "spec.volumes", Value::List(volumes));
    }
    let at = at.child("template");
    let checked = Object { schema, tree: &template };
    if found.is_some_and(|found| !found.is_empty() && !selector::matches(found, checked)) {
        let shown = value::shown(checked, "metadata.labels");
        errors.push(Error::invalid(&at.child("metadata.labels"), shown, "`selector` does not match template `labels`"));
    }
    pod_spec::template(checked, &at, errors);
    lasting(checked, "StatefulSet", &at, errors);
}

fn validate_daemon_set(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    if context.subresource == "status" {
        let at = Path::new("status");
        if let Some(status) = new.child("status") {
            for field in [
                "currentNumberScheduled",
                "numberMisscheduled",
                "desiredNumberScheduled",
                "numberReady",
                "observedGeneration",
                "updatedNumberScheduled",
                "numberAvailable",
                "numberUnavailable",
                "collisionCount",
            ] {
                not_negative(status, field, &at, errors);
            }
        }
        if let Some(old) = old {
            not_decremented(new, old, errors);
        }
        return;
    }
    let at = Path::new("spec");
    let Some(spec) = new.child("spec") else { return };
    if let Some(old) = old {
        immutable(new, old, "spec.selector", &at.child("selector"), errors);
    }
    let found = selector::workload_selector(spec, &at, "daemonset", errors);
    lasting_template(spec, found.as_ref(), "DaemonSet", &at, errors);
    not_negative(spec, "minReadySeconds", &at, errors);
    daemon_set_strategy(spec, &at.child("updateStrategy"), errors);
    not_negative(spec, "revisionHistoryLimit", &at, errors);
}

fn daemon_set_strategy(spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    match (spec.text("updateStrategy.type"), spec.child("updateStrategy.rollingUpdate")) {
        ("OnDelete", _) => {}
        ("RollingUpdate", None) => errors.push(Error::required(&at.child("rollingUpdate"), "")),
        ("RollingUpdate", Some(rolling)) => {
            let at = at.child("rollingUpdate");
            let unavailable = count_or_percent(rolling, "maxUnavailable", &at, errors);
            let surge = count_or_percent(rolling, "maxSurge", &at, errors);
            at_most_all(rolling, "maxUnavailable", &at, errors);
            at_most_all(rolling, "maxSurge", &at, errors);
            match (unavailable != 0, surge != 0) {
                (true, true) => {
                    let shown = value::shown(rolling, "maxSurge");
                    errors.push(Error::invalid(&at.child("maxSurge"), shown, "may not be set when maxUnavailable is non-zero"));
                }
                (false, false) => errors.push(Error::required(&at.child("maxUnavailable"), "cannot be 0 when maxSurge is 0")),
                _ => {}
            }
        }
        _ => errors.push(Error::not_supported(at, value::shown(spec, "updateStrategy"), &["RollingUpdate", "OnDelete"])),
    }
}

fn validate_revision(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    let revision = new.number("revision");
    if revision < 0 {
        errors.push(Error::invalid(&Path::new("revision"), revision, super::validation::NOT_NEGATIVE));
    }
    let at = Path::new("data");
    match (new.get("data"), old) {
        (_, Some(old)) => immutable(new, old, "data", &at, errors),
        (None | Some(Value::Null), None) => errors.push(Error::required(&at, "data is mandatory")),
        (Some(Value::Map(_) | Value::Struct(_) | Value::Raw(_)), None) => {}
        (Some(_), None) => errors.push(Error::required(&at, "data must be a valid JSON object")),
    }
}

fn validate_pod_template(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    let at = Path::new("template");
    if let Some(template) = new.child("template") {
        pod_spec::template(template, &at, errors);
    }
}
