//! Where the decoder is: a chain of steps on its stack, which becomes text only when something is wrong there.

use crate::schema::{Field, Kind, Schema, StructType};

#[derive(Clone, Copy)]
pub(super) struct Place<'p> {
    outer: Option<&'p Place<'p>>,
    step: Step<'p>,
}

#[derive(Clone, Copy)]
pub(super) enum Step<'p> {
    Root,
    Field { field: &'p Field, owner: &'p StructType },
    Key(&'p str),
    Index(usize),
}

impl<'p> Place<'p> {
    pub const ROOT: Place<'static> = Place { outer: None, step: Step::Root };

    pub fn enter<'q>(&'q self, step: Step<'q>) -> Place<'q> {
        Place { outer: Some(self), step }
    }

    /// The path of a field here, as reports have it: `spec.containers[0].image`.
    pub fn child(&self, name: &str) -> String {
        let mut path = String::new();
        self.write(&mut path);
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(name);
        path
    }

    fn write(&self, out: &mut String) {
        let Some(outer) = self.outer else { return };
        outer.write(out);
        let name = match self.step {
            Step::Root => return,
            Step::Field { field, .. } => field.name.as_str(),
            Step::Key(key) => key,
            Step::Index(index) => {
                out.push_str(&format!("[{index}]"));
                return;
            }
        };
        if !out.is_empty() {
            out.push('.');
        }
        out.push_str(name);
    }

    /// Go's message of a value that does not fit a type. It names fields only, those of inlined structs with the struct's name before them:
    /// `json: cannot unmarshal string into Go struct field Volume.spec.volumes.VolumeSource.emptyDir of type v1.EmptyDirVolumeSource`.
    pub fn mismatch(&self, sort: &str, go: &str) -> String {
        let mut path = Vec::new();
        let mut owner = None;
        let mut here = Some(self);
        while let Some(place) = here {
            if let Step::Field { field, owner: own } = place.step {
                path.push(field.name.as_str());
                if !field.via.is_empty() {
                    path.push(field.via.as_str());
                }
                owner.get_or_insert(own.go.as_str());
            }
            here = place.outer;
        }
        match owner {
            None => format!("json: cannot unmarshal {sort} into Go value of type {go}"),
            Some(owner) => {
                path.reverse();
                format!("json: cannot unmarshal {sort} into Go struct field {owner}.{} of type {go}", path.join("."))
            }
        }
    }

    /// Go's name of the type of what lies here.
    pub fn go_type(&self, schema: &Schema, kind: &Kind) -> String {
        self.declared().map_or_else(|| schema.go_type(kind), str::to_owned)
    }

    fn declared(&self) -> Option<&str> {
        match self.step {
            Step::Root => None,
            Step::Field { field, .. } => (!field.go.is_empty()).then_some(field.go.as_str()),
            Step::Index(_) => self.outer?.declared()?.strip_prefix("[]"),
            Step::Key(_) => Some(self.outer?.declared()?.strip_prefix("map[")?.split_once(']')?.1),
        }
    }
}
