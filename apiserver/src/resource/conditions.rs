//! Conditions of Pods that the API server itself sets.

use apiserver_machinery::schema::Schema;
use apiserver_machinery::tree::{Struct, Value};

/// PodScheduled is true: the Pod has just been bound.
pub fn set_scheduled(pod: &mut Struct, schema: &Schema, now: jiff::Timestamp) {
    set(pod, schema, now, "True", None);
}

/// PodScheduled is false because of scheduling gates.
pub fn set_gated(pod: &mut Struct, schema: &Schema, now: jiff::Timestamp) {
    set(pod, schema, now, "False", Some(("SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates")));
}

fn set(pod: &mut Struct, schema: &Schema, now: jiff::Timestamp, status: &str, why: Option<(&str, &str)>) {
    let Some(ty) = schema.named("io.k8s.api.core.v1.PodCondition") else { return };
    let mut condition = Struct::new(ty);
    condition.put(schema, "type", "PodScheduled");
    condition.put(schema, "status", status);
    if let Some((reason, message)) = why {
        condition.put(schema, "reason", reason);
        condition.put(schema, "message", message);
    }
    let mut conditions = match pod.take(schema, "status.conditions") {
        Some(Value::List(conditions)) => conditions,
        _ => Vec::new(),
    };
    let own = |value: &Value| value.as_struct().and_then(|own| own.str_at(schema, "type")) == Some("PodScheduled");
    let before = conditions.iter().find(|value| own(value)).and_then(Value::as_struct);
    let since = before.filter(|before| before.str_at(schema, "status") == Some(status)).and_then(|before| before.at(schema, "lastTransitionTime"));
    let since = since.cloned().unwrap_or_else(|| crate::meta::time(now));
    condition.put(schema, "lastTransitionTime", since);
    match conditions.iter_mut().find(|value| own(value)) {
        Some(place) => *place = condition.into(),
        None => conditions.push(condition.into()),
    }
    pod.put(schema, "status.conditions", Value::List(conditions));
}
