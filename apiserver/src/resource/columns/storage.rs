//! Columns of the kinds of storage.

use super::{AGE, ColumnRow, NAME, boolean, integer, join, or, text};
use crate::resource::{CellContext, Object, Value};

const UNSET: &str = "<unset>";
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const DEFAULT_ANNOTATIONS: [&str; 2] = ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
const ACCESS_MODES: [(&str, &str); 4] = [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];

const STORAGE_CLASS: ColumnRow = text("StorageClass", "The class of storage.", |object, _| {
    object.annotation(CLASS_ANNOTATION).unwrap_or_else(|| object.text("spec.storageClassName")).into()
});
const ATTRIBUTES: ColumnRow = text("VolumeAttributesClass", "The class of the volume's attributes.", |object, _| {
    object.text_opt("spec.volumeAttributesClassName").unwrap_or(UNSET).into()
});
const MODE: ColumnRow =
    text("VolumeMode", "Whether it is a file system or a block device.", |object, _| object.text_opt("spec.volumeMode").unwrap_or(UNSET).into())
        .wide();

fn access_modes(object: Object<'_>, path: &str) -> String {
    let has = |mode: &str| object.texts(path).any(|own| own == mode);
    join(ACCESS_MODES.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short), ",")
}

fn amount<'a>(object: Object<'a>, path: &str) -> &'a str {
    object.map(path).and_then(|map| map.get("storage")?.as_str()).unwrap_or("0")
}

fn phase<'a>(object: Object<'a>) -> &'a str {
    if object.has("metadata.deletionTimestamp") { "Terminating" } else { object.text("status.phase") }
}

pub const VOLUME: &[ColumnRow] = &[
    NAME,
    text("Capacity", "How much it holds.", |object, _| amount(object, "spec.capacity").into()),
    text("Access Modes", "By how many it can be used, and how.", |object, _| access_modes(object, "spec.accessModes").into()),
    text("Reclaim Policy", "What becomes of it when its claim goes.", |object, _| object.text("spec.persistentVolumeReclaimPolicy").into()),
    text("Status", "Whether it is bound.", |object, _| phase(object).into()),
    text("Claim", "The claim that it belongs to.", |object, _| {
        object.child("spec.claimRef").map_or_else(|| "".into(), |claim| format!("{}/{}", claim.text("namespace"), claim.text("name")).into())
    }),
    STORAGE_CLASS,
    ATTRIBUTES,
    text("Reason", "Why it is in its state.", |object, _| object.text("status.reason").into()),
    AGE,
    MODE,
];

pub const CLAIM: &[ColumnRow] = &[
    NAME,
    text("Status", "Whether it is bound.", |object, _| phase(object).into()),
    text("Volume", "The volume that it is bound to.", |object, _| object.text("spec.volumeName").into()),
    text("Capacity", "How much the volume holds.", |object, _| bound(object, |object| amount(object, "status.capacity").to_owned())),
    text("Access Modes", "By how many the volume can be used, and how.", |object, _| {
        bound(object, |object| access_modes(object, "status.accessModes"))
    }),
    STORAGE_CLASS,
    ATTRIBUTES,
    AGE,
    MODE,
];

/// Of claims that have a volume.
fn bound(object: Object<'_>, cell: fn(Object<'_>) -> String) -> Value {
    if object.text("spec.volumeName").is_empty() { "".into() } else { cell(object).into() }
}

pub const DRIVER: &[ColumnRow] = &[
    NAME,
    boolean("AttachRequired", "Whether volumes must be attached to nodes.", |object, _| {
        object.flag_opt("spec.attachRequired").unwrap_or(true).into()
    }),
    boolean("PodInfoOnMount", "Whether the driver is told about the Pod.", |object, _| object.flag("spec.podInfoOnMount").into()),
    boolean("StorageCapacity", "Whether the driver says how much room there is.", |object, _| object.flag("spec.storageCapacity").into()),
    text("TokenRequests", "Audiences of the tokens that the driver gets.", |object, _| {
        if object.has("spec.tokenRequests") {
            join(object.items("spec.tokenRequests").map(|request| request.text("audience")), ",").into()
        } else {
            UNSET.into()
        }
    }),
    boolean("RequiresRepublish", "Whether the driver is called again from time to time.", |object, _| object.flag("spec.requiresRepublish").into()),
    text("Modes", "Which volumes the driver serves.", |object, _| or(&join(object.texts("spec.volumeLifecycleModes"), ","), "<none>").into()),
    AGE,
];

pub const CSI_NODE: &[ColumnRow] = &[
    NAME,
    integer("Drivers", "How many drivers run on the node.", |object, _| i64::try_from(object.list("spec.drivers").len()).unwrap_or(i64::MAX).into()),
    AGE,
];

pub const CLASS: &[ColumnRow] = &[
    text("Name", super::NAME_DESCRIPTION, |object, _| {
        let default = DEFAULT_ANNOTATIONS.iter().any(|annotation| object.annotation(annotation) == Some("true"));
        if default { format!("{} (default)", object.name()).into() } else { object.name().into() }
    })
    .format("name"),
    text("Provisioner", "Who makes volumes of the class.", |object, _| object.text("provisioner").into()),
    text("ReclaimPolicy", "What becomes of a volume when its claim goes.", |object, _| or(object.text("reclaimPolicy"), "Delete").into()),
    text("VolumeBindingMode", "When volumes are made and bound.", |object, _| or(object.text("volumeBindingMode"), "Immediate").into()),
    text("AllowVolumeExpansion", "Whether claims may grow.", |object, _| object.flag("allowVolumeExpansion").into()),
    AGE,
];

pub const ATTACHMENT: &[ColumnRow] = &[
    NAME,
    text("Attacher", "Who attaches it.", |object, _| object.text("spec.attacher").into()).format("name"),
    text("PV", "The volume.", |object, _| object.text("spec.source.persistentVolumeName").into()),
    text("Node", "The node.", |object, _| object.text("spec.nodeName").into()),
    boolean("Attached", "Whether it is attached.", |object, _| object.flag("status.attached").into()),
    AGE,
];

pub const ATTRIBUTES_CLASS: &[ColumnRow] =
    &[NAME, text("DriverName", "The driver whose volumes it is for.", |object, _| object.text("driverName").into()), AGE];

pub const MIGRATION: &[ColumnRow] = &[
    text("Name", super::NAME_DESCRIPTION, |object, _| object.name().into()),
    text("Resource", "What is migrated.", |object, _| match (object.text("spec.resource.resource"), object.text("spec.resource.group")) {
        (resource, "") => resource.into(),
        (resource, group) => format!("{resource}.{group}").into(),
    }),
    text("Status", "How far it is.", migration),
];

fn migration(object: Object<'_>, _: CellContext) -> Value {
    let is = |condition: &Object<'_>| condition.text("status") == "True" && matches!(condition.text("type"), "Running" | "Failed" | "Succeeded");
    object.items("status.conditions").rfind(is).map_or("Unknown", |condition| condition.text("type")).into()
}
