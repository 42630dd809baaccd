//! Columns of autoscalers, in both of their versions: v1 knows one metric of its own and keeps the others in an annotation.

use super::{AGE, ColumnRow, NAME, first_few, or, text};
use crate::resource::{CellContext, Object, Value};

const UNKNOWN: &str = "<unknown>";
/// How many metrics a cell names.
const SHOWN_MAX: usize = 2;

pub const AUTOSCALER: &[ColumnRow] = &[
    NAME,
    text("Reference", "What it scales.", |object, _| {
        format!("{}/{}", object.text("spec.scaleTargetRef.kind"), object.text("spec.scaleTargetRef.name")).into()
    }),
    text("Targets", "Current and wanted values of its metrics.", targets),
    text("MinPods", "The fewest Pods.", |object, _| {
        object.int("spec.minReplicas").map_or_else(|| "<unset>".into(), |number| number.to_string().into())
    }),
    text("MaxPods", "The most Pods.", |object, _| object.number("spec.maxReplicas").into()),
    text("Replicas", "How many Pods there are.", |object, _| object.number("status.currentReplicas").into()),
    AGE,
];

fn targets(object: Object<'_>, _: CellContext) -> Value {
    let mut all = Vec::new();
    if let Some(target) = object.int("spec.targetCPUUtilizationPercentage") {
        all.push(format!("cpu: {}/{target}%", percent(object.int("status.currentCPUUtilizationPercentage"), UNKNOWN)));
    }
    let current = object.list("status.currentMetrics");
    for (at, spec) in object.items("spec.metrics").enumerate() {
        let status = current.get(at).and_then(Value::as_struct).map(|tree| Object::new(object.schema, tree));
        all.push(metric(spec, status));
    }
    or(&first_few(&all, SHOWN_MAX, ", ", all.len()), "<none>").into()
}

fn percent(number: Option<i64>, none: &str) -> String {
    number.map_or_else(|| none.to_owned(), |number| format!("{number}%"))
}

/// `CURRENT/TARGET` of a metric, with the resource's name before it.
fn metric(spec: Object<'_>, status: Option<Object<'_>>) -> String {
    let (field, named) = match spec.text("type") {
        "External" => ("external", false),
        "Pods" => ("pods", false),
        "Object" => ("object", false),
        "Resource" => ("resource", true),
        "ContainerResource" => ("containerResource", true),
        _ => return "<unknown type>".to_owned(),
    };
    let Some(source) = spec.child(field) else { return "<unknown type>".to_owned() };
    let status = status.and_then(|status| status.child(field));
    let current = |quantity: &str| {
        status.map_or(UNKNOWN, |status| status.text_opt(quantity).unwrap_or(if field == "external" || field == "object" { UNKNOWN } else { "0" }))
    };
    let average = source.text_opt("target.averageValue");
    if named {
        let name = source.text("name");
        return match average {
            Some(average) => format!("{name}: {}/{average}", current("current.averageValue")),
            None => {
                let current = status.and_then(|status| status.int("current.averageUtilization"));
                format!("{name}: {}/{}", percent(current, UNKNOWN), percent(source.int("target.averageUtilization"), "<auto>"))
            }
        };
    }
    match average {
        Some(average) if field == "pods" => format!("{}/{average}", current("current.averageValue")),
        Some(average) => format!("{}/{average} (avg)", current("current.averageValue")),
        None => format!("{}/{}", current("current.value"), source.text("target.value")),
    }
}
