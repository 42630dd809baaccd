//! Lists of custom resources that are sets or are keyed: nothing may be in them twice.

use crate::field::{BadValue, Error, Path};
use crate::json;
use crate::schema::{Kind, ListMerge, ListOf, MapKey, Schema};
use crate::tree::{Map, Struct, Value};
use std::collections::HashMap;

/// Duplicates in all lists of an object.
pub(super) fn duplicates(schema: &Schema, object: &Struct) -> Vec<Error> {
    let mut errors = Vec::new();
    Lists { schema, errors: &mut errors }.object(object, &Path::NIL);
    errors
}

struct Lists<'a> {
    schema: &'a Schema,
    errors: &'a mut Vec<Error>,
}

impl Lists<'_> {
    fn object(&mut self, object: &Struct, at: &Path<'_>) {
        let ty = self.schema.get(object.ty);
        if let Some(rest) = &ty.rest {
            for (key, value) in object.unknown.iter() {
                self.value(rest, value, &at.key(key));
            }
        }
        for (number, value) in object.fields() {
            let field = &ty.fields[usize::from(*number)];
            self.value(&field.kind, value, &at.child(&field.name));
        }
    }

    fn value(&mut self, kind: &Kind, value: &Value, at: &Path<'_>) {
        match (kind, value) {
            // Structs that are not dynamic are metadata, which has rules of its own.
            (Kind::Struct(_), Value::Struct(object)) if self.schema.get(object.ty).dynamic => self.object(object, at),
            (Kind::Map(map), Value::Map(entries)) => {
                for (key, value) in entries.iter() {
                    self.value(&map.value, value, &at.key(key));
                }
            }
            (Kind::List(list), Value::List(items)) => self.list(list, items, at),
            _ => {}
        }
    }

    fn list(&mut self, list: &ListOf, items: &[Value], at: &Path<'_>) {
        match &list.merge {
            ListMerge::Atomic => {}
            ListMerge::Set => {
                for number in self.repeated(items) {
                    let shown = self.shown(&items[number]);
                    self.errors.push(Error::duplicate(&at.index(number), shown));
                }
            }
            ListMerge::Map(keys) => self.keyed(keys, items, at),
        }
        for (number, item) in items.iter().enumerate() {
            self.value(&list.item, item, &at.index(number));
        }
    }

    fn keyed(&mut self, keys: &[MapKey], items: &[Value], at: &Path<'_>) {
        let is_object = |item: &Value| matches!(item, Value::Struct(_) | Value::Map(_) | Value::Null);
        if let Some(number) = items.iter().position(|item| !is_object(item)) {
            let shown = self.shown(&items[number]);
            self.errors.push(Error::invalid(&at.index(number), shown, "must be an object for an array of list-type map"));
            return;
        }
        let key = |item: &Value| -> Value {
            let named = keys.iter().filter_map(|key| {
                let value = match item {
                    Value::Struct(object) => self.schema.get(object.ty).number(&key.name).and_then(|number| object.get(number)),
                    Value::Map(map) => map.get(&key.name),
                    _ => None,
                };
                value.map(|value| (key.name.clone(), value.clone()))
            });
            Value::Map(named.collect::<Map>())
        };
        let keys: Vec<Value> = items.iter().map(key).collect();
        for number in self.repeated(&keys) {
            let shown = self.shown(&keys[number]);
            self.errors.push(Error::duplicate(&at.index(number), shown));
        }
    }

    /// Where the second of each value is that is there more than once.
    fn repeated(&self, values: &[Value]) -> Vec<usize> {
        let mut times: HashMap<Vec<u8>, usize> = HashMap::with_capacity(values.len());
        let mut found = Vec::new();
        for (number, value) in values.iter().enumerate() {
            let mut text = Vec::new();
            json::encode_value(self.schema, value, &mut text);
            let times = times.entry(text).or_default();
            *times += 1;
            if *times == 2 {
                found.push(number);
            }
        }
        found
    }

    fn shown(&self, value: &Value) -> BadValue {
        match value {
            Value::Struct(_) | Value::Map(_) | Value::List(_) => {
                let mut out = Vec::new();
                json::encode_value(self.schema, value, &mut out);
                BadValue::json(String::from_utf8_lossy(&out))
            }
            scalar => scalar.into(),
        }
    }
}
