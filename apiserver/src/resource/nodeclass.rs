//! RuntimeClasses.

use super::validation::{Errors, affinity, immutable, messages, metadata, required, resources};
use super::{Context, Object, Rules};
use apiserver_machinery::field::Path;
use apiserver_machinery::{labels, names};

pub static RULES: Rules = Rules { validate, create_on_update: true, unconditional_update: false, ..Rules::PLAIN };

fn validate(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    let at = Path::new("handler");
    if let Some(old) = old {
        immutable(new, old, "handler", &at, errors);
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
    }
}
