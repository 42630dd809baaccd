//! Which names a definition gets, and what its conditions say of that.

use super::definition::{Condition, Definition, Names, Status};
use crate::meta;
use apiserver_machinery::codec::Report;
use apiserver_machinery::json;
use apiserver_machinery::schema::Shape;
use apiserver_machinery::tree::{Struct, Value};
use std::collections::HashSet;

/// The status that a definition should have; `None` where it has it.
pub fn wanted<'a>(definition: &Definition, all: impl Iterator<Item = &'a Definition>, now: jiff::Timestamp) -> Option<serde_json::Value> {
    let mut resources = HashSet::new();
    let mut kinds = HashSet::new();
    for other in all.filter(|other| other.spec.group == definition.spec.group && other.metadata.name != definition.metadata.name) {
        let names = &other.status.accepted_names;
        resources.extend([names.plural.as_str(), &names.singular]);
        resources.extend(names.short_names.iter().map(String::as_str));
        kinds.extend([names.kind.as_str(), &names.list_kind]);
    }
    let (accepted, naming) = accept(&definition.spec.names, &definition.status.accepted_names, &resources, &kinds);
    let mut status = Status { accepted_names: accepted, ..definition.status.clone() };
    let all_accepted = naming.status == "True";
    set(&mut status.conditions, naming, now);
    let established = match definition.condition("Established") {
        Some(old) if old.status == "True" => old.clone(),
        _ if all_accepted => condition("Established", "True", "InitialNamesAccepted", "the initial names have been accepted"),
        _ => condition("Established", "False", "NotAccepted", "not all names are accepted"),
    };
    set(&mut status.conditions, established, now);
    let storage = definition.storage_version();
    if !storage.is_empty() && !status.stored_versions.iter().any(|version| version == storage) {
        status.stored_versions.push(storage.to_owned());
    }
    let unchanged = status.accepted_names == definition.status.accepted_names
        && status.stored_versions == definition.status.stored_versions
        && status.conditions == definition.status.conditions;
    if unchanged { None } else { serde_json::to_value(status).ok() }
}

fn condition(ty: &str, status: &str, reason: &str, message: &str) -> Condition {
    Condition { ty: ty.into(), status: status.into(), reason: reason.into(), message: message.into(), ..Condition::default() }
}

/// Puts a condition; its time moves only when its status does.
fn set(conditions: &mut Vec<Condition>, mut new: Condition, now: jiff::Timestamp) {
    match conditions.iter_mut().find(|condition| condition.ty == new.ty) {
        Some(old) => {
            new.last_transition_time =
                if old.status == new.status { old.last_transition_time.clone() } else { Some(meta::time_text(now).to_string()) };
            *old = new;
        }
        None => {
            new.last_transition_time = Some(meta::time_text(now).to_string());
            conditions.push(new);
        }
    }
}

/// Gives each requested name that nobody else in the group has; the rest stay as they were.
fn accept(requested: &Names, accepted: &Names, resources: &HashSet<&str>, kinds: &HashSet<&str>) -> (Names, Condition) {
    let mut names = accepted.clone();
    let mut conflict = None;
    let mut take = |wanted: &str, own: &mut String, used: &HashSet<&str>, reason: &'static str| {
        if wanted != own.as_str() && used.contains(wanted) {
            conflict = Some((reason, format!("{wanted:?} is already in use")));
        } else {
            *own = wanted.to_owned();
        }
    };
    take(&requested.plural, &mut names.plural, resources, "PluralConflict");
    take(&requested.singular, &mut names.singular, resources, "SingularConflict");
    take(&requested.kind, &mut names.kind, kinds, "KindConflict");
    take(&requested.list_kind, &mut names.list_kind, kinds, "ListKindConflict");
    let taken: Vec<String> = requested
        .short_names
        .iter()
        .filter(|name| !accepted.short_names.contains(name) && resources.contains(name.as_str()))
        .map(|name| format!("{name:?} is already in use"))
        .collect();
    if taken.is_empty() {
        names.short_names = requested.short_names.clone();
    } else {
        conflict = Some(("ShortNamesConflict", taken.join(", ")));
    }
    names.categories = requested.categories.clone();
    let condition = match conflict {
        None => condition("NamesAccepted", "True", "NoConflicts", "no conflicts found"),
        Some((reason, message)) => condition("NamesAccepted", "False", reason, &message),
    };
    (names, condition)
}

/// Puts a status, given as JSON, into the tree of a definition.
pub fn put(tree: &mut Struct, shape: &Shape, status: &Value) {
    let mut document = apiserver_machinery::tree::Map::default();
    document.insert("status", status.clone());
    let bytes = json::from_any(&Value::Map(document));
    if let Ok(mut parsed) = json::decode(shape, &bytes, &mut Report::ignore())
        && let Some(status) = parsed.take(&shape.schema, "status")
    {
        tree.put(&shape.schema, "status", status);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(plural: &str, kind: &str) -> Names {
        Names { plural: plural.into(), singular: kind.to_lowercase(), kind: kind.into(), list_kind: format!("{kind}List"), ..Names::default() }
    }

    #[test]
    fn free_names_are_accepted() {
        let (accepted, condition) = accept(&names("foos", "Foo"), &Names::default(), &HashSet::new(), &HashSet::new());
        assert_eq!(accepted, names("foos", "Foo"));
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("True", "NoConflicts"));
    }

    #[test]
    fn a_kind_that_another_has_is_not_accepted() {
        let used = HashSet::from(["Foo"]);
        let (accepted, condition) = accept(&names("foos", "Foo"), &Names::default(), &HashSet::new(), &used);
        assert_eq!((accepted.kind.as_str(), accepted.plural.as_str()), ("", "foos"));
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("False", "KindConflict"));
        assert_eq!(condition.message, "\"Foo\" is already in use");
    }
}
