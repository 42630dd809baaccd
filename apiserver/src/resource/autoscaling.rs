//! HorizontalPodAutoscalers, on their storage version v2.

use super::validation::{Errors, messages, metadata, not_negative, required, resources, value};
use super::{Context, Object, Rules};
use apiserver_machinery::field::{Error, Path};
use apiserver_machinery::names;

pub static RULES: Rules = Rules { validate, generation: true, ..Rules::PLAIN };

const WINDOW_SECONDS_MAX: i64 = 3600;
const PERIOD_SECONDS_MAX: i64 = 1800;

fn validate(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    if context.subresource == "status" {
        let at = Path::new("status");
        if let Some(status) = new.child("status") {
            not_negative(status, "currentReplicas", &at, errors);
            not_negative(status, "desiredReplicas", &at, errors);
        }
        return;
    }
    let at = Path::new("spec");
    let Some(spec) = new.child("spec") else {
        errors.push(Error::required(&at.child("maxReplicas"), ""));
        return;
    };
    let (min, max) = (spec.int("minReplicas"), spec.number("maxReplicas"));
    if min.is_some_and(|min| min < 0) {
        errors.push(Error::invalid(&at.child("minReplicas"), min.unwrap_or_default(), "must be greater than or equal to 0"));
    }
    match max {
        0 => errors.push(Error::required(&at.child("maxReplicas"), "")),
        max if max < 0 => errors.push(Error::invalid(&at.child("maxReplicas"), max, "must be greater than or equal to 1")),
        _ => {}
    }
    if min.is_some_and(|min| max < min) {
        errors.push(Error::invalid(&at.child("maxReplicas"), max, "must be greater than or equal to `minReplicas`"));
    }
    {
        let target = spec.child("scaleTargetRef");
        let text = |field: &str| target.map_or("", |target| target.text(field));
        let kept = old.is_some_and(|old| {
            old.text("spec.scaleTargetRef.apiVersion") == text("apiVersion") && old.text("spec.scaleTargetRef.kind") == text("kind")
        });
        let core = kept || text("kind") == "ReplicationController";
        reference(target, core, &at.child("scaleTargetRef"), errors);
    }
    for (index, metric) in spec.items("metrics").enumerate() {
        validate_metric(metric, &at.child("metrics").index(index), errors);
    }
    let scales_to_zero = spec.items("metrics").any(|metric| matches!(metric.text("type"), "Object" | "External"));
    if min == Some(0) && !scales_to_zero {
        let detail = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(Error::forbidden(&at.child("metrics"), detail));
    }
    for direction in ["scaleUp", "scaleDown"] {
        let path = format!("behavior.{direction}");
        if let Some(rules) = spec.child(&path) {
            scaling_rules(rules, &at.child(&path), errors);
        }
    }
}

/// What an autoscaler names; the core group needs no group in apiVersion.
fn reference(target: Option<Object<'_>>, core: bool, at: &Path<'_>, errors: &mut Errors) {
    let text = |field: &str| target.map_or("", |target| target.text(field));
    for field in ["kind", "name"] {
        if text(field).is_empty() {
            errors.push(Error::required(&at.child(field), ""));
        }
        messages(names::path_segment(text(field)), text(field), &at.child(field), errors);
    }
    let version = text("apiVersion");
    if version.matches('/').count() > 1 {
        errors.push(Error::invalid(&at.child("apiVersion"), version, format!("unexpected GroupVersion string: {version}")));
    } else if !core && !version.contains('/') {
        errors.push(Error::invalid(&at.child("apiVersion"), version, "apiVersion must specify API group"));
    }
}

const SOURCES: [(&str, &str); 5] =
    [("Object", "object"), ("External", "external"), ("Pods", "pods"), ("Resource", "resource"), ("ContainerResource", "containerResource")];
const SOURCE_TYPES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];

fn validate_metric(metric: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let ty = metric.text("type");
    if ty.is_empty() {
        errors.push(Error::required(&at.child("type"), "must specify a metric source type"));
    }
    let expected = SOURCES.iter().find(|(own, _)| *own == ty).map(|(_, field)| *field);
    let present: Vec<&str> = SOURCES.iter().map(|(_, field)| *field).filter(|field| metric.has(field)).collect();
    if let Some(source) = present.first().and_then(|field| metric.child(field)) {
        metric_source(present[0], source, &at.child(present[0]), errors);
    }
    match expected {
        None => errors.push(Error::not_supported(&at.child("type"), ty, &SOURCE_TYPES)),
        Some(field) if !metric.has(field) => {
            errors.push(Error::required(&at.child(field), "must populate information for the given metric source"));
        }
        Some(_) => {}
    }
    if present.len() != 1 {
        for field in present.iter().filter(|field| Some(**field) != expected) {
            errors.push(Error::forbidden(&at.child(field), "must populate the given metric source only"));
        }
    }
}

fn metric_source(kind: &str, source: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    match kind {
        "resource" | "containerResource" => {
            required(source, "name", at, "must specify a resource name", errors);
            if kind == "containerResource" && required(source, "container", at, "must specify a container", errors) {
                let name = source.text("container");
                messages(names::dns1123_label(name), name, &at.child("container"), errors);
            }
        }
        _ => {
            if kind == "object" {
                reference(source.child("describedObject"), true, &at.child("describedObject"), errors);
            }
            let name = source.text("metric.name");
            if name.is_empty() {
                errors.push(Error::required(&at.child("metric.name"), "must specify a metric name"));
            } else {
                messages(names::path_segment(name), name, &at.child("metric.name"), errors);
            }
        }
    }
    let at = at.child("target");
    target(source, &at, errors);
    let (value, average, utilization) = (source.has("target.value"), source.has("target.averageValue"), source.has("target.averageUtilization"));
    match kind {
        "object" if !value && !average => {
            errors.push(Error::required(&at.child("averageValue"), "must set either a target value or averageValue"));
        }
        "external" if !value && !average => {
            let detail = "must set either a target value for metric or a per-pod target";
            errors.push(Error::required(&at.child("averageValue"), detail));
        }
        "external" if value && average => {
            let detail = "may not set both a target value for metric and a per-pod target";
            errors.push(Error::forbidden(&at.child("value"), detail));
        }
        "pods" if !average => {
            errors.push(Error::required(&at.child("averageValue"), "must specify a positive target averageValue"));
        }
        "resource" | "containerResource" if !utilization && !average => {
            let detail = "must set either a target raw value or a target utilization";
            errors.push(Error::required(&at.child("averageUtilization"), detail));
        }
        "resource" | "containerResource" if utilization && average => {
            let detail = "may not set both a target raw value and a target utilization";
            errors.push(Error::forbidden(&at.child("averageValue"), detail));
        }
        _ => {}
    }
}

fn target(source: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let ty = source.text("target.type");
    if ty.is_empty() {
        errors.push(Error::required(&at.child("type"), "must specify a metric target type"));
    }
    if !matches!(ty, "Utilization" | "Value" | "AverageValue") {
        errors.push(Error::invalid(&at.child("type"), ty, "must be either Utilization, Value, or AverageValue"));
    }
    for field in ["value", "averageValue"] {
        if let Some(amount) = resources::at(source, &format!("target.{field}"))
            && amount.sign() <= 0
        {
            errors.push(Error::invalid(&at.child(field), amount.to_string().as_str(), "must be positive"));
        }
    }
    if let Some(percent) = source.int("target.averageUtilization")
        && percent < 1
    {
        errors.push(Error::invalid(&at.child("averageUtilization"), percent, "must be greater than 0"));
    }
}

fn scaling_rules(rules: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    if let Some(seconds) = rules.int("stabilizationWindowSeconds") {
        let at = at.child("stabilizationWindowSeconds");
        if seconds < 0 {
            errors.push(Error::invalid(&at, seconds, "must be greater than or equal to zero"));
        }
        if seconds > WINDOW_SECONDS_MAX {
            errors.push(Error::invalid(&at, seconds, format!("must be less than or equal to {WINDOW_SECONDS_MAX}")));
        }
    }
    super::validation::one_of(rules, "selectPolicy", &["Disabled", "Max", "Min"], at, errors);
    let policies_at = at.child("policies");
    if rules.list("policies").is_empty() {
        errors.push(Error::required(&policies_at, "must specify at least one Policy"));
    }
    for (index, policy) in rules.items("policies").enumerate() {
        let at = policies_at.index(index);
        if !matches!(policy.text("type"), "Pods" | "Percent") {
            errors.push(Error::not_supported(&at.child("type"), policy.text("type"), &["Percent", "Pods"]));
        }
        for field in ["value", "periodSeconds"] {
            if policy.number(field) <= 0 {
                errors.push(Error::invalid(&at.child(field), policy.number(field), super::validation::POSITIVE));
            }
        }
        if policy.number("periodSeconds") > PERIOD_SECONDS_MAX {
            let detail = format!("must be less than or equal to {PERIOD_SECONDS_MAX}");
            errors.push(Error::invalid(&at.child("periodSeconds"), policy.number("periodSeconds"), detail));
        }
    }
    if let Some(tolerance) = resources::at(rules, "tolerance")
        && tolerance.sign() < 0
    {
        errors.push(Error::invalid(&at.child("tolerance"), value::shown(rules, "tolerance"), super::validation::NOT_NEGATIVE));
    }
}
