//! RuntimeClasses.

use super::validation::{Errors, affinity, fixed, messages, metadata, required, resources, value};
use super::{Context, Object, Rules};
use apiserver_machinery::field::{Error, Path};
use apiserver_machinery::{labels, names};

pub static RULES: Rules = Rules { validate, create_on_update: true, unconditional_update: false, ..Rules::PLAIN };

fn validate(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    let at = Path::new("handler");
    if let Some(old) = old {
        fixed(new, old, "handler", &at, errors);
        return;
    }
    if required(new, "handler", &Path::NIL, "", errors) {
        messages(names::dns1123_label(new.text("handler")), new.text("handler"), &at, errors);
    }
    let at = Path::new("overhead.limits");
    for (name, amount) in new.entries("overhead.podFixed") {
        resources::resource_name(name, &at.key(name), errors);
        resources::amount(name, &resources::quantity(amount), &at.key(name), errors);
    }
    if let Some(scheduling) = new.child("scheduling") {
        let at = Path::new("scheduling");
        errors.extend(labels::validate(scheduling.pairs("nodeSelector"), &at.child("nodeSelector")));
        affinity::tolerations(scheduling, &at, errors);
        let at = at.child("tolerations");
        let same = |a: Object<'_>, b: Object<'_>| ["key", "operator", "value", "effect"].iter().all(|field| a.text(field) == b.text(field));
        for (index, toleration) in scheduling.items("tolerations").enumerate() {
            if scheduling.items("tolerations").take(index).any(|other| same(other, toleration)) {
                errors.push(Error::duplicate(&at.index(index), value::of(toleration, &toleration.tree.clone().into())));
            }
        }
    }
}
