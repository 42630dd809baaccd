//! StorageVersionMigrations.

use super::validation::{Errors, immutable, metadata};
use super::{Context, Object, Rules};
use apiserver_machinery::field::{Error, Path};

pub static RULES: Rules = Rules { validate, unconditional_update: false, ..Rules::PLAIN };

fn validate(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    let at = Path::new("spec.resource");
    if context.subresource == "status" {
        return;
    }
    if new.text("spec.resource.resource").is_empty() {
        errors.push(Error::required(&at.child("resource"), "resource is required"));
    }
    if let Some(old) = old {
        immutable(new, old, "spec", &Path::new("spec"), errors);
    }
}
