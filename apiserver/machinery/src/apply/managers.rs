//! metadata.managedFields: entries, who they are, and the list as an object holds it.

use super::fields_v1::{self, Malformed};
use super::set::Set;
use crate::Str;
use crate::schema::{Kind, Schema, Shape, TypeId};
use crate::tree::{Struct, Value};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// Entries that updates made; when there are more, the oldest become one.
pub const UPDATE_MANAGERS_MAX: usize = 10;
const OLDEST: &str = "ancient-changes";
const FIELDS_TYPE: &str = "FieldsV1";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    Apply,
    Update,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// Who owns fields. What one manager applied is one entry, whatever the version; its updates are one for each version.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    pub manager: Str,
    pub operation: Operation,
    /// Empty where the operation is Apply.
    pub api_version: Str,
    pub subresource: Str,
}

impl Identity {
    pub fn new(manager: &str, operation: Operation, api_version: &str, subresource: &str) -> Self {
        let api_version = if operation == Operation::Apply { "" } else { api_version };
        let manager = if manager.is_empty() { "unknown" } else { manager };
        Self { manager: manager.into(), operation, api_version: api_version.into(), subresource: subresource.into() }
    }
}

impl std::fmt::Display for Identity {
    /// As conflicts name a manager: `"kubectl" with subresource "status" using apps/v1`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::text::quote(&self.manager))?;
        if !self.subresource.is_empty() {
            write!(f, " with subresource {}", crate::text::quote(&self.subresource))?;
        }
        if self.operation == Operation::Update {
            write!(f, " using {}", self.api_version)?;
        }
        Ok(())
    }
}

/// What an entry owns: the text as it is stored, until someone must know.
#[derive(Clone, Debug)]
pub(super) enum Fields {
    Text(Arc<[u8]>),
    Set(Set),
}

#[derive(Clone, Debug)]
pub(super) struct Manager {
    pub identity: Identity,
    pub api_version: Str,
    pub time: Option<Str>,
    pub fields: Fields,
}

impl Manager {
    pub fn set(&self) -> Result<Set, Malformed> {
        match &self.fields {
            Fields::Text(text) => fields_v1::from_json(text),
            Fields::Set(set) => Ok(set.clone()),
        }
    }
}

/// The managers of an object; each identity once.
#[derive(Clone, Debug, Default)]
pub(super) struct Managers {
    pub list: Vec<Manager>,
}

/// Where managedFields and the fields of its entries lie.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    metadata: u16,
    metadata_type: TypeId,
    managed_fields: u16,
    entry_type: TypeId,
    numbers: [u16; 7],
}

const NAMES: [&str; 7] = ["manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1", "subresource"];
const MANAGER: usize = 0;
const OPERATION: usize = 1;
const API_VERSION: usize = 2;
const TIME: usize = 3;
const FIELDS_TYPE_AT: usize = 4;
const FIELDS_V1: usize = 5;
const SUBRESOURCE: usize = 6;

impl Layout {
    /// `None` for types without managedFields.
    pub fn of(shape: &Shape) -> Option<Self> {
        let schema: &Schema = &shape.schema;
        let metadata = shape.root().number("metadata")?;
        let Kind::Struct(metadata_type) = shape.root().fields[usize::from(metadata)].kind else { return None };
        let managed_fields = schema.get(metadata_type).number("managedFields")?;
        let Kind::List(list) = &schema.get(metadata_type).fields[usize::from(managed_fields)].kind else { return None };
        let Kind::Struct(entry_type) = list.item else { return None };
        let mut numbers = [0; 7];
        for (number, name) in numbers.iter_mut().zip(NAMES) {
            *number = schema.get(entry_type).number(name)?;
        }
        Some(Self { metadata, metadata_type, managed_fields, entry_type, numbers })
    }

    pub fn get<'a>(&self, object: &'a Struct) -> &'a [Value] {
        let metadata = object.get(self.metadata).and_then(Value::as_struct);
        metadata.and_then(|metadata| metadata.get(self.managed_fields)).and_then(Value::as_list).unwrap_or_default()
    }

    pub fn take(&self, object: &mut Struct) -> Option<Value> {
        object.get_mut(self.metadata)?.as_struct_mut()?.remove(self.managed_fields)
    }

    pub fn set(&self, object: &mut Struct, entries: Vec<Value>) {
        if entries.is_empty() {
            self.take(object);
            return;
        }
        if object.get(self.metadata).is_none() {
            object.set(self.metadata, Struct::new(self.metadata_type).into());
        }
        if let Some(metadata) = object.get_mut(self.metadata).and_then(Value::as_struct_mut) {
            metadata.set(self.managed_fields, Value::List(entries));
        }
    }

    fn text<'a>(&self, entry: &'a Struct, at: usize) -> &'a str {
        entry.get(self.numbers[at]).and_then(Value::as_str).unwrap_or_default()
    }

    /// The managers of a list; the error is why the list says nothing. Of two entries of one manager the last counts.
    pub fn decode(&self, entries: &[Value]) -> Result<Managers, String> {
        let mut managers = Managers::default();
        let mut places: HashMap<Identity, usize> = HashMap::with_capacity(entries.len());
        for (at, entry) in entries.iter().enumerate() {
            let Some(entry) = entry.as_struct() else { continue };
            let operation = match self.text(entry, OPERATION) {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return Err("operation must be `Apply` or `Update`".to_owned()),
            };
            let api_version = self.text(entry, API_VERSION);
            if api_version.is_empty() {
                return Err("apiVersion must not be empty".to_owned());
            }
            match self.text(entry, FIELDS_TYPE_AT) {
                FIELDS_TYPE => {}
                "" => return Err(format!("missing fieldsType in managed fields entry {at}")),
                other => return Err(format!("invalid fieldsType {} in managed fields entry {at}", crate::text::quote(other))),
            }
            let identity = Identity {
                manager: self.text(entry, MANAGER).into(),
                operation,
                api_version: if operation == Operation::Apply { Str::default() } else { api_version.into() },
                subresource: self.text(entry, SUBRESOURCE).into(),
            };
            let fields = match entry.get(self.numbers[FIELDS_V1]) {
                Some(Value::Raw(text)) => text.clone(),
                _ => Arc::from(&b"{}"[..]),
            };
            let time = entry.get(self.numbers[TIME]).and_then(Value::as_str).map(Str::from);
            let manager = Manager { identity: identity.clone(), api_version: api_version.into(), time, fields: Fields::Text(fields) };
            match places.entry(identity) {
                Entry::Occupied(place) => managers.list[*place.get()] = manager,
                Entry::Vacant(place) => {
                    place.insert(managers.list.len());
                    managers.list.push(manager);
                }
            }
        }
        Ok(managers)
    }

    pub fn encode(&self, managers: &Managers) -> Vec<Value> {
        let mut sorted: Vec<&Manager> = managers.list.iter().collect();
        sorted.sort_by(|a, b| {
            let key = |manager: &Manager| (manager.identity.operation, manager.time.clone().unwrap_or_default());
            let name = |manager: &Manager| (manager.identity.manager.clone(), manager.api_version.clone(), manager.identity.subresource.clone());
            key(a).cmp(&key(b)).then_with(|| name(a).cmp(&name(b)))
        });
        sorted.into_iter().map(|manager| Value::from(self.entry(manager))).collect()
    }

    fn entry(&self, manager: &Manager) -> Struct {
        let mut entry = Struct::with_capacity(self.entry_type, NAMES.len());
        let text = match &manager.fields {
            Fields::Text(text) => text.clone(),
            Fields::Set(set) => fields_v1::to_json(set).into(),
        };
        let mut put = |at: usize, value: Value| drop(entry.set(self.numbers[at], value));
        if !manager.identity.manager.is_empty() {
            put(MANAGER, manager.identity.manager.clone().into());
        }
        put(OPERATION, manager.identity.operation.name().into());
        put(API_VERSION, manager.api_version.clone().into());
        if let Some(time) = &manager.time {
            put(TIME, time.clone().into());
        }
        put(FIELDS_TYPE_AT, FIELDS_TYPE.into());
        put(FIELDS_V1, Value::Raw(text));
        if !manager.identity.subresource.is_empty() {
            put(SUBRESOURCE, manager.identity.subresource.clone().into());
        }
        entry
    }

    /// Whether a request's list asks to forget all managers: one entry with nothing in it.
    pub fn is_reset(&self, entries: &[Value]) -> bool {
        matches!(entries, [entry] if entry.as_struct().is_some_and(Struct::is_empty))
    }

    /// Whether two lists differ in times only.
    pub fn equal_but_for_times(&self, a: &[Value], b: &[Value]) -> bool {
        let equal = |a: &Struct, b: &Struct| {
            let others = |entry: &Struct| entry.fields().iter().filter(|(number, _)| *number != self.numbers[TIME]).cloned().collect::<Vec<_>>();
            others(a) == others(b)
        };
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| matches!((a, b), (Value::Struct(a), Value::Struct(b)) if equal(a, b)))
    }
}

impl Managers {
    pub fn get(&self, identity: &Identity) -> Option<&Manager> {
        self.list.iter().find(|manager| manager.identity == *identity)
    }

    pub fn get_mut(&mut self, identity: &Identity) -> Option<&mut Manager> {
        self.list.iter_mut().find(|manager| manager.identity == *identity)
    }

    pub fn put(&mut self, manager: Manager) {
        match self.get_mut(&manager.identity) {
            Some(place) => *place = manager,
            None => self.list.push(manager),
        }
    }

    pub fn remove(&mut self, identity: &Identity) -> Option<Manager> {
        let at = self.list.iter().position(|manager| manager.identity == *identity)?;
        Some(self.list.remove(at))
    }

    /// Joins the oldest update entries of each version where there are too many of them.
    pub fn cap(&mut self) -> Result<(), Malformed> {
        let mut updaters: Vec<Identity> = self.updaters().map(|manager| manager.identity.clone()).collect();
        let mut count = updaters.len();
        if count <= UPDATE_MANAGERS_MAX {
            return Ok(());
        }
        let time = |identity: &Identity| self.get(identity).and_then(|manager| manager.time.clone()).unwrap_or_default();
        updaters.sort_by_cached_key(|identity| (time(identity), identity.clone()));
        let mut first_of_version: Vec<Identity> = Vec::new();
        for identity in updaters {
            if count <= UPDATE_MANAGERS_MAX {
                break;
            }
            let bucket = Identity::new(OLDEST, Operation::Update, &identity.api_version, "");
            let Some(first) = first_of_version.iter().find(|first| first.api_version == identity.api_version) else {
                first_of_version.push(identity);
                continue;
            };
            if self.get(&bucket).is_none()
                && let Some(first) = self.remove(first)
            {
                self.put(Manager { identity: bucket.clone(), ..first });
            }
            let (Some(old), Some(ancient)) = (self.remove(&identity), self.get_mut(&bucket)) else { continue };
            ancient.fields = Fields::Set(old.set()?.union(&ancient.set()?));
            ancient.time = old.time;
            count -= 1;
        }
        Ok(())
    }

    fn updaters(&self) -> impl Iterator<Item = &Manager> {
        self.list.iter().filter(|manager| manager.identity.operation == Operation::Update)
    }
}
