//! Defaults of built-in kinds.
//!
//! A default belongs to a *type*, wherever it occurs: a container's probe is filled in alike in a Pod, a Deployment's template and a
//! CronJob's. So the rows say what a type's absent fields become, and one walk over an object applies them, from the outside in.
//! The walk enters only what can hold a type with defaults, and looks no name up: rows are compiled to field numbers once.
//!
//! Defaults of custom resources come from their schemas and are not made here.

mod functions;
mod rows;

use apiserver_machinery::Str;
use apiserver_machinery::builtin;
use apiserver_machinery::schema::{Kind, Schema, TypeId};
use apiserver_machinery::tree::{Struct, Value};
use std::sync::LazyLock;

/// What one type's absent fields become: steps in order.
struct Type {
    /// Without the leading `io.k8s.api.`.
    name: &'static str,
    steps: &'static [Step],
}

enum Step {
    /// Fill a field that is absent, or zero and no pointer.
    Fill { path: &'static str, with: Fill, when: Option<(&'static str, &'static str)> },
    /// What a row cannot say.
    Run(fn(&mut Struct, &Schema)),
}

#[derive(Clone, Copy)]
enum Fill {
    Text(&'static str),
    Number(i64),
    Flag(bool),
    /// An empty struct or map.
    Empty,
    /// A list of one string.
    Only(&'static str),
}

/// Puts `with` where `path` is absent. The path goes through structs; a struct that is absent and no pointer is made on the way.
const fn fill(path: &'static str, with: Fill) -> Step {
    Step::Fill { path, with, when: None }
}

const fn text(path: &'static str, with: &'static str) -> Step {
    fill(path, Fill::Text(with))
}

const fn number(path: &'static str, with: i64) -> Step {
    fill(path, Fill::Number(with))
}

const fn flag(path: &'static str, with: bool) -> Step {
    fill(path, Fill::Flag(with))
}

const fn empty(path: &'static str) -> Step {
    fill(path, Fill::Empty)
}

const fn run(function: fn(&mut Struct, &Schema)) -> Step {
    Step::Run(function)
}

impl Step {
    /// Only where another field of the same type has this value.
    const fn when(self, field: &'static str, value: &'static str) -> Step {
        match self {
            Step::Fill { path, with, .. } => Step::Fill { path, with, when: Some((field, value)) },
            run => run,
        }
    }
}

/// Applies the defaults of every type in a built-in object.
pub fn apply(object: &mut Struct, schema: &Schema) {
    PLAN.walk(object, schema);
}

static PLAN: LazyLock<Plan> = LazyLock::new(|| Plan::of(builtin::schema(), rows::TYPES));

/// The rows by type, as field numbers.
struct Plan {
    types: Vec<TypePlan>,
}

#[derive(Default)]
struct TypePlan {
    steps: Vec<PlannedStep>,
    /// The fields below which there is something to fill.
    descend: Vec<Descend>,
}

enum PlannedStep {
    Fill { path: Vec<Hop>, with: Value, when: Option<(u16, &'static str)> },
    Run(fn(&mut Struct, &Schema)),
}

/// One field on the way to what is filled.
struct Hop {
    field: u16,
    /// Not a pointer: zero is absent.
    zero_is_absent: bool,
    /// What an absent struct that is no pointer is made as.
    value_struct: Option<TypeId>,
}

struct Descend {
    field: u16,
    /// A struct that is no pointer: absent, it is made and kept if anything was filled.
    value_struct: Option<TypeId>,
}

impl Plan {
    fn of(schema: &Schema, rows: &'static [Type]) -> Plan {
        let mut types: Vec<TypePlan> = schema.types.iter().map(|_| TypePlan::default()).collect();
        for row in rows {
            if let Some(id) = named(schema, row.name) {
                types[id.0 as usize].steps.extend(row.steps.iter().filter_map(|step| plan_step(schema, id, step)));
            }
        }
        let reaches = reaches(schema, &types);
        for (at, ty) in schema.types.iter().enumerate() {
            types[at].descend = ty
                .fields
                .iter()
                .zip(0u16..)
                .filter(|(field, _)| inner(&field.kind).is_some_and(|id| reaches[id.0 as usize]))
                .map(|(field, number)| Descend { field: number, value_struct: value_struct(&field.kind, field.presence.pointer) })
                .collect();
        }
        Plan { types }
    }

    fn walk(&self, object: &mut Struct, schema: &Schema) {
        let Some(plan) = self.types.get(object.ty.0 as usize) else { return };
        for step in &plan.steps {
            match step {
                PlannedStep::Run(function) => function(object, schema),
                PlannedStep::Fill { path, with, when } => {
                    let wanted = when.is_none_or(|(field, value)| object.get(field).and_then(Value::as_str) == Some(value));
                    if wanted {
                        put(object, path, with);
                    }
                }
            }
        }
        for descend in &plan.descend {
            match (object.get_mut(descend.field), descend.value_struct) {
                (Some(value), _) => self.enter(value, schema),
                (None, Some(ty)) => {
                    let mut made = Struct::new(ty);
                    self.walk(&mut made, schema);
                    if !made.is_empty() {
                        object.set(descend.field, made.into());
                    }
                }
                (None, None) => {}
            }
        }
    }

    fn enter(&self, value: &mut Value, schema: &Schema) {
        match value {
            Value::Struct(inner) => self.walk(inner, schema),
            Value::List(items) => items.iter_mut().for_each(|item| self.enter(item, schema)),
            Value::Map(map) => map.iter_mut().for_each(|(_, value)| self.enter(value, schema)),
            _ => {}
        }
    }
}

/// Fills the end of a path if the structs on the way are there.
fn put(object: &mut Struct, path: &[Hop], with: &Value) {
    let [hop, rest @ ..] = path else { return };
    if rest.is_empty() {
        let absent = match object.get(hop.field) {
            None => true,
            Some(value) => hop.zero_is_absent && is_zero(value),
        };
        if absent {
            object.set(hop.field, with.clone());
        }
        return;
    }
    match object.get_mut(hop.field) {
        Some(Value::Struct(inner)) => put(inner, rest, with),
        Some(_) => {}
        None => {
            if let Some(ty) = hop.value_struct {
                let mut made = Struct::new(ty);
                put(&mut made, rest, with);
                object.set(hop.field, made.into());
            }
        }
    }
}

/// Go's zero value.
pub(super) fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(truth) => !truth,
        Value::Int(number) => *number == 0,
        Value::Double(number) => *number == 0.0,
        Value::String(text) => text.is_empty(),
        Value::Bytes(bytes) | Value::Raw(bytes) => bytes.is_empty(),
        Value::Struct(inner) => inner.is_empty(),
        Value::Map(map) => map.is_empty(),
        Value::List(items) => items.is_empty(),
    }
}

fn named(schema: &Schema, name: &str) -> Option<TypeId> {
    schema.named(&format!("io.k8s.{name}"))
}

/// `None` where the type has no such field, which a test rules out.
fn plan_step(schema: &Schema, ty: TypeId, step: &Step) -> Option<PlannedStep> {
    match step {
        Step::Run(function) => Some(PlannedStep::Run(*function)),
        Step::Fill { path, with, when } => {
            let when = match when {
                Some((field, value)) => Some((schema.get(ty).number(field)?, *value)),
                None => None,
            };
            let mut hops = Vec::new();
            let mut at = ty;
            let mut kind = None;
            for name in path.split('.') {
                let number = schema.get(at).number(name)?;
                let field = &schema.get(at).fields[usize::from(number)];
                hops.push(Hop {
                    field: number,
                    zero_is_absent: !field.presence.pointer,
                    value_struct: value_struct(&field.kind, field.presence.pointer),
                });
                if let Kind::Struct(inner) = field.kind {
                    at = inner;
                }
                kind = Some(&field.kind);
            }
            Some(PlannedStep::Fill { path: hops, with: value(*with, kind?)?, when })
        }
    }
}

fn value(with: Fill, kind: &Kind) -> Option<Value> {
    Some(match with {
        Fill::Text(text) => Value::String(Str::from(text)),
        Fill::Number(number) => Value::Int(number),
        Fill::Flag(truth) => Value::Bool(truth),
        Fill::Only(text) => Value::List(vec![Value::String(Str::from(text))]),
        Fill::Empty => Value::empty(kind)?,
    })
}

fn value_struct(kind: &Kind, pointer: bool) -> Option<TypeId> {
    match kind {
        Kind::Struct(ty) if !pointer => Some(*ty),
        _ => None,
    }
}

/// The struct type in a field: its own, or of its items.
fn inner(kind: &Kind) -> Option<TypeId> {
    match kind {
        Kind::Struct(ty) => Some(*ty),
        Kind::List(list) => inner(&list.item),
        Kind::Map(map) => inner(&map.value),
        _ => None,
    }
}

/// For each type, whether it or anything below it has defaults. Types may contain themselves, so this goes round until nothing changes.
fn reaches(schema: &Schema, types: &[TypePlan]) -> Vec<bool> {
    let mut reaches: Vec<bool> = types.iter().map(|plan| !plan.steps.is_empty()).collect();
    loop {
        let mut changed = false;
        for (at, ty) in schema.types.iter().enumerate() {
            if !reaches[at] && ty.fields.iter().any(|field| inner(&field.kind).is_some_and(|id| reaches[id.0 as usize])) {
                reaches[at] = true;
                changed = true;
            }
        }
        if !changed {
            return reaches;
        }
    }
}

#[cfg(test)]
mod tests;
