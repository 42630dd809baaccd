//! PodDisruptionBudgets.

use super::apps::{at_most_all, count_or_percent};
use super::validation::{Errors, metadata, not_negative, one_of, selector, value};
use super::{Context, Object, Rules};
use apiserver_machinery::field::{Error, Path};

pub static RULES: Rules = Rules { validate, generation: true, unconditional_update: false, ..Rules::PLAIN };

fn validate(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    if context.subresource == "status" {
        let at = Path::new("status");
        if let Some(status) = new.child("status") {
            for field in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
                not_negative(status, field, &at, errors);
            }
        }
        return;
    }
    let at = Path::new("spec");
    let Some(spec) = new.child("spec") else { return };
    if spec.has("minAvailable") && spec.has("maxUnavailable") {
        let shown = value::shown(new, "spec");
        errors.push(Error::invalid(&at, shown, "minAvailable and maxUnavailable cannot be both set"));
    }
    for field in ["minAvailable", "maxUnavailable"] {
        if spec.has(field) {
            count_or_percent(spec, field, &at, errors);
            at_most_all(spec, field, &at, errors);
        }
    }
    selector::label_selector(spec, "selector", &at, errors);
    one_of(spec, "unhealthyPodEvictionPolicy", &["AlwaysAllow", "IfHealthyBudget"], &at, errors);
}
