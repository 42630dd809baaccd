//! What a Pod asks for, on trees: for LimitRanger and quota. (The scheduler and kubelet compute the same on typed Pods.)

use crate::resource::Object;
use apiserver_machinery::Str;
use apiserver_machinery::quantity::Quantity;
use std::collections::BTreeMap;

/// v1.ResourceList.
pub type Resources = BTreeMap<Str, Quantity>;

/// The quantities of a map; what cannot be parsed is left out, since validation refuses it.
pub fn resources(object: Object<'_>, path: &str) -> Resources {
    object.pairs(path).filter_map(|(name, text)| Some((Str::from(name), Quantity::parse(text).ok()?))).collect()
}

pub fn add(to: &mut Resources, more: &Resources) {
    for (name, quantity) in more {
        match to.get_mut(name) {
            Some(own) => own.add(quantity),
            None => _ = to.insert(name.clone(), quantity.clone()),
        }
    }
}

fn raise(to: &mut Resources, other: &Resources) {
    for (name, quantity) in other {
        match to.get_mut(name) {
            Some(own) if *own >= *quantity => {}
            Some(own) => *own = quantity.clone(),
            None => _ = to.insert(name.clone(), quantity.clone()),
        }
    }
}

/// Resources that may be given for the Pod as a whole.
fn at_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// The sum over containers, at least what the init containers need, overridden by what the Pod itself says. `field` is `requests` or `limits`.
///
/// Init containers run one after another, beside the sidecars that were started before them.
pub fn of_pod(pod: Object<'_>, field: &str) -> Resources {
    let path = format!("resources.{field}");
    let mut total = Resources::new();
    for container in pod.items("spec.containers") {
        add(&mut total, &resources(container, &path));
    }
    let (mut sidecars, mut init) = (Resources::new(), Resources::new());
    for container in pod.items("spec.initContainers") {
        let mut own = resources(container, &path);
        if container.text("restartPolicy") == "Always" {
            add(&mut total, &own);
            add(&mut sidecars, &own);
            own = sidecars.clone();
        } else {
            add(&mut own, &sidecars);
        }
        raise(&mut init, &own);
    }
    raise(&mut total, &init);
    for (name, quantity) in resources(pod, &format!("spec.resources.{field}")) {
        if at_pod_level(&name) {
            total.insert(name, quantity);
        }
    }
    total
}

/// As [`of_pod`], with the overhead of the Pod's runtime.
pub fn of_pod_with_overhead(pod: Object<'_>, field: &str) -> Resources {
    let mut total = of_pod(pod, field);
    for (name, overhead) in resources(pod, "spec.overhead") {
        match total.get_mut(&name) {
            Some(own) => own.add(&overhead),
            // Overhead makes no limit where there is none.
            None if field == "requests" => _ = total.insert(name, overhead),
            None => {}
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::testing;

    fn check(spec: &str, field: &str, expect: &[(&str, &str)]) {
        let tree = testing::tree("", "Pod", &format!(r#"{{"spec":{spec}}}"#));
        let seen = of_pod_with_overhead(testing::object(&tree), field);
        let seen: Vec<_> = seen.iter().map(|(name, quantity)| (name.as_str(), quantity.to_string())).collect();
        assert_eq!(seen, expect.iter().map(|(name, text)| (*name, (*text).to_owned())).collect::<Vec<_>>());
    }

    #[test]
    fn containers_add_up_and_init_containers_are_a_floor() {
        let c = |cpu: &str| format!(r#"{{"name":"c","resources":{{"requests":{{"cpu":"{cpu}"}}}}}}"#);
        let sidecar = r#"{"name":"s","restartPolicy":"Always","resources":{"requests":{"cpu":"1"}}}"#;
        check(&format!(r#"{{"containers":[{},{}]}}"#, c("1"), c("500m")), "requests", &[("cpu", "1500m")]);
        check(&format!(r#"{{"containers":[{}],"initContainers":[{}]}}"#, c("1"), c("3")), "requests", &[("cpu", "3")]);
        check(&format!(r#"{{"containers":[{}],"initContainers":[{sidecar},{}]}}"#, c("1"), c("3")), "requests", &[("cpu", "4")]);
        check(&format!(r#"{{"containers":[{}],"initContainers":[{},{sidecar}]}}"#, c("1"), c("2")), "requests", &[("cpu", "2")]);
        check(&format!(r#"{{"containers":[{}],"resources":{{"requests":{{"cpu":"7"}}}}}}"#, c("1")), "requests", &[("cpu", "7")]);
        let overhead = r#""overhead":{"cpu":"250m","memory":"1Mi"}"#;
        check(&format!(r#"{{"containers":[{}],{overhead}}}"#, c("1")), "requests", &[("cpu", "1250m"), ("memory", "1Mi")]);
        check(&format!(r#"{{"containers":[{}],{overhead}}}"#, c("1")), "limits", &[]);
    }
}
