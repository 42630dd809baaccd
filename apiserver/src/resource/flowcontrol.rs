//! FlowSchemas and PriorityLevelConfigurations.

use super::validation::{Errors, messages, metadata, required, value};
use super::{Context, Object, Rules};
use apiserver_machinery::field::{Error, Path};
use apiserver_machinery::names;

pub static FLOW_SCHEMA: Rules = Rules { validate: validate_schema, generation: true, ..Rules::PLAIN };
pub static PRIORITY_LEVEL: Rules = Rules { validate: validate_level, generation: true, ..Rules::PLAIN };

const PRECEDENCE_MAX: i64 = 10_000;
const QUEUES_MAX: i64 = 10_000_000;

fn validate_schema(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    if context.subresource == "status" {
        return;
    }
    let at = Path::new("spec");
    let Some(spec) = new.child("spec") else { return };
    let precedence = spec.number("matchingPrecedence");
    if precedence <= 0 {
        errors.push(Error::invalid(&at.child("matchingPrecedence"), precedence, "must be a positive value"));
    }
    if precedence > PRECEDENCE_MAX {
        let detail = format!("must not be greater than {PRECEDENCE_MAX}");
        errors.push(Error::invalid(&at.child("matchingPrecedence"), precedence, detail));
    }
    if precedence == 1 && new.name() != "exempt" {
        let detail = "only the schema named 'exempt' may have matchingPrecedence 1";
        errors.push(Error::invalid(&at.child("matchingPrecedence"), precedence, detail));
    }
    if let Some(method) = spec.child("distinguisherMethod")
        && !matches!(method.text("type"), "ByNamespace" | "ByUser")
    {
        let shown = value::shown(spec, "distinguisherMethod");
        errors.push(Error::not_supported(&at.child("distinguisherMethod"), shown, &["ByNamespace", "ByUser"]));
    }
    let level = spec.text("priorityLevelConfiguration.name");
    let level_at = at.child("priorityLevelConfiguration.name");
    if level.is_empty() {
        errors.push(Error::required(&level_at, "must reference a priority level"));
    } else {
        messages(names::dns1123_subdomain(level), level, &level_at, errors);
    }
    for (index, rule) in spec.items("rules").enumerate() {
        policy_rule(rule, &at.child("rules").index(index), errors);
    }
}

fn policy_rule(rule: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    required(rule, "subjects", at, "subjects must contain at least one value", errors);
    for (index, subject) in rule.items("subjects").enumerate() {
        let at = at.child("subjects");
        let at = at.index(index);
        match subject.text("kind") {
            "ServiceAccount" => {
                let at = at.child("serviceAccount");
                match subject.child("serviceAccount") {
                    None => errors.push(Error::required(&at, "serviceAccount is required when subject kind is 'ServiceAccount'")),
                    Some(account) => {
                        required(account, "name", &at, "", errors);
                        required(account, "namespace", &at, "must specify namespace for service account", errors);
                    }
                }
            }
            kind @ ("User" | "Group") => {
                let field = kind.to_lowercase();
                if subject.text(&format!("{field}.name")).is_empty() {
                    let detail = format!("{field} is required when subject kind is '{kind}'");
                    errors.push(Error::required(&at.child(&field), detail));
                }
            }
            other => errors.push(Error::not_supported(&at.child("kind"), other, &["Group", "ServiceAccount", "User"])),
        }
    }
    if rule.list("resourceRules").is_empty() && rule.list("nonResourceRules").is_empty() {
        errors.push(Error::required(at, "at least one of resourceRules and nonResourceRules has to be non-empty"));
    }
    for (index, own) in rule.items("resourceRules").enumerate() {
        let at = at.child("resourceRules");
        let at = at.index(index);
        required(own, "verbs", &at, "verbs must contain at least one value", errors);
        required(own, "apiGroups", &at, "resource rules must supply at least one api group", errors);
        required(own, "resources", &at, "resource rules must supply at least one resource", errors);
        if own.list("namespaces").is_empty() && !own.flag("clusterScope") {
            let detail = "resource rules that are not cluster scoped must supply at least one namespace";
            errors.push(Error::required(&at.child("namespaces"), detail));
        }
    }
    for (index, own) in rule.items("nonResourceRules").enumerate() {
        let at = at.child("nonResourceRules");
        let at = at.index(index);
        required(own, "verbs", &at, "verbs must contain at least one value", errors);
        required(own, "nonResourceURLs", &at, "nonResourceURLs must contain at least one value", errors);
    }
}

fn validate_level(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    if context.subresource == "status" {
        return;
    }
    let at = Path::new("spec");
    let Some(spec) = new.child("spec") else { return };
    let exempt = new.name() == "exempt";
    if exempt && spec.text("type") != "Exempt" {
        let detail = "type must be 'Exempt' if and only if the name is 'exempt'";
        errors.push(Error::invalid(&at.child("type"), spec.text("type"), detail));
    }
    match spec.text("type") {
        "Exempt" => {
            if !exempt {
                let detail = "type must be 'Exempt' if and only if the name is 'exempt'";
                errors.push(Error::invalid(&at.child("type"), "Exempt", detail));
            }
            if spec.has("limited") {
                errors.push(Error::forbidden(&at.child("limited"), "must be nil if the type is not Limited"));
            }
        }
        "Limited" => {
            if spec.has("exempt") {
                errors.push(Error::forbidden(&at.child("exempt"), "must be nil if the type is Limited"));
            }
            match spec.child("limited") {
                None => errors.push(Error::required(&at.child("limited"), "must not be empty when type is Limited")),
                Some(limited) => validate_limited(limited, &at.child("limited"), errors),
            }
        }
        other => errors.push(Error::not_supported(&at.child("type"), other, &["Exempt", "Limited"])),
    }
}

fn validate_limited(limited: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let shares = limited.number("nominalConcurrencyShares");
    if shares < 0 {
        let detail = "must be a non-negative integer";
        errors.push(Error::invalid(&at.child("nominalConcurrencyShares"), shares, detail));
    }
    if let Some(percent) = limited.int("lendablePercent")
        && !(0..=100).contains(&percent)
    {
        errors.push(Error::invalid(&at.child("lendablePercent"), percent, "must be between 0 and 100, inclusive"));
    }
    let at = at.child("limitResponse");
    match limited.text("limitResponse.type") {
        "Reject" => {
            if limited.has("limitResponse.queuing") {
                errors.push(Error::forbidden(&at.child("queuing"), "must be nil if limited.limitResponse.type is not Limited"));
            }
        }
        "Queue" => match limited.child("limitResponse.queuing") {
            None => errors.push(Error::required(&at.child("queuing"), "must not be empty if limited.limitResponse.type is Limited")),
            Some(queuing) => validate_queuing(queuing, &at.child("queuing"), errors),
        },
        other => errors.push(Error::not_supported(&at.child("type"), other, &["Queue", "Reject"])),
    }
}

fn validate_queuing(queuing: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    for field in ["queueLengthLimit", "queues", "handSize"] {
        if queuing.number(field) <= 0 {
            errors.push(Error::invalid(&at.child(field), queuing.number(field), "must be positive"));
        }
    }
    let (queues, hand) = (queuing.number("queues"), queuing.number("handSize"));
    if queues > QUEUES_MAX {
        errors.push(Error::invalid(&at.child("queues"), queues, format!("must not be greater than {QUEUES_MAX}")));
    }
    if hand > queues {
        let detail = format!("should not be greater than queues ({queues})");
        errors.push(Error::invalid(&at.child("handSize"), hand, detail));
    }
}
