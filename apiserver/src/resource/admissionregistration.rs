//! Webhook configurations and admission policies. Expressions are checked by what compiles them.

use super::validation::{Errors, messages, metadata, one_of, required, selector, value};
use super::{Context, Object, Rules};
use apiserver_machinery::field::{Error, Path};
use apiserver_machinery::names;

pub static WEBHOOKS: Rules = Rules { validate: validate_webhooks, generation: true, unconditional_update: false, ..Rules::PLAIN };
pub static VALIDATING_POLICY: Rules = Rules { validate: validate_policy, generation: true, unconditional_update: false, ..Rules::PLAIN };
pub static MUTATING_POLICY: Rules = Rules { validate: validate_policy, generation: true, unconditional_update: false, ..Rules::PLAIN };
pub static BINDING: Rules = Rules { validate: validate_binding, generation: true, unconditional_update: false, ..Rules::PLAIN };

const TIMEOUT_SECONDS_MAX: i64 = 30;
const CONDITIONS_MAX: usize = 64;

fn validate_webhooks(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    let at = Path::new("webhooks");
    let mut seen: Vec<&str> = Vec::new();
    for (index, hook) in new.items("webhooks").enumerate() {
        let at = at.index(index);
        let name = hook.text("name");
        qualified_domain(name, &at.child("name"), errors);
        for (index, rule) in hook.items("rules").enumerate() {
            rule_with_operations(rule, &at.child("rules").index(index), errors);
        }
        one_of(hook, "failurePolicy", &["Fail", "Ignore"], &at, errors);
        one_of(hook, "matchPolicy", &["Equivalent", "Exact"], &at, errors);
        match hook.text_opt("sideEffects") {
            None => {
                let detail = "must specify one of None, NoneOnDryRun";
                errors.push(Error::required(&at.child("sideEffects"), detail));
            }
            Some("None" | "NoneOnDryRun") => {}
            Some(other) => errors.push(Error::not_supported(&at.child("sideEffects"), other, &["None", "NoneOnDryRun"])),
        }
        if let Some(seconds) = hook.int("timeoutSeconds")
            && !(1..=TIMEOUT_SECONDS_MAX).contains(&seconds)
        {
            let detail = "the timeout value must be between 1 and 30 seconds";
            errors.push(Error::invalid(&at.child("timeoutSeconds"), seconds, detail));
        }
        one_of(hook, "reinvocationPolicy", &["IfNeeded", "Never"], &at, errors);
        for field in ["namespaceSelector", "objectSelector"] {
            selector::label_selector(hook, field, &at, errors);
        }
        client_config(hook, &at.child("clientConfig"), errors);
        review_versions(hook, &at.child("admissionReviewVersions"), errors);
        match_conditions(hook, &at.child("matchConditions"), errors);
        if seen.contains(&name) {
            errors.push(Error::duplicate(&at.child("name"), name));
        }
        seen.push(name);
    }
}

/// At least three labels, as `a.example.com`.
fn qualified_domain(name: &str, at: &Path<'_>, errors: &mut Errors) {
    if name.is_empty() {
        errors.push(Error::required(at, ""));
        return;
    }
    let found: Vec<String> = names::dns1123_subdomain(name);
    if !found.is_empty() {
        messages(found, name, at, errors);
    } else if name.split('.').count() < 3 {
        errors.push(Error::invalid(at, name, "should be a domain with at least three segments separated by dots"));
    }
}

fn star_alone(rule: Object<'_>, field: &str, at: &Path<'_>, detail: &str, errors: &mut Errors) {
    if rule.list(field).len() > 1 && rule.texts(field).any(|text| text == "*") {
        errors.push(Error::invalid(&at.child(field), value::shown(rule, field), detail));
    }
}

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];

fn rule_with_operations(rule: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    required(rule, "apiGroups", at, "", errors);
    star_alone(rule, "apiGroups", at, "if '*' is present, must not specify other API groups", errors);
    required(rule, "apiVersions", at, "", errors);
    star_alone(rule, "apiVersions", at, "if '*' is present, must not specify other API versions", errors);
    for (index, version) in rule.texts("apiVersions").enumerate() {
        if version.is_empty() {
            errors.push(Error::required(&at.child("apiVersions").index(index), ""));
        }
    }
    required(rule, "resources", at, "", errors);
    rule_resources(rule, &at.child("resources"), errors);
    match rule.text_opt("scope") {
        None | Some("*" | "Cluster" | "Namespaced") => {}
        Some(other) => errors.push(Error::not_supported(&at.child("scope"), other, &["*", "Cluster", "Namespaced"])),
    }
    required(rule, "operations", at, "", errors);
    star_alone(rule, "operations", at, "if '*' is present, must not specify other operations", errors);
    for (index, operation) in rule.texts("operations").enumerate() {
        if !OPERATIONS.contains(&operation) {
            errors.push(Error::not_supported(&at.child("operations").index(index), operation, &OPERATIONS));
        }
    }
}

fn rule_resources(rule: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let all: Vec<&str> = rule.texts("resources").collect();
    for (index, text) in all.iter().enumerate() {
        if text.is_empty() {
            errors.push(Error::required(&at.index(index), ""));
        }
        let (resource, sub) = text.split_once('/').unwrap_or((text, ""));
        if *text != "*/*" && !sub.is_empty() && all.contains(&format!("{resource}/*").as_str()) && sub != "*" {
            let detail = format!("if '{resource}/*' is present, must not specify {text}");
            errors.push(Error::invalid(&at.index(index), *text, detail));
        }
    }
    if all.len() > 1 && all.contains(&"*/*") {
        let detail = "if '*/*' is present, must not specify other resources";
        errors.push(Error::invalid(at, value::shown(rule, "resources"), detail));
    }
    // The last of them decides, as upstream has it.
    if all.contains(&"*") && all.iter().rfind(|text| !text.contains('/') && !text.is_empty()).is_some_and(|text| *text != "*") {
        let detail = "if '*' is present, must not specify other resources without subresources";
        errors.push(Error::invalid(at, value::shown(rule, "resources"), detail));
    }
}

fn client_config(hook: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let (url, service) = (hook.text_opt("clientConfig.url"), hook.child("clientConfig.service"));
    match (url, service) {
        (Some(_), Some(_)) | (None, None) => errors.push(Error::required(at, "exactly one of url or service is required")),
        (Some(url), None) => webhook_url(url, &at.child("url"), errors),
        (None, Some(service)) => {
            let at = at.child("service");
            required(service, "name", &at, "service name is required", errors);
            required(service, "namespace", &at, "service namespace is required", errors);
            if let Some(port) = service.int("port")
                && !names::port_number(port).is_empty()
            {
                errors.push(Error::invalid(&at.child("port"), port, "port is not valid: must be between 1 and 65535, inclusive"));
            }
            if let Some(path) = service.text_opt("path") {
                webhook_path(path, &at.child("path"), errors);
            }
        }
    }
}

fn webhook_url(url: &str, at: &Path<'_>, errors: &mut Errors) {
    const FORM: &str = "; desired format: https://host[/path]";
    let Ok(parsed) = url.parse::<http::Uri>() else {
        errors.push(Error::required(at, format!("url must be a valid URL{FORM}")));
        return;
    };
    if parsed.scheme_str() != Some("https") {
        let detail = format!("'https' is the only allowed URL scheme{FORM}");
        errors.push(Error::invalid(at, parsed.scheme_str().unwrap_or_default(), detail));
    }
    if parsed.host().unwrap_or_default().is_empty() {
        errors.push(Error::invalid(at, parsed.host().unwrap_or_default(), format!("host must be specified{FORM}")));
    }
    if parsed.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        errors.push(Error::invalid(at, url, "user information is not permitted in the URL"));
    }
    if url.contains('#') {
        errors.push(Error::invalid(at, url, "fragments are not permitted in the URL"));
    }
    if parsed.query().is_some() {
        errors.push(Error::invalid(at, url, "query parameters are not permitted in the URL"));
    }
}

fn webhook_path(path: &str, at: &Path<'_>, errors: &mut Errors) {
    if path == "/" || path.is_empty() {
        return;
    }
    if path == "//" {
        errors.push(Error::invalid(at, path, "segment[0] may not be empty"));
        return;
    }
    if !path.starts_with('/') {
        errors.push(Error::invalid(at, path, "must start with a '/'"));
    }
    let trimmed = path.trim_matches('/');
    for (index, step) in trimmed.split('/').enumerate() {
        if step.is_empty() {
            errors.push(Error::invalid(at, path, format!("segment[{index}] may not be empty")));
            continue;
        }
        let found: Vec<String> = names::dns1123_subdomain(step);
        for message in found {
            errors.push(Error::invalid(at, path, format!("segment[{index}]: {message}")));
        }
    }
}

fn review_versions(hook: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let versions: Vec<&str> = hook.texts("admissionReviewVersions").collect();
    if versions.is_empty() {
        errors.push(Error::required(at, "must specify one of v1, v1beta1"));
        return;
    }
    for (index, version) in versions.iter().enumerate() {
        if versions[..index].contains(version) {
            errors.push(Error::invalid(&at.index(index), *version, "duplicate version"));
            continue;
        }
        let found: Vec<String> = names::dns1035_label(version);
        if !found.is_empty() {
            messages(found, version, &at.index(index), errors);
        }
    }
    if !versions.iter().any(|version| matches!(*version, "v1" | "v1beta1")) {
        let shown = value::shown(hook, "admissionReviewVersions");
        errors.push(Error::invalid(at, shown, "must include at least one of v1, v1beta1"));
    }
}

fn match_conditions(object: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let count = object.list("matchConditions").len();
    if count > CONDITIONS_MAX {
        errors.push(Error::too_many(at, count, CONDITIONS_MAX));
    }
    let mut seen: Vec<&str> = Vec::new();
    for (index, condition) in object.items("matchConditions").enumerate() {
        let at = at.index(index);
        required(condition, "expression", &at, "", errors);
        if required(condition, "name", &at, "", errors) {
            let name = condition.text("name");
            messages(names::qualified_name(name), name, &at.child("name"), errors);
            if seen.contains(&name) {
                errors.push(Error::duplicate(&at.child("name"), name));
            }
            seen.push(name);
        }
    }
}

fn match_resources(resources: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    one_of(resources, "matchPolicy", &["Equivalent", "Exact"], at, errors);
    for (field, detail) in [("namespaceSelector", ""), ("objectSelector", "")] {
        if resources.has(field) {
            selector::label_selector(resources, field, at, errors);
        } else {
            errors.push(Error::required(&at.child(field), detail));
        }
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        for (index, rule) in resources.items(list).enumerate() {
            rule_with_operations(rule, &at.child(list).index(index), errors);
        }
    }
}

fn validate_policy(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    if context.subresource == "status" {
        return;
    }
    let at = Path::new("spec");
    let Some(spec) = new.child("spec") else {
        errors.push(Error::required(&at.child("matchConstraints"), ""));
        return;
    };
    if required(spec, "failurePolicy", &at, "", errors) {
        one_of(spec, "failurePolicy", &["Fail", "Ignore"], &at, errors);
    }
    if let Some(kind) = spec.child("paramKind") {
        let at = at.child("paramKind");
        required(kind, "apiVersion", &at, "", errors);
        required(kind, "kind", &at, "", errors);
    }
    match_conditions(spec, &at.child("matchConditions"), errors);
    let constraints_at = at.child("matchConstraints");
    match spec.child("matchConstraints") {
        None => errors.push(Error::required(&constraints_at, "")),
        Some(constraints) => {
            match_resources(constraints, &constraints_at, errors);
            required(constraints, "resourceRules", &constraints_at, "", errors);
        }
    }
    let mut variables: Vec<&str> = Vec::new();
    for (index, variable) in spec.items("variables").enumerate() {
        let at = at.child("variables");
        let at = at.index(index);
        if required(variable, "name", &at, "name is required", errors) {
            let name = variable.text("name");
            let found: Vec<String> = names::c_identifier(name);
            if !found.is_empty() {
                errors.push(Error::invalid(&at.child("name"), name, "name is not a valid CEL identifier"));
            }
            if variables.contains(&name) {
                errors.push(Error::duplicate(&at.child("name"), name));
            }
            variables.push(name);
        }
        required(variable, "expression", &at, "expression is not specified", errors);
    }
    if context.resource.kind == "ValidatingAdmissionPolicy" {
        validations(spec, &at, errors);
    } else {
        mutations(spec, &at, errors);
    }
}

fn validations(spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    if spec.list("validations").is_empty() && spec.list("auditAnnotations").is_empty() {
        let detail = "validations or auditAnnotations must be non-empty";
        errors.push(Error::required(&at.child("validations"), detail));
        errors.push(Error::required(&at.child("auditAnnotations"), detail));
    }
    for (index, validation) in spec.items("validations").enumerate() {
        let at = at.child("validations");
        let at = at.index(index);
        if validation.text("expression").trim().is_empty() {
            errors.push(Error::required(&at.child("expression"), "expression is not specified"));
        }
        if let Some(reason) = validation.text_opt("reason")
            && !matches!(reason, "Forbidden" | "Invalid" | "RequestEntityTooLarge" | "Unauthorized")
        {
            let allowed = ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];
            errors.push(Error::not_supported(&at.child("reason"), reason, &allowed));
        }
    }
    let mut keys: Vec<&str> = Vec::new();
    for (index, annotation) in spec.items("auditAnnotations").enumerate() {
        let at = at.child("auditAnnotations");
        let at = at.index(index);
        if required(annotation, "key", &at, "", errors) {
            let key = annotation.text("key");
            messages(names::qualified_name(key), key, &at.child("key"), errors);
            if keys.contains(&key) {
                errors.push(Error::duplicate(&at.child("key"), key));
            }
            keys.push(key);
        }
        required(annotation, "valueExpression", &at, "valueExpression is not specified", errors);
    }
}

fn mutations(spec: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    required(spec, "mutations", at, "mutations must contain at least one item", errors);
    one_of(spec, "reinvocationPolicy", &["IfNeeded", "Never"], at, errors);
    for (index, mutation) in spec.items("mutations").enumerate() {
        let at = at.child("mutations");
        let at = at.index(index);
        let (field, ty) = match mutation.text("patchType") {
            "ApplyConfiguration" => ("applyConfiguration", "ApplyConfiguration"),
            "JSONPatch" => ("jsonPatch", "JSONPatch"),
            other => {
                errors.push(Error::not_supported(&at.child("patchType"), other, &["ApplyConfiguration", "JSONPatch"]));
                continue;
            }
        };
        match mutation.child(field) {
            None => errors.push(Error::required(&at.child(field), format!("must be specified when patchType is {ty}"))),
            Some(inner) => {
                required(inner, "expression", &at.child(field), "expression is not specified", errors);
            }
        }
    }
}

fn validate_binding(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    let at = Path::new("spec");
    let policy = new.text("spec.policyName");
    if policy.is_empty() {
        errors.push(Error::required(&at.child("policyName"), ""));
    } else {
        messages(names::dns1123_subdomain(policy), policy, &at.child("policyName"), errors);
    }
    if let Some(reference) = new.child("spec.paramRef") {
        param_ref(reference, &at.child("paramRef"), errors);
    }
    if let Some(resources) = new.child("spec.matchResources") {
        match_resources(resources, &at.child("matchResources"), errors);
    }
    if context.resource.kind == "ValidatingAdmissionPolicyBinding" {
        let at = at.child("validationActions");
        let actions: Vec<&str> = new.texts("spec.validationActions").collect();
        if actions.is_empty() {
            errors.push(Error::required(&at, "at least one validation action is required"));
        }
        for (index, action) in actions.iter().enumerate() {
            if !matches!(*action, "Audit" | "Deny" | "Warn") {
                errors.push(Error::not_supported(&at.index(index), *action, &["Audit", "Deny", "Warn"]));
            }
            if actions[..index].contains(action) {
                errors.push(Error::duplicate(&at.index(index), *action));
            }
        }
        if actions.contains(&"Deny") && actions.contains(&"Warn") {
            let shown = value::shown(new, "spec.validationActions");
            let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
            errors.push(Error::invalid(&at, shown, detail));
        }
    }
}

fn param_ref(reference: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let name = reference.text("name");
    match (!name.is_empty(), reference.has("selector")) {
        (true, true) => errors.push(Error::forbidden(&at.child("name"), "name and selector are mutually exclusive")),
        (false, false) => errors.push(Error::required(at, "one of name or selector must be specified")),
        (true, false) => messages(names::path_segment(name), name, &at.child("name"), errors),
        (false, true) => selector::label_selector(reference, "selector", at, errors),
    }
    match reference.text_opt("parameterNotFoundAction") {
        Some("Allow" | "Deny") => {}
        None | Some("") => errors.push(Error::required(&at.child("parameterNotFoundAction"), "")),
        Some(other) => errors.push(Error::not_supported(&at.child("parameterNotFoundAction"), other, &["Deny", "Allow"])),
    }
}
