//! From a body to an [`Intent`]: media types, field validation, and that body and path speak of the same object.

use crate::Error;
use crate::api::Api;
use crate::media::{self, Accept, Format, PatchType};
use crate::options::{FieldValidation, Options};
use crate::request::{Target, User, Verb};
use crate::serve::Found;
use crate::status;
use crate::write::{Action, DeleteOptions, Intent, Propagation, ScaleChange};
use apiserver_machinery::codec::{DecodeError, Report};
use apiserver_machinery::field::{self, Path};
use apiserver_machinery::schema::Shape;
use apiserver_machinery::tree::{Struct, Value};
use apiserver_machinery::{Str, builtin, json, protobuf, yaml};
use bytes::Bytes;
use http::HeaderMap;
use std::sync::Arc;

/// Upstream's bound on fieldManager.
const FIELD_MANAGER_BYTES_MAX: usize = 128;
/// A body that cannot be understood is shown in the message up to this length.
const SUMMARY_BYTES_MAX: usize = 30;

/// What the body is expected to hold.
pub struct Expected<'a> {
    pub shape: &'a Shape,
    pub group: &'a str,
    pub version: &'a str,
    pub kind: &'a str,
}

#[expect(clippy::too_many_arguments, reason = "the parts of one request, each used once")]
pub fn decode(
    api: &Arc<Api>,
    found: &Found,
    verb: Verb,
    target: Target,
    user: Arc<User>,
    options: Options,
    accept: Accept,
    headers: &HeaderMap,
    bytes: Bytes,
) -> Result<(Intent, Vec<String>), Error> {
    let mut warnings = Vec::new();
    let manager = manager(&options, headers)?;
    let action = action(found, verb, &target, &options, headers, bytes, &mut warnings)?;
    let mut intent = Intent { found: found.clone(), target, user, options, accept, action, manager, now: api.clock.now() };
    if found.resource.plural == "bindings" {
        bind_pod(api, &mut intent)?;
    }
    if let Some(deprecated) = &found.served().deprecated {
        warnings.push(deprecated.to_string());
    }
    agree(&mut intent)?;
    Ok((intent, warnings))
}

/// A POST to `bindings` is one to the named Pod's `binding`.
fn bind_pod(api: &Api, intent: &mut Intent) -> Result<(), Error> {
    let Action::Bind(binding) = &intent.action else { return Ok(()) };
    intent.target.name = binding.str_at(builtin::schema(), "metadata.name").unwrap_or_default().into();
    intent.target.resource = "pods".into();
    intent.target.subresource = "binding".into();
    intent.found = api.find(&intent.target)?;
    Ok(())
}

fn action(
    found: &Found,
    verb: Verb,
    target: &Target,
    options: &Options,
    headers: &HeaderMap,
    bytes: Bytes,
    warnings: &mut Vec<String>,
) -> Result<Action, Error> {
    let custom = found.resource.custom;
    let scale = target.subresource == "scale";
    match verb {
        Verb::Create if target.subresource == "eviction" => {
            let eviction = other(headers, &bytes, options, ("policy", "v1", "Eviction"), warnings)?;
            Ok(Action::Evict(eviction_options(&eviction, options)?))
        }
        Verb::Create if target.subresource == "binding" || found.resource.plural == "bindings" => {
            Ok(Action::Bind(other(headers, &bytes, options, ("", "v1", "Binding"), warnings)?))
        }
        Verb::Create => Ok(Action::Create(own(found, headers, &bytes, options, warnings)?)),
        Verb::Update if scale => Ok(Action::Scale(ScaleChange::Update(other(headers, &bytes, options, ("autoscaling", "v1", "Scale"), warnings)?))),
        Verb::Update => Ok(Action::Update(own(found, headers, &bytes, options, warnings)?)),
        Verb::Patch => match media::patch(headers, !custom)? {
            PatchType::Apply if !scale => Ok(Action::Apply(applied(&bytes, options, warnings)?)),
            kind if scale => Ok(Action::Scale(ScaleChange::Patch { kind, body: bytes })),
            kind => {
                if options.force.is_some() {
                    let at = Path::new("force");
                    return Err(options_invalid("PatchOptions", field::Error::forbidden(&at, "may not be specified for non-apply patch")));
                }
                Ok(Action::Patch { kind, body: bytes })
            }
        },
        Verb::Delete => Ok(Action::Delete(delete_options(headers, &bytes, options)?)),
        _ => Err(Error::MethodNotAllowed),
    }
}

/// The manager that upstream falls back to: the first word of the user agent.
fn manager(options: &Options, headers: &HeaderMap) -> Result<Str, Error> {
    if !options.field_manager.is_empty() {
        if options.field_manager.len() > FIELD_MANAGER_BYTES_MAX {
            return Err(options_invalid("PatchOptions", field::Error::too_long(&Path::new("fieldManager"), FIELD_MANAGER_BYTES_MAX)));
        }
        return Ok(options.field_manager.clone());
    }
    let agent = headers.get(http::header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let word = agent.split('/').next().unwrap_or_default();
    Ok(word.chars().filter(|c| !c.is_control()).take(FIELD_MANAGER_BYTES_MAX).collect())
}

/// A fault in the parameters of a request, as one of meta.k8s.io's options kinds.
pub fn options_invalid(kind: &'static str, error: field::Error) -> Error {
    status::invalid_as("meta.k8s.io", kind, "", vec![error])
}

/// An object of the resource's own kind, in the request's version.
fn own(found: &Found, headers: &HeaderMap, bytes: &[u8], options: &Options, warnings: &mut Vec<String>) -> Result<Struct, Error> {
    let served = found.served();
    let expected = Expected { shape: &served.shape, group: &found.resource.group, version: &served.version, kind: &found.resource.kind };
    object(&expected, media::content(headers, !found.resource.custom)?, bytes, options.field_validation, warnings)
}

/// An object of another built-in kind, which a subresource takes.
pub fn other(
    headers: &HeaderMap,
    bytes: &[u8],
    options: &Options,
    (group, version, kind): (&'static str, &'static str, &'static str),
    warnings: &mut Vec<String>,
) -> Result<Struct, Error> {
    let shape = builtin_shape(group, version, kind)?;
    let expected = Expected { shape: &shape, group, version, kind };
    object(&expected, media::content(headers, true)?, bytes, options.field_validation, warnings)
}

pub fn builtin_shape(group: &str, version: &str, kind: &str) -> Result<Shape, Error> {
    let root = builtin::gvk(group, version, kind).ok_or_else(|| Error::Internal(format!("no kind {kind} in {group}/{version}")))?;
    Ok(Shape { schema: builtin::schema().clone(), root })
}

/// The configuration of a server-side apply: YAML, or JSON, which is YAML too.
fn applied(bytes: &[u8], options: &Options, warnings: &mut Vec<String>) -> Result<Value, Error> {
    if options.field_manager.is_empty() {
        let error = field::Error::required(&Path::new("fieldManager"), "is required for apply patch");
        return Err(options_invalid("PatchOptions", error));
    }
    let mut report = if options.field_validation == FieldValidation::Ignore { Report::ignore() } else { Report::new() };
    let patch = yaml::to_any(bytes, &mut report).map_err(|error| Error::BadRequest(format!("error encoding patch: {error}").into()))?;
    match options.field_validation {
        FieldValidation::Strict => {
            if let Some(error) = report.strict_error() {
                return Err(Error::BadRequest(format!("error decoding patch: {error}").into()));
            }
        }
        _ => warnings.extend(report.problems().iter().cloned()),
    }
    Ok(patch)
}

/// Decodes a body and checks that it is of the kind that the path asks for.
pub fn object(
    expected: &Expected<'_>,
    format: Format,
    bytes: &[u8],
    validation: FieldValidation,
    warnings: &mut Vec<String>,
) -> Result<Struct, Error> {
    let mut report = if validation == FieldValidation::Ignore { Report::ignore() } else { Report::new() };
    let decoded = match format {
        Format::Json => json::decode(expected.shape, bytes, &mut report),
        Format::Yaml => yaml::decode(expected.shape, bytes, &mut report),
        Format::Protobuf => return from_protobuf(expected, bytes),
    };
    let tree = match decoded {
        Ok(tree) => tree,
        Err(error) => return Err(decode_error(expected, &error, bytes)),
    };
    typed(expected, &tree)?;
    match validation {
        FieldValidation::Strict => {
            if let Some(error) = report.strict_error() {
                return Err(undecodable(expected, &error));
            }
        }
        FieldValidation::Warn => warnings.extend(report.problems().iter().cloned()),
        FieldValidation::Ignore => {}
    }
    Ok(tree)
}

fn from_protobuf(expected: &Expected<'_>, bytes: &[u8]) -> Result<Struct, Error> {
    let unknown = protobuf::envelope::read(bytes).map_err(|error| decode_error(expected, &error, bytes))?;
    check_type(expected, unknown.api_version, unknown.kind)?;
    protobuf::decode(expected.shape, unknown.raw).map_err(|error| undecodable(expected, &error.to_string()))
}

/// What upstream says of a body: one that names no kind is unrecognized, one that does cannot be handled.
fn decode_error(expected: &Expected<'_>, error: &DecodeError, bytes: &[u8]) -> Error {
    let why = match error {
        DecodeError::Value(why) => match json::type_meta(bytes) {
            Err(error) if bytes.trim_ascii_start().first() != Some(&b'{') && !bytes.is_empty() => error.to_string(),
            _ => return undecodable(expected, why),
        },
        DecodeError::Syntax(why) => format!("couldn't get version/kind; json parse error: {why}"),
        DecodeError::Protobuf(why) | DecodeError::Yaml(why) => why.clone(),
    };
    let summary = match bytes {
        [] => "<empty>".to_owned(),
        [b'{', ..] if bytes.len() <= SUMMARY_BYTES_MAX => String::from_utf8_lossy(bytes).into_owned(),
        [b'{', ..] => format!("{} ...", String::from_utf8_lossy(&bytes[..SUMMARY_BYTES_MAX])),
        _ => {
            let hex = |part: &[u8]| part.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            if bytes.len() <= SUMMARY_BYTES_MAX { hex(bytes) } else { format!("{} ...", hex(&bytes[..SUMMARY_BYTES_MAX])) }
        }
    };
    Error::BadRequest(format!("the object provided is unrecognized (must be of type {}): {why} ({summary})", expected.kind).into())
}

pub fn undecodable(expected: &Expected<'_>, why: &str) -> Error {
    Error::BadRequest(format!("{kind} in version {:?} cannot be handled as a {kind}: {why}", expected.version, kind = expected.kind).into())
}

fn typed(expected: &Expected<'_>, tree: &Struct) -> Result<(), Error> {
    let schema = &expected.shape.schema;
    check_type(expected, tree.str_at(schema, "apiVersion").unwrap_or_default(), tree.str_at(schema, "kind").unwrap_or_default())
}

/// What the body leaves out is taken from the path; what it says must agree with the path.
fn check_type(expected: &Expected<'_>, api_version: &str, kind: &str) -> Result<(), Error> {
    let wanted = api_version_of(expected.group, expected.version);
    let api_version = if api_version.is_empty() { wanted.as_str() } else { api_version };
    let kind = if kind.is_empty() { expected.kind } else { kind };
    if api_version == wanted && kind == expected.kind {
        return Ok(());
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let message = if builtin::gvk(group, version, kind).is_none() {
        format!(
            "{kind} in version {version:?} cannot be handled as a {}: no kind {kind:?} is registered for version {api_version:?} in scheme \"pkg/runtime/scheme.go:111\"",
            expected.kind
        )
    } else if kind != expected.kind {
        let own = if expected.group.is_empty() { "core" } else { expected.group.split('.').next().unwrap_or_default() };
        format!(
            "{kind} in version {version:?} cannot be handled as a {}: converting ({version}.{kind}) to ({own}.{}): unknown conversion",
            expected.kind, expected.kind
        )
    } else {
        format!("the API version in the data ({api_version}) does not match the expected API version ({wanted})")
    };
    Err(Error::BadRequest(message.into()))
}

/// `apps/v1`, or `v1` in the core group.
pub fn api_version_of(group: &str, version: &str) -> Str {
    if group.is_empty() { version.into() } else { compact_str::format_compact!("{group}/{version}") }
}

/// DeleteOptions from the body, which may be empty, over those of the query.
pub fn delete_options(headers: &HeaderMap, bytes: &[u8], options: &Options) -> Result<DeleteOptions, Error> {
    let mut out = DeleteOptions { grace_period_seconds: options.grace_period_seconds, dry_run: options.dry_run, ..DeleteOptions::default() };
    let mut orphan = options.orphan_dependents;
    let mut propagation = options.propagation_policy.clone();
    if !bytes.trim_ascii().is_empty() {
        let shape = builtin_shape("", "v1", "DeleteOptions")?;
        let expected = Expected { shape: &shape, group: "", version: "v1", kind: "DeleteOptions" };
        // Clients send DeleteOptions in the group and version of what they delete, too.
        let tree = match media::content(headers, true)? {
            Format::Json => json::decode(&shape, bytes, &mut Report::ignore()),
            Format::Yaml => yaml::decode(&shape, bytes, &mut Report::ignore()),
            Format::Protobuf => protobuf::envelope::read(bytes).and_then(|unknown| protobuf::decode(&shape, unknown.raw)),
        }
        .map_err(|error| undecodable(&expected, &error.to_string()))?;
        read_delete_options(&tree, &mut out, &mut orphan, &mut propagation)?;
    }
    out.propagation = propagated(&propagation, orphan)?;
    Ok(out)
}

fn read_delete_options(tree: &Struct, out: &mut DeleteOptions, orphan: &mut Option<bool>, propagation: &mut Str) -> Result<(), Error> {
    let schema = builtin::schema();
    out.grace_period_seconds = tree.int_at(schema, "gracePeriodSeconds").or(out.grace_period_seconds);
    out.uid = tree.str_at(schema, "preconditions.uid").map(Str::from);
    out.resource_version = tree.str_at(schema, "preconditions.resourceVersion").map(Str::from);
    *orphan = tree.bool_at(schema, "orphanDependents").or(*orphan);
    if let Some(policy) = tree.str_at(schema, "propagationPolicy") {
        *propagation = policy.into();
    }
    for value in tree.list_at(schema, "dryRun") {
        match value.as_str() {
            Some("All") => out.dry_run = true,
            other => return Err(dry_run_invalid("DeleteOptions", other.unwrap_or_default())),
        }
    }
    Ok(())
}

fn propagated(policy: &str, orphan: Option<bool>) -> Result<Option<Propagation>, Error> {
    if !policy.is_empty() && orphan.is_some() {
        let error = field::Error::invalid(&Path::new("propagationPolicy"), policy, "orphanDependents and deletionPropagation cannot be both set");
        return Err(options_invalid("DeleteOptions", error));
    }
    Ok(match (policy, orphan) {
        ("Orphan", _) | ("", Some(true)) => Some(Propagation::Orphan),
        ("Background", _) | ("", Some(false)) => Some(Propagation::Background),
        ("Foreground", _) => Some(Propagation::Foreground),
        ("", None) => None,
        _ => {
            let error = field::Error::not_supported(&Path::new("propagationPolicy"), policy, &["Foreground", "Background", "Orphan", "nil"]);
            return Err(options_invalid("DeleteOptions", error));
        }
    })
}

pub fn dry_run_invalid(kind: &'static str, value: &str) -> Error {
    let shown = field::BadValue::json(format!("[{value:?}]"));
    options_invalid(kind, field::Error::not_supported(&Path::new("dryRun"), shown, &["All"]))
}

fn eviction_options(eviction: &Struct, options: &Options) -> Result<DeleteOptions, Error> {
    let mut out = DeleteOptions { dry_run: options.dry_run, ..DeleteOptions::default() };
    let (mut orphan, mut propagation) = (None, Str::default());
    if let Some(inner) = eviction.at(builtin::schema(), "deleteOptions").and_then(|value| value.as_struct()) {
        read_delete_options(inner, &mut out, &mut orphan, &mut propagation)?;
    }
    out.propagation = propagated(&propagation, orphan)?;
    Ok(out)
}

/// Checks that namespace and name of the body are those of the path, and takes from either what the other lacks.
fn agree(intent: &mut Intent) -> Result<(), Error> {
    let Intent { found, target, action, .. } = intent;
    let (schema, tree, created) = match action {
        Action::Create(tree) => (&found.served().shape.schema, tree, true),
        Action::Update(tree) => (&found.served().shape.schema, tree, false),
        Action::Apply(patch) => return agree_with_patch(target, patch),
        Action::Bind(tree) | Action::Scale(ScaleChange::Update(tree)) => (builtin::schema(), tree, false),
        _ => return Ok(()),
    };
    if found.resource.namespaced {
        match tree.str_at(schema, "metadata.namespace") {
            Some(own) if !own.is_empty() && own != target.namespace => {
                return Err(Error::bad_request("the namespace of the provided object does not match the namespace sent on the request"));
            }
            _ if !target.namespace.is_empty() => {
                tree.put(schema, "metadata.namespace", target.namespace.clone());
            }
            _ => return Err(Error::bad_request("an empty namespace may not be set during creation")),
        }
    } else if tree.str_at(schema, "metadata.namespace").is_some_and(|own| !own.is_empty()) && !created {
        return Err(Error::bad_request("the namespace of the provided object does not match the namespace sent on the request"));
    }
    let own = tree.str_at(schema, "metadata.name").unwrap_or_default();
    if created {
        if target.name.is_empty() {
            target.name = own.into();
        }
        return Ok(());
    }
    if own.is_empty() {
        tree.put(schema, "metadata.name", target.name.clone());
    } else if own != target.name {
        return Err(Error::BadRequest(format!("the name of the object ({own}) does not match the name on the URL ({})", target.name).into()));
    }
    Ok(())
}

/// Where an applied configuration says a name or namespace, it is the path's.
fn agree_with_patch(target: &Target, patch: &Value) -> Result<(), Error> {
    let metadata = patch.as_map().and_then(|map| map.get("metadata")).and_then(Value::as_map);
    let text = |name: &str| metadata.and_then(|map| map.get(name)).and_then(Value::as_str).unwrap_or_default();
    if !text("name").is_empty() && text("name") != target.name {
        return Err(Error::BadRequest(
            format!("the name of the object ({}) does not match the name on the URL ({})", text("name"), target.name).into(),
        ));
    }
    if !text("namespace").is_empty() && text("namespace") != target.namespace {
        return Err(Error::bad_request("the namespace of the provided object does not match the namespace sent on the request"));
    }
    Ok(())
}
