//! Reading an object by JSON names, the way rules and printers do. Absent scalars read as Go's zero values, which is what upstream's rules see.

use super::Object;
use apiserver_machinery::schema::{Schema, StructType};
use apiserver_machinery::tree::{Map, Struct, Value};

impl<'a> Object<'a> {
    pub fn new(schema: &'a Schema, tree: &'a Struct) -> Self {
        Self { schema, tree }
    }

    pub fn ty(self) -> &'a StructType {
        self.schema.get(self.tree.ty)
    }

    pub fn get(self, path: &str) -> Option<&'a Value> {
        self.tree.at(self.schema, path)
    }

    pub fn has(self, path: &str) -> bool {
        self.get(path).is_some()
    }

    /// A string; empty where it is absent.
    pub fn text(self, path: &str) -> &'a str {
        self.get(path).and_then(Value::as_str).unwrap_or_default()
    }

    /// A string that may be absent.
    pub fn text_opt(self, path: &str) -> Option<&'a str> {
        self.get(path).and_then(Value::as_str)
    }

    /// A number; zero where it is absent.
    pub fn number(self, path: &str) -> i64 {
        self.int(path).unwrap_or_default()
    }

    pub fn int(self, path: &str) -> Option<i64> {
        self.get(path).and_then(Value::as_int)
    }

    /// A truth value; false where it is absent.
    pub fn flag(self, path: &str) -> bool {
        self.flag_opt(path).unwrap_or_default()
    }

    pub fn flag_opt(self, path: &str) -> Option<bool> {
        self.get(path).and_then(Value::as_bool)
    }

    pub fn child(self, path: &str) -> Option<Object<'a>> {
        self.get(path).and_then(Value::as_struct).map(|tree| Object { schema: self.schema, tree })
    }

    pub fn list(self, path: &str) -> &'a [Value] {
        self.tree.list_at(self.schema, path)
    }

    /// The structs of a list; none where it is absent.
    pub fn items(self, path: &str) -> impl DoubleEndedIterator<Item = Object<'a>> {
        self.list(path).iter().filter_map(move |value| value.as_struct().map(|tree| Object { schema: self.schema, tree }))
    }

    /// The strings of a list; none where it is absent.
    pub fn texts(self, path: &str) -> impl DoubleEndedIterator<Item = &'a str> + ExactSizeIterator {
        self.list(path).iter().map(|value| value.as_str().unwrap_or_default())
    }

    pub fn map(self, path: &str) -> Option<&'a Map> {
        self.get(path).and_then(Value::as_map)
    }

    /// The entries of a map; none where it is absent.
    pub fn entries(self, path: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.map(path).into_iter().flat_map(Map::iter)
    }

    /// The string entries of a map, such as labels.
    pub fn pairs(self, path: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.entries(path).map(|(key, value)| (key, value.as_str().unwrap_or_default()))
    }

    pub fn name(self) -> &'a str {
        self.text("metadata.name")
    }

    pub fn namespace(self) -> &'a str {
        self.text("metadata.namespace")
    }

    pub fn label(self, key: &str) -> Option<&'a str> {
        self.map("metadata.labels")?.get(key)?.as_str()
    }

    pub fn annotation(self, key: &str) -> Option<&'a str> {
        self.map("metadata.annotations")?.get(key)?.as_str()
    }
}
