//! Whole resources inside custom ones (`x-kubernetes-embedded-resource`): each says what it is, and is named as a resource is.

use crate::field::{Error, Path};
use crate::labels;
use crate::names;
use crate::schema::Schema;
use crate::tree::{Struct, Value};

/// What is wrong with the resources embedded in an object.
pub(super) fn problems(schema: &Schema, object: &Struct) -> Vec<Error> {
    let mut errors = Vec::new();
    Embedded { schema, errors: &mut errors }.object(object, &Path::NIL);
    errors
}

struct Embedded<'a> {
    schema: &'a Schema,
    errors: &'a mut Vec<Error>,
}

impl Embedded<'_> {
    fn object(&mut self, object: &Struct, at: &Path<'_>) {
        let ty = self.schema.get(object.ty);
        if ty.embedded {
            self.resource(object, at);
        }
        for (number, value) in object.fields() {
            self.value(value, &at.child(&ty.fields[usize::from(*number)].name));
        }
        if ty.rest.is_some() {
            for (key, value) in object.unknown.iter() {
                self.value(value, &at.key(key));
            }
        }
    }

    fn value(&mut self, value: &Value, at: &Path<'_>) {
        match value {
            Value::Struct(object) if self.schema.get(object.ty).dynamic => self.object(object, at),
            Value::List(items) => items.iter().enumerate().for_each(|(number, item)| self.value(item, &at.index(number))),
            Value::Map(map) => map.iter().for_each(|(key, value)| self.value(value, &at.key(key))),
            _ => {}
        }
    }

    fn resource(&mut self, object: &Struct, at: &Path<'_>) {
        for name in ["apiVersion", "kind"] {
            let at = at.child(name);
            let problem = match object.at(self.schema, name) {
                None => Some(Error::required(&at, "")),
                Some(Value::String(text)) if text.is_empty() => Some(Error::invalid(&at, "", "must not be empty")),
                Some(Value::String(text)) if name == "kind" => kind_problem(text, &at),
                Some(Value::String(text)) if text.matches('/').count() > 1 => {
                    Some(Error::invalid(&at, text, format!("unexpected GroupVersion string: {text}")))
                }
                Some(Value::String(_)) => None,
                Some(other) => Some(Error::invalid(&at, other, "must be a string")),
            };
            self.errors.extend(problem);
        }
        let Some(metadata) = object.at(self.schema, "metadata").and_then(Value::as_struct) else { return };
        let at = at.child("metadata");
        for (name, messages) in [("generateName", names::path_segment_prefix as fn(&str) -> names::Messages), ("name", names::path_segment)] {
            let value = metadata.str_at(self.schema, name).unwrap_or_default();
            self.errors.extend(messages(value).into_iter().map(|message| Error::invalid(&at.child(name), value, message)));
        }
        let own = metadata.at(self.schema, "labels").and_then(Value::as_map).into_iter().flat_map(|labels| labels.iter());
        self.errors.extend(labels::validate(own.map(|(key, value)| (key, value.as_str().unwrap_or_default())), &at.child("labels")));
    }
}

fn kind_problem(kind: &str, at: &Path<'_>) -> Option<Error> {
    let messages = names::dns1035_label(&kind.to_lowercase());
    (!messages.is_empty()).then(|| Error::invalid(at, kind, format!("may have mixed case, but should otherwise match: {}", messages.join(","))))
}
