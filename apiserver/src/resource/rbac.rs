//! Roles and their bindings. Whether the client may grant what they hold is admission's to say.

use super::validation::{Errors, immutable, messages, metadata, required, value};
use super::{Context, Object, Rules};
use apiserver_machinery::field::{Error, Path};
use apiserver_machinery::{labels, names};

pub static ROLE: Rules = Rules { validate: validate_role, create_on_update: true, ..Rules::PLAIN };
pub static CLUSTER_ROLE: Rules = Rules { validate: validate_role, create_on_update: true, ..Rules::PLAIN };
/// Of both kinds of binding.
pub static BINDING: Rules = Rules { validate: validate_binding, create_on_update: true, ..Rules::PLAIN };

const GROUP: &str = "rbac.authorization.k8s.io";

fn validate_role(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    for (index, rule) in new.items("rules").enumerate() {
        let at = Path::new("rules");
        policy_rule(rule, context.resource.namespaced, &at.index(index), errors);
    }
    if let Some(aggregation) = new.child("aggregationRule") {
        let at = Path::new("aggregationRule.clusterRoleSelectors");
        if aggregation.list("clusterRoleSelectors").is_empty() {
            let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
            errors.push(Error::required(&at, detail));
        }
        for (index, selector) in aggregation.items("clusterRoleSelectors").enumerate() {
            errors.extend(labels::validate_selector(selector.schema, selector.tree, &at.index(index)));
        }
    }
}

fn policy_rule(rule: Object<'_>, namespaced: bool, at: &Path<'_>, errors: &mut Errors) {
    required(rule, "verbs", at, "", errors);
    if !rule.list("nonResourceURLs").is_empty() {
        let shown = || value::shown(rule, "nonResourceURLs");
        let at = at.child("nonResourceURLs");
        if namespaced {
            errors.push(Error::invalid(&at, shown(), "namespaced rules cannot apply to non-resource URLs"));
        }
        if ["apiGroups", "resources", "resourceNames"].iter().any(|list| !rule.list(list).is_empty()) {
            let detail = "rules cannot apply to both regular resources and non-resource URLs";
            errors.push(Error::invalid(&at, shown(), detail));
        }
        return;
    }
    required(rule, "apiGroups", at, "resource rules must supply at least one api group", errors);
    required(rule, "resources", at, "resource rules must supply at least one resource", errors);
}

fn validate_binding(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    let namespaced = context.resource.namespaced;
    let at = Path::new("roleRef");
    let group = new.text("roleRef.apiGroup");
    if group != GROUP {
        errors.push(Error::not_supported(&at.child("apiGroup"), group, &[GROUP]));
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    let kind = new.text("roleRef.kind");
    if !kinds.contains(&kind) {
        errors.push(Error::not_supported(&at.child("kind"), kind, kinds));
    }
    let name = new.text("roleRef.name");
    if name.is_empty() {
        errors.push(Error::required(&at.child("name"), ""));
    } else {
        messages(names::path_segment(name), name, &at.child("name"), errors);
    }
    for (index, subject) in new.items("subjects").enumerate() {
        let at = Path::new("subjects");
        validate_subject(subject, namespaced, &at.index(index), errors);
    }
    if let Some(old) = old {
        immutable(new, old, "roleRef", &at, errors);
    }
}

fn validate_subject(subject: Object<'_>, namespaced: bool, at: &Path<'_>, errors: &mut Errors) {
    let named = required(subject, "name", at, "", errors);
    let group = subject.text("apiGroup");
    match subject.text("kind") {
        "ServiceAccount" => {
            if named {
                let name = subject.text("name");
                messages(names::dns1123_subdomain(name), name, &at.child("name"), errors);
            }
            if !group.is_empty() {
                errors.push(Error::not_supported(&at.child("apiGroup"), group, &[""]));
            }
            if !namespaced {
                required(subject, "namespace", at, "", errors);
            }
        }
        "User" | "Group" => {
            if group != GROUP {
                errors.push(Error::not_supported(&at.child("apiGroup"), group, &[GROUP]));
            }
        }
        other => errors.push(Error::not_supported(&at.child("kind"), other, &["ServiceAccount", "User", "Group"])),
    }
}
