//! Who owns which field: server-side apply, and what every other write does to metadata.managedFields.
//!
//! * [`update`] after a create, update or patch: what changed now belongs to the writer, and to nobody else.
//! * [`apply`] merges a configuration into the live object: fields that another manager owns are a conflict unless forced, and what the
//!   manager no longer applies goes away.
//!
//! Defaults, admission and storage are not here. The object that [`apply`] gives has no defaults yet.

mod compare;
mod field_set;
mod fields_v1;
mod managers;
mod merge;
mod pruning;
pub mod scale;
mod set;
mod view;

pub use compare::Comparison;
pub use fields_v1::{Malformed, from_json, to_json};
pub use managers::{Identity, Operation, UPDATE_MANAGERS_MAX};
pub use set::{Element, Entry, Set, path_text};

use crate::codec::Report;
use crate::json;
use crate::schema::{Kind, Shape};
use crate::tree::{Struct, Value};
use compare::compare;
use field_set::{reconciled, validate};
use fields_v1::{Keyed, covers, touches};
use managers::{Fields, Layout, Manager, Managers};
use std::collections::HashMap;
use std::sync::LazyLock;
use view::{Typed, Types, View};

/// Owns what was there before an object was first applied.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
const KUBECTL: &str = "kubectl";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// What all annotations of an object may take together.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

/// Fields that are never owned: they identify the object, or the server keeps them.
static UNOWNED: LazyLock<Set> = LazyLock::new(|| {
    Set::of_fields(&[
        "apiVersion",
        "kind",
        "metadata",
        "metadata.name",
        "metadata.namespace",
        "metadata.creationTimestamp",
        "metadata.selfLink",
        "metadata.uid",
        "metadata.clusterName",
        "metadata.generation",
        "metadata.managedFields",
        "metadata.resourceVersion",
    ])
});

/// One path that the request would take from another manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub manager: Identity,
    pub path: Vec<Element>,
}

impl Conflict {
    /// The message of a StatusCause with reason FieldManagerConflict; its field is [`path_text`] of the path.
    pub fn message(&self) -> String {
        format!("conflict with {}", self.manager)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// 400.
    #[error("{0}")]
    BadRequest(String),
    /// 409, with a cause for each.
    #[error("{}", conflict_message(.0))]
    Conflict(Vec<Conflict>),
    /// 500: what upstream has no class for, such as a field that the schema does not have.
    #[error("{0}")]
    Internal(String),
}

/// `Apply failed with 1 conflict: conflict with "kubectl" using apps/v1: .spec.replicas`.
pub fn conflict_message(conflicts: &[Conflict]) -> String {
    if let [conflict] = conflicts {
        return format!("Apply failed with 1 conflict: {}: {}", conflict.message(), path_text(&conflict.path));
    }
    let mut lines: Vec<String> = Vec::new();
    let mut managers: Vec<&Identity> = conflicts.iter().map(|conflict| &conflict.manager).collect();
    managers.sort();
    managers.dedup();
    for manager in managers {
        lines.push(format!("conflicts with {manager}:"));
        let own = conflicts.iter().filter(|conflict| conflict.manager == *manager);
        lines.extend(own.map(|conflict| format!("- {}", path_text(&conflict.path))));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}

/// An object in another version than the request's.
pub struct Converted {
    pub shape: Shape,
    pub object: Struct,
}

/// Converts an object from one version to another (`apps/v1`); `None` where the kind has no such version any more, whose managers are then
/// forgotten. It is asked only where managers speak another version than the request.
pub type Convert<'a> = &'a dyn Fn(&Struct, &str, &str) -> Result<Option<Converted>, String>;

/// What a write is, to the owners of fields.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The type of the object in the request's version.
    pub shape: &'a Shape,
    /// `apps/v1`.
    pub api_version: &'a str,
    /// The `fieldManager` parameter, or the first part of the user agent.
    pub manager: &'a str,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// RFC 3339, seconds.
    pub now: &'a str,
    /// Fields that the kind's strategy resets in such a write, with all below: `status` of the object itself, all but it of its status.
    pub reset: &'a Set,
    pub convert: Convert<'a>,
}

impl<'a> Request<'a> {
    fn types(&self) -> Types<'a> {
        Types::of(&self.shape.schema)
    }

    fn identity(&self, operation: Operation) -> Identity {
        Identity::new(self.manager, operation, self.api_version, self.subresource)
    }
}

/// Sets the managedFields of an object that is created or updated. `live` is what is stored, `None` on create; both are in the request's version.
///
/// What goes wrong here never fails a write: the live object's managedFields are kept instead.
pub fn update(request: &Request<'_>, live: Option<&Struct>, new: &mut Struct) {
    let Some(layout) = Layout::of(request.shape) else { return };
    let before = live.map(|live| layout.get(live)).unwrap_or_default();
    let sent = match layout.take(new) {
        Some(Value::List(entries)) => entries,
        _ => Vec::new(),
    };
    let managers = managers_of_update(request, &layout, before, &sent);
    let has_uid = |live: &Struct| live.str_at(&request.shape.schema, "metadata.uid").is_some_and(|uid| !uid.is_empty());
    if managers.list.is_empty() && live.is_some_and(has_uid) {
        // Whoever made the object did not want its fields tracked.
        return;
    }
    let entries = match updated(request, live, new, managers) {
        Ok(Some(managers)) => layout.encode(&managers),
        Ok(None) if sent == before => sent,
        Ok(None) | Err(_) => before.to_vec(),
    };
    layout.set(new, entries);
}

/// The managers that an update starts from: those that the request sent back, if it did so properly, or those of the live object. What the
/// request made up is parsed.
fn managers_of_update(request: &Request<'_>, layout: &Layout, before: &[Value], sent: &[Value]) -> Managers {
    let live = || layout.decode(before).unwrap_or_default();
    if !request.subresource.is_empty() || sent == before {
        return live();
    }
    if layout.is_reset(sent) {
        return Managers::default();
    }
    // What a client made up is looked at closely, and brought into the form in which it is stored.
    let parsed = layout.decode(sent).ok().and_then(|mut managers| {
        for manager in &mut managers.list {
            manager.fields = Fields::Set(manager.set().ok()?);
        }
        Some(managers)
    });
    parsed.filter(|managers| !managers.list.is_empty()).unwrap_or_else(live)
}

/// The managers after a write; `None` where they are those of the live object still.
fn updated(request: &Request<'_>, live: Option<&Struct>, new: &Struct, mut managers: Managers) -> Result<Option<Managers>, String> {
    let nothing = Struct::new(request.shape.root);
    let mut changes = Changes::new(request, live.unwrap_or(&nothing), new)?;
    let made_up = |manager: &Manager| matches!(manager.fields, Fields::Set(_));
    let at_home = |manager: &Manager| manager.api_version == request.api_version;
    if changes.own.comparison.is_empty() && managers.list.iter().all(|manager| at_home(manager) && !made_up(manager)) {
        return Ok(None);
    }
    let own = request.identity(Operation::Update);
    let mut left = Managers::default();
    let mut keeps_all = false;
    for manager in managers.list.drain(..) {
        let is_own = manager.identity == own;
        // A version that is gone takes its managers with it.
        let Some(changed) = changes.of_version(&manager.api_version)? else { continue };
        match changed.taken_from(manager, is_own)? {
            Left::Same(manager) => left.list.push(manager),
            Left::Own(manager) => {
                keeps_all = true;
                left.list.push(manager);
            }
            Left::Less(manager, set) if !set.is_empty() => left.list.push(Manager { fields: Fields::Set(set), ..manager }),
            // Another manager without fields is forgotten; the writer gets its fields back below.
            Left::Less(..) => {}
        }
    }
    let written = changes.own.written;
    if !written.is_empty() {
        let time = Some(request.now.into());
        match left.get_mut(&own) {
            Some(manager) => {
                if !keeps_all {
                    manager.fields = Fields::Set(written.union(&manager.set().map_err(|error| error.to_string())?));
                }
                manager.time = time;
            }
            None => left.put(Manager { identity: own, api_version: request.api_version.into(), time, fields: Fields::Set(written) }),
        }
    }
    left.cap().map_err(|error| error.to_string())?;
    Ok(Some(left))
}

/// What a manager still owns after a write.
enum Left {
    /// The write has nothing to do with it.
    Same(Manager),
    /// The writer itself, who owns all that it wrote already.
    Own(Manager),
    Less(Manager, Set),
}

/// What a write changes, in each version that a manager speaks.
struct Changes<'a> {
    request: &'a Request<'a>,
    live: &'a Struct,
    new: &'a Struct,
    own: Changed,
    /// `None` for versions that are gone.
    others: HashMap<String, Option<Changed>>,
}

/// What a write changes, in one version.
struct Changed {
    shape: Shape,
    comparison: Comparison,
    /// What is added or modified.
    written: Set,
    written_keys: Keyed,
    removed_keys: Keyed,
}

impl<'a> Changes<'a> {
    fn new(request: &'a Request<'a>, live: &'a Struct, new: &'a Struct) -> Result<Self, String> {
        let own = Changed::between(request.shape, live, new, request.reset)?;
        Ok(Self { request, live, new, own, others: HashMap::new() })
    }

    fn of_version(&mut self, version: &str) -> Result<Option<&Changed>, String> {
        if version == self.request.api_version {
            return Ok(Some(&self.own));
        }
        if !self.others.contains_key(version) {
            let convert = |object: &Struct| (self.request.convert)(object, self.request.api_version, version);
            let both = convert(self.live)?.zip(convert(self.new)?);
            let changed = both.map(|(live, new)| Changed::between(&live.shape, &live.object, &new.object, self.request.reset)).transpose()?;
            self.others.insert(version.to_owned(), changed);
        }
        Ok(self.others.get(version).and_then(Option::as_ref))
    }
}

impl Changed {
    /// Without the fields that a strategy resets, and those that nobody owns.
    fn between(shape: &Shape, live: &Struct, new: &Struct, reset: &Set) -> Result<Self, String> {
        let kind = Kind::Struct(shape.root);
        let mut comparison = compare(Types::of(&shape.schema), View::Object(live), View::Object(new), Typed::of(&kind))?.without(reset);
        for set in [&mut comparison.added, &mut comparison.modified, &mut comparison.removed] {
            if !set.is_empty() {
                *set = set.difference(&UNOWNED);
            }
        }
        let written = comparison.set();
        let (written_keys, removed_keys) = (Keyed::of(&written), Keyed::of(&comparison.removed));
        Ok(Self { shape: shape.clone(), comparison, written, written_keys, removed_keys })
    }

    /// Takes what was written or removed from a manager. Its text is parsed only if something of it is touched.
    fn taken_from(&self, manager: Manager, is_own: bool) -> Result<Left, String> {
        let set = match &manager.fields {
            Fields::Text(text) => {
                let removed = touches(text, &self.removed_keys);
                if !removed && !touches(text, &self.written_keys) {
                    return Ok(Left::Same(manager));
                }
                if !removed && is_own && covers(text, &self.written_keys) {
                    return Ok(Left::Own(manager));
                }
                fields_v1::from_json(text).map_err(|error| error.to_string())?
            }
            Fields::Set(set) => set.clone(),
        };
        let kind = Kind::Struct(self.shape.root);
        let set = reconciled(Types::of(&self.shape.schema), &set, Typed::of(&kind)).unwrap_or(set);
        let left = set.difference(&self.written).difference(&self.comparison.removed);
        Ok(Left::Less(manager, left))
    }
}

/// Gives a new object the live one's managedFields where they, and the objects, differ in nothing but times: then the write changes nothing.
pub fn keep_times(shape: &Shape, live: &Struct, new: &mut Struct) -> bool {
    let Some(layout) = Layout::of(shape) else { return false };
    let before = layout.get(live);
    if before.is_empty() || before == layout.get(new) || !layout.equal_but_for_times(before, layout.get(new)) {
        return false;
    }
    let after = layout.take(new);
    let mut rest = live.clone();
    layout.take(&mut rest);
    let same = rest == *new;
    match (same, after) {
        (false, Some(Value::List(entries))) => layout.set(new, entries),
        _ => layout.set(new, before.to_vec()),
    }
    same
}

/// Why a list of managedFields cannot be kept, as the warning after admission tells.
pub fn invalid_managed_fields(shape: &Shape, object: &Struct) -> Option<String> {
    let layout = Layout::of(shape)?;
    match layout.decode(layout.get(object)) {
        Err(error) => Some(error),
        Ok(managers) => managers.list.iter().find_map(|manager| manager.set().err().map(|error| error.to_string())),
    }
}

/// Applies a configuration, which is decoded JSON, to the live object; to nothing if it is created. Both are in the request's version.
pub fn apply(request: &Request<'_>, kind: &str, live: Option<&Struct>, patch: &Value, force: bool) -> Result<Struct, Error> {
    let internal = Error::Internal;
    let nothing = Struct::new(request.shape.root);
    let live = live.unwrap_or(&nothing);
    check_patch(request, kind, patch)?;
    let layout = Layout::of(request.shape).ok_or_else(|| internal("the type has no managedFields".to_owned()))?;
    let mut managers = layout.decode(layout.get(live)).map_err(|error| internal(format!("failed to decode managed fields: {error}")))?;
    parse(&mut managers).map_err(|error| internal(format!("failed to decode managed fields: {error}")))?;
    let mut bare = live.clone();
    layout.take(&mut bare);
    if managers.list.is_empty() {
        let first = Request { manager: BEFORE_FIRST_APPLY, ..*request };
        let first =
            updated(&first, None, &bare, managers).map_err(|error| internal(format!("failed to create manager for existing fields: {error}")))?;
        managers = first.unwrap_or_default();
    }
    let what = describe(patch, kind, request.api_version);
    if let Some(problems) = validate(request.types(), patch, Typed::of(&Kind::Struct(request.shape.root)), false) {
        return Err(internal(format!("failed to create typed patch object ({what}): {problems}")));
    }
    let merger = pruning::Merger { request, live: &bare, patch };
    let merged = match merger.apply(managers.clone(), force) {
        Err(Error::Conflict(conflicts)) if request.manager == KUBECTL => {
            let allowed = merger.allowed_by_last_applied(LAST_APPLIED).unwrap_or_default();
            let left: Vec<_> = conflicts.into_iter().filter(|conflict| !allowed.has(&conflict.path)).collect();
            if !left.is_empty() {
                return Err(Error::Conflict(left));
            }
            merger.apply(managers, true)?
        }
        done => done?,
    };
    let mut object = match merged.object {
        None => bare,
        Some(value) => {
            let decoded = json::decode(request.shape, &json::from_any(&value), &mut Report::ignore());
            decoded.map_err(|error| internal(format!("failed to convert new object ({what}) to proper version: {error}")))?
        }
    };
    layout.set(&mut object, layout.encode(&merged.managers));
    if request.manager == KUBECTL {
        renew_last_applied(request.shape, &mut object, patch);
    }
    Ok(object)
}

fn parse(managers: &mut Managers) -> Result<(), Malformed> {
    for manager in &mut managers.list {
        manager.fields = Fields::Set(manager.set()?);
    }
    Ok(())
}

fn check_patch(request: &Request<'_>, kind: &str, patch: &Value) -> Result<(), Error> {
    let text = |name: &str| patch.as_map().and_then(|map| map.get(name)).and_then(Value::as_str).unwrap_or_default();
    let (api_version, patch_kind) = (text("apiVersion"), text("kind"));
    if api_version != request.api_version || patch_kind != kind {
        return Err(Error::BadRequest(format!("invalid object type: {}", gvk(api_version, patch_kind))));
    }
    let metadata = patch.as_map().and_then(|map| map.get("metadata")).and_then(Value::as_map);
    if metadata.and_then(|metadata| metadata.get("managedFields")).is_some_and(|fields| *fields != Value::Null) {
        return Err(Error::BadRequest("metadata.managedFields must be nil".to_owned()));
    }
    Ok(())
}

/// `apps/v1, Kind=Deployment`; the core group is empty: `/v1, Kind=Pod`.
fn gvk(api_version: &str, kind: &str) -> String {
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{slash}{api_version}, Kind={kind}")
}

fn describe(patch: &Value, kind: &str, api_version: &str) -> String {
    let metadata = patch.as_map().and_then(|map| map.get("metadata")).and_then(Value::as_map);
    let text = |name: &str| metadata.and_then(|metadata| metadata.get(name)).and_then(Value::as_str).unwrap_or_default();
    format!("{}/{}; {}", text("namespace"), text("name"), gvk(api_version, kind))
}

/// kubectl's own record of what was applied follows what is applied by the server, once there is one.
fn renew_last_applied(shape: &Shape, object: &mut Struct, patch: &Value) {
    let annotations = object.at_mut(&shape.schema, "metadata.annotations").and_then(Value::as_map_mut);
    let Some(annotations) = annotations else { return };
    if annotations.get(LAST_APPLIED).and_then(Value::as_str).is_none_or(str::is_empty) {
        return;
    }
    let mut applied = patch.clone();
    let metadata = applied.as_map_mut().and_then(|map| map.get_mut("metadata")).and_then(Value::as_map_mut);
    if let Some(own) = metadata.and_then(|metadata| metadata.get_mut("annotations")).and_then(Value::as_map_mut) {
        own.remove(LAST_APPLIED);
    }
    let mut text = String::from_utf8_lossy(&json::from_any(&applied)).into_owned();
    text.push('\n');
    annotations.insert(LAST_APPLIED, text.into());
    let size: usize = annotations.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if size > ANNOTATIONS_BYTES_MAX {
        annotations.remove(LAST_APPLIED);
    }
}

#[cfg(test)]
mod tests;
