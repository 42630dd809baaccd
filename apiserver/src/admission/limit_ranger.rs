//! LimitRanger: the LimitRanges of a namespace give containers defaults, and bound what containers, Pods and claims ask for.

use super::requests::{Resources, of_pod, resources};
use super::{Kind, joined, put};
use crate::Error;
use crate::resource::Object;
use crate::stage::{Admission, Operation};
use apiserver_machinery::quantity::Quantity;
use apiserver_machinery::schema::Schema;
use apiserver_machinery::tree::{Map, Struct, Value};

const LIMIT_RANGES: Kind = Kind::core("LimitRange", "/registry/limitranges/");
const ANNOTATION: &str = "kubernetes.io/limit-ranger";
/// Thousandths of anything above would not fit an i64.
const MILLI_VALUE_MAX: i64 = i64::MAX / 1000;

fn applies(admission: &Admission<'_>) -> bool {
    let alive = admission.old.is_none_or(|old| !old.has("metadata.deletionTimestamp"));
    let what = match admission.operation {
        Operation::Create => admission.is_pod() || admission.is("", "persistentvolumeclaims", ""),
        Operation::Update => admission.is("", "pods", "resize") || admission.is("", "persistentvolumeclaims", ""),
        _ => false,
    };
    what && alive
}

fn ranges(admission: &Admission<'_>) -> Result<Vec<super::Stored>, Error> {
    LIMIT_RANGES.list(admission.snapshot, admission.namespace(), |_| true)
}

pub fn mutate(object: &mut Struct, admission: &Admission<'_>) -> Result<(), Error> {
    if !applies(admission) || admission.resource.plural != "pods" {
        return Ok(());
    }
    for range in ranges(admission)? {
        set_defaults(object, admission.schema(), range.object())?;
    }
    Ok(())
}

/// The defaults of a range's Container limits; later ones win.
fn defaults(range: Object<'_>, field: &str) -> Resources {
    range.items("spec.limits").filter(|limit| limit.text("type") == "Container").flat_map(|limit| resources(limit, field)).collect()
}

fn set_defaults(pod: &mut Struct, schema: &Schema, range: Object<'_>) -> Result<(), Error> {
    let wanted = [("requests", "request", defaults(range, "defaultRequest")), ("limits", "limit", defaults(range, "default"))];
    let mut notes = Vec::new();
    for (list, what) in [("spec.containers", "container"), ("spec.initContainers", "init container")] {
        let Some(containers) = pod.at_mut(schema, list).and_then(Value::as_list_mut) else { continue };
        for container in containers.iter_mut().filter_map(Value::as_struct_mut) {
            let name = container.str_at(schema, "name").unwrap_or_default().to_owned();
            for (field, noun, defaults) in &wanted {
                let set = merge(container, schema, &format!("resources.{field}"), defaults)?;
                if !set.is_empty() {
                    notes.push(format!("{} {noun} for {what} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let path = "metadata.annotations";
        if pod.at(schema, path).is_none() {
            put(pod, schema, path, Value::Map(Map::default()))?;
        }
        if let Some(Value::Map(annotations)) = pod.at_mut(schema, path) {
            annotations.insert(ANNOTATION, format!("LimitRanger plugin set: {}", notes.join("; ")).into());
        }
    }
    Ok(())
}

/// Adds what is not there, and gives the names of what was added.
fn merge(container: &mut Struct, schema: &Schema, path: &str, defaults: &Resources) -> Result<Vec<String>, Error> {
    let missing: Vec<_> =
        defaults.iter().filter(|(name, _)| container.at(schema, path).and_then(Value::as_map).is_none_or(|map| map.get(name).is_none())).collect();
    if !missing.is_empty() && container.at(schema, path).is_none() {
        put(container, schema, path, Value::Map(Map::default()))?;
    }
    let Some(Value::Map(map)) = container.at_mut(schema, path) else { return Ok(Vec::new()) };
    let mut set = Vec::with_capacity(missing.len());
    for (name, quantity) in missing {
        map.insert(name.clone(), quantity.canonical().into());
        set.push(name.to_string());
    }
    Ok(set)
}

pub fn validate(object: Object<'_>, admission: &Admission<'_>) -> Result<(), Error> {
    if !applies(admission) {
        return Ok(());
    }
    for range in ranges(admission)? {
        let complaints =
            if admission.resource.plural == "pods" { pod_complaints(object, range.object()) } else { claim_complaints(object, range.object()) };
        if !complaints.is_empty() {
            return Err(admission.refuse(joined(complaints)));
        }
    }
    Ok(())
}

fn claim_complaints(claim: Object<'_>, range: Object<'_>) -> Vec<String> {
    const TYPE: &str = "PersistentVolumeClaim";
    let asked = Asked { requests: resources(claim, "spec.resources.requests"), limits: Resources::new() };
    let mut complaints = Vec::new();
    for limit in range.items("spec.limits").filter(|limit| limit.text("type") == TYPE) {
        complaints.extend(resources(limit, "min").iter().filter_map(|(name, bound)| asked.below(TYPE, name, bound)));
        complaints.extend(resources(limit, "max").iter().filter_map(|(name, bound)| asked.request_above(TYPE, name, bound)));
    }
    complaints
}

fn pod_complaints(pod: Object<'_>, range: Object<'_>) -> Vec<String> {
    let mut complaints = Vec::new();
    for limit in range.items("spec.limits") {
        let kind = limit.text("type");
        let asked: Vec<Asked> = match kind {
            "Container" => pod.items("spec.containers").chain(pod.items("spec.initContainers")).map(Asked::of_container).collect(),
            "Pod" => vec![Asked { requests: of_pod(pod, "requests"), limits: of_pod(pod, "limits") }],
            _ => continue,
        };
        for asked in &asked {
            complaints.extend(resources(limit, "min").iter().filter_map(|(name, bound)| asked.below(kind, name, bound)));
            complaints.extend(resources(limit, "max").iter().filter_map(|(name, bound)| asked.above(kind, name, bound)));
            complaints.extend(resources(limit, "maxLimitRequestRatio").iter().filter_map(|(name, bound)| asked.ratio(kind, name, bound)));
        }
    }
    complaints
}

/// What a container, Pod or claim asks for.
struct Asked {
    requests: Resources,
    limits: Resources,
}

/// Whole numbers of a common precision: thousandths where all fit.
fn comparable(quantities: [&Quantity; 2]) -> [i64; 2] {
    let whole = quantities.map(Quantity::value);
    if whole.iter().all(|value| *value <= MILLI_VALUE_MAX) { quantities.map(Quantity::milli_value) } else { whole }
}

impl Asked {
    fn of_container(container: Object<'_>) -> Self {
        Self { requests: resources(container, "resources.requests"), limits: resources(container, "resources.limits") }
    }

    fn below(&self, kind: &str, name: &str, bound: &Quantity) -> Option<String> {
        let less = |own: &Quantity| {
            let [own, bound] = comparable([own, bound]);
            own < bound
        };
        let text = format!("minimum {name} usage per {kind} is {bound}");
        match (self.requests.get(name), self.limits.get(name)) {
            (None, _) => Some(format!("{text}.  No request is specified")),
            (Some(request), _) if less(request) => Some(format!("{text}, but request is {request}")),
            (_, Some(limit)) if less(limit) => Some(format!("{text}, but limit is {limit}")),
            _ => None,
        }
    }

    fn above(&self, kind: &str, name: &str, bound: &Quantity) -> Option<String> {
        let more = |own: &Quantity| {
            let [own, bound] = comparable([own, bound]);
            own > bound
        };
        let text = format!("maximum {name} usage per {kind} is {bound}");
        match (self.limits.get(name), self.requests.get(name)) {
            (None, _) => Some(format!("{text}.  No limit is specified")),
            (Some(limit), _) if more(limit) => Some(format!("{text}, but limit is {limit}")),
            (_, Some(request)) if more(request) => Some(format!("{text}, but request is {request}")),
            _ => None,
        }
    }

    fn request_above(&self, kind: &str, name: &str, bound: &Quantity) -> Option<String> {
        let text = format!("maximum {name} usage per {kind} is {bound}");
        match self.requests.get(name) {
            None => Some(format!("{text}.  No request is specified")),
            Some(request) => {
                let [own, most] = comparable([request, bound]);
                (own > most).then(|| format!("{text}, but request is {request}"))
            }
        }
    }

    fn ratio(&self, kind: &str, name: &str, bound: &Quantity) -> Option<String> {
        let text = format!("{name} max limit to request ratio per {kind} is {bound}");
        let request = self.requests.get(name).filter(|request| !request.is_zero());
        let Some(request) = request else { return Some(format!("{text}, but no request is specified or request is 0")) };
        let limit = self.limits.get(name).filter(|limit| !limit.is_zero());
        let Some(limit) = limit else { return Some(format!("{text}, but no limit is specified or limit is 0")) };
        let [request, limit] = comparable([request, limit]);
        let ratio = limit as f64 / request as f64;
        let exceeded = if bound.value() <= MILLI_VALUE_MAX { ratio * 1000.0 > bound.milli_value() as f64 } else { ratio > bound.value() as f64 };
        exceeded.then(|| format!("{text}, but provided ratio is {ratio:.6}"))
    }
}

#[cfg(test)]
mod tests {
    use crate::admission::testing::{Case, check_mutate, check_validate};

    fn case(limits: &'static str, spec: &str) -> Case {
        let range = format!(r#"{{"metadata":{{"name":"l","namespace":"ns"}},"spec":{{"limits":[{limits}]}}}}"#);
        Case::create("", "Pod", "ns", &format!(r#"{{"spec":{spec}}}"#)).row("/registry/limitranges/ns/l", &range)
    }

    const BARE: &str = r#"{"containers":[{"name":"c"}]}"#;

    #[tokio::test]
    async fn containers_get_defaults_and_a_note() {
        let limits = r#"{"type":"Container","default":{"cpu":"500m","memory":"256Mi"},"defaultRequest":{"cpu":"250m"}}"#;
        let expect = r#"{"metadata":{"annotations":{"kubernetes.io/limit-ranger":"LimitRanger plugin set: cpu request for container c; cpu, memory limit for container c"}},"spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":"500m","memory":"256Mi"},"requests":{"cpu":"250m"}}}]}}"#;
        check_mutate(super::mutate, case(limits, BARE), Ok(expect)).await;
        let own = r#"{"containers":[{"name":"c","resources":{"limits":{"cpu":"1","memory":"1Gi"},"requests":{"cpu":"1"}}}]}"#;
        check_mutate(super::mutate, case(limits, own), Ok(&format!(r#"{{"spec":{own}}}"#))).await;
    }

    #[tokio::test]
    async fn bounds_are_told_in_upstreams_words() {
        let pod = |resources: &str| format!(r#"{{"containers":[{{"name":"c","resources":{resources}}}]}}"#);
        let check = async |limits: &'static str, spec: String, expect: Result<(), &str>| {
            let expect = expect.map_err(|why| format!("pods \"x\" is forbidden: {why}"));
            check_validate(super::validate, case(limits, &spec), expect.as_ref().copied().map_err(String::as_str)).await;
        };
        let min = r#"{"type":"Container","min":{"cpu":"100m"}}"#;
        check(min, BARE.into(), Err("minimum cpu usage per Container is 100m.  No request is specified")).await;
        check(min, pod(r#"{"requests":{"cpu":"50m"}}"#), Err("minimum cpu usage per Container is 100m, but request is 50m")).await;
        check(min, pod(r#"{"requests":{"cpu":"100m"}}"#), Ok(())).await;
        let max = r#"{"type":"Container","max":{"memory":"1Gi"}}"#;
        check(max, BARE.into(), Err("maximum memory usage per Container is 1Gi.  No limit is specified")).await;
        check(max, pod(r#"{"limits":{"memory":"2Gi"}}"#), Err("maximum memory usage per Container is 1Gi, but limit is 2Gi")).await;
        check(max, pod(r#"{"limits":{"memory":"1Gi"}}"#), Ok(())).await;
        let ratio = r#"{"type":"Container","maxLimitRequestRatio":{"cpu":"2"}}"#;
        check(
            ratio,
            pod(r#"{"limits":{"cpu":"1"}}"#),
            Err("cpu max limit to request ratio per Container is 2, but no request is specified or request is 0"),
        )
        .await;
        check(
            ratio,
            pod(r#"{"limits":{"cpu":"3"},"requests":{"cpu":"1"}}"#),
            Err("cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000"),
        )
        .await;
        let total = r#"{"type":"Pod","max":{"cpu":"1"}}"#;
        let two = r#"{"containers":[{"name":"a","resources":{"limits":{"cpu":"800m"}}},{"name":"b","resources":{"limits":{"cpu":"800m"}}}]}"#;
        check(total, two.into(), Err("maximum cpu usage per Pod is 1, but limit is 1600m")).await;
        let both = r#"{"type":"Container","min":{"cpu":"1"},"max":{"cpu":"2"}}"#;
        let expect = "[minimum cpu usage per Container is 1.  No request is specified, maximum cpu usage per Container is 2.  No limit is specified]";
        check(both, BARE.into(), Err(expect)).await;
    }

    #[tokio::test]
    async fn claims_are_bounded_by_what_they_request() {
        let range = r#"{"metadata":{"name":"l","namespace":"ns"},"spec":{"limits":[{"type":"PersistentVolumeClaim","min":{"storage":"1Gi"},"max":{"storage":"2Gi"}}]}}"#;
        let claim = |size: &str| {
            let claim = format!(r#"{{"spec":{{"resources":{{"requests":{{"storage":"{size}"}}}}}}}}"#);
            Case::create("", "PersistentVolumeClaim", "ns", &claim).row("/registry/limitranges/ns/l", range)
        };
        check_validate(super::validate, claim("1Gi"), Ok(())).await;
        let more = r#"persistentvolumeclaims "x" is forbidden: maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"#;
        check_validate(super::validate, claim("3Gi"), Err(more)).await;
        let less = r#"persistentvolumeclaims "x" is forbidden: minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi"#;
        check_validate(super::validate, claim("1Mi"), Err(less)).await;
    }
}
