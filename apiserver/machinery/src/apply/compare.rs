//! What changed between two objects, as sets of paths.
//!
//! Every write compares, and most objects hardly change: two trees are walked side by side, and nothing is allocated until something differs.

use super::set::{Element, Set};
use super::view::{Atom, Shown, Typed, Types, View, view_of};
use crate::schema::{ListMerge, ListOf, StructType};
use crate::tree::{Struct, Value};

/// Items of one list that are looked for among all others; lists in which more changed are sorted instead.
const CHANGED_IN_PLACE_MAX: usize = 8;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    pub added: Set,
    pub modified: Set,
    pub removed: Set,
}

impl Comparison {
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    /// Without what a strategy resets, and all below.
    pub(super) fn without(self, reset: &Set) -> Self {
        if reset.is_empty() || self.is_empty() {
            return self;
        }
        Self {
            added: self.added.recursive_difference(reset),
            modified: self.modified.recursive_difference(reset),
            removed: self.removed.recursive_difference(reset),
        }
    }

    /// What the new object has that the old one had not, or not so.
    pub(super) fn set(&self) -> Set {
        self.modified.union(&self.added)
    }
}

/// What happened to one value, and below it.
#[derive(Default)]
struct Change {
    below: Comparison,
    added: bool,
    modified: bool,
    removed: bool,
}

pub(super) fn compare<'a>(types: Types<'a>, old: View<'a>, new: View<'a>, ty: Typed<'a>) -> Result<Comparison, String> {
    let mut change = Change::default();
    Compare { types }.values(Some(old), Some(new), ty, &mut change)?;
    Ok(change.below)
}

struct Compare<'a> {
    types: Types<'a>,
}

type Pair<'a> = (Option<View<'a>>, Option<View<'a>>);

impl<'a> Compare<'a> {
    fn values(&self, old: Option<View<'a>>, new: Option<View<'a>>, ty: Typed<'a>, change: &mut Change) -> Result<(), String> {
        let old_atom = self.types.atom(ty, old);
        let new_atom = self.types.atom(ty, new);
        let same_sort = std::mem::discriminant(&old_atom) == std::mem::discriminant(&new_atom);
        match (old, new) {
            (_, None) => self.atoms(old_atom, old, new, change),
            (Some(_), Some(_)) if !same_sort => {
                self.atoms(old_atom, old, new, change)?;
                self.atoms(new_atom, old, new, change)
            }
            _ => self.atoms(new_atom, old, new, change),
        }
    }

    fn atoms(&self, atom: Atom<'a>, old: Option<View<'a>>, new: Option<View<'a>>, change: &mut Change) -> Result<(), String> {
        let empty = |value: Option<View<'a>>| value.is_none_or(|value| self.types.is_empty(value));
        let both_empty = || empty(old) && empty(new);
        match atom {
            Atom::Struct(ty) if !both_empty() => self.structs(ty, old, new, &mut change.below)?,
            Atom::Map(ty) if !both_empty() => self.maps(|_| Some(ty), old, new, &mut change.below)?,
            Atom::List(list) if !both_empty() => self.lists(list, old, new, &mut change.below)?,
            Atom::Leaf | Atom::Struct(_) | Atom::Map(_) | Atom::List(_) => {
                change.modified |= matches!((old, new), (Some(old), Some(new)) if !self.types.equal(old, new));
            }
        }
        change.added |= old.is_none();
        change.removed |= new.is_none();
        Ok(())
    }

    fn structs(&self, ty: &'a StructType, old: Option<View<'a>>, new: Option<View<'a>>, below: &mut Comparison) -> Result<(), String> {
        let (Some(old_fields), Some(new_fields)) = (fields(old), fields(new)) else {
            return self.maps(|name| self.types.field(ty, name).map(|(ty, _)| ty), old, new, below);
        };
        let (mut a, mut b) = (Shown::of(ty, old_fields), Shown::of(ty, new_fields));
        let (mut a, mut b) = (old.and(Some(&mut a)), new.and(Some(&mut b)));
        while let Some(number) = [a.as_ref().and_then(|a| a.peek()), b.as_ref().and_then(|b| b.peek())].into_iter().flatten().min() {
            let field = &ty.fields[usize::from(number)];
            let view = |shown: &mut Option<&mut Shown<'a>>| {
                let shown = shown.as_mut().filter(|shown| shown.peek() == Some(number))?;
                shown.next().map(|(_, value)| view_of(field, value))
            };
            let (old, new) = (view(&mut a), view(&mut b));
            if old.is_some() || new.is_some() {
                self.child(|| Element::Field(field.name.clone()), (old, new), Typed::field(field), below)?;
            }
        }
        let unknown = |value: Option<View<'a>>| match value {
            Some(View::Value(Value::Struct(object))) => Some(object.unknown.iter()),
            Some(View::Object(object)) => Some(object.unknown.iter()),
            _ => None,
        };
        let of = |value: Option<View<'a>>| unknown(value).into_iter().flatten().map(|(key, value)| (key, View::Value(value))).collect();
        self.zip(of(old), of(new), |name| self.types.field(ty, name).map(|(ty, _)| ty), below)?;
        settle(below);
        Ok(())
    }

    fn maps(
        &self,
        ty: impl Fn(&str) -> Option<Typed<'a>>,
        old: Option<View<'a>>,
        new: Option<View<'a>>,
        below: &mut Comparison,
    ) -> Result<(), String> {
        let entries = |value: Option<View<'a>>| value.map(|value| self.types.entries(value)).unwrap_or_default();
        self.zip(entries(old), entries(new), ty, below)?;
        settle(below);
        Ok(())
    }

    /// Compares entries that are in order of their names.
    fn zip(
        &self,
        old: Vec<(&'a str, View<'a>)>,
        new: Vec<(&'a str, View<'a>)>,
        ty: impl Fn(&str) -> Option<Typed<'a>>,
        below: &mut Comparison,
    ) -> Result<(), String> {
        let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
        while let Some(name) = [old.peek(), new.peek()].into_iter().flatten().map(|(name, _)| *name).min() {
            let a = old.next_if(|(own, _)| *own == name).map(|(_, value)| value);
            let b = new.next_if(|(own, _)| *own == name).map(|(_, value)| value);
            if let Some(ty) = ty(name) {
                self.child(|| Element::Field(name.into()), (a, b), ty, below)?;
            }
        }
        Ok(())
    }

    fn child(&self, element: impl FnOnce() -> Element, (old, new): Pair<'a>, ty: Typed<'a>, below: &mut Comparison) -> Result<(), String> {
        // Most values did not change, and comparing them whole is much faster than walking them.
        if let (Some(View::Value(old)), Some(View::Value(new))) = (old, new)
            && old == new
        {
            return Ok(());
        }
        let mut change = Change::default();
        self.values(old, new, ty, &mut change)?;
        attach(element, change, below);
        Ok(())
    }

    fn lists(&self, list: &'a ListOf, old: Option<View<'a>>, new: Option<View<'a>>, below: &mut Comparison) -> Result<(), String> {
        let (old, new) = (items(old), items(new));
        if self.items_in_place(list, old, new, below)? {
            return Ok(());
        }
        let old = self.by_element(list, old)?;
        let new = self.by_element(list, new)?;
        let ty = Typed::of(&list.item);
        for (element, old) in &old {
            let new = new.binary_search_by(|(own, _)| own.cmp(element)).map_or(&[][..], |at| &new[at].1);
            self.items(element, old, new, ty, below)?;
        }
        for (element, new) in &new {
            if old.binary_search_by(|(own, _)| own.cmp(element)).is_err() {
                self.items(element, &[], new, ty, below)?;
            }
        }
        settle(below);
        Ok(())
    }

    /// Compares lists that have the same items in the same places, which most have. Returns whether they are such lists.
    fn items_in_place(&self, list: &'a ListOf, old: &'a [Value], new: &'a [Value], below: &mut Comparison) -> Result<bool, String> {
        let same = |a: &'a Value, b: &'a Value| self.types.same_item(list, View::Value(a), View::Value(b));
        if list.merge == ListMerge::Set || old.len() != new.len() || !old.iter().zip(new).all(|(old, new)| old == new || same(old, new)) {
            return Ok(false);
        }
        let changed: Vec<usize> = (0..old.len()).filter(|at| old[*at] != new[*at]).collect();
        // An item that is there twice is compared in another way.
        let unique = |at: usize| (0..new.len()).all(|other| other == at || !(same(&new[at], &new[other]) || same(&new[at], &old[other])));
        if changed.len() > CHANGED_IN_PLACE_MAX || !changed.iter().all(|at| unique(*at)) {
            return Ok(false);
        }
        for at in changed {
            let element = self.types.item(list, View::Value(&new[at])).map_err(|error| format!("element {at}: {error}"))?;
            self.child(|| element, (Some(View::Value(&old[at])), Some(View::Value(&new[at]))), Typed::of(&list.item), below)?;
        }
        settle(below);
        Ok(true)
    }

    /// The items under their elements, which lists may hold twice.
    fn by_element(&self, list: &'a ListOf, items: &'a [Value]) -> Result<Vec<(Element, Vec<View<'a>>)>, String> {
        let mut found: Vec<(Element, usize, Vec<View<'a>>)> = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let element = self.types.item(list, View::Value(item)).map_err(|error| format!("element {at}: {error}"))?;
            found.push((element, at, vec![View::Value(item)]));
        }
        found.sort_by(|(a, a_at, _), (b, b_at, _)| a.cmp(b).then(a_at.cmp(b_at)));
        found.dedup_by(|(element, _, items), (first, _, together)| {
            let same = element == first;
            if same {
                together.append(items);
            }
            same
        });
        Ok(found.into_iter().map(|(element, _, items)| (element, items)).collect())
    }

    fn items(&self, element: &Element, old: &[View<'a>], new: &[View<'a>], ty: Typed<'a>, below: &mut Comparison) -> Result<(), String> {
        let own = || element.clone();
        match (old, new) {
            ([] | [_], [] | [_]) => self.child(own, (old.first().copied(), new.first().copied()), ty, below)?,
            ([_, _, ..], [_, _, ..]) => {
                let same = old.len() == new.len() && old.iter().zip(new).all(|(old, new)| self.types.equal(*old, *new));
                below.modified.push(own(), !same, Set::default());
            }
            ([_, _, ..], _) => {
                if let Some(new) = new.first() {
                    self.child(own, (None, Some(*new)), ty, below)?;
                }
                below.removed.push(own(), true, Set::default());
            }
            _ => {
                if let Some(old) = old.first() {
                    self.child(own, (Some(*old), None), ty, below)?;
                }
                below.added.push(own(), true, Set::default());
            }
        }
        Ok(())
    }
}

/// The fields of a struct by number; none of what is absent. `None` where the value is decoded JSON.
fn fields<'a>(value: Option<View<'a>>) -> Option<&'a [(u16, Value)]> {
    let of = |object: &'a Struct| Some(object.fields());
    match value {
        None | Some(View::Empty(_)) => Some(&[]),
        Some(View::Value(Value::Struct(object))) => of(object),
        Some(View::Object(object)) => of(object),
        Some(View::Value(_)) => None,
    }
}

fn items(value: Option<View<'_>>) -> &[Value] {
    match value {
        Some(View::Value(Value::List(items))) => items,
        _ => &[],
    }
}

fn attach(element: impl FnOnce() -> Element, change: Change, below: &mut Comparison) {
    let Change { below: inner, added, modified, removed } = change;
    if !(added || modified || removed) && inner.is_empty() {
        return;
    }
    let element = element();
    below.added.push(element.clone(), added, inner.added);
    below.modified.push(element.clone(), modified, inner.modified);
    below.removed.push(element, removed, inner.removed);
}

fn settle(comparison: &mut Comparison) {
    comparison.added.settle();
    comparison.modified.settle();
    comparison.removed.settle();
}
