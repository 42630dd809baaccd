//! Columns of the kinds that make Pods.

use super::human::{between, since};
use super::{AGE, CONTAINERS, ColumnRow, IMAGES, NAME, boolean, condition, container_texts, integer, labels, selector, text};
use crate::resource::{CellContext, Object, Value};

const SELECTOR: ColumnRow = text("Selector", "Which Pods belong to it.", |object, _| selector(object, "spec.selector", "<none>").into()).wide();

pub const POD_TEMPLATE: &[ColumnRow] = &[
    NAME,
    text("Containers", "Names of the containers of the template.", |object, _| container_texts(object, "template.spec.containers", "name")),
    text("Images", "Images that the containers of the template name.", |object, _| container_texts(object, "template.spec.containers", "image")),
    text("Pod Labels", "Labels that Pods of the template get.", |object, _| labels(object, "template.metadata.labels").into()),
];

/// ReplicaSets and ReplicationControllers, whose selector is a map of labels.
pub const REPLICA_SET: &[ColumnRow] = &[
    NAME,
    integer("Desired", "How many Pods there are to be.", |object, _| object.number("spec.replicas").into()),
    integer("Current", "How many Pods there are.", |object, _| object.number("status.replicas").into()),
    integer("Ready", "How many Pods are ready.", |object, _| object.number("status.readyReplicas").into()),
    AGE,
    CONTAINERS,
    IMAGES,
    text("Selector", "Which Pods belong to it.", |object, _| {
        if object.map("spec.selector").is_some() {
            labels(object, "spec.selector").into()
        } else {
            selector(object, "spec.selector", "<none>").into()
        }
    })
    .wide(),
];

pub const CONTROLLER_REVISION: &[ColumnRow] = &[
    NAME,
    text("Controller", "Whose revision it is.", controller),
    text("Revision", "The number of the revision.", |object, _| object.number("revision").into()),
    AGE,
];

fn controller(object: Object<'_>, _: CellContext) -> Value {
    let Some(owner) = object.items("metadata.ownerReferences").find(|owner| owner.flag("controller")) else { return "<none>".into() };
    let (kind, name) = (owner.text("kind").to_lowercase(), owner.text("name"));
    match owner.text("apiVersion").split_once('/') {
        Some((group, _)) => format!("{kind}.{}/{name}", group.to_lowercase()).into(),
        None if kind.is_empty() => name.into(),
        None => format!("{kind}/{name}").into(),
    }
}

pub const DAEMON_SET: &[ColumnRow] = &[
    NAME,
    integer("Desired", "How many nodes are to run its Pod.", |object, _| object.number("status.desiredNumberScheduled").into()),
    integer("Current", "How many of those nodes run one.", |object, _| object.number("status.currentNumberScheduled").into()),
    integer("Ready", "How many of those Pods are ready.", |object, _| object.number("status.numberReady").into()),
    integer("Up-to-date", "How many of those Pods are of the current template.", |object, _| object.number("status.updatedNumberScheduled").into()),
    integer("Available", "How many of those Pods have been ready for long enough.", |object, _| object.number("status.numberAvailable").into()),
    text("Node Selector", "Labels that nodes need to run its Pod.", |object, _| labels(object, "spec.template.spec.nodeSelector").into()),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

fn ready_of_desired(object: Object<'_>, _: CellContext) -> Value {
    format!("{}/{}", object.number("status.readyReplicas"), object.number("spec.replicas")).into()
}

pub const DEPLOYMENT: &[ColumnRow] = &[
    NAME,
    text("Ready", "Ready Pods of those that there are to be.", ready_of_desired),
    text("Up-to-date", "How many Pods are of the current template.", |object, _| object.number("status.updatedReplicas").into()),
    text("Available", "How many Pods have been ready for long enough.", |object, _| object.number("status.availableReplicas").into()),
    AGE,
    CONTAINERS,
    IMAGES,
    text("Selector", "Which Pods belong to it.", |object, _| selector(object, "spec.selector", "").into()).wide(),
];

pub const STATEFUL_SET: &[ColumnRow] = &[NAME, text("Ready", "Ready Pods of those that there are to be.", ready_of_desired), AGE, CONTAINERS, IMAGES];

pub const CRON_JOB: &[ColumnRow] = &[
    NAME,
    text("Schedule", "When it starts a Job.", |object, _| object.text("spec.schedule").into()),
    text("Timezone", "The time zone of the schedule.", |object, _| object.text_opt("spec.timeZone").unwrap_or("<none>").into()),
    boolean("Suspend", "Whether it starts no Jobs for now.", |object, _| {
        match object.flag_opt("spec.suspend") {
            None => "<unset>",
            Some(true) => "True",
            Some(false) => "False",
        }
        .into()
    }),
    integer("Active", "How many of its Jobs run.", |object, _| i64::try_from(object.list("status.active").len()).unwrap_or(i64::MAX).into()),
    text("Last Schedule", "How long ago it last started a Job.", |object, context| {
        object.text_opt("status.lastScheduleTime").map_or_else(|| "<none>".into(), |time| since(time, context).into())
    }),
    AGE,
    text("Containers", "Names of the containers of its Jobs.", |object, _| container_texts(object, CRON_CONTAINERS, "name")).wide(),
    text("Images", "Images that the containers of its Jobs name.", |object, _| container_texts(object, CRON_CONTAINERS, "image")).wide(),
    text("Selector", "Which Pods belong to its Jobs.", |object, _| selector(object, "spec.jobTemplate.spec.selector", "<none>").into()).wide(),
];

const CRON_CONTAINERS: &str = "spec.jobTemplate.spec.template.spec.containers";

pub const JOB: &[ColumnRow] = &[
    NAME,
    text("Status", "How far the Job is.", |object, _| job_status(object).into()),
    text("Completions", "Succeeded Pods of those that are to succeed.", completions),
    text("Duration", "How long it has run, or did.", job_duration),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

fn job_status(object: Object<'_>) -> &'static str {
    let is = |ty| condition(object, "status.conditions", ty) == "True";
    match () {
        () if is("Complete") => "Complete",
        () if is("Failed") => "Failed",
        () if object.has("metadata.deletionTimestamp") => "Terminating",
        () if is("Suspended") => "Suspended",
        () if is("FailureTarget") => "FailureTarget",
        () if is("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn completions(object: Object<'_>, _: CellContext) -> Value {
    let succeeded = object.number("status.succeeded");
    match (object.int("spec.completions"), object.number("spec.parallelism")) {
        (Some(completions), _) => format!("{succeeded}/{completions}").into(),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}").into(),
        (None, _) => format!("{succeeded}/1").into(),
    }
}

fn job_duration(object: Object<'_>, context: CellContext) -> Value {
    let Ok(start) = object.text("status.startTime").parse() else { return "".into() };
    let end = object.text("status.completionTime").parse().unwrap_or(context.now);
    between(start, end).into()
}
