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
    /// Where an entry lies, plus one, by its number: numbers are small and nearly dense.
    slots: Vec<u16>,
}

/// Numbers from here on are searched for instead.
const SLOTS_MAX: u32 = 256;

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
        wire.index();
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

    fn index(&mut self) {
        let end = self.entries.iter().map(|entry| entry.number).filter(|number| *number < SLOTS_MAX).max().map_or(0, |number| number + 1);
        self.slots = vec![0; end as usize];
        for (entry, place) in self.entries.iter_mut().zip(1..) {
            if let Some(slot) = self.slots.get_mut(entry.number as usize) {
                *slot = place;
            }
            if let Target::Message(inner) = &mut entry.target {
                inner.index();
            }
        }
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The target of a field number.
    #[inline]
    pub fn find(&self, number: u32) -> Option<&Target> {
        let at = match self.slots.get(number as usize) {
            Some(place) => usize::from(*place).checked_sub(1)?,
            None if number < SLOTS_MAX => return None,
            None => self.entries.binary_search_by_key(&number, |entry| entry.number).ok()?,
        };
        Some(&self.entries[at].target)
    }
}
