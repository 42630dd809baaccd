//! The resource row of a CustomResourceDefinition: what the table has for built-in kinds, built at run time.

use super::definition::{Definition, PrinterColumn, Version};
use crate::request::Verb;
use crate::resource::catalog::compare_versions;
use crate::resource::{Cell, Column, Columns, Context, Convert, Object, Resource, Rules, Scale, Served, Stored, Subresource, validation};
use apiserver_machinery::schema::Shape;
use apiserver_machinery::tree::Struct;
use apiserver_machinery::{Str, custom, defaults, field, validate};
use apiserver_store::Generation;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What holds for every custom resource.
pub const CUSTOM: Rules = Rules {
    defaults: apply_defaults,
    validate: validate_object,
    generation: true,
    create_on_update: false,
    unconditional_update: false,
    ..Rules::PLAIN
};

static RULES: Rules = CUSTOM;

const VERBS: [Verb; 8] = [Verb::Delete, Verb::DeleteCollection, Verb::Get, Verb::List, Verb::Patch, Verb::Create, Verb::Update, Verb::Watch];

fn apply_defaults(object: &mut Struct, shape: &Shape) {
    defaults::apply(shape, object);
}

fn validate_object(object: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Vec<field::Error>) {
    validation::metadata::validate(object, old, context, errors);
    match old {
        None => validate::openapi(object.schema, object.tree, errors),
        Some(old) => validate::openapi_update(object.schema, object.tree, old.tree, errors),
    }
}

/// Tells editions of a definition apart: what is served and stored depends on all of its spec.
pub fn generation(definition: &Definition) -> Generation {
    let mut hash = Sha256::new();
    hash.update(format!("{:?}{:?}", definition.spec, definition.metadata.deletion_timestamp.is_some()));
    let digest = hash.finalize();
    let mut first = [0_u8; 8];
    first.copy_from_slice(&digest[..8]);
    // Zero is the built-in kinds' own.
    Generation(u64::from_le_bytes(first) | 1)
}

/// Builds the row, or says why the schema is none.
pub fn resource(definition: &Definition) -> Result<Resource, String> {
    let spec = &definition.spec;
    let storage = spec.versions.iter().find(|version| version.storage).ok_or("no version is the storage version")?;
    let storage_shape = shape(definition, storage)?;
    let mut served: Vec<&Version> = spec.versions.iter().filter(|version| version.served).collect();
    served.sort_by(|a, b| compare_versions(&a.name, &b.name));
    let mut versions = Vec::with_capacity(served.len());
    for version in served {
        let (shape, convert) = if version.storage { (storage_shape.clone(), Convert::Same) } else { (shape(definition, version)?, Convert::Rename) };
        let deprecated = version.deprecated.then(|| {
            version
                .deprecation_warning
                .as_deref()
                .map_or_else(|| compact_str::format_compact!("{}/{} {} is deprecated", spec.group, version.name, spec.names.kind), Str::from)
        });
        let open_api = version.schema.as_ref().and_then(|schema| schema.open_api.clone()).map(Arc::new);
        versions.push(Served {
            version: version.name.as_str().into(),
            shape,
            convert,
            columns: columns(&version.additional_printer_columns),
            deprecated,
            open_api,
        });
    }
    let terminating = definition.metadata.deletion_timestamp.is_some();
    let verbs = VERBS.into_iter().filter(|verb| !terminating || !matches!(verb, Verb::Create)).collect();
    let list_kind = if spec.names.list_kind.is_empty() { format!("{}List", spec.names.kind) } else { spec.names.list_kind.clone() };
    Ok(Resource {
        group: spec.group.as_str().into(),
        kind: spec.names.kind.as_str().into(),
        list_kind: list_kind.into(),
        plural: spec.names.plural.as_str().into(),
        singular: if spec.names.singular.is_empty() { spec.names.kind.to_lowercase().into() } else { spec.names.singular.as_str().into() },
        short_names: definition.status.accepted_names.short_names.iter().map(|name| name.as_str().into()).collect(),
        categories: spec.names.categories.iter().map(|name| name.as_str().into()).collect(),
        namespaced: spec.scope == "Namespaced",
        verbs,
        subresources: subresources(storage),
        versions,
        storage: Stored {
            api_version: compact_str::format_compact!("{}/{}", spec.group, storage.name),
            kind: spec.names.kind.as_str().into(),
            shape: storage_shape,
            generation: generation(definition),
        },
        prefix: compact_str::format_compact!("/registry/{}/{}/", spec.group, spec.names.plural),
        rules: &RULES,
        custom: true,
        selectable_paths: storage.selectable_fields.iter().map(|field| field.json_path.trim_start_matches('.').into()).collect(),
        protobuf_readers: AtomicBool::new(false),
    })
}

fn shape(definition: &Definition, version: &Version) -> Result<Shape, String> {
    let open_api = version.schema.as_ref().and_then(|schema| schema.open_api.as_ref());
    custom::shape(open_api, definition.spec.preserve_unknown_fields).map_err(|errors| field::aggregate(&errors))
}

fn subresources(version: &Version) -> Vec<Subresource> {
    let Some(declared) = &version.subresources else { return Vec::new() };
    let verbs = vec![Verb::Get, Verb::Patch, Verb::Update];
    let mut out = Vec::new();
    if declared.status.is_some() {
        out.push(Subresource {
            name: "status".into(),
            group: Str::default(),
            version: Str::default(),
            kind: Str::default(),
            verbs: verbs.clone(),
            scale: None,
        });
    }
    if let Some(scale) = &declared.scale {
        let paths = Scale {
            spec_replicas: scale.spec_replicas_path.as_str().into(),
            status_replicas: scale.status_replicas_path.as_str().into(),
            selector: scale.label_selector_path.as_deref().map(Str::from),
        };
        out.push(Subresource {
            name: "scale".into(),
            group: "autoscaling".into(),
            version: "v1".into(),
            kind: "Scale".into(),
            verbs,
            scale: Some(paths),
        });
    }
    out
}

/// Name and the declared columns; an age where none are declared.
fn columns(declared: &[PrinterColumn]) -> Columns {
    let column = |name: &str, ty: &str, format: &str, description: &str, priority: i32, path: &str| Column {
        name: name.into(),
        ty: ty.into(),
        format: format.into(),
        description: description.into(),
        priority,
        cell: Cell::Path(path.into()),
    };
    let mut out = vec![column("Name", "string", "name", "Name must be unique within a namespace.", 0, ".metadata.name")];
    if declared.is_empty() {
        out.push(column("Age", "date", "", "Time since the object was created.", 0, ".metadata.creationTimestamp"));
    }
    out.extend(declared.iter().map(|own| column(&own.name, &own.ty, &own.format, &own.description, own.priority, &own.json_path)));
    Columns(Arc::from(out))
}
