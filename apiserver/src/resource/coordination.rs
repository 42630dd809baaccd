//! Leases.

use super::validation::{Errors, metadata};
use super::{Context, Object, Rules};
use apiserver_machinery::field::{Error, Path};

pub static LEASE: Rules = Rules { validate, create_on_update: true, unconditional_update: false, ..Rules::PLAIN };

fn validate(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    let at = Path::new("spec");
    let Some(spec) = new.child("spec") else { return };
    if let Some(seconds) = spec.int("leaseDurationSeconds")
        && seconds <= 0
    {
        errors.push(Error::invalid(&at.child("leaseDurationSeconds"), seconds, "must be greater than 0"));
    }
    if let Some(transitions) = spec.int("leaseTransitions")
        && transitions < 0
    {
        errors.push(Error::invalid(&at.child("leaseTransitions"), transitions, super::validation::NOT_NEGATIVE));
    }
    if !spec.text("preferredHolder").is_empty() && spec.text("strategy").is_empty() {
        errors.push(Error::forbidden(&at.child("preferredHolder"), "may only be specified if `strategy` is defined"));
    }
}
