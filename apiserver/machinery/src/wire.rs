//! The protobuf view of a struct: which of its fields has which number, and which fields protobuf nests in a message that JSON flattens.
//!
//! A Volume is flat in JSON, but in protobuf its source is a message of its own:
//!
//! ```text
//! JSON      { "name": …, "hostPath": …, "emptyDir": … }
//! protobuf  { name = 1, volumeSource = 2 { hostPath = 1, emptyDir = 2, … } }
//! ```
//!
//! so `hostPath` has the path `[2, 1]`, and the struct's [`Wire`] is `1 → Field(name), 2 → Message(1 → Field(hostPath), 2 → …)`.

use crate::schema::Field;

/// The numbers of one message, ascending, which is the order in which they are written.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    entries: Vec<Entry>,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub number: u32,
    pub target: Target,
}

#[derive(Debug)]
pub(crate) enum Target {
    /// A field of the tree's struct.
    Field(u16),
    /// An inlined struct, whose fields belong to the same struct of the tree.
    Message(Wire),
}

impl Wire {
    pub fn of(fields: &[Field]) -> Self {
        let mut wire = Self::default();
        for (field, number) in fields.iter().zip(0..) {
            wire.add(&field.proto, number);
        }
        wire
    }

    fn add(&mut self, path: &[u32], field: u16) {
        let Some((&number, rest)) = path.split_first() else { return };
        let at = self.entries.binary_search_by_key(&number, |entry| entry.number);
        let target = if rest.is_empty() { Target::Field(field) } else { Target::Message(Self::default()) };
        let at = at.unwrap_or_else(|at| {
            self.entries.insert(at, Entry { number, target });
            at
        });
        if let Target::Message(inner) = &mut self.entries[at].target {
            inner.add(rest, field);
        }
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The target of a field number. `hint` is where the last one was: messages are written in order, and lists repeat a number.
    pub fn find(&self, number: u32, hint: &mut usize) -> Option<&Target> {
        let is_at = |at: usize| self.entries.get(at).is_some_and(|entry| entry.number == number);
        let at = match *hint {
            at if is_at(at) => at,
            at if is_at(at + 1) => at + 1,
            _ => self.entries.binary_search_by_key(&number, |entry| entry.number).ok()?,
        };
        *hint = at;
        Some(&self.entries[at].target)
    }
}
