//! Whether the user may make the request.

use crate::Error;
use crate::api::Api;
use crate::auth::{Attributes, Decision, attributes};
use crate::options::Options;
use crate::request::{Target, User, Verb};
use apiserver_machinery::Str;

pub fn authorize(api: &Api, user: &User, verb: Verb, target: &Target, query: Option<&str>) -> Result<(), Error> {
    let fields = fields(verb, query);
    let ask = Attributes::of(user, verb, target, &fields);
    match api.auth.authorize(&ask) {
        Decision::Allow(_) => Ok(()),
        Decision::NoOpinion(reason) => Err(ask.forbidden(&reason)),
    }
}

/// What the field selector of a request for many objects asks of them. One that cannot be parsed asks nothing here; the request fails later.
pub fn fields(verb: Verb, query: Option<&str>) -> Vec<(Str, Str)> {
    let many = matches!(verb, Verb::List | Verb::Watch | Verb::DeleteCollection);
    match query.filter(|query| many && query.contains("fieldSelector=")).map(|query| Options::parse("ListOptions", Some(query))) {
        Some(Ok(options)) => attributes::requirements(&options.field_selector).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_selectors_count_where_many_objects_are_asked_for() {
        let check = |verb: Verb, query: &str, expect: &[(&str, &str)]| {
            let seen = fields(verb, Some(query));
            assert_eq!(seen.iter().map(|(field, value)| (field.as_str(), value.as_str())).collect::<Vec<_>>(), expect);
        };
        check(Verb::List, "fieldSelector=spec.nodeName%3Dn1&limit=5", &[("spec.nodeName", "n1")]);
        check(Verb::Watch, "fieldSelector=spec.nodeName%3Dn1,status.phase!%3DFailed", &[("spec.nodeName", "n1")]);
        check(Verb::Get, "fieldSelector=spec.nodeName%3Dn1", &[]);
        check(Verb::List, "fieldSelector=%3D%3D%3D", &[]);
    }
}
