//! ResourceQuota: what a namespace may hold. The use that a write adds is written to the quota's status in the write's own transaction, so that no
//! two writes can use the same remainder.

use super::requests::{self, Resources};
use super::{Kind, Stored};
use crate::Error;
use crate::resource::Object;
use crate::stage::{Admission, Extra, Operation};
use apiserver_machinery::Str;
use apiserver_machinery::quantity::{Format, Quantity};
use apiserver_machinery::tree::{Map, Value};
use apiserver_store::{Compare, Key, Range, Snapshot};
use compact_str::format_compact;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use tokio::sync::{Mutex, MutexGuard};

const QUOTAS: Kind = Kind::core("ResourceQuota", "/registry/resourcequotas/");

/// Whether writes in a namespace are counted.
fn counts(snapshot: &Snapshot, namespace: &str) -> bool {
    !namespace.is_empty() && snapshot.range(&Range::prefix(format!("{}{namespace}/", QUOTAS.prefix))).next().is_some()
}

/// Lets creates in a namespace that has quotas take turns. Without it they would all write the same quota, and all but one begin anew each time.
pub struct Turns(Box<[Mutex<()>]>);

/// Namespaces that fall on the same place wait for each other, which costs time only.
const PLACES: usize = 256;

impl Turns {
    pub fn new() -> Self {
        Self((0..PLACES).map(|_| Mutex::new(())).collect())
    }

    /// Waits for a turn; none is needed where nothing is counted.
    pub async fn take(&self, snapshot: &Snapshot, namespace: &str) -> Option<MutexGuard<'_, ()>> {
        if !counts(snapshot, namespace) {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        namespace.hash(&mut hasher);
        let place = (hasher.finish() % PLACES as u64) as usize;
        Some(self.0[place].lock().await)
    }
}

impl Default for Turns {
    fn default() -> Self {
        Self::new()
    }
}

pub fn admit(object: Object<'_>, admission: &Admission<'_>, extra: &mut Extra) -> Result<(), Error> {
    let namespace = admission.namespace();
    if namespace.is_empty() || !counts(admission.snapshot, namespace) {
        return Ok(());
    }
    let Some(counter) = Counter::of(admission, object) else { return Ok(()) };
    for mut quota in QUOTAS.list(admission.snapshot, namespace, |_| true)? {
        if let Some(used) = counter.check(object, &quota, admission)? {
            let map: Map = used.iter().map(|(name, quantity)| (name.clone(), Value::from(quantity.canonical()))).collect();
            super::put(&mut quota.tree, apiserver_machinery::builtin::schema(), "status.used", Value::Map(map))?;
            extra.compares.push(Compare::Modified { key: Key::clone(&quota.key), is: quota.row.modified });
            extra.ops.push(quota.put());
        }
    }
    Ok(())
}

/// How objects of a resource are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counter {
    Pods,
    Services,
    Claims,
    ResourceClaims,
    /// Each object is one.
    Objects,
}

const POD_RESOURCES: [&str; 11] = [
    "count/pods",
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
];
const SERVICE_RESOURCES: [&str; 4] = ["count/services", "services", "services.nodeports", "services.loadbalancers"];
const CLAIM_RESOURCES: [&str; 2] = ["persistentvolumeclaims", "requests.storage"];
const CLASS_SUFFIX: &str = ".storageclass.storage.k8s.io/";
const DEVICE_CLASS_SUFFIX: &str = ".deviceclass.resource.k8s.io/devices";
const DEVICE_CLASS_PREFIX: &str = "requests.deviceclass.resource.kubernetes.io/";
const REQUESTS: &str = "requests.";
/// Resources that each container must ask for where a quota counts them.
const REQUIRED: [&str; 6] = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
/// Objects that were countable by their plain name before `count/…` existed.
const PLAIN: [&str; 5] = ["configmaps", "resourcequotas", "replicationcontrollers", "secrets", "services"];

fn one() -> Quantity {
    Quantity::new(1, Format::DecimalSi)
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.split('/').next().is_some_and(|domain| domain == "kubernetes.io" || domain.ends_with(".kubernetes.io"))
}

/// `requests.example.com/gpu`.
fn is_extended_quota(name: &str) -> bool {
    (!is_native(name) || name.starts_with(DEVICE_CLASS_PREFIX)) && name.starts_with(REQUESTS)
}

fn terminating(pod: Object<'_>) -> bool {
    pod.int("spec.activeDeadlineSeconds").is_some_and(|seconds| seconds >= 0)
}

impl Counter {
    /// `None`: this write changes nothing that is counted.
    fn of(admission: &Admission<'_>, object: Object<'_>) -> Option<Self> {
        let (group, plural, subresource) =
            (admission.resource.group.as_str(), admission.resource.plural.as_str(), admission.target.subresource.as_str());
        if matches!((group, plural), ("" | "events.k8s.io", "events") | ("", "bindings") | ("authorization.k8s.io", _)) {
            return None;
        }
        let (create, update) = (admission.operation == Operation::Create, admission.operation == Operation::Update);
        match (group, plural, subresource) {
            ("", "pods", "") => {
                let rescoped = update && admission.old.is_some_and(|old| terminating(old) != terminating(object));
                (create || rescoped).then_some(Counter::Pods)
            }
            ("", "pods", "resize") => update.then_some(Counter::Pods),
            ("", "services", "") => (create || update).then_some(Counter::Services),
            ("", "persistentvolumeclaims", "") => (create || update).then_some(Counter::Claims),
            ("", "persistentvolumeclaims", "status") => {
                let differs = |path: &str| admission.old.is_some_and(|old| old.get(path) != object.get(path));
                (update && differs("status.allocatedResources")).then_some(Counter::Claims)
            }
            ("resource.k8s.io", "resourceclaims", "") => (create || update).then_some(Counter::ResourceClaims),
            (_, _, "") => create.then_some(Counter::Objects),
            _ => None,
        }
    }

    /// Whether a quota's resource is one that this counter knows.
    fn knows(self, name: &str, admission: &Admission<'_>) -> bool {
        match self {
            Counter::Pods => {
                POD_RESOURCES.contains(&name) || name.starts_with("hugepages-") || name.starts_with("requests.hugepages-") || is_extended_quota(name)
            }
            Counter::Services => SERVICE_RESOURCES.contains(&name),
            Counter::Claims => {
                name == "count/persistentvolumeclaims"
                    || CLAIM_RESOURCES.contains(&name)
                    || name.split_once(CLASS_SUFFIX).is_some_and(|(_, resource)| CLAIM_RESOURCES.contains(&resource))
            }
            Counter::ResourceClaims => name == "count/resourceclaims.resource.k8s.io" || name.ends_with(DEVICE_CLASS_SUFFIX),
            Counter::Objects => object_names(admission).iter().any(|own| own == name),
        }
    }

    fn usage(self, object: Object<'_>, admission: &Admission<'_>) -> Resources {
        match self {
            Counter::Pods => pod_usage(object, admission),
            Counter::Services => service_usage(object),
            Counter::Claims => claim_usage(object),
            Counter::ResourceClaims => resource_claim_usage(object),
            Counter::Objects => object_names(admission).into_iter().map(|name| (name, one())).collect(),
        }
    }

    /// Whether a quota is about an object at all.
    fn matches(self, quota: Object<'_>, object: Object<'_>, admission: &Admission<'_>) -> bool {
        quota.pairs("status.hard").any(|(name, _)| self.knows(name, admission)) && self.scopes(quota).iter().all(|scope| self.in_scope(scope, object))
    }

    fn scopes(self, quota: Object<'_>) -> Vec<Scope> {
        let plain = quota.texts("spec.scopes").map(|name| Scope { name: name.into(), operator: "Exists".into(), values: Vec::new() });
        let selected = quota.items("spec.scopeSelector.matchExpressions").map(|expression| Scope {
            name: expression.text("scopeName").into(),
            operator: expression.text("operator").into(),
            values: expression.texts("values").map(Str::from).collect(),
        });
        plain.chain(selected).collect()
    }

    fn in_scope(self, scope: &Scope, object: Object<'_>) -> bool {
        match (self, scope.name.as_str()) {
            (Counter::Pods, "Terminating") => terminating(object),
            (Counter::Pods, "NotTerminating") => !terminating(object),
            (Counter::Pods, "BestEffort") => best_effort(object),
            (Counter::Pods, "NotBestEffort") => !best_effort(object),
            (Counter::Pods, "PriorityClass") => scope.selects(object.text("spec.priorityClassName")),
            (Counter::Pods, "CrossNamespacePodAffinity") => crosses_namespaces(object),
            (Counter::Claims, "VolumeAttributesClass") => {
                let names = [object.text("spec.volumeAttributesClassName"), object.text("status.currentVolumeAttributesClassName")];
                names.iter().filter(|name| !name.is_empty()).any(|name| scope.selects(name))
                    || (names.iter().all(|name| name.is_empty()) && scope.selects(""))
            }
            _ => false,
        }
    }

    /// What the quota's use becomes. `None`: it does not change.
    fn check(self, object: Object<'_>, quota: &Stored, admission: &Admission<'_>) -> Result<Option<Resources>, Error> {
        let (name, quota) = (quota.object().name(), quota.object());
        if !self.matches(quota, object, admission) {
            return Ok(None);
        }
        let hard = requests::resources(quota, "status.hard");
        let used = requests::resources(quota, "status.used");
        let counted: BTreeSet<&Str> = hard.keys().filter(|name| self.knows(name, admission)).collect();
        if self == Counter::Pods
            && let Some(missing) = missing_requests(object, &counted)
        {
            return Err(admission.refuse(format!("failed quota: {name}: must specify {missing}")));
        }
        if !counted.iter().all(|resource| used.contains_key(*resource)) {
            let list: Vec<&str> = counted.iter().map(|resource| resource.as_str()).collect();
            return Err(admission.refuse(format!("status unknown for quota: {name}, resources: {}", list.join(","))));
        }
        let mut delta = self.usage(object, admission);
        let negative: Vec<&str> = delta.iter().filter(|(_, quantity)| quantity.sign() < 0).map(|(name, _)| name.as_str()).collect();
        if !negative.is_empty() {
            return Err(admission.refuse(format!("quota usage is negative for resource(s): {}", negative.join(","))));
        }
        if let Some(old) = admission.old.filter(|old| admission.operation == Operation::Update && self.matches(quota, *old, admission)) {
            for (name, before) in self.usage(old, admission) {
                if let Some(own) = delta.get_mut(&name) {
                    own.sub(&before);
                }
            }
        }
        delta.retain(|name, quantity| quantity.sign() > 0 && hard.contains_key(name));
        if delta.is_empty() {
            return Ok(None);
        }
        let mut new = used.clone();
        requests::add(&mut new, &delta);
        if admission.target.subresource != "status" {
            refuse_excess(name, &delta, &used, &new, &hard, admission)?;
        }
        Ok(Some(new))
    }
}

fn refuse_excess(name: &str, delta: &Resources, used: &Resources, new: &Resources, hard: &Resources, admission: &Admission<'_>) -> Result<(), Error> {
    let exceeded: Vec<&Str> = delta.keys().filter(|name| new.get(*name) > hard.get(*name)).collect();
    if exceeded.is_empty() {
        return Ok(());
    }
    let show = |amounts: &Resources| {
        let parts: Vec<_> = exceeded.iter().filter_map(|name| amounts.get(*name).map(|quantity| format!("{name}={quantity}"))).collect();
        parts.join(",")
    };
    Err(admission.refuse(format!("exceeded quota: {name}, requested: {}, used: {}, limited: {}", show(delta), show(used), show(hard))))
}

struct Scope {
    name: Str,
    operator: Str,
    values: Vec<Str>,
}

impl Scope {
    /// Whether a name, empty where there is none, is selected.
    fn selects(&self, name: &str) -> bool {
        let listed = self.values.iter().any(|value| value == name);
        match self.operator.as_str() {
            "Exists" => !name.is_empty(),
            "DoesNotExist" => name.is_empty(),
            "In" => !name.is_empty() && listed,
            "NotIn" => name.is_empty() || !listed,
            _ => false,
        }
    }
}

/// `count/deployments.apps`, and for a few kinds their plain name too.
fn object_names(admission: &Admission<'_>) -> Vec<Str> {
    let plural = &admission.resource.plural;
    if !admission.resource.group.is_empty() {
        return vec![format_compact!("count/{plural}.{}", admission.resource.group)];
    }
    let mut names = vec![format_compact!("count/{plural}")];
    if PLAIN.contains(&plural.as_str()) {
        names.push(plural.clone());
    }
    names
}

fn best_effort(pod: Object<'_>) -> bool {
    let asks = |object: Object<'_>, path: &str| {
        ["requests", "limits"].iter().any(|field| {
            let resources = requests::resources(object, &format!("{path}.{field}"));
            resources.iter().any(|(name, quantity)| matches!(name.as_str(), "cpu" | "memory") && quantity.sign() > 0)
        })
    };
    let containers = pod.items("spec.containers").chain(pod.items("spec.initContainers"));
    !asks(pod, "spec.resources") && !containers.into_iter().any(|container| asks(container, "resources"))
}

fn crosses_namespaces(pod: Object<'_>) -> bool {
    let crosses = |term: Object<'_>| !term.list("namespaces").is_empty() || term.has("namespaceSelector");
    ["spec.affinity.podAffinity", "spec.affinity.podAntiAffinity"].iter().filter_map(|path| pod.child(path)).any(|affinity| {
        affinity.items("requiredDuringSchedulingIgnoredDuringExecution").any(crosses)
            || affinity.items("preferredDuringSchedulingIgnoredDuringExecution").filter_map(|term| term.child("podAffinityTerm")).any(crosses)
    })
}

/// Quota names of requests and limits.
fn compute_usage(requested: &Resources, limits: &Resources) -> Resources {
    let mut usage = Resources::from([(Str::const_new("pods"), one())]);
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(request) = requested.get(name) {
            usage.insert(name.into(), request.clone());
            usage.insert(format_compact!("{REQUESTS}{name}"), request.clone());
        }
        if let Some(limit) = limits.get(name) {
            usage.insert(format_compact!("limits.{name}"), limit.clone());
        }
    }
    for (name, request) in requested {
        if name.starts_with("hugepages-") {
            usage.insert(name.clone(), request.clone());
        }
        if name.starts_with("hugepages-") || !is_native(name) || name.starts_with("deviceclass.resource.kubernetes.io/") {
            usage.insert(format_compact!("{REQUESTS}{name}"), request.clone());
        }
    }
    usage
}

fn pod_usage(pod: Object<'_>, admission: &Admission<'_>) -> Resources {
    let mut usage = Resources::from([(Str::const_new("count/pods"), one())]);
    let ended = matches!(pod.text("status.phase"), "Failed" | "Succeeded");
    let overdue = pod.text_opt("metadata.deletionTimestamp").zip(pod.int("metadata.deletionGracePeriodSeconds")).is_some_and(|(at, _)| {
        // The deletion's time includes the grace period.
        at.parse::<jiff::Timestamp>().is_ok_and(|at| admission.now > at)
    });
    if !ended && !overdue {
        usage.extend(compute_usage(&requests::of_pod_with_overhead(pod, "requests"), &requests::of_pod_with_overhead(pod, "limits")));
    }
    usage
}

/// `cpu for: a,b; memory for: a`: what containers must say and do not.
fn missing_requests(pod: Object<'_>, counted: &BTreeSet<&Str>) -> Option<String> {
    if pod.entries("spec.resources.requests").chain(pod.entries("spec.resources.limits")).next().is_some() {
        return None;
    }
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for container in pod.items("spec.containers").chain(pod.items("spec.initContainers")) {
        let own = compute_usage(&requests::resources(container, "resources.requests"), &requests::resources(container, "resources.limits"));
        for name in REQUIRED.iter().filter(|name| counted.contains(&Str::const_new(name)) && !own.contains_key(**name)) {
            missing.entry(name).or_default().insert(container.text("name"));
        }
    }
    let parts: Vec<_> =
        missing.into_iter().map(|(name, containers)| format!("{name} for: {}", containers.into_iter().collect::<Vec<_>>().join(","))).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn service_usage(service: Object<'_>) -> Resources {
    let count = |number: usize| Quantity::new(i64::try_from(number).unwrap_or(i64::MAX), Format::DecimalSi);
    let ports = service.list("spec.ports").len();
    let explicit = service.items("spec.ports").filter(|port| port.number("nodePort") != 0).count();
    let (node_ports, balancers) = match service.text("spec.type") {
        "NodePort" => (ports, 0),
        "LoadBalancer" if service.flag_opt("spec.allocateLoadBalancerNodePorts") == Some(false) => (explicit, 1),
        "LoadBalancer" => (ports, 1),
        _ => (0, 0),
    };
    [("count/services", 1), ("services", 1), ("services.nodeports", node_ports), ("services.loadbalancers", balancers)]
        .into_iter()
        .map(|(name, number)| (Str::const_new(name), count(number)))
        .collect()
}

fn claim_usage(claim: Object<'_>) -> Resources {
    let class = claim.annotation("volume.beta.kubernetes.io/storage-class").unwrap_or_else(|| claim.text("spec.storageClassName"));
    let mut usage = Resources::from([(Str::const_new("persistentvolumeclaims"), one()), (Str::const_new("count/persistentvolumeclaims"), one())]);
    let mut storage = requests::resources(claim, "spec.resources.requests").remove("storage");
    if let Some(allocated) = requests::resources(claim, "status.allocatedResources").remove("storage") {
        storage = storage.map(|asked| asked.max(allocated));
    }
    if !class.is_empty() {
        usage.insert(format_compact!("{class}{CLASS_SUFFIX}persistentvolumeclaims"), one());
    }
    if let Some(storage) = storage {
        if !class.is_empty() {
            usage.insert(format_compact!("{class}{CLASS_SUFFIX}requests.storage"), storage.clone());
        }
        usage.insert(Str::const_new("requests.storage"), storage);
    }
    usage
}

/// The devices that a claim may need at most, by class.
fn resource_claim_usage(claim: Object<'_>) -> Resources {
    /// What a request for all devices counts as: what one allocation may hold.
    const DEVICES_MAX: i64 = 32;
    let mut usage = Resources::from([(Str::const_new("count/resourceclaims.resource.k8s.io"), one())]);
    let count = |request: Object<'_>| match request.text("allocationMode") {
        "All" => DEVICES_MAX,
        _ => request.int("count").unwrap_or(1),
    };
    for request in claim.items("spec.devices.requests") {
        let mut own: BTreeMap<Str, i64> = BTreeMap::new();
        let exact = request.child("exactly").into_iter();
        for option in exact.chain(request.items("firstAvailable")) {
            let class = own.entry(option.text("deviceClassName").into()).or_default();
            *class = (*class).max(count(option));
        }
        for (class, number) in own.into_iter().filter(|(class, _)| !class.is_empty()) {
            let more = Resources::from([(format_compact!("{class}{DEVICE_CLASS_SUFFIX}"), Quantity::new(number, Format::DecimalSi))]);
            requests::add(&mut usage, &more);
        }
    }
    usage
}

#[cfg(test)]
mod tests {
    use crate::admission::testing::{Case, object};
    use apiserver_store::Op;

    fn quota(spec: &str, hard: &str, used: &str) -> String {
        format!(r#"{{"metadata":{{"name":"q","namespace":"ns"}},"spec":{spec},"status":{{"hard":{hard},"used":{used}}}}}"#)
    }

    /// The quota's use after the write, or the refusal.
    async fn check(case: Case, quota: &str, expect: Result<Option<&str>, &str>) {
        let case = case.row("/registry/resourcequotas/ns/q", quota);
        let (_, extra, result) = case.run(|tree, admission, extra| super::admit(object(tree), admission, extra)).await;
        let seen = result.map_err(|error| error.to_string()).map(|()| {
            assert_eq!(extra.ops.len(), extra.compares.len());
            extra.ops.first().map(|op| {
                let Op::Put { value: apiserver_store::Draft::Object { json, .. }, .. } = op else { panic!("{op:?}") };
                serde_json::from_slice::<serde_json::Value>(json).unwrap()["status"]["used"].to_string()
            })
        });
        assert_eq!(seen.as_ref().map(Option::as_deref).map_err(String::as_str), expect);
    }

    fn pod(spec: &str) -> Case {
        Case::create("", "Pod", "ns", &format!(r#"{{"spec":{spec}}}"#))
    }

    const SMALL: &str = r#"{"containers":[{"name":"c","resources":{"requests":{"cpu":"500m"},"limits":{"cpu":"1"}}}]}"#;

    #[tokio::test]
    async fn pods_are_counted_until_the_quota_is_full() {
        let of = |used: &str| quota("{}", r#"{"pods":"2"}"#, &format!(r#"{{"pods":"{used}"}}"#));
        check(pod(SMALL), &of("1"), Ok(Some(r#"{"pods":"2"}"#))).await;
        check(pod(SMALL), &of("2"), Err(r#"pods "x" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"#)).await;
        check(pod(SMALL).update(&format!(r#"{{"spec":{SMALL}}}"#)), &of("2"), Ok(None)).await;
    }

    #[tokio::test]
    async fn compute_resources_add_up() {
        let hard = r#"{"limits.cpu":"2","requests.cpu":"1"}"#;
        check(pod(SMALL), &quota("{}", hard, r#"{"limits.cpu":"1","requests.cpu":"500m"}"#), Ok(Some(r#"{"limits.cpu":"2","requests.cpu":"1"}"#)))
            .await;
        let full = quota("{}", hard, r#"{"limits.cpu":"1","requests.cpu":"600m"}"#);
        let excess = r#"pods "x" is forbidden: exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m, limited: requests.cpu=1"#;
        check(pod(SMALL), &full, Err(excess)).await;
        let silent = pod(r#"{"containers":[{"name":"a"},{"name":"b","resources":{"requests":{"cpu":"1"}}}]}"#);
        let missing = r#"pods "x" is forbidden: failed quota: q: must specify limits.cpu for: a,b; requests.cpu for: a"#;
        check(silent, &full, Err(missing)).await;
        let gpu = pod(r#"{"containers":[{"name":"c","resources":{"requests":{"example.com/gpu":"2"}}}]}"#);
        check(
            gpu,
            &quota("{}", r#"{"requests.example.com/gpu":"3"}"#, r#"{"requests.example.com/gpu":"0"}"#),
            Ok(Some(r#"{"requests.example.com/gpu":"2"}"#)),
        )
        .await;
    }

    #[tokio::test]
    async fn a_quota_without_status_lets_nothing_in() {
        let fresh = r#"{"metadata":{"name":"q"},"spec":{"hard":{"pods":"2"}},"status":{"hard":{"pods":"2"}}}"#;
        check(pod(SMALL), fresh, Err(r#"pods "x" is forbidden: status unknown for quota: q, resources: pods"#)).await;
    }

    #[tokio::test]
    async fn scopes_choose_pods() {
        let of = |spec: &str| quota(spec, r#"{"pods":"1"}"#, r#"{"pods":"0"}"#);
        let counted = Ok(Some(r#"{"pods":"1"}"#));
        check(pod(SMALL), &of(r#"{"scopes":["BestEffort"]}"#), Ok(None)).await;
        check(pod(r#"{"containers":[{"name":"c"}]}"#), &of(r#"{"scopes":["BestEffort"]}"#), counted).await;
        check(pod(r#"{"activeDeadlineSeconds":5}"#), &of(r#"{"scopes":["Terminating"]}"#), counted).await;
        check(pod(r#"{"activeDeadlineSeconds":5}"#), &of(r#"{"scopes":["NotTerminating"]}"#), Ok(None)).await;
        let classes = r#"{"scopeSelector":{"matchExpressions":[{"scopeName":"PriorityClass","operator":"In","values":["high"]}]}}"#;
        check(pod(r#"{"priorityClassName":"high"}"#), &of(classes), counted).await;
        check(pod(r#"{"priorityClassName":"low"}"#), &of(classes), Ok(None)).await;
    }

    #[tokio::test]
    async fn services_claims_and_plain_objects_are_counted() {
        let service = Case::create("", "Service", "ns", r#"{"spec":{"type":"NodePort","ports":[{"port":1},{"port":2}]}}"#);
        check(service, &quota("{}", r#"{"services.nodeports":"2"}"#, r#"{"services.nodeports":"0"}"#), Ok(Some(r#"{"services.nodeports":"2"}"#)))
            .await;
        let claim = r#"{"spec":{"storageClassName":"gold","resources":{"requests":{"storage":"3Gi"}}}}"#;
        let of_class = "gold.storageclass.storage.k8s.io/requests.storage";
        let gold =
            quota("{}", &format!(r#"{{"{of_class}":"5Gi","requests.storage":"4Gi"}}"#), &format!(r#"{{"{of_class}":"0","requests.storage":"2Gi"}}"#));
        let excess = r#"persistentvolumeclaims "x" is forbidden: exceeded quota: q, requested: requests.storage=3Gi, used: requests.storage=2Gi, limited: requests.storage=4Gi"#;
        check(Case::create("", "PersistentVolumeClaim", "ns", claim), &gold, Err(excess)).await;
        let deployments = quota("{}", r#"{"count/deployments.apps":"1"}"#, r#"{"count/deployments.apps":"0"}"#);
        check(Case::create("apps", "Deployment", "ns", "{}"), &deployments, Ok(Some(r#"{"count/deployments.apps":"1"}"#))).await;
        let secrets = quota("{}", r#"{"secrets":"1"}"#, r#"{"secrets":"1"}"#);
        check(
            Case::create("", "Secret", "ns", "{}"),
            &secrets,
            Err(r#"secrets "x" is forbidden: exceeded quota: q, requested: secrets=1, used: secrets=1, limited: secrets=1"#),
        )
        .await;
        check(Case::create("", "ConfigMap", "ns", "{}"), &secrets, Ok(None)).await;
    }

    #[tokio::test]
    async fn creates_take_turns_where_quotas_are() {
        let store = crate::auth::testing::store(&[("/registry/resourcequotas/ns/q", "{}")]).await;
        let turns = super::Turns::new();
        let turn = turns.take(&store.snapshot(), "ns").await;
        assert!(turn.is_some());
        assert!(turns.take(&store.snapshot(), "free").await.is_none());
        let snapshot = store.snapshot();
        let second = turns.take(&snapshot, "ns");
        tokio::pin!(second);
        assert!(futures::poll!(second.as_mut()).is_pending());
        drop(turn);
        assert!(second.await.is_some());
    }

    #[tokio::test]
    async fn an_update_is_charged_for_what_it_adds() {
        let old = r#"{"spec":{"type":"NodePort","ports":[{"port":1}]}}"#;
        let case = Case::create("", "Service", "ns", r#"{"spec":{"type":"NodePort","ports":[{"port":1},{"port":2}]}}"#).update(old);
        check(
            case,
            &quota("{}", r#"{"services.nodeports":"9","services":"1"}"#, r#"{"services.nodeports":"1","services":"1"}"#),
            Ok(Some(r#"{"services":"1","services.nodeports":"2"}"#)),
        )
        .await;
    }
}
