//! PriorityClasses.

use super::validation::{Errors, immutable, metadata, one_of};
use super::{Context, Object, Rules};
use apiserver_machinery::field::{Error, Path};

/// The generation is one for ever.
pub static PRIORITY_CLASS: Rules = Rules {
    create: |class, context| {
        class.put(context.schema, "metadata.generation", 1i64);
    },
    validate,
    ..Rules::PLAIN
};

const SYSTEM_PREFIX: &str = "system-";
const USER_PRIORITY_MAX: i64 = 1_000_000_000;
const SYSTEM_CLASSES: [(&str, i64); 2] = [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

fn validate(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    let value = new.number("value");
    if let Some(old) = old {
        if value != old.number("value") {
            errors.push(Error::forbidden(&Path::new("value"), "may not be changed in an update."));
        }
        immutable(new, old, "preemptionPolicy", &Path::new("preemptionPolicy"), errors);
        return;
    }
    if new.name().starts_with(SYSTEM_PREFIX) {
        if let Err(why) = system_class(new) {
            let detail = format!("priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: {why}");
            errors.push(Error::forbidden(&Path::new("metadata.name"), detail));
        }
    } else if value > USER_PRIORITY_MAX {
        let detail = format!("maximum allowed value of a user defined priority is {USER_PRIORITY_MAX}");
        errors.push(Error::forbidden(&Path::new("value"), detail));
    }
    if let Some(class) = Some(new).filter(|class| class.has("preemptionPolicy")) {
        one_of(class, "preemptionPolicy", &["PreemptLowerPriority", "Never"], &Path::NIL, errors);
    }
}

fn system_class(class: Object<'_>) -> Result<(), String> {
    let name = class.name();
    let Some((_, value)) = SYSTEM_CLASSES.iter().find(|(own, _)| *own == name) else {
        return Err(format!("{name} is not a known system priority class"));
    };
    if class.number("value") != *value {
        return Err(format!("value of {name} PriorityClass must be {value}"));
    }
    if class.flag("globalDefault") {
        return Err(format!("globalDefault of {name} PriorityClass must be false"));
    }
    Ok(())
}
