//! What the server decides of an object: names, uid, times, generation, and the kind's own rules.

use crate::Error;
use crate::resource::{Context, Object, Resource};
use crate::stage::delete;
use crate::write::{Action, Intent, Mutated, Outcome, Prepared};
use apiserver_machinery::apply;
use apiserver_machinery::schema::Schema;
use apiserver_machinery::tree::{Struct, Value};

/// Upstream's generated suffix: five characters of an alphabet without vowels and look-alikes.
const SUFFIX_CHARACTERS: usize = 5;
const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// A generateName longer than this is cut before the suffix.
const GENERATED_BASE_CHARACTERS_MAX: usize = 63 - SUFFIX_CHARACTERS;

pub fn prepare(intent: &Intent, Mutated(mut proposed): Mutated) -> Result<Prepared, Error> {
    let resource = &*intent.found.resource;
    let schema = &*resource.storage.shape.schema;
    let deleting = matches!(intent.action, Action::Delete(_) | Action::Evict(_));
    if let Outcome::Put(tree) = &mut proposed.outcome
        && !deleting
    {
        let context = Context { user: &intent.user, now: intent.now, schema, subresource: &intent.target.subresource, resource };
        match &proposed.old {
            None => create(intent, tree, &context)?,
            Some(old) => {
                update(resource, &old.tree, tree, &context);
                apply::keep_times(&resource.storage.shape, &old.tree, tree);
            }
        }
        proposed.warnings.extend((resource.rules.warnings)(
            Object { schema, tree },
            proposed.old.as_ref().map(|old| Object { schema, tree: &old.tree }),
            &context,
        ));
    }
    Ok(Prepared(proposed))
}

fn create(intent: &Intent, tree: &mut Struct, context: &Context<'_>) -> Result<(), Error> {
    let schema = context.schema;
    for field in ["selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion"] {
        tree.take(schema, &format!("metadata.{field}"));
    }
    if !context.resource.namespaced {
        tree.take(schema, "metadata.namespace");
    }
    tree.put(schema, "metadata.uid", uuid::Uuid::new_v4().to_string());
    tree.put(schema, "metadata.creationTimestamp", crate::meta::time(intent.now));
    tree.take(schema, "metadata.generation");
    if context.resource.rules.generation {
        tree.put(schema, "metadata.generation", 1_i64);
    }
    (context.resource.rules.create)(tree, context);
    Ok(())
}

/// Gives a create its name, where it has only a prefix of one.
pub fn generate_name(tree: &mut Struct, schema: &Schema) -> bool {
    if tree.str_at(schema, "metadata.name").is_some_and(|name| !name.is_empty()) {
        return false;
    }
    let Some(base) = tree.str_at(schema, "metadata.generateName").filter(|base| !base.is_empty()) else { return false };
    let mut name: String = base.chars().take(GENERATED_BASE_CHARACTERS_MAX).collect();
    for _ in 0..SUFFIX_CHARACTERS {
        name.push(char::from(SUFFIX_ALPHABET[rand::random_range(0..SUFFIX_ALPHABET.len())]));
    }
    tree.put(schema, "metadata.name", name);
    true
}

fn update(resource: &Resource, old: &Struct, tree: &mut Struct, context: &Context<'_>) {
    let schema = context.schema;
    tree.take(schema, "metadata.resourceVersion");
    tree.take(schema, "metadata.selfLink");
    // What the server decided once stays.
    for field in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "generateName"] {
        let path = format!("metadata.{field}");
        let decided = old.at(schema, &path);
        // A changed uid, or a creation time of the client's own, is for validation to refuse; generateName may change.
        let keep = match field {
            "uid" | "creationTimestamp" => tree.at(schema, &path).is_none(),
            "generateName" => false,
            _ => true,
        };
        if !keep {
            continue;
        }
        match decided {
            Some(value) => {
                tree.put(schema, &path, value.clone());
            }
            None => {
                tree.take(schema, &path);
            }
        }
    }
    (resource.rules.update)(old, tree, context);
    if resource.rules.generation && spec_differs(resource, old, tree, schema) {
        let generation = old.int_at(schema, "metadata.generation").unwrap_or(0);
        tree.put(schema, "metadata.generation", generation + 1);
    }
}

/// Whether anything but metadata and (where it is a subresource) status has changed.
fn spec_differs(resource: &Resource, old: &Struct, new: &Struct, schema: &Schema) -> bool {
    let ty = schema.get(new.ty);
    let ignored: Vec<u16> = ["apiVersion", "kind", "metadata"]
        .into_iter()
        .chain(resource.subresource("status").map(|_| "status"))
        .filter_map(|name| ty.number(name))
        .collect();
    fn rest<'a>(tree: &'a Struct, ignored: &'a [u16]) -> impl Iterator<Item = &'a (u16, Value)> {
        tree.fields().iter().filter(|(number, _)| !ignored.contains(number))
    }
    !rest(old, &ignored).eq(rest(new, &ignored)) || old.unknown != new.unknown
}

/// Whether this update takes the object away: it was the last thing that a deletion waited for.
pub fn finishes_deletion(intent: &Intent, tree: &Struct) -> bool {
    matches!(intent.action, Action::Update(_) | Action::Patch { .. } | Action::Apply(_)) && delete::is_finished(&intent.found.resource, tree)
}
