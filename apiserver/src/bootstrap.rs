//! What the API server itself puts into the store: namespaces, RBAC, priority classes, flow control, APIServices, the Service CIDR and the
//! `kubernetes` Service with its addresses. All of it goes through the write path, and is looked at again every now and then.

pub mod rbac;

use crate::Error;
use apiserver_machinery::Str;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

const FLOW_TABLE: &str = include_str!("bootstrap/flow.tsv");

/// Namespaces that always exist.
pub const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// The name of the Service by which Pods reach the API server, and of the ServiceCIDR that the flags give.
const KUBERNETES: &str = "kubernetes";

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub group: &'static str,
    pub version: &'static str,
    pub plural: &'static str,
    pub namespace: Str,
    pub name: Str,
    /// `status`, or empty.
    pub subresource: &'static str,
}

/// The write path, as the server's own user.
pub trait Writer: Sync {
    /// The object as the store has it.
    fn read(&self, place: &Place) -> Result<Option<Value>, Error>;
    /// Creates an object; one that exists already is no error.
    fn create(&self, place: &Place, object: Value) -> impl Future<Output = Result<(), Error>> + Send;
    /// Puts an object that was read and changed.
    fn update(&self, place: &Place, object: Value) -> impl Future<Output = Result<(), Error>> + Send;
    fn delete(&self, place: &Place) -> impl Future<Output = Result<(), Error>> + Send;
}

/// What the flags say about this server.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Where Pods and nodes reach this server.
    pub advertise_address: IpAddr,
    pub secure_port: u16,
    /// `--service-cluster-ip-range`
    pub service_cidr: ipnet::IpNet,
    /// PEM of `--client-ca-file`.
    pub client_ca: Option<String>,
    pub request_header: Option<RequestHeader>,
    /// Served groups and versions, with the priorities of their APIServices.
    pub api_services: Vec<ApiService>,
}

/// What aggregated servers are told about front proxies.
#[derive(Clone, Debug)]
pub struct RequestHeader {
    pub ca: String,
    pub allowed_names: Vec<Str>,
    pub username_headers: Vec<Str>,
    pub uid_headers: Vec<Str>,
    pub group_headers: Vec<Str>,
    pub extra_header_prefixes: Vec<Str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiService {
    /// Empty for the core group.
    pub group: Str,
    pub version: Str,
    pub group_priority_minimum: i32,
    pub version_priority: i32,
}

/// Versions whose priority is not the usual 15.
const VERSION_PRIORITIES: &[(&str, &str, i32)] =
    &[("", "v1", 1), ("autoscaling", "v2", 30), ("flowcontrol.apiserver.k8s.io", "v1", 21), ("resource.k8s.io", "v1", 21)];
const CORE_GROUP_PRIORITY: i32 = 18_000;

impl ApiService {
    /// Of a built-in group and version. The core group's priority is known here.
    pub fn new(group: &str, version: &str, group_priority: i32) -> Self {
        let known = VERSION_PRIORITIES.iter().find(|(own_group, own_version, _)| *own_group == group && *own_version == version);
        Self {
            group: group.into(),
            version: version.into(),
            group_priority_minimum: if group.is_empty() { CORE_GROUP_PRIORITY } else { group_priority },
            version_priority: known.map_or(15, |(_, _, priority)| *priority),
        }
    }

    fn place(&self) -> Place {
        cluster("apiregistration.k8s.io", "apiservices", compact_str::format_compact!("{}.{}", self.version, self.group))
    }

    fn object(&self, now: Timestamp) -> Value {
        let mut spec =
            json!({ "version": self.version, "groupPriorityMinimum": self.group_priority_minimum, "versionPriority": self.version_priority });
        if !self.group.is_empty() {
            spec["group"] = json!(self.group);
        }
        json!({
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": { "name": self.place().name, "labels": { "kube-aggregator.kubernetes.io/automanaged": "onstart" } },
            "spec": spec,
            "status": { "conditions": [condition("Available", "Local", "Local APIServices are always available", now)] },
        })
    }
}

fn condition(kind: &str, reason: &str, message: &str, now: Timestamp) -> Value {
    let at = crate::meta::time_text(now);
    json!({ "type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": at })
}

fn cluster(group: &'static str, plural: &'static str, name: impl Into<Str>) -> Place {
    Place { group, version: "v1", plural, namespace: Str::default(), name: name.into(), subresource: "" }
}

fn namespaced(group: &'static str, plural: &'static str, namespace: &str, name: &str) -> Place {
    Place { namespace: namespace.into(), ..cluster(group, plural, name) }
}

/// Brings the store up to what a cluster must have. What exists already is left as it is, but for what the server keeps by itself.
pub async fn run(writer: &impl Writer, facts: &Facts, now: Timestamp) -> Result<(), Error> {
    namespaces(writer).await?;
    rbac::reconcile(writer).await?;
    for (place, object) in flow_objects() {
        create_missing(writer, place, object).await?;
    }
    // The group of APIServices themselves is not one of those that they describe.
    for service in facts.api_services.iter().filter(|service| service.group != "apiregistration.k8s.io") {
        api_service(writer, service, now).await?;
    }
    authentication_config(writer, facts).await?;
    service_cidr(writer, facts, now).await?;
    kubernetes_service(writer, facts).await
}

/// How often [`keep`] looks.
const KEEP_INTERVAL: Duration = Duration::from_secs(10);

/// Keeps what must always be there: the system namespaces, and the way to this server.
pub async fn keep(writer: &impl Writer, facts: &Facts) {
    let mut ticks = tokio::time::interval(KEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let done = async {
            namespaces(writer).await?;
            kubernetes_service(writer, facts).await
        };
        if let Err(error) = done.await {
            tracing::warn!(%error, "an object that every cluster has could not be written; trying again");
        }
    }
}

async fn namespaces(writer: &impl Writer) -> Result<(), Error> {
    for name in NAMESPACES {
        create_missing(writer, cluster("", "namespaces", name), json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }))
            .await?;
    }
    Ok(())
}

async fn create_missing(writer: &impl Writer, place: Place, object: Value) -> Result<(), Error> {
    match writer.read(&place)? {
        Some(_) => Ok(()),
        None => writer.create(&place, object).await,
    }
}

/// Priority levels before the schemas that refer to them, and priority classes.
fn flow_objects() -> Vec<(Place, Value)> {
    let mut objects: Vec<(Place, Value)> = Vec::new();
    for line in FLOW_TABLE.lines().filter(|line| !line.starts_with('#')) {
        let mut columns = line.splitn(3, '\t');
        let (Some(kind), Some(name), Some(spec)) = (columns.next(), columns.next(), columns.next()) else { continue };
        let Ok(spec) = serde_json::from_str::<Value>(spec) else { continue };
        if kind == "PriorityClass" {
            let mut object = json!({ "apiVersion": "scheduling.k8s.io/v1", "kind": kind, "metadata": { "name": name } });
            object["value"] = spec["value"].clone();
            object["preemptionPolicy"] = spec["preemptionPolicy"].clone();
            object["description"] = json!(match name {
                "system-node-critical" => "Used for system critical pods that must not be moved from their current node.",
                _ => "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
            });
            objects.push((cluster("scheduling.k8s.io", "priorityclasses", name), object));
            continue;
        }
        const GROUP: &str = "flowcontrol.apiserver.k8s.io";
        let plural = if kind == "FlowSchema" { "flowschemas" } else { "prioritylevelconfigurations" };
        let object = json!({
            "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
            "kind": kind,
            "metadata": { "name": name, "annotations": { "apf.kubernetes.io/autoupdate-spec": "true" } },
            "spec": spec,
        });
        objects.push((cluster(GROUP, plural, name), object));
    }
    objects.sort_by_key(|(place, _)| place.plural == "flowschemas");
    objects
}

async fn api_service(writer: &impl Writer, service: &ApiService, now: Timestamp) -> Result<(), Error> {
    let place = service.place();
    create_missing(writer, place.clone(), service.object(now)).await?;
    let Some(mut existing) = writer.read(&place)? else { return Ok(()) };
    let available = |object: &Value| {
        object["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|condition| condition["type"] == "Available" && condition["status"] == "True")
    };
    if available(&existing) || !existing["spec"]["service"].is_null() {
        return Ok(());
    }
    existing["status"] = service.object(now)["status"].clone();
    writer.update(&Place { subresource: "status", ..place }, existing).await
}

/// `extension-apiserver-authentication`: how aggregated servers verify who calls them.
async fn authentication_config(writer: &impl Writer, facts: &Facts) -> Result<(), Error> {
    const NAMESPACE: &str = "kube-system";
    const NAME: &str = "extension-apiserver-authentication";
    let mut data = serde_json::Map::new();
    if let Some(ca) = &facts.client_ca {
        data.insert("client-ca-file".into(), json!(ca));
    }
    if let Some(header) = &facts.request_header {
        // Lists are JSON within the string.
        let list = |names: &[Str]| json!(json!(names).to_string());
        data.insert("requestheader-client-ca-file".into(), json!(header.ca));
        data.insert("requestheader-allowed-names".into(), list(&header.allowed_names));
        data.insert("requestheader-username-headers".into(), list(&header.username_headers));
        data.insert("requestheader-uid-headers".into(), list(&header.uid_headers));
        data.insert("requestheader-group-headers".into(), list(&header.group_headers));
        data.insert("requestheader-extra-headers-prefix".into(), list(&header.extra_header_prefixes));
    }
    let place = namespaced("", "configmaps", NAMESPACE, NAME);
    match writer.read(&place)? {
        Some(existing) if existing["data"] == Value::Object(data.clone()) => Ok(()),
        Some(mut existing) => {
            existing["data"] = Value::Object(data);
            writer.update(&place, existing).await
        }
        None => {
            let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": NAME, "namespace": NAMESPACE }, "data": data });
            writer.create(&place, object).await
        }
    }
}

/// The ServiceCIDR of the flags, and its Ready condition.
async fn service_cidr(writer: &impl Writer, facts: &Facts, now: Timestamp) -> Result<(), Error> {
    let place = cluster("networking.k8s.io", "servicecidrs", KUBERNETES);
    let cidrs = json!([facts.service_cidr.trunc().to_string()]);
    let object = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": { "name": KUBERNETES }, "spec": { "cidrs": cidrs },
    });
    create_missing(writer, place.clone(), object).await?;
    let Some(mut existing) = writer.read(&place)? else { return Ok(()) };
    if existing["spec"]["cidrs"] != cidrs {
        tracing::warn!(stored = %existing["spec"]["cidrs"], flags = %cidrs, "the default ServiceCIDR does not match the flags");
        return Ok(());
    }
    let known = existing["status"]["conditions"].as_array().into_iter().flatten().any(|condition| condition["type"] == "Ready");
    if known || !existing["metadata"]["deletionTimestamp"].is_null() {
        return Ok(());
    }
    existing["status"] = json!({ "conditions": [condition("Ready", "", "Kubernetes default Service CIDR is ready", now)] });
    writer.update(&Place { subresource: "status", ..place }, existing).await
}

/// The `kubernetes` Service in `default`, with the Endpoints and EndpointSlice that lead to this server.
pub async fn kubernetes_service(writer: &impl Writer, facts: &Facts) -> Result<(), Error> {
    const NAMESPACE: &str = "default";
    const PORT: u16 = 443;
    const PORT_NAME: &str = "https";
    // The first address of the range after that of the network.
    let cluster_ip = facts.service_cidr.hosts().next().unwrap_or_else(|| facts.service_cidr.addr());
    let place = namespaced("", "services", NAMESPACE, KUBERNETES);
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": KUBERNETES, "namespace": NAMESPACE, "labels": { "component": "apiserver", "provider": "kubernetes" } },
        "spec": {
            "type": "ClusterIP", "clusterIP": cluster_ip, "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None",
            "ports": [{ "name": PORT_NAME, "protocol": "TCP", "port": PORT, "targetPort": facts.secure_port }],
        },
    });
    create_missing(writer, place, service).await?;
    if facts.advertise_address.is_loopback() {
        tracing::warn!(address = %facts.advertise_address, "nobody but this machine reaches the advertised address: the kubernetes Service gets no endpoints");
        return Ok(());
    }
    let address = facts.advertise_address.to_string();
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": { "name": KUBERNETES, "namespace": NAMESPACE, "labels": { "endpointslice.kubernetes.io/skip-mirror": "true" } },
        "subsets": [{ "addresses": [{ "ip": address }], "ports": [{ "name": PORT_NAME, "port": facts.secure_port, "protocol": "TCP" }] }],
    });
    set(writer, namespaced("", "endpoints", NAMESPACE, KUBERNETES), endpoints, &["subsets"]).await?;
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": { "name": KUBERNETES, "namespace": NAMESPACE, "labels": { "kubernetes.io/service-name": KUBERNETES } },
        "addressType": if facts.advertise_address.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{ "addresses": [address], "conditions": { "ready": true } }],
        "ports": [{ "name": PORT_NAME, "port": facts.secure_port, "protocol": "TCP" }],
    });
    set(writer, namespaced("discovery.k8s.io", "endpointslices", NAMESPACE, KUBERNETES), slice, &["endpoints", "ports"]).await
}

/// Creates an object, or sets some fields and all labels of one that differs.
async fn set(writer: &impl Writer, place: Place, wanted: Value, fields: &[&str]) -> Result<(), Error> {
    let Some(mut existing) = writer.read(&place)? else { return writer.create(&place, wanted).await };
    let same = fields.iter().all(|field| existing[*field] == wanted[*field]);
    let labelled = wanted["metadata"]["labels"].as_object().into_iter().flatten().all(|(key, value)| existing["metadata"]["labels"][key] == *value);
    if same && labelled {
        return Ok(());
    }
    for field in fields {
        existing[*field] = wanted[*field].clone();
    }
    if let Some(labels) = wanted["metadata"]["labels"].as_object() {
        for (key, value) in labels {
            existing["metadata"]["labels"][key] = value.clone();
        }
    }
    writer.update(&place, existing).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    /// A write path that stores everything as it is, and counts.
    #[derive(Default)]
    struct Memory {
        objects: Mutex<BTreeMap<String, Value>>,
        writes: Mutex<usize>,
    }

    fn key(place: &Place) -> String {
        format!("{}/{}/{}/{}", place.group, place.plural, place.namespace, place.name)
    }

    impl Writer for Memory {
        fn read(&self, place: &Place) -> Result<Option<Value>, Error> {
            Ok(self.objects.lock().unwrap().get(&key(place)).cloned())
        }

        async fn create(&self, place: &Place, object: Value) -> Result<(), Error> {
            assert_eq!(object["metadata"]["name"], place.name.as_str());
            assert_eq!(object["metadata"]["namespace"].as_str().unwrap_or_default(), place.namespace);
            *self.writes.lock().unwrap() += 1;
            assert!(self.objects.lock().unwrap().insert(key(place), object).is_none(), "{place:?} exists");
            Ok(())
        }

        async fn update(&self, place: &Place, object: Value) -> Result<(), Error> {
            *self.writes.lock().unwrap() += 1;
            assert!(self.objects.lock().unwrap().insert(key(place), object).is_some(), "{place:?} does not exist");
            Ok(())
        }

        async fn delete(&self, place: &Place) -> Result<(), Error> {
            self.objects.lock().unwrap().remove(&key(place));
            Ok(())
        }
    }

    fn facts() -> Facts {
        Facts {
            advertise_address: "10.0.0.7".parse().unwrap(),
            secure_port: 6443,
            service_cidr: "10.96.0.0/16".parse().unwrap(),
            client_ca: Some("PEM".into()),
            request_header: Some(RequestHeader {
                ca: "PEM".into(),
                allowed_names: vec!["front-proxy-client".into()],
                username_headers: vec!["X-Remote-User".into()],
                uid_headers: vec![],
                group_headers: vec!["X-Remote-Group".into()],
                extra_header_prefixes: vec!["X-Remote-Extra-".into()],
            }),
            api_services: vec![ApiService::new("", "v1", 0), ApiService::new("autoscaling", "v2", 17_500)],
        }
    }

    #[tokio::test]
    async fn a_second_start_writes_nothing() {
        let writer = Memory::default();
        run(&writer, &facts(), Timestamp::UNIX_EPOCH).await.unwrap();
        let first = *writer.writes.lock().unwrap();
        assert!(first > 150, "{first}");
        run(&writer, &facts(), Timestamp::UNIX_EPOCH).await.unwrap();
        assert_eq!(*writer.writes.lock().unwrap(), first);
    }

    #[tokio::test]
    async fn the_kubernetes_service_leads_to_this_server() {
        let writer = Memory::default();
        run(&writer, &facts(), Timestamp::UNIX_EPOCH).await.unwrap();
        let get = |key: &str| writer.objects.lock().unwrap()[key].clone();
        assert_eq!(get("/services/default/kubernetes")["spec"]["clusterIP"], "10.96.0.1");
        assert_eq!(get("discovery.k8s.io/endpointslices/default/kubernetes")["endpoints"][0]["addresses"], json!(["10.0.0.7"]));
        assert_eq!(get("/endpoints/default/kubernetes")["subsets"][0]["ports"][0]["port"], 6443);

        let moved = Facts { advertise_address: "10.0.0.8".parse().unwrap(), ..facts() };
        kubernetes_service(&writer, &moved).await.unwrap();
        assert_eq!(get("/endpoints/default/kubernetes")["subsets"][0]["addresses"][0]["ip"], "10.0.0.8");
        assert_eq!(get("discovery.k8s.io/endpointslices/default/kubernetes")["endpoints"][0]["addresses"], json!(["10.0.0.8"]));
    }

    #[tokio::test(start_paused = true)]
    async fn what_must_be_there_comes_back() {
        let writer = Memory::default();
        let facts = facts();
        tokio::time::timeout(KEEP_INTERVAL * 3, async {
            tokio::join!(keep(&writer, &facts), async {
                tokio::time::sleep(KEEP_INTERVAL / 2).await;
                writer.objects.lock().unwrap().retain(|key, _| !key.contains("kube-public") && !key.contains("endpoints"));
            })
        })
        .await
        .unwrap_err();
        let keys: Vec<_> = writer.objects.lock().unwrap().keys().cloned().collect();
        assert!(keys.contains(&"/namespaces//kube-public".to_owned()) && keys.contains(&"/endpoints/default/kubernetes".to_owned()), "{keys:?}");
    }

    #[tokio::test]
    async fn an_address_that_no_pod_reaches_is_not_advertised() {
        let writer = Memory::default();
        let local = Facts { advertise_address: "127.0.0.1".parse().unwrap(), ..facts() };
        kubernetes_service(&writer, &local).await.unwrap();
        assert_eq!(writer.objects.lock().unwrap().keys().collect::<Vec<_>>(), ["/services/default/kubernetes"]);
    }

    #[tokio::test]
    async fn api_services_and_authentication_are_published() {
        let writer = Memory::default();
        run(&writer, &facts(), Timestamp::UNIX_EPOCH).await.unwrap();
        let get = |key: &str| writer.objects.lock().unwrap()[key].clone();
        let core = get("apiregistration.k8s.io/apiservices//v1.");
        assert_eq!((&core["spec"]["groupPriorityMinimum"], &core["spec"]["versionPriority"]), (&json!(18_000), &json!(1)));
        assert_eq!(core["status"]["conditions"][0]["reason"], "Local");
        assert_eq!(get("apiregistration.k8s.io/apiservices//v2.autoscaling")["spec"]["versionPriority"], 30);
        let config = get("/configmaps/kube-system/extension-apiserver-authentication");
        assert_eq!(config["data"]["requestheader-allowed-names"], r#"["front-proxy-client"]"#);
        assert_eq!(get("scheduling.k8s.io/priorityclasses//system-node-critical")["value"], 2_000_001_000);
    }
}
