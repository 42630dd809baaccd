//! Pods: status at create, what their subresources may change, and the few fields of a spec that may change at all.

use super::rules::{each, keep, keep_all_but, keep_metadata};
use super::validation::{Errors, container, ip, messages, metadata, pod_spec, value};
use super::{Context, Object, Rules, Selectable, conditions, pod_resources};
use apiserver_machinery::Str;
use apiserver_machinery::field::{Error, Path};
use apiserver_machinery::names;
use apiserver_machinery::schema::{Kind, Schema};
use apiserver_machinery::tree::{Struct, Value};

pub static RULES: Rules = Rules {
    create,
    update,
    validate,
    warnings,
    selectable: &[
        Selectable { label: "spec.nodeName", value: |pod| pod.text("spec.nodeName").into() },
        Selectable { label: "spec.restartPolicy", value: |pod| pod.text("spec.restartPolicy").into() },
        Selectable { label: "spec.schedulerName", value: |pod| pod.text("spec.schedulerName").into() },
        Selectable { label: "spec.serviceAccountName", value: |pod| pod.text("spec.serviceAccountName").into() },
        Selectable { label: "spec.hostNetwork", value: |pod| boolean(pod.flag("spec.hostNetwork")) },
        Selectable { label: "status.phase", value: |pod| pod.text("status.phase").into() },
        Selectable { label: "status.podIP", value: pod_ip },
        Selectable { label: "status.nominatedNodeName", value: |pod| pod.text("status.nominatedNodeName").into() },
    ],
    generation: true,
    grace_seconds: Some(grace_seconds),
    returns_deleted: true,
    ..Rules::PLAIN
};

pub(super) fn boolean(truth: bool) -> Str {
    Str::const_new(if truth { "true" } else { "false" })
}

fn pod_ip(pod: Object<'_>) -> Str {
    pod.items("status.podIPs").next().map(|ip| ip.text("ip").into()).unwrap_or_default()
}

/// A Pod that no node has, or that has ended, is deleted at once.
fn grace_seconds(pod: Object<'_>, asked: Option<i64>) -> i64 {
    let seconds = asked.or_else(|| pod.int("spec.terminationGracePeriodSeconds")).unwrap_or_default();
    if pod.text("spec.nodeName").is_empty() || matches!(pod.text("status.phase"), "Failed" | "Succeeded") {
        return 0;
    }
    if seconds < 0 { 1 } else { seconds }
}

fn create(pod: &mut Struct, context: &Context<'_>) {
    let schema = context.schema;
    pod.take(schema, "status");
    pod.put(schema, "status.phase", "Pending");
    if !pod.list_at(schema, "spec.schedulingGates").is_empty() {
        conditions::set_gated(pod, schema, context.now);
    }
    label_keys(pod, schema);
    pod_resources::default_pod_level(pod, schema);
    let qos = pod_resources::qos(Object { schema, tree: pod });
    pod.put(schema, "status.qosClass", qos);
}

/// Selectors get the Pod's own values of the keys in matchLabelKeys and mismatchLabelKeys.
fn label_keys(pod: &mut Struct, schema: &Schema) {
    let labels = pod.at(schema, "metadata.labels").and_then(Value::as_map).cloned().unwrap_or_default();
    let apply = |term: &mut Struct| {
        for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
            let keys: Vec<Str> = term.list_at(schema, field).iter().filter_map(Value::as_str).map(Str::from).collect();
            for key in keys {
                if let Some(value) = labels.get(&key) {
                    add_expression(term, schema, &key, operator, value.clone());
                }
            }
        }
    };
    for affinity in ["podAffinity", "podAntiAffinity"] {
        let path = format!("spec.affinity.{affinity}.requiredDuringSchedulingIgnoredDuringExecution");
        each(pod, schema, &path, apply);
        let path = format!("spec.affinity.{affinity}.preferredDuringSchedulingIgnoredDuringExecution");
        each(pod, schema, &path, |weighted| {
            if let Some(Value::Struct(term)) = weighted.at_mut(schema, "podAffinityTerm") {
                apply(term);
            }
        });
    }
    each(pod, schema, "spec.topologySpreadConstraints", apply);
}

fn add_expression(term: &mut Struct, schema: &Schema, key: &str, operator: &str, value: Value) {
    let Some(Value::Struct(selector)) = term.at_mut(schema, "labelSelector") else { return };
    let Some(Kind::List(list)) = schema.get(selector.ty).field("matchExpressions").map(|field| &field.kind) else { return };
    let Kind::Struct(ty) = list.item else { return };
    let mut expression = Struct::new(ty);
    expression.put(schema, "key", key);
    expression.put(schema, "operator", operator);
    expression.put(schema, "values", Value::List(vec![value]));
    match selector.at_mut(schema, "matchExpressions") {
        Some(Value::List(items)) => items.push(expression.into()),
        _ => {
            selector.put(schema, "matchExpressions", Value::List(vec![expression.into()]));
        }
    }
}

fn update(old: &Struct, new: &mut Struct, context: &Context<'_>) {
    let schema = context.schema;
    match context.subresource {
        "" => {
            keep(old, new, schema, "status");
            keep_pod_level(old, new, schema);
        }
        "status" => update_status(old, new, schema),
        "ephemeralcontainers" => {
            let wanted = new.take(schema, "spec.ephemeralContainers");
            keep_all_but(old, new, schema, &["metadata"]);
            keep_metadata(old, new, schema);
            match wanted {
                Some(wanted) => new.put(schema, "spec.ephemeralContainers", wanted),
                None => new.take(schema, "spec.ephemeralContainers").map(drop),
            };
        }
        "resize" => {
            resize(old, new, schema);
            keep_pod_level(old, new, schema);
            pod_resources::default_pod_level(new, schema);
        }
        _ => {}
    }
}

/// A client that does not know of Pod-level resources does not take them away.
fn keep_pod_level(old: &Struct, new: &mut Struct, schema: &Schema) {
    if new.at(schema, "spec.resources").is_none() {
        keep(old, new, schema, "spec.resources");
    }
}

fn update_status(old: &Struct, new: &mut Struct, schema: &Schema) {
    keep_all_but(old, new, schema, &["metadata", "status"]);
    keep(old, new, schema, "metadata.ownerReferences");
    for field in ["qosClass", "resourceClaimStatuses", "extendedResourceClaimStatus", "nodeAllocatableResourceClaimStatuses"] {
        let path = format!("status.{field}");
        if new.at(schema, &path).is_none_or(value::is_empty) {
            keep(old, new, schema, &path);
        }
    }
    if new.int_at(schema, "status.observedGeneration").unwrap_or_default() == 0 {
        keep(old, new, schema, "status.observedGeneration");
    }
    // A condition without a generation has that of the one before it.
    let old = Object { schema, tree: old };
    let mut generations: Vec<(&str, i64)> = old.items("status.conditions").map(|own| (own.text("type"), own.number("observedGeneration"))).collect();
    each(new, schema, "status.conditions", |condition| {
        let ty = condition.str_at(schema, "type").unwrap_or_default();
        let Some(at) = generations.iter().position(|(own, _)| *own == ty) else { return };
        let (_, generation) = generations.remove(at);
        if condition.int_at(schema, "observedGeneration").unwrap_or_default() == 0 && generation != 0 {
            condition.put(schema, "observedGeneration", generation);
        }
    });
}

/// Of a resize, only resources and resize policies are taken; containers that do not pair up are left for validation to refuse.
fn resize(old: &Struct, new: &mut Struct, schema: &Schema) {
    let whole = new.take(schema, "spec.resources");
    let lists = ["spec.containers", "spec.initContainers"].map(|path| (path, new.take(schema, path)));
    let paired = lists.iter().all(|(path, list)| {
        let wanted = list.as_ref().and_then(Value::as_list).unwrap_or_default();
        old.list_at(schema, path).len() == wanted.len()
    });
    keep_all_but(old, new, schema, &["metadata"]);
    keep_metadata(old, new, schema);
    match whole {
        Some(whole) => new.put(schema, "spec.resources", whole),
        None => new.take(schema, "spec.resources").map(drop),
    };
    for (path, list) in lists {
        let Some(Value::List(wanted)) = list else {
            if !paired {
                new.take(schema, path);
            }
            continue;
        };
        let name = |value: &Value| value.as_struct().and_then(|own| own.str_at(schema, "name")).map(Str::from);
        let same_names = paired && wanted.iter().zip(old.list_at(schema, path)).all(|(a, b)| name(a) == name(b));
        if !same_names {
            new.put(schema, path, Value::List(wanted));
            continue;
        }
        let mut wanted = wanted.into_iter();
        each(new, schema, path, |container| {
            let Some(Value::Struct(mut wanted)) = wanted.next() else { return };
            for field in ["resources", "resizePolicy"] {
                match wanted.take(schema, field) {
                    Some(value) => container.put(schema, field, value),
                    None => container.take(schema, field).map(drop),
                };
            }
        });
    }
}

fn validate(pod: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(pod, old, context, errors);
    match (context.subresource, old) {
        ("status", Some(old)) => {
            annotation_updates(pod, old, errors);
            status(pod, old, errors);
        }
        (_, None) => {
            whole(pod, errors);
            created(pod, errors);
        }
        ("ephemeralcontainers", Some(old)) => {
            whole(pod, errors);
            annotation_updates(pod, old, errors);
            ephemeral(pod, old, errors);
        }
        ("resize", Some(old)) => {
            whole(pod, errors);
            resized(pod, old, errors);
        }
        (_, Some(old)) => {
            whole(pod, errors);
            annotation_updates(pod, old, errors);
            changed(pod, old, errors);
        }
    }
}

/// Metadata and spec, whatever the change.
fn whole(pod: Object<'_>, errors: &mut Errors) {
    let (Some(meta), Some(spec)) = (pod.child("metadata"), pod.child("spec")) else {
        errors.push(Error::required(&Path::new("spec.containers"), ""));
        return;
    };
    pod_spec::annotations(meta, spec, &Path::new("metadata.annotations"), errors);
    let at = Path::new("spec");
    pod_spec::validate(spec, pod_spec::Owner::Pod { metadata: meta }, &at, errors);
    if spec.text("serviceAccountName").is_empty() {
        for (index, volume) in spec.items("volumes").enumerate() {
            for (source_index, source) in volume.items("projected.sources").enumerate() {
                if source.has("serviceAccountToken") {
                    let at = at.child("volumes");
                    let at = at.index(index);
                    let at = at.child("projected.sources");
                    errors.push(Error::forbidden(
                        &at.index(source_index).child("serviceAccountToken"),
                        "must not be specified when serviceAccountName is not set",
                    ));
                }
            }
        }
    }
    super::validation::not_negative(spec, "terminationGracePeriodSeconds", &at, errors);
    for list in ["containers", "initContainers"] {
        for (index, own) in spec.items(list).enumerate() {
            container::image_padding(own, &at.child(list).index(index), errors);
        }
    }
}

fn created(pod: Object<'_>, errors: &mut Errors) {
    if !pod.list("spec.ephemeralContainers").is_empty() {
        errors.push(Error::forbidden(&Path::new("spec.ephemeralContainers"), "cannot be set on create"));
    }
    if !pod.text("spec.nodeName").is_empty() && !pod.list("spec.schedulingGates").is_empty() {
        errors.push(Error::forbidden(&Path::new("spec.nodeName"), "cannot be set until all schedulingGates have been cleared"));
    }
}

fn annotation_updates(new: Object<'_>, old: Object<'_>, errors: &mut Errors) {
    const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
    const MIRROR: &str = "kubernetes.io/config.mirror";
    let at = Path::new("metadata.annotations");
    for (key, value) in old.pairs("metadata.annotations") {
        if new.annotation(key) == Some(value) {
            continue;
        }
        if key.starts_with(APP_ARMOR) {
            errors.push(Error::forbidden(&at.key(key), "may not remove or update AppArmor annotations"));
        }
        if key == MIRROR {
            errors.push(Error::forbidden(&at.key(key), "may not remove or update mirror pod annotation"));
        }
    }
    for (key, _) in new.pairs("metadata.annotations").filter(|(key, _)| old.annotation(key).is_none()) {
        if key.starts_with(APP_ARMOR) {
            errors.push(Error::forbidden(&at.key(key), "may not add AppArmor annotations"));
        }
        if key == MIRROR {
            errors.push(Error::forbidden(&at.key(key), "may not add mirror pod annotation"));
        }
    }
}

const UPDATABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,\
     `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
     `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

fn changed(new: Object<'_>, old: Object<'_>, errors: &mut Errors) {
    let at = Path::new("spec");
    for list in ["containers", "initContainers"] {
        let path = format!("spec.{list}");
        if new.list(&path).len() != old.list(&path).len() {
            errors.push(Error::forbidden(&at.child(list), "pod updates may not add or remove containers"));
            return;
        }
    }
    if !deadline(new, old, errors) {
        return;
    }
    tolerations(new, old, errors);
    gates(new, old, errors);
    if new.get("spec") == old.get("spec") {
        return;
    }
    // What may change is put back to what it was; then nothing may be left that differs.
    let schema = new.schema;
    let mut rest = new.tree.clone();
    for list in ["spec.containers", "spec.initContainers"] {
        let mut images = old.items(list).map(|own| own.get("image").cloned());
        each(&mut rest, schema, list, |own| {
            match images.next().flatten() {
                Some(image) => own.put(schema, "image", image),
                None => own.take(schema, "image").map(drop),
            };
        });
    }
    for path in ["spec.activeDeadlineSeconds", "spec.schedulingGates", "spec.tolerations"] {
        keep(old.tree, &mut rest, schema, path);
    }
    if old.int("spec.terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) && new.int("spec.terminationGracePeriodSeconds") == Some(1) {
        keep(old.tree, &mut rest, schema, "spec.terminationGracePeriodSeconds");
    }
    if !old.list("spec.schedulingGates").is_empty() {
        gated_placement(new, old, errors);
        keep(old.tree, &mut rest, schema, "spec.nodeSelector");
        node_affinity_back(old.tree, &mut rest, schema);
    }
    let rest = Object { schema, tree: &rest };
    if rest.get("spec") != old.get("spec") {
        errors.push(Error::forbidden(&at, format!("{UPDATABLE}\n{}", differing(rest, old, "spec"))));
    }
}

/// The names of the fields below a path that differ, for a message.
fn differing(new: Object<'_>, old: Object<'_>, path: &str) -> String {
    let (Some(new), Some(old)) = (new.child(path), old.child(path)) else { return String::new() };
    let fields = new.ty().fields.iter().zip(0u16..).filter(|(_, number)| new.tree.get(*number) != old.tree.get(*number));
    let line = |field: &str, sign: char, side: Object<'_>| format!("{sign} {path}.{field}: {}\n", shown_text(side, field));
    fields.map(|(field, _)| line(&field.name, '-', old) + &line(&field.name, '+', new)).collect()
}

fn shown_text(object: Object<'_>, field: &str) -> String {
    let mut out = Vec::new();
    match object.get(field) {
        Some(value) => apiserver_machinery::json::encode_value(object.schema, value, &mut out),
        None => out.extend_from_slice(b"null"),
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The deadline may come nearer, never go further or away. Returns whether the rest is worth checking.
fn deadline(new: Object<'_>, old: Object<'_>, errors: &mut Errors) -> bool {
    let at = Path::new("spec.activeDeadlineSeconds");
    match (new.int("spec.activeDeadlineSeconds"), old.int("spec.activeDeadlineSeconds")) {
        (Some(seconds), _) if !(0..=i64::from(i32::MAX)).contains(&seconds) => {
            errors.push(Error::invalid(&at, seconds, names::inclusive_range_message(0, i64::from(i32::MAX))));
            false
        }
        (Some(seconds), Some(before)) if before < seconds => {
            errors.push(Error::invalid(&at, seconds, "must be less than or equal to previous value"));
            false
        }
        (None, Some(_)) => {
            let shown = value::shown(new, "spec.activeDeadlineSeconds");
            errors.push(Error::invalid(&at, shown, "must not update from a positive integer to nil value"));
            true
        }
        _ => true,
    }
}

fn tolerations(new: Object<'_>, old: Object<'_>, errors: &mut Errors) {
    let alike = |a: Object<'_>, b: Object<'_>| ["key", "operator", "value", "effect"].iter().all(|field| a.text(field) == b.text(field));
    let kept = |own: Object<'_>| new.items("spec.tolerations").any(|other| alike(own, other));
    if !old.items("spec.tolerations").all(kept) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(Error::forbidden(&Path::new("spec.tolerations"), detail));
    }
}

fn gates(new: Object<'_>, old: Object<'_>, errors: &mut Errors) {
    let at = Path::new("spec.schedulingGates");
    for (index, gate) in new.items("spec.schedulingGates").enumerate() {
        let name = gate.text("name");
        if !old.items("spec.schedulingGates").any(|own| own.text("name") == name) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.push(Error::forbidden(&at.index(index).child("name"), detail));
        }
    }
}

const REQUIRED_TERMS: &str = "requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";

/// A gated Pod may be bound to fewer nodes, never to more.
fn gated_placement(new: Object<'_>, old: Object<'_>, errors: &mut Errors) {
    let lost = old
        .pairs("spec.nodeSelector")
        .any(|(key, value)| new.map("spec.nodeSelector").and_then(|map| map.get(key)).and_then(Value::as_str) != Some(value));
    if lost {
        let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.push(Error::invalid(&Path::new("spec.nodeSelector"), value::shown(new, "spec.nodeSelector"), detail));
    }
    let path = format!("spec.affinity.nodeAffinity.{REQUIRED_TERMS}");
    let at = Path::new(&path);
    let before = old.items(&path).count();
    if before == 0 {
        return;
    }
    if new.list(&path).len() != before {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        errors.push(Error::invalid(&at, value::shown(new, &path), detail));
        return;
    }
    for (index, (term, own)) in new.items(&path).zip(old.items(&path)).enumerate() {
        let only_added = ["matchExpressions", "matchFields"].iter().all(|list| {
            let (now, was) = (term.list(list), own.list(list));
            now.len() >= was.len() && now[..was.len()] == *was
        });
        let was_empty = own.list("matchExpressions").is_empty() && own.list("matchFields").is_empty();
        let is_empty = term.list("matchExpressions").is_empty() && term.list("matchFields").is_empty();
        if !only_added || was_empty != is_empty {
            let shown = value::of(term, &term.tree.clone().into());
            errors.push(Error::invalid(&at.index(index), shown, "only additions are allowed (no mutations or deletions)"));
        }
    }
}

fn node_affinity_back(old: &Struct, rest: &mut Struct, schema: &Schema) {
    match old.at(schema, "spec.affinity.nodeAffinity") {
        Some(affinity) => {
            rest.put(schema, "spec.affinity.nodeAffinity", affinity.clone());
        }
        None => {
            rest.take(schema, "spec.affinity.nodeAffinity");
            let bare = rest.at(schema, "spec.affinity").and_then(Value::as_struct).is_some_and(Struct::is_empty);
            if bare && old.at(schema, "spec.affinity").is_none() {
                rest.take(schema, "spec.affinity");
            }
        }
    }
}

fn ephemeral(new: Object<'_>, old: Object<'_>, errors: &mut Errors) {
    let at = Path::new("spec.ephemeralContainers");
    for own in old.items("spec.ephemeralContainers") {
        let name = own.text("name");
        match new.items("spec.ephemeralContainers").find(|other| other.text("name") == name) {
            None => errors.push(Error::forbidden(&at, format!("existing ephemeral containers \"{name}\" may not be removed\n"))),
            Some(other) if other.tree != own.tree => {
                errors.push(Error::forbidden(&at, format!("existing ephemeral containers \"{name}\" may not be changed\n")));
            }
            Some(_) => {}
        }
    }
}

fn resized(new: Object<'_>, old: Object<'_>, errors: &mut Errors) {
    let at = Path::new("spec");
    if old.annotation("kubernetes.io/config.mirror").is_some() {
        errors.push(Error::forbidden(&Path::new(""), "static pods cannot be resized"));
        return;
    }
    if old.text("spec.os.name") == "windows" {
        errors.push(Error::forbidden(&Path::new(""), "windows pods cannot be resized"));
        return;
    }
    let was = match old.text("status.qosClass") {
        "" => pod_resources::qos(old),
        class => class,
    };
    if was != pod_resources::qos(new) {
        let detail = "Pod QOS Class may not change as a result of resizing";
        errors.push(Error::invalid(&at, new.text("status.qosClass"), detail));
    }
    let running = old.items("status.containerStatuses").find(|status| status.has("state.running"));
    if running.is_some_and(|status| !status.has("resources")) {
        errors.push(Error::forbidden(&at, "Pod running on node without support for resize"));
    }
    for list in ["containers", "initContainers"] {
        let path = format!("spec.{list}");
        if new.list(&path).len() != old.list(&path).len() {
            errors.push(Error::forbidden(&at.child(list), format!("{list} may not be added or removed on resize")));
            return;
        }
        for (index, (now, was)) in new.items(&path).zip(old.items(&path)).enumerate() {
            if now.text("name") != was.text("name") {
                let at = at.child(list);
                let detail = format!("{list} may not be renamed or reordered on resize");
                errors.push(Error::forbidden(&at.index(index).child("name"), detail));
                return;
            }
        }
    }
    for list in ["initContainers", "containers"] {
        for (index, (now, was)) in new.items(&format!("spec.{list}")).zip(old.items(&format!("spec.{list}"))).enumerate() {
            let at_list = at.child(list);
            let at_container = at_list.index(index);
            removed(now, was, &at_container.child("resources"), "resource", errors);
            if other_than_compute(now, was) {
                let (at, detail) = match list {
                    "containers" => (at, "only cpu and memory resources are mutable"),
                    _ => (at_container, "only cpu and memory resources for init or sidecar containers are mutable"),
                };
                errors.push(Error::forbidden(&at, detail));
            }
        }
    }
    if let (Some(now), Some(was)) = (new.child("spec"), old.child("spec")) {
        removed(now, was, &at.child("resources"), "pod-level resource", errors);
        if was.has("resources") && other_than_compute(now, was) {
            errors.push(Error::forbidden(&at, "only cpu and memory resources are mutable at pod-level"));
        }
    }
}

fn removed(now: Object<'_>, was: Object<'_>, at: &Path<'_>, what: &str, errors: &mut Errors) {
    for list in ["requests", "limits"] {
        let path = format!("resources.{list}");
        if was.entries(&path).any(|(name, _)| now.map(&path).is_none_or(|map| map.get(name).is_none())) {
            errors.push(Error::forbidden(&at.child(list), format!("{what} {list} cannot be removed")));
        }
    }
}

/// Whether resources other than CPU and memory changed.
fn other_than_compute(now: Object<'_>, was: Object<'_>) -> bool {
    let others = |side: Object<'_>, path: &str| -> Vec<(String, Value)> {
        let entries = side.entries(path).filter(|(name, _)| !matches!(*name, "cpu" | "memory"));
        entries.map(|(name, value)| (name.to_owned(), value.clone())).collect()
    };
    ["resources.requests", "resources.limits"].iter().any(|path| others(now, path) != others(was, path))
        || now.get("resources.claims") != was.get("resources.claims")
}

fn status(new: Object<'_>, old: Object<'_>, errors: &mut Errors) {
    let at = Path::new("status");
    for (index, condition) in new.items("status.conditions").enumerate() {
        let at = at.child("conditions");
        let at = at.index(index);
        if condition.number("observedGeneration") < 0 {
            let number = condition.number("observedGeneration");
            errors.push(Error::invalid(&at.child("observedGeneration"), number, "must be a non-negative integer"));
        }
        let ty = condition.text("type");
        if !matches!(ty, "PodScheduled" | "Ready" | "Initialized") {
            messages(names::qualified_name(ty), ty, &at.child("Type"), errors);
        }
    }
    let nominated = new.text("status.nominatedNodeName");
    if !nominated.is_empty() && nominated != old.text("status.nominatedNodeName") {
        messages(names::dns1123_subdomain(nominated), nominated, &at.child("nominatedNodeName"), errors);
        if !old.text("spec.nodeName").is_empty() {
            errors.push(Error::forbidden(&at.child("nominatedNodeName"), "may not be set on pods that are already bound to a node"));
        }
    }
    if new.number("status.observedGeneration") < 0 {
        let number = new.number("status.observedGeneration");
        errors.push(Error::invalid(&at.child("observedGeneration"), number, "must be a non-negative integer"));
    }
    if new.text("status.qosClass") != old.text("status.qosClass") {
        errors.push(Error::invalid(&at.child("qosClass"), new.text("status.qosClass"), super::validation::IMMUTABLE));
    }
    for (list, containers) in [("containerStatuses", "spec.containers"), ("initContainerStatuses", "spec.initContainers")] {
        transitions(new, old, list, Some(containers), &at, errors);
    }
    transitions(new, old, "ephemeralContainerStatuses", None, &at, errors);
    addresses(new, old, "podIP", "podIPs", &at, errors);
    addresses(new, old, "hostIP", "hostIPs", &at, errors);
    let mut seen: Vec<&str> = Vec::new();
    for (index, claim) in new.items("status.resourceClaimStatuses").enumerate() {
        let at = at.child("resourceClaimStatuses");
        let at = at.index(index);
        let name = claim.text("name");
        if !new.items("spec.resourceClaims").any(|own| own.text("name") == name) {
            errors.push(Error::invalid(&at.child("name"), name, "must match the name of an entry in `spec.resourceClaims`"));
        }
        if seen.contains(&name) {
            errors.push(Error::duplicate(&at.child("name"), name));
        }
        seen.push(name);
    }
}

/// A container that ended and may not start again stays ended.
fn transitions(new: Object<'_>, old: Object<'_>, list: &str, containers: Option<&str>, at: &Path<'_>, errors: &mut Errors) {
    let path = format!("status.{list}");
    // Where any container may restart all, every ended one may run again.
    if old.items("spec.containers").chain(old.items("spec.initContainers")).any(restarts_all) && containers.is_some() {
        return;
    }
    for (index, was) in old.items(&path).enumerate() {
        let Some(ended) = was.child("state.terminated") else { continue };
        let name = was.text("name");
        let Some(now) = new.items(&path).find(|now| now.text("name") == name) else { continue };
        if now.has("state.terminated") {
            continue;
        }
        let container = containers.and_then(|list| old.items(list).find(|own| own.text("name") == name));
        if !container.is_some_and(|own| restarts(own, old.text("spec.restartPolicy"), ended.number("exitCode"))) {
            let at = at.child(list);
            errors.push(Error::forbidden(&at.index(index).child("state"), "may not be transitioned to non-terminated state"));
        }
    }
}

fn restarts_all(container: Object<'_>) -> bool {
    container.items("restartPolicyRules").any(|rule| rule.text("action") == "RestartAllContainers")
}

/// Whether a container that ended with this code runs again.
fn restarts(container: Object<'_>, pod_policy: &str, code: i64) -> bool {
    for rule in container.items("restartPolicyRules") {
        let listed = rule.list("exitCodes.values").iter().any(|value| value.as_int() == Some(code));
        if (rule.text("exitCodes.operator") == "In") == listed && rule.has("exitCodes") {
            return true;
        }
    }
    match container.text_opt("restartPolicy").unwrap_or(pod_policy) {
        "Always" => true,
        "OnFailure" => code != 0,
        _ => false,
    }
}

fn addresses(new: Object<'_>, old: Object<'_>, one: &str, all: &str, at: &Path<'_>, errors: &mut Errors) {
    let (one_path, all_path) = (format!("status.{one}"), format!("status.{all}"));
    let at = at.child(all);
    let mut families = (0, 0);
    for (index, item) in new.items(&all_path).enumerate() {
        let text = item.text("ip");
        if !old.items(&all_path).any(|own| own.text("ip") == text) {
            ip::address(text, &at.index(index), errors);
        }
        if text.contains(':') { families.1 += 1 } else { families.0 += 1 }
    }
    if families.0 > 1 || families.1 > 1 {
        let detail = "may specify no more than one IP for each IP family";
        errors.push(Error::invalid(&at, value::shown(new, &all_path), detail));
    }
    let first = new.items(&all_path).next().map(|item| item.text("ip"));
    if let Some(first) = first
        && first != new.text(&one_path)
    {
        errors.push(Error::invalid(&at.index(0).child("ip"), first, format!("must be equal to `{one}`")));
    }
}

fn warnings(pod: Object<'_>, old: Option<Object<'_>>, _: &Context<'_>) -> Vec<String> {
    if old.is_some() {
        return Vec::new();
    }
    let mut found = Vec::new();
    label_warning(pod, "the Pod's hostname", &mut found);
    found.extend(spec_warnings(pod, ""));
    found
}

/// A name that becomes (part of) a hostname had better be a label.
pub(super) fn label_warning(object: Object<'_>, used_in: &str, found: &mut Vec<String>) {
    let faults: Vec<String> = names::dns1123_label(object.name());
    if !faults.is_empty() {
        found.push(format!(
            "metadata.name: this is used in {used_in}, which can result in surprising behavior; a DNS label is recommended: [{}]",
            faults.join(" ")
        ));
    }
}

const DEPRECATED_VOLUMES: [(&str, &str); 9] = [
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// Warnings about a Pod or a template in it; `prefix` is its path with a final dot.
pub(super) fn spec_warnings(owner: Object<'_>, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (index, volume) in owner.items("spec.volumes").enumerate() {
        for (field, text) in DEPRECATED_VOLUMES.iter().filter(|(field, _)| volume.has(field)) {
            let shown = if *field == "storageos" { "storageOS" } else { field };
            found.push(format!("{prefix}spec.volumes[{index}].{shown}: {text}"));
        }
        if volume.has("projected") && volume.list("projected.sources").is_empty() {
            found.push(format!("volume {:?} (Projected) has no sources provided", volume.text("name")));
        }
    }
    for (index, constraint) in owner.items("spec.topologySpreadConstraints").enumerate() {
        if !constraint.has("labelSelector") {
            found.push(format!("{prefix}spec.topologySpreadConstraints[{index}].labelSelector: a null labelSelector results in matching no pod"));
        }
    }
    let secrets: Vec<&str> = owner.items("spec.imagePullSecrets").map(|secret| secret.text("name")).collect();
    for (index, name) in secrets.iter().enumerate() {
        if name.is_empty() {
            found.push(format!("{prefix}spec.imagePullSecrets[{index}].name: invalid empty name \"\""));
        } else if secrets[..index].contains(name) {
            found.push(format!("{prefix}spec.imagePullSecrets[{index}].name: duplicate name {name:?}"));
        }
    }
    for list in ["initContainers", "containers"] {
        for (index, own) in owner.items(&format!("spec.{list}")).enumerate() {
            env_warnings(own, &format!("{prefix}spec.{list}[{index}]"), &mut found);
        }
    }
    if owner.int("spec.terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        found.push(format!("{prefix}spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    found
}

fn env_warnings(own: Object<'_>, at: &str, found: &mut Vec<String>) {
    let names: Vec<(&str, bool)> =
        own.items("env").map(|item| (item.text("name"), item.text("value").contains(&format!("$({})", item.text("name"))))).collect();
    for (index, (name, refers_to_itself)) in names.iter().enumerate() {
        if !refers_to_itself && names[..index].iter().any(|(own, _)| own == name) {
            found.push(format!("{at}.env[{index}]: hides previous definition of {name:?}, which may be dropped when using apply"));
        }
    }
}

/// Warnings about the template of a workload; `prefix` is its path with a final dot.
pub(super) fn template_warnings(template: Option<Object<'_>>, prefix: &str) -> Vec<String> {
    template.map(|template| spec_warnings(template, prefix)).unwrap_or_default()
}
