//! Events, in both groups.

use super::validation::{Errors, immutable, messages, metadata, value};
use super::{Context, Object, Rules, Selectable};
use apiserver_machinery::field::{Error, Path};
use apiserver_machinery::names;

pub static RULES: Rules = Rules {
    validate,
    selectable: &[
        Selectable { label: "involvedObject.kind", value: |event| event.text("involvedObject.kind").into() },
        Selectable { label: "involvedObject.namespace", value: |event| event.text("involvedObject.namespace").into() },
        Selectable { label: "involvedObject.name", value: |event| event.text("involvedObject.name").into() },
        Selectable { label: "involvedObject.uid", value: |event| event.text("involvedObject.uid").into() },
        Selectable { label: "involvedObject.apiVersion", value: |event| event.text("involvedObject.apiVersion").into() },
        Selectable { label: "involvedObject.resourceVersion", value: |event| event.text("involvedObject.resourceVersion").into() },
        Selectable { label: "involvedObject.fieldPath", value: |event| event.text("involvedObject.fieldPath").into() },
        Selectable { label: "reason", value: |event| event.text("reason").into() },
        Selectable { label: "reportingComponent", value: |event| event.text("reportingComponent").into() },
        Selectable { label: "source", value: source },
        Selectable { label: "type", value: |event| event.text("type").into() },
    ],
    create_on_update: true,
    ..Rules::PLAIN
};

const INSTANCE_CHARACTERS_MAX: usize = 128;
const ACTION_CHARACTERS_MAX: usize = 128;
const REASON_CHARACTERS_MAX: usize = 128;
const NOTE_CHARACTERS_MAX: usize = 1024;

fn source(event: Object<'_>) -> apiserver_machinery::Str {
    match event.text("source.component") {
        "" => event.text("reportingComponent").into(),
        component => component.into(),
    }
}

fn validate(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    let core = context.resource.group.is_empty();
    common(new, core, errors);
    // The core group has never checked more.
    if core {
        if old.is_none() || new.name().is_empty() {
            metadata::validate(new, old, context, errors);
        }
        return;
    }
    metadata::validate(new, old, context, errors);
    match old {
        None => created(new, errors),
        Some(old) => {
            if new.get("series") != old.get("series") {
                series(new, errors);
            }
            for (field, shown) in [
                ("involvedObject", "involvedObject"),
                ("reason", "reason"),
                ("message", "message"),
                ("source", "source"),
                ("firstTimestamp", "firstTimestamp"),
                ("lastTimestamp", "lastTimestamp"),
                ("count", "count"),
                ("type", "type"),
                ("eventTime", "eventTime"),
                ("action", "action"),
                ("related", "related"),
                ("reportingComponent", "reportingController"),
                ("reportingInstance", "reportingInstance"),
            ] {
                immutable(new, old, field, &Path::new(shown), errors);
            }
        }
    }
}

fn common(event: Object<'_>, core: bool, errors: &mut Errors) {
    let involved = event.text("involvedObject.namespace");
    let namespace = event.namespace();
    let mismatch = |errors: &mut Errors| {
        errors.push(Error::invalid(&Path::new("involvedObject.namespace"), involved, "does not match event.namespace"));
    };
    if event.text("eventTime").is_empty() {
        let fits = if involved.is_empty() { matches!(namespace, "" | "default") } else { namespace == involved };
        if !fits {
            mismatch(errors);
        }
        return;
    }
    if involved.is_empty() && !matches!(namespace, "default" | "kube-system") {
        mismatch(errors);
    }
    let controller_at = Path::new(if core { "reportingComponent" } else { "reportingController" });
    let controller = event.text("reportingComponent");
    if controller.is_empty() {
        errors.push(Error::required(&controller_at, ""));
    }
    messages(names::qualified_name(controller), controller, &controller_at, errors);
    for (field, characters_max, needed) in [
        ("reportingInstance", INSTANCE_CHARACTERS_MAX, true),
        ("action", ACTION_CHARACTERS_MAX, true),
        ("reason", REASON_CHARACTERS_MAX, true),
        ("message", NOTE_CHARACTERS_MAX, false),
    ] {
        let text = event.text(field);
        if text.is_empty() && needed {
            errors.push(Error::required(&Path::new(field), ""));
        }
        if text.len() > characters_max {
            errors.push(Error::invalid(&Path::new(field), "", format!("can have at most {characters_max} characters")));
        }
    }
}

fn created(event: Object<'_>, errors: &mut Errors) {
    series(event, errors);
    if event.text("eventTime").is_empty() {
        errors.push(Error::required(&Path::new("eventTime"), ""));
    }
    let ty = event.text("type");
    if !matches!(ty, "Normal" | "Warning") {
        errors.push(Error::invalid(&Path::new("type"), "", format!("has invalid value: {ty}")));
    }
    for field in ["firstTimestamp", "lastTimestamp", "count", "source"] {
        if event.get(field).is_some_and(|value| !value::is_empty(value)) {
            errors.push(Error::invalid(&Path::new(field), "", "needs to be unset"));
        }
    }
}

fn series(event: Object<'_>, errors: &mut Errors) {
    let Some(series) = event.child("series") else { return };
    if series.number("count") < 2 {
        errors.push(Error::invalid(&Path::new("series.count"), "", "should be at least 2"));
    }
    if series.text("lastObservedTime").is_empty() {
        errors.push(Error::required(&Path::new("series.lastObservedTime"), ""));
    }
}
