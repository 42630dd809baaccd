//! Between versions of built-in kinds that differ in more than their name: Events of two groups, autoscalers v1 and v2.

use super::Object;
use super::rules::map_at;
use crate::Error;
use apiserver_machinery::codec::Report;
use apiserver_machinery::json;
use apiserver_machinery::quantity;
use apiserver_machinery::schema::{Kind, Schema, Shape, TypeId};
use apiserver_machinery::tree::{Struct, Value};

/// The same fields by name in another type. What that type does not have is left out.
fn retype(from: &Struct, to: TypeId, schema: &Schema) -> Struct {
    let (source, target) = (schema.get(from.ty), schema.get(to));
    let mut out = Struct::new(to);
    for (number, value) in from.fields() {
        let Some(at) = target.number(&source.fields[usize::from(*number)].name) else { continue };
        out.set(at, retype_value(value, &target.fields[usize::from(at)].kind, schema));
    }
    out
}

fn retype_value(value: &Value, kind: &Kind, schema: &Schema) -> Value {
    match (value, kind) {
        (Value::Struct(inner), Kind::Struct(ty)) => retype(inner, *ty, schema).into(),
        (Value::List(items), Kind::List(list)) => Value::List(items.iter().map(|item| retype_value(item, &list.item, schema)).collect()),
        (Value::Map(map), Kind::Map(of)) => Value::Map(map.iter().map(|(key, value)| (key.into(), retype_value(value, &of.value, schema))).collect()),
        _ => value.clone(),
    }
}

/// Fields of an Event that have another name in events.k8s.io: there, and in the core group.
const RENAMED: [(&str, &str); 7] = [
    ("reportingController", "reportingComponent"),
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

/// events.k8s.io/v1 to core v1.
pub fn event_to_core(event: &Struct, to: &Shape) -> Result<Struct, Error> {
    let schema = &*to.schema;
    let mut out = retype(event, to.root, schema);
    for (here, core) in RENAMED {
        if let Some(value) = event.at(schema, here) {
            out.put(schema, core, value.clone());
        }
    }
    Ok(out)
}

/// Core v1 to events.k8s.io/v1.
pub fn event_from_core(event: &Struct, to: &Shape) -> Result<Struct, Error> {
    let schema = &*to.schema;
    let mut out = retype(event, to.root, schema);
    for (here, core) in RENAMED {
        if let Some(value) = event.at(schema, core) {
            out.put(schema, here, value.clone());
        }
    }
    out.put(schema, "apiVersion", "events.k8s.io/v1");
    Ok(out)
}

/// What of version 2 has no field in version 1 travels in annotations there.
const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const ROUND_TRIP: [&str; 6] = [
    METRICS,
    CURRENT_METRICS,
    CONDITIONS,
    BEHAVIOR,
    "autoscaling.alpha.kubernetes.io/scale-down-tolerance",
    "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
];
const CPU_PERCENT_DEFAULT: i64 = 80;

fn ty(schema: &Schema, name: &str) -> Result<TypeId, Error> {
    schema.named(name).ok_or_else(|| Error::Internal(format!("the schema lacks {name}")))
}

const METRIC_SPEC: &str = "io.k8s.api.autoscaling.v2.MetricSpec";
const METRIC_STATUS: &str = "io.k8s.api.autoscaling.v2.MetricStatus";
const CONDITION: &str = "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerCondition";
const LABEL_SELECTOR: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector";

fn drop_round_trip(autoscaler: &mut Struct, schema: &Schema) {
    if let Some(Value::Map(annotations)) = autoscaler.at_mut(schema, "metadata.annotations") {
        for key in ROUND_TRIP {
            annotations.remove(key);
        }
        if annotations.is_empty() {
            autoscaler.take(schema, "metadata.annotations");
        }
    }
}

fn cpu_metric(schema: &Schema, percent: i64) -> Result<Value, Error> {
    let mut metric = Struct::new(ty(schema, METRIC_SPEC)?);
    metric.put(schema, "type", "Resource");
    metric.put(schema, "resource.name", "cpu");
    metric.put(schema, "resource.target.type", "Utilization");
    metric.put(schema, "resource.target.averageUtilization", percent);
    Ok(metric.into())
}

pub fn autoscaler_v1_to_v2(autoscaler: &Struct, to: &Shape) -> Result<Struct, Error> {
    let schema = &*to.schema;
    let old = Object { schema, tree: autoscaler };
    let mut out = retype(autoscaler, to.root, schema);
    drop_round_trip(&mut out, schema);
    let mut metrics: Vec<Value> = Vec::new();
    if let Some(list) = annotation_list(old, METRICS) {
        for item in &list {
            metrics.push(metric_from_v1(item, &to.schema, METRIC_SPEC, &SPEC_FORMS)?);
        }
    }
    if let Some(percent) = old.int("spec.targetCPUUtilizationPercentage") {
        metrics.push(cpu_metric(schema, percent)?);
    }
    if metrics.is_empty() {
        metrics.push(cpu_metric(schema, CPU_PERCENT_DEFAULT)?);
    }
    out.put(schema, "spec.metrics", Value::List(metrics));
    if let Some(Ok(Value::Map(behavior))) = old.annotation(BEHAVIOR).map(|text| json::to_any(text.as_bytes())) {
        behavior_from_v1(&mut out, &Value::Map(behavior), schema)?;
    }
    let mut current: Vec<Value> = Vec::new();
    if let Some(list) = annotation_list(old, CURRENT_METRICS) {
        for item in &list {
            current.push(metric_from_v1(item, &to.schema, METRIC_STATUS, &STATUS_FORMS)?);
        }
    } else if let Some(percent) = old.int("status.currentCPUUtilizationPercentage") {
        let mut metric = Struct::new(ty(schema, METRIC_STATUS)?);
        metric.put(schema, "type", "Resource");
        metric.put(schema, "resource.name", "cpu");
        metric.put(schema, "resource.current.averageUtilization", percent);
        current.push(metric.into());
    }
    if !current.is_empty() {
        out.put(schema, "status.currentMetrics", Value::List(current));
    }
    if let Some(list) = annotation_list(old, CONDITIONS) {
        let shape = Shape { schema: to.schema.clone(), root: ty(schema, CONDITION)? };
        let decode = |item: &Value| json::decode(&shape, &json::from_any(item), &mut Report::ignore()).ok().map(Value::from);
        out.put(schema, "status.conditions", Value::List(list.iter().filter_map(decode).collect()));
    }
    Ok(out)
}

pub fn autoscaler_v2_to_v1(autoscaler: &Struct, to: &Shape) -> Result<Struct, Error> {
    let schema = &*to.schema;
    let new = Object { schema, tree: autoscaler };
    let mut out = retype(autoscaler, to.root, schema);
    drop_round_trip(&mut out, schema);
    out.put(schema, "apiVersion", "autoscaling/v1");
    let is_cpu = |metric: &Object<'_>| {
        metric.text("type") == "Resource" && metric.text("resource.name") == "cpu" && metric.has("resource.target.averageUtilization")
    };
    if let Some(metric) = new.items("spec.metrics").find(is_cpu) {
        out.put(schema, "spec.targetCPUUtilizationPercentage", metric.number("resource.target.averageUtilization"));
    }
    let is_current_cpu = |metric: &Object<'_>| metric.text("type") == "Resource" && metric.text("resource.name") == "cpu";
    if let Some(metric) = new.items("status.currentMetrics").find(is_current_cpu)
        && let Some(percent) = metric.int("resource.current.averageUtilization")
    {
        out.put(schema, "status.currentCPUUtilizationPercentage", percent);
    }
    let mut annotations: Vec<(&str, String)> = Vec::new();
    let others: Vec<String> = new.items("spec.metrics").filter(|metric| !is_cpu(metric)).map(|metric| metric_to_v1(metric, &SPEC_FORMS)).collect();
    if !others.is_empty() {
        annotations.push((METRICS, format!("[{}]", others.join(","))));
    }
    let current: Vec<String> = new.items("status.currentMetrics").map(|metric| metric_to_v1(metric, &STATUS_FORMS)).collect();
    if !current.is_empty() {
        annotations.push((CURRENT_METRICS, format!("[{}]", current.join(","))));
    }
    if let Some(behavior) = new.child("spec.behavior") {
        annotations.push((BEHAVIOR, behavior_to_v1(behavior)));
    }
    if !new.list("status.conditions").is_empty() {
        annotations.push((CONDITIONS, raw(new, "status.conditions").unwrap_or_default()));
    }
    if !annotations.is_empty()
        && let Some(map) = map_at(&mut out, schema, "metadata.annotations")
    {
        for (key, text) in annotations {
            map.insert(key, Value::from(text));
        }
    }
    Ok(out)
}

fn annotation_list(object: Object<'_>, key: &str) -> Option<Vec<Value>> {
    match json::to_any(object.annotation(key)?.as_bytes()) {
        Ok(Value::List(items)) => Some(items),
        _ => None,
    }
}

/// A kind of metric: its field, and each of its fields in version 1 with its place in version 2.
struct Form {
    ty: &'static str,
    field: &'static str,
    parts: &'static [(&'static str, &'static str, Part)],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Plain,
    Quantity,
    /// A quantity that version 1 always shows.
    Shown,
    Selector,
    Reference,
}

use Part::{Plain, Quantity, Reference, Selector, Shown};

const SPEC_FORMS: [Form; 5] = [
    Form {
        ty: "Object",
        field: "object",
        parts: &[
            ("target", "describedObject", Reference),
            ("metricName", "metric.name", Plain),
            ("targetValue", "target.value", Shown),
            ("selector", "metric.selector", Selector),
            ("averageValue", "target.averageValue", Quantity),
        ],
    },
    Form {
        ty: "Pods",
        field: "pods",
        parts: &[
            ("metricName", "metric.name", Plain),
            ("targetAverageValue", "target.averageValue", Shown),
            ("selector", "metric.selector", Selector),
        ],
    },
    Form {
        ty: "Resource",
        field: "resource",
        parts: &[
            ("name", "name", Plain),
            ("targetAverageUtilization", "target.averageUtilization", Plain),
            ("targetAverageValue", "target.averageValue", Quantity),
        ],
    },
    Form {
        ty: "ContainerResource",
        field: "containerResource",
        parts: &[
            ("name", "name", Plain),
            ("targetAverageUtilization", "target.averageUtilization", Plain),
            ("targetAverageValue", "target.averageValue", Quantity),
            ("container", "container", Plain),
        ],
    },
    Form {
        ty: "External",
        field: "external",
        parts: &[
            ("metricName", "metric.name", Plain),
            ("metricSelector", "metric.selector", Selector),
            ("targetValue", "target.value", Quantity),
            ("targetAverageValue", "target.averageValue", Quantity),
        ],
    },
];

const STATUS_FORMS: [Form; 5] = [
    Form {
        ty: "Object",
        field: "object",
        parts: &[
            ("target", "describedObject", Reference),
            ("metricName", "metric.name", Plain),
            ("currentValue", "current.value", Shown),
            ("selector", "metric.selector", Selector),
            ("averageValue", "current.averageValue", Quantity),
        ],
    },
    Form {
        ty: "Pods",
        field: "pods",
        parts: &[
            ("metricName", "metric.name", Plain),
            ("currentAverageValue", "current.averageValue", Shown),
            ("selector", "metric.selector", Selector),
        ],
    },
    Form {
        ty: "Resource",
        field: "resource",
        parts: &[
            ("name", "name", Plain),
            ("currentAverageUtilization", "current.averageUtilization", Plain),
            ("currentAverageValue", "current.averageValue", Shown),
        ],
    },
    Form {
        ty: "ContainerResource",
        field: "containerResource",
        parts: &[
            ("name", "name", Plain),
            ("currentAverageUtilization", "current.averageUtilization", Plain),
            ("currentAverageValue", "current.averageValue", Shown),
            ("container", "container", Plain),
        ],
    },
    Form {
        ty: "External",
        field: "external",
        parts: &[
            ("metricName", "metric.name", Plain),
            ("metricSelector", "metric.selector", Selector),
            ("currentValue", "current.value", Shown),
            ("currentAverageValue", "current.averageValue", Quantity),
        ],
    },
];

/// The JSON of what is at a path.
fn raw(object: Object<'_>, path: &str) -> Option<String> {
    let mut out = Vec::new();
    json::encode_value(object.schema, object.get(path)?, &mut out);
    Some(String::from_utf8_lossy(&out).into_owned())
}

fn quoted(text: &str) -> String {
    let mut out = Vec::new();
    json::write_string(text, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn metric_to_v1(metric: Object<'_>, forms: &[Form]) -> String {
    let mut out = format!("{{\"type\":{}", quoted(metric.text("type")));
    for form in forms {
        let Some(source) = metric.child(form.field) else { continue };
        let mut parts: Vec<String> = Vec::new();
        for (name, path, part) in form.parts {
            let value = match part {
                Reference => source.child(path).map(|of| {
                    let version = of.text("apiVersion");
                    let version = if version.is_empty() { String::new() } else { format!(",\"apiVersion\":{}", quoted(version)) };
                    format!("{{\"kind\":{},\"name\":{}{version}}}", quoted(of.text("kind")), quoted(of.text("name")))
                }),
                Shown => Some(raw(source, path).unwrap_or_else(|| "\"0\"".to_owned())),
                Plain | Quantity | Selector => raw(source, path),
            };
            if let Some(value) = value {
                parts.push(format!("\"{name}\":{value}"));
            }
        }
        out.push_str(&format!(",\"{}\":{{{}}}", form.field, parts.join(",")));
    }
    out.push('}');
    out
}

fn metric_from_v1(item: &Value, schema: &std::sync::Arc<Schema>, name: &str, forms: &[Form]) -> Result<Value, Error> {
    let mut metric = Struct::new(ty(schema, name)?);
    let field = |from: &Value, name: &str| from.as_map().and_then(|map| map.get(name)).cloned();
    if let Some(kind) = field(item, "type") {
        metric.put(schema, "type", kind);
    }
    for form in forms {
        let Some(source) = field(item, form.field) else { continue };
        for (name, path, part) in form.parts {
            let Some(value) = field(&source, name) else { continue };
            let path = format!("{}.{path}", form.field);
            match part {
                Plain => {
                    metric.put(schema, &path, value);
                }
                Quantity | Shown => {
                    let text = match &value {
                        Value::Int(number) => number.to_string(),
                        other => other.as_str().unwrap_or_default().to_owned(),
                    };
                    if let Ok(canonical) = quantity::canonical(&text) {
                        metric.put(schema, &path, canonical);
                    }
                }
                Selector => {
                    let shape = Shape { schema: schema.clone(), root: ty(schema, LABEL_SELECTOR)? };
                    if let Ok(selector) = json::decode(&shape, &json::from_any(&value), &mut Report::ignore()) {
                        metric.put(schema, &path, selector);
                    }
                }
                Reference => {
                    for name in ["kind", "name", "apiVersion"] {
                        if let Some(text) = field(&value, name) {
                            metric.put(schema, &format!("{path}.{name}"), text);
                        }
                    }
                }
            }
        }
        target_type(&mut metric, form, schema);
    }
    Ok(metric.into())
}

/// Version 1 does not say what kind a target is: it follows from which field is there.
fn target_type(metric: &mut Struct, form: &Form, schema: &Schema) {
    let path = |field: &str| format!("{}.target.{field}", form.field);
    if metric.at(schema, &path("averageUtilization")).is_some() {
        metric.put(schema, &path("type"), "Utilization");
        return;
    }
    let kind = match form.ty {
        "Object" if metric.at(schema, &path("averageValue")).is_none() => "Value",
        "External" if metric.at(schema, &path("value")).is_some() => "Value",
        _ => "AverageValue",
    };
    // A status has no target.
    metric.put(schema, &path("type"), kind);
    if form.ty == "Object" && kind == "AverageValue" && metric.str_at(schema, &path("value")) == Some("0") {
        metric.take(schema, &path("value"));
    }
}

/// The names of fields in the annotation, which is Go's own form of the internal type, and ours.
const RULE_FIELDS: [(&str, &str); 2] = [("StabilizationWindowSeconds", "stabilizationWindowSeconds"), ("SelectPolicy", "selectPolicy")];
const POLICY_FIELDS: [(&str, &str); 3] = [("Type", "type"), ("Value", "value"), ("PeriodSeconds", "periodSeconds")];

fn behavior_to_v1(behavior: Object<'_>) -> String {
    let null = || "null".to_owned();
    let rules = |direction: &str| {
        let Some(rules) = behavior.child(direction) else { return null() };
        let fields = RULE_FIELDS.map(|(go, own)| format!("\"{go}\":{}", raw(rules, own).unwrap_or_else(null)));
        let policies: Vec<String> = rules
            .items("policies")
            .map(|policy| format!("{{{}}}", POLICY_FIELDS.map(|(go, own)| format!("\"{go}\":{}", raw(policy, own).unwrap_or_else(null))).join(",")))
            .collect();
        let policies = if rules.has("policies") { format!("[{}]", policies.join(",")) } else { null() };
        let tolerance = raw(rules, "tolerance").unwrap_or_else(null);
        format!("{{{},\"Policies\":{policies},\"Tolerance\":{tolerance}}}", fields.join(","))
    };
    format!("{{\"ScaleUp\":{},\"ScaleDown\":{}}}", rules("scaleUp"), rules("scaleDown"))
}

fn behavior_from_v1(out: &mut Struct, behavior: &Value, schema: &Schema) -> Result<(), Error> {
    let policy_ty = ty(schema, "io.k8s.api.autoscaling.v2.HPAScalingPolicy")?;
    // Go reads its names without regard to case.
    let field = |from: &Value, name: &str| {
        let map = from.as_map()?;
        map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone()).filter(|value| *value != Value::Null)
    };
    for (go, own) in [("ScaleUp", "scaleUp"), ("ScaleDown", "scaleDown")] {
        let Some(rules) = field(behavior, go) else { continue };
        for (go, name) in RULE_FIELDS {
            if let Some(value) = field(&rules, go) {
                out.put(schema, &format!("spec.behavior.{own}.{name}"), value);
            }
        }
        if let Some(Value::String(text)) = field(&rules, "Tolerance")
            && let Ok(canonical) = quantity::canonical(&text)
        {
            out.put(schema, &format!("spec.behavior.{own}.tolerance"), canonical);
        }
        if let Some(Value::List(policies)) = field(&rules, "Policies") {
            let policy = |item: &Value| {
                let mut policy = Struct::new(policy_ty);
                for (go, name) in POLICY_FIELDS {
                    if let Some(value) = field(item, go) {
                        policy.put(schema, name, value);
                    }
                }
                Value::from(policy)
            };
            out.put(schema, &format!("spec.behavior.{own}.policies"), Value::List(policies.iter().map(policy).collect()));
        }
    }
    Ok(())
}
