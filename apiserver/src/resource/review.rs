//! Kinds that are answered and never stored: reviews, and Bindings.

use super::rules::no_warnings;
use super::{Rules, rules};

/// Nothing of a review is checked here: what answers it does that.
pub static RULES: Rules = Rules {
    create: |_, _| {},
    update: |_, _, _| {},
    validate: |_, _, _, _| {},
    warnings: no_warnings,
    defaults: rules::defaults,
    nameless: true,
    ..Rules::PLAIN
};
