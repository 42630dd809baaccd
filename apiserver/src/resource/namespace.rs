//! Namespaces: their finalizers, and the phase that follows from being deleted.

use super::rules::keep_all_but;
use super::validation::{Errors, messages, metadata};
use super::{Context, Object, Rules, Selectable};
use apiserver_machinery::field::{Error, Path};
use apiserver_machinery::names;
use apiserver_machinery::tree::{Struct, Value};

pub static RULES: Rules = Rules {
    create,
    update,
    validate,
    selectable: &[Selectable { label: "status.phase", value: |namespace| namespace.text("status.phase").into() }],
    returns_deleted: true,
    ..Rules::PLAIN
};

const FINALIZER: &str = "kubernetes";

fn create(namespace: &mut Struct, context: &Context<'_>) {
    let schema = context.schema;
    namespace.take(schema, "status");
    namespace.put(schema, "status.phase", "Active");
    let mut finalizers = namespace.list_at(schema, "spec.finalizers").to_vec();
    if !finalizers.iter().any(|own| own.as_str() == Some(FINALIZER)) {
        finalizers.push(Value::from(FINALIZER));
        namespace.put(schema, "spec.finalizers", Value::List(finalizers));
    }
    name_label(namespace, context);
}

/// A generated name is known only now.
fn name_label(namespace: &mut Struct, context: &Context<'_>) {
    let name = namespace.str_at(context.schema, "metadata.name").unwrap_or_default().to_owned();
    if let Some(labels) = super::rules::map_at(namespace, context.schema, "metadata.labels") {
        labels.insert("kubernetes.io/metadata.name", Value::from(name));
    }
}

fn update(old: &Struct, new: &mut Struct, context: &Context<'_>) {
    let changing: &[&str] = match context.subresource {
        "status" => &["metadata", "status"],
        "finalize" => &["metadata", "spec"],
        _ => &["metadata"],
    };
    keep_all_but(old, new, context.schema, changing);
}

fn validate(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    let finalizers = Path::new("spec.finalizers");
    match (context.subresource, old) {
        ("status", _) => {
            let phase = new.text("status.phase");
            let at = Path::new("status.Phase");
            match (new.has("metadata.deletionTimestamp"), phase) {
                (false, "Active") | (true, "Terminating") => {}
                (false, _) => errors.push(Error::invalid(&at, phase, "may only be 'Active' if `deletionTimestamp` is empty")),
                (true, _) => errors.push(Error::invalid(&at, phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")),
            }
        }
        ("finalize", _) => {
            for (index, name) in new.texts("spec.finalizers").enumerate() {
                finalizer(name, &finalizers.index(index), errors);
            }
        }
        (_, None) => {
            for name in new.texts("spec.finalizers") {
                finalizer(name, &finalizers, errors);
            }
        }
        _ => {}
    }
}

fn finalizer(name: &str, at: &Path<'_>, errors: &mut Errors) {
    messages(names::qualified_name(name), name, at, errors);
    if !name.contains('/') && !matches!(name, FINALIZER | "orphan" | "foregroundDeletion") {
        errors.push(Error::invalid(at, name, "name is neither a standard finalizer name nor is it fully qualified"));
    }
}
