//! The Node authorizer: what a kubelet may read depends on the Pods that are bound to its node.
//!
//! A graph says which objects each node's Pods refer to. It trails the store a little; where it has no answer, the Pods of the namespace are
//! looked at in the store itself, so that a kubelet may read what a Pod needs in the same instant in which it learns of the Pod.

use super::attributes::{Attributes, Decision};
use super::rbac::Rule;
use crate::request::User;
use apiserver_machinery::Str;
use apiserver_machinery::text::quote;
use apiserver_store::{Range, Row, Snapshot};
use serde::Deserialize;
use std::collections::{HashMap, HashSet};
use std::sync::{OnceLock, RwLock};

const NODE_LEASES: &str = "kube-node-lease";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Secret,
    ConfigMap,
    PersistentVolumeClaim,
    PersistentVolume,
    ResourceClaim,
    ServiceAccount,
    Pod,
    VolumeAttachment,
    ResourceSlice,
    PodCertificateRequest,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Object {
    pub kind: Kind,
    pub namespace: Str,
    pub name: Str,
}

/// Which nodes have to do with which objects.
#[derive(Debug, Default)]
pub struct Graph {
    /// What a Pod, a VolumeAttachment and so on ties to a node.
    ties: HashMap<Object, (Str, Vec<Object>)>,
    /// For each object, the nodes that it is tied to, and how often.
    nodes: HashMap<Object, HashMap<Str, u32>>,
    volumes: HashMap<Str, Volume>,
    volumes_of_secret: HashMap<Object, HashSet<Str>>,
}

/// A PersistentVolume: its claim, and the Secrets that a kubelet needs for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    pub claim: Object,
    pub secrets: Vec<Object>,
}

impl Graph {
    /// Ties a node to `source` and to what it refers to, instead of what `source` tied before.
    pub fn tie(&mut self, source: Object, node: Str, mut objects: Vec<Object>) {
        self.untie(&source);
        objects.push(source.clone());
        for object in &objects {
            *self.nodes.entry(object.clone()).or_default().entry(node.clone()).or_default() += 1;
        }
        self.ties.insert(source, (node, objects));
    }

    pub fn untie(&mut self, source: &Object) {
        let Some((node, objects)) = self.ties.remove(source) else { return };
        for object in objects {
            let Some(nodes) = self.nodes.get_mut(&object) else { continue };
            if let Some(count) = nodes.get_mut(&node) {
                *count -= 1;
                if *count == 0 {
                    nodes.remove(&node);
                }
            }
            if nodes.is_empty() {
                self.nodes.remove(&object);
            }
        }
    }

    pub fn put_volume(&mut self, name: Str, volume: Volume) {
        self.remove_volume(&name);
        for secret in &volume.secrets {
            self.volumes_of_secret.entry(secret.clone()).or_default().insert(name.clone());
        }
        self.volumes.insert(name, volume);
    }

    pub fn remove_volume(&mut self, name: &str) {
        let Some(volume) = self.volumes.remove(name) else { return };
        for secret in volume.secrets {
            if let Some(names) = self.volumes_of_secret.get_mut(&secret) {
                names.remove(name);
                if names.is_empty() {
                    self.volumes_of_secret.remove(&secret);
                }
            }
        }
    }

    fn tied(&self, node: &str, object: &Object) -> bool {
        self.nodes.get(object).is_some_and(|nodes| nodes.contains_key(node))
    }

    pub fn related(&self, node: &str, object: &Object) -> bool {
        let through = |name: &Str| self.volumes.get(name).is_some_and(|volume| self.tied(node, &volume.claim));
        self.tied(node, object)
            || match object.kind {
                Kind::PersistentVolume => through(&object.name),
                Kind::Secret => self.volumes_of_secret.get(object).is_some_and(|names| names.iter().any(through)),
                _ => false,
            }
    }
}

/// The node that a user is. `None`: none; empty: one that cannot be told.
pub fn identity(user: &User) -> Option<&str> {
    let name = user.name.strip_prefix("system:node:")?;
    user.in_group(super::NODES).then_some(name)
}

/// What decides about requests of nodes.
#[derive(Debug, Default)]
pub struct Nodes {
    pub graph: RwLock<Graph>,
}

impl Nodes {
    /// `None`: the caller is no node.
    pub fn authorize(&self, ask: &Attributes<'_>, snapshot: impl FnOnce() -> Snapshot) -> Option<Decision> {
        let node = identity(ask.user)?;
        if node.is_empty() {
            return Some(Decision::NoOpinion(format!("unknown node for user {}", quote(&ask.user.name))));
        }
        let question = Question { nodes: self, node, ask };
        Some(match question.decide(snapshot) {
            Ok(()) => Decision::Allow(None),
            Err(reason) => Decision::NoOpinion(reason),
        })
    }
}

struct Question<'a> {
    nodes: &'a Nodes,
    node: &'a str,
    ask: &'a Attributes<'a>,
}

impl Question<'_> {
    fn decide(&self, snapshot: impl FnOnce() -> Snapshot) -> Result<(), String> {
        let Attributes { verb, group, resource, subresource, .. } = *self.ask;
        match (group, resource) {
            ("", "secrets") => self.read(Kind::Secret, snapshot),
            ("", "configmaps") => self.read(Kind::ConfigMap, snapshot),
            ("", "persistentvolumeclaims") if subresource == "status" => {
                if !matches!(verb, "update" | "patch") {
                    return Err("can only get/update/patch this type".into());
                }
                self.related(Kind::PersistentVolumeClaim, snapshot)
            }
            ("", "persistentvolumeclaims") => self.get(Kind::PersistentVolumeClaim, snapshot),
            ("", "persistentvolumes") => self.get(Kind::PersistentVolume, snapshot),
            ("resource.k8s.io", "resourceclaims") => self.get(Kind::ResourceClaim, snapshot),
            ("storage.k8s.io", "volumeattachments") => self.get(Kind::VolumeAttachment, snapshot),
            ("", "serviceaccounts") => self.service_account(snapshot),
            ("coordination.k8s.io", "leases") => self.lease(),
            ("storage.k8s.io", "csinodes") => self.csi_node(),
            ("resource.k8s.io", "resourceslices") => self.resource_slice(snapshot),
            ("", "nodes") => self.node(),
            ("", "pods") => self.pod(snapshot),
            ("certificates.k8s.io", "podcertificaterequests") => self.certificate_request(snapshot),
            _ => {
                if rules().iter().any(|rule| rule.allows(self.ask)) {
                    Ok(())
                } else {
                    Err(String::new())
                }
            }
        }
    }

    fn related(&self, kind: Kind, snapshot: impl FnOnce() -> Snapshot) -> Result<(), String> {
        if self.ask.name.is_empty() {
            return Err("No Object name found".into());
        }
        let object = Object { kind, namespace: self.ask.namespace.into(), name: self.ask.name.into() };
        let graph = self.nodes.graph.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        if graph.related(self.node, &object) {
            return Ok(());
        }
        drop(graph);
        if !object.namespace.is_empty() && refers(&snapshot(), self.node, &object) {
            return Ok(());
        }
        Err(format!("no relationship found between node '{}' and this object", self.node))
    }

    fn get(&self, kind: Kind, snapshot: impl FnOnce() -> Snapshot) -> Result<(), String> {
        if self.ask.verb != "get" {
            return Err("can only get individual resources of this type".into());
        }
        if !self.ask.subresource.is_empty() {
            return Err("cannot get subresource".into());
        }
        self.related(kind, snapshot)
    }

    fn read(&self, kind: Kind, snapshot: impl FnOnce() -> Snapshot) -> Result<(), String> {
        if !matches!(self.ask.verb, "get" | "list" | "watch") {
            return Err("can only read resources of this type".into());
        }
        if !self.ask.subresource.is_empty() {
            return Err("cannot read subresource".into());
        }
        if self.ask.namespace.is_empty() {
            return Err("can only read namespaced object of this type".into());
        }
        self.related(kind, snapshot)
    }

    fn service_account(&self, snapshot: impl FnOnce() -> Snapshot) -> Result<(), String> {
        if self.ask.verb == "get" && self.ask.subresource.is_empty() {
            return self.read(Kind::ServiceAccount, snapshot);
        }
        if self.ask.verb != "create" || self.ask.name.is_empty() {
            return Err("can only create tokens for individual service accounts".into());
        }
        if self.ask.subresource != "token" {
            return Err("can only create token subresource of serviceaccount".into());
        }
        self.related(Kind::ServiceAccount, snapshot)
    }

    fn lease(&self) -> Result<(), String> {
        if !matches!(self.ask.verb, "get" | "create" | "update" | "patch" | "delete") {
            return Err("can only get, create, update, patch, or delete a node lease".into());
        }
        if self.ask.namespace != NODE_LEASES {
            return Err(format!("can only access leases in the {} system namespace", quote(NODE_LEASES)));
        }
        // The name of a create is not known yet; admission looks at it.
        if self.ask.verb != "create" && self.ask.name != self.node {
            return Err("can only access node lease with the same name as the requesting node".into());
        }
        Ok(())
    }

    fn csi_node(&self) -> Result<(), String> {
        if !self.ask.subresource.is_empty() {
            return Err("cannot authorize CSINode subresources".into());
        }
        if !matches!(self.ask.verb, "get" | "create" | "update" | "patch" | "delete") {
            return Err("can only get, create, update, patch, or delete a CSINode".into());
        }
        if self.ask.verb != "create" && self.ask.name != self.node {
            return Err("can only access CSINode with the same name as the requesting node".into());
        }
        Ok(())
    }

    fn resource_slice(&self, snapshot: impl FnOnce() -> Snapshot) -> Result<(), String> {
        if !self.ask.subresource.is_empty() {
            return Err("cannot authorize ResourceSlice subresources".into());
        }
        match self.ask.verb {
            "create" => Ok(()),
            "get" | "update" | "patch" | "delete" => self.related(Kind::ResourceSlice, snapshot),
            "watch" | "list" | "deletecollection" if self.ask.field("spec.nodeName") == Some(self.node) => Ok(()),
            "watch" | "list" | "deletecollection" => Err("can only list/watch/deletecollection resourceslices with nodeName field selector".into()),
            _ => {
                Err("only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection"
                    .into())
            }
        }
    }

    fn node(&self) -> Result<(), String> {
        match (self.ask.subresource, self.ask.verb) {
            ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
            ("", "get" | "list" | "watch") => match self.ask.name {
                name if name == self.node => Ok(()),
                "" => Err(format!("node '{}' cannot read all nodes, only its own Node object", self.node)),
                name => Err(format!("node '{}' cannot read '{name}', only its own Node object", self.node)),
            },
            _ => Err(String::new()),
        }
    }

    fn pod(&self, snapshot: impl FnOnce() -> Snapshot) -> Result<(), String> {
        match (self.ask.subresource, self.ask.verb) {
            ("", "get") => self.get(Kind::Pod, snapshot),
            ("", "list" | "watch") => {
                if self.ask.field("spec.nodeName") == Some(self.node) {
                    return Ok(());
                }
                if !self.ask.name.is_empty() {
                    return self.related(Kind::Pod, snapshot);
                }
                Err("can only list/watch pods with spec.nodeName field selector".into())
            }
            // Mirror Pods, and only its own; admission sees to that.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
            _ => Err(String::new()),
        }
    }

    fn certificate_request(&self, snapshot: impl FnOnce() -> Snapshot) -> Result<(), String> {
        if !self.ask.subresource.is_empty() {
            return Err("nodes may not access the status subresource of PodCertificateRequests".into());
        }
        match self.ask.verb {
            "create" => Ok(()),
            "get" => self.related(Kind::PodCertificateRequest, snapshot),
            "list" | "watch" if self.ask.field("spec.nodeName") == Some(self.node) => Ok(()),
            "list" | "watch" => Err("can only list/watch podcertificaterequests with nodeName field selector".into()),
            verb => Err(format!("nodes may not {verb} podcertificaterequests")),
        }
    }
}

/// What every node may do, whatever runs on it.
fn rules() -> &'static [Rule] {
    static RULES: OnceLock<Vec<Rule>> = OnceLock::new();
    RULES.get_or_init(|| crate::bootstrap::rbac::rules_of("system:node"))
}

/// Whether a Pod of the object's namespace that is bound to the node refers to the object, or is it.
fn refers(snapshot: &Snapshot, node: &str, object: &Object) -> bool {
    let pods = Range::prefix(format!("/registry/pods/{}/", object.namespace));
    snapshot.range(&pods).filter(|(_, row)| row.facts.field("spec.nodeName") == Some(node)).any(|(_, row)| {
        Pod::read(row).is_some_and(|pod| (object.kind == Kind::Pod && object.name == pod.metadata.name) || pod.objects().contains(object))
    })
}

/// What of a Pod says which objects its kubelet needs.
#[derive(Deserialize)]
pub struct Pod {
    pub metadata: PodMeta,
    #[serde(default)]
    pub spec: PodSpec,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Deserialize)]
pub struct PodMeta {
    #[serde(default)]
    pub name: Str,
    #[serde(default)]
    pub namespace: Str,
    #[serde(default)]
    annotations: HashMap<Str, Str>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    pub node_name: Str,
    service_account_name: Str,
    image_pull_secrets: Vec<Named>,
    init_containers: Vec<Container>,
    containers: Vec<Container>,
    ephemeral_containers: Vec<Container>,
    volumes: Vec<PodVolume>,
    resource_claims: Vec<PodClaim>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    resource_claim_statuses: Vec<PodClaim>,
    extended_resource_claim_status: Option<PodClaim>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PodClaim {
    resource_claim_name: Option<Str>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Named {
    name: Str,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    env: Vec<Env>,
    env_from: Vec<Source>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Env {
    value_from: Option<Source>,
}

/// Of an environment variable, of envFrom, and of a projected volume: all say in the same way what they take from.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Source {
    #[serde(alias = "secretKeyRef", alias = "secret")]
    secret_ref: Option<Named>,
    #[serde(alias = "configMapKeyRef", alias = "configMap")]
    config_map_ref: Option<Named>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PodVolume {
    name: Str,
    secret: Option<SecretVolume>,
    config_map: Option<Named>,
    projected: Option<Projected>,
    persistent_volume_claim: Option<ClaimVolume>,
    ephemeral: Option<serde::de::IgnoredAny>,
    azure_file: Option<SecretVolume>,
    cephfs: Option<RemoteVolume>,
    cinder: Option<RemoteVolume>,
    flex_volume: Option<RemoteVolume>,
    rbd: Option<RemoteVolume>,
    #[serde(rename = "scaleIO")]
    scale_io: Option<RemoteVolume>,
    iscsi: Option<RemoteVolume>,
    storageos: Option<RemoteVolume>,
    csi: Option<RemoteVolume>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct SecretVolume {
    secret_name: Str,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ClaimVolume {
    claim_name: Str,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Projected {
    sources: Vec<Source>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RemoteVolume {
    #[serde(alias = "nodePublishSecretRef")]
    secret_ref: Option<Named>,
}

const MIRROR: &str = "kubernetes.io/config.mirror";

impl Pod {
    pub fn read(row: &Row) -> Option<Self> {
        serde_json::from_slice(row.bytes()).ok()
    }

    /// Everything that the kubelet of this Pod's node may read for it.
    pub fn objects(&self) -> Vec<Object> {
        // A mirror Pod is written by the kubelet itself, so it must not widen what that may read.
        if self.metadata.annotations.contains_key(MIRROR) {
            return Vec::new();
        }
        let mut objects = Vec::new();
        let mut add = |kind, name: &Str| {
            if !name.is_empty() {
                objects.push(Object { kind, namespace: self.metadata.namespace.clone(), name: name.clone() });
            }
        };
        let mut source = |source: &Source| {
            source.secret_ref.iter().for_each(|secret| add(Kind::Secret, &secret.name));
            source.config_map_ref.iter().for_each(|map| add(Kind::ConfigMap, &map.name));
        };
        let spec = &self.spec;
        for container in spec.init_containers.iter().chain(&spec.containers).chain(&spec.ephemeral_containers) {
            container.env.iter().filter_map(|env| env.value_from.as_ref()).chain(&container.env_from).for_each(&mut source);
        }
        spec.volumes.iter().filter_map(|volume| volume.projected.as_ref()).flat_map(|projected| &projected.sources).for_each(&mut source);
        add(Kind::ServiceAccount, &spec.service_account_name);
        spec.image_pull_secrets.iter().for_each(|secret| add(Kind::Secret, &secret.name));
        for volume in &spec.volumes {
            volume.secret.iter().chain(&volume.azure_file).for_each(|secret| add(Kind::Secret, &secret.secret_name));
            volume.config_map.iter().for_each(|map| add(Kind::ConfigMap, &map.name));
            volume.persistent_volume_claim.iter().for_each(|claim| add(Kind::PersistentVolumeClaim, &claim.claim_name));
            if volume.ephemeral.is_some() {
                add(Kind::PersistentVolumeClaim, &compact_str::format_compact!("{}-{}", self.metadata.name, volume.name));
            }
            let remote =
                [&volume.cephfs, &volume.cinder, &volume.flex_volume, &volume.rbd, &volume.scale_io, &volume.iscsi, &volume.storageos, &volume.csi];
            remote.into_iter().flatten().filter_map(|remote| remote.secret_ref.as_ref()).for_each(|secret| add(Kind::Secret, &secret.name));
        }
        let claims = spec.resource_claims.iter().chain(&self.status.resource_claim_statuses).chain(&self.status.extended_resource_claim_status);
        claims.filter_map(|claim| claim.resource_claim_name.as_ref()).for_each(|claim| add(Kind::ResourceClaim, claim));
        objects
    }
}

/// Whether what a Pod ties to its node may differ between two of its rows. Everything that decides it is fixed once a Pod is bound, but for
/// ephemeral containers and claims that are made for it.
pub fn may_differ(old: &Row, new: &Row) -> bool {
    old.facts.field("spec.nodeName") != new.facts.field("spec.nodeName")
        || ["\"ephemeralContainers\"", "\"resourceClaimStatuses\"", "\"extendedResourceClaimStatus\""]
            .iter()
            .any(|field| memchr::memmem::find(new.bytes(), field.as_bytes()).is_some())
}

/// A PersistentVolume as the graph knows it. `None`: no claim is bound to it.
pub fn volume(row: &Row) -> Option<Volume> {
    #[derive(Deserialize)]
    struct PersistentVolume {
        spec: serde_json::Map<String, serde_json::Value>,
    }
    let spec = serde_json::from_slice::<PersistentVolume>(row.bytes()).ok()?.spec;
    let text = |value: &serde_json::Value, name: &str| Str::from(value[name].as_str().unwrap_or_default());
    let claim = spec.get("claimRef")?;
    let claim = Object { kind: Kind::PersistentVolumeClaim, namespace: text(claim, "namespace"), name: text(claim, "name") };
    let mut secrets = Vec::new();
    let mut add = |namespace: Str, name: Str| {
        if !name.is_empty() {
            let namespace = if namespace.is_empty() { claim.namespace.clone() } else { namespace };
            secrets.push(Object { kind: Kind::Secret, namespace, name });
        }
    };
    for (kind, source) in &spec {
        if kind == "azureFile" {
            add(text(source, "secretNamespace"), text(source, "secretName"));
        }
        // controllerPublishSecretRef and controllerExpandSecretRef are no business of kubelets.
        for field in ["secretRef", "nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef"] {
            if let Some(secret) = source.get(field) {
                add(text(secret, "namespace"), text(secret, "name"));
            }
        }
    }
    Some(Volume { claim, secrets })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing;

    const POD: &str = r#"{"metadata":{"name":"web","namespace":"ns"},"spec":{"nodeName":"n1","serviceAccountName":"sa",
        "imagePullSecrets":[{"name":"pull"}],
        "containers":[{"env":[{"name":"A","valueFrom":{"secretKeyRef":{"name":"env","key":"k"}}},{"name":"B","value":"x"}],"envFrom":[{"configMapRef":{"name":"env-from"}}]}],
        "volumes":[{"name":"a","projected":{"sources":[{"serviceAccountToken":{"path":"token"}},{"configMap":{"name":"kube-root-ca.crt"}},{"secret":{"name":"projected"}}]}},
                   {"name":"b","persistentVolumeClaim":{"claimName":"data"}},{"name":"c","ephemeral":{"volumeClaimTemplate":{}}},{"name":"d","secret":{"secretName":"tls"}},
                   {"name":"e","csi":{"driver":"x","nodePublishSecretRef":{"name":"csi"}}}],
        "resourceClaims":[{"name":"gpu","resourceClaimTemplateName":"t"}]},
        "status":{"resourceClaimStatuses":[{"name":"gpu","resourceClaimName":"web-gpu-1"}]}}"#;

    fn node(name: &str) -> User {
        User { name: format!("system:node:{name}").into(), groups: vec![super::super::NODES.into()], ..User::default() }
    }

    #[test]
    fn a_pods_references_are_found() {
        let pod: Pod = serde_json::from_str(POD).unwrap();
        let mut seen: Vec<_> = pod.objects().into_iter().map(|object| format!("{:?} {}", object.kind, object.name)).collect();
        seen.sort();
        let expect = [
            "ConfigMap env-from",
            "ConfigMap kube-root-ca.crt",
            "PersistentVolumeClaim data",
            "PersistentVolumeClaim web-c",
            "ResourceClaim web-gpu-1",
            "Secret csi",
            "Secret env",
            "Secret projected",
            "Secret pull",
            "Secret tls",
            "ServiceAccount sa",
        ];
        assert_eq!(seen, expect);
    }

    #[tokio::test]
    async fn a_kubelet_reads_what_its_pods_need() {
        let store = testing::store(&[]).await;
        let nodes = Nodes::default();
        let pod: Pod = serde_json::from_str(POD).unwrap();
        let source = Object { kind: Kind::Pod, namespace: "ns".into(), name: "web".into() };
        let secret = |namespace: &str, name: &str| Object { kind: Kind::Secret, namespace: namespace.into(), name: name.into() };
        let claim = Object { kind: Kind::PersistentVolumeClaim, namespace: "ns".into(), name: "data".into() };
        {
            let mut graph = nodes.graph.write().unwrap();
            graph.tie(source.clone(), "n1".into(), pod.objects());
            graph.put_volume("pv".into(), Volume { claim, secrets: vec![secret("storage", "mount")] });
        }
        let check = |who: &str, verb: &str, resource: &str, namespace: &str, name: &str, expect: Result<(), &str>| {
            let user = node(who);
            let ask = Attributes::resource(&user, verb, "", resource, namespace, name);
            let seen = nodes.authorize(&ask, || store.snapshot()).unwrap();
            assert_eq!(seen.allowed(), expect.is_ok(), "{who} {verb} {resource} {name}: {seen:?}");
            if let Err(reason) = expect {
                assert_eq!(seen.reason(), reason);
            }
        };
        let stranger = "no relationship found between node 'n2' and this object";
        check("n1", "get", "secrets", "ns", "tls", Ok(()));
        check("n1", "watch", "secrets", "ns", "tls", Ok(()));
        check("n2", "get", "secrets", "ns", "tls", Err(stranger));
        check("n1", "get", "secrets", "other", "tls", Err("no relationship found between node 'n1' and this object"));
        check("n1", "list", "secrets", "ns", "", Err("No Object name found"));
        check("n1", "delete", "secrets", "ns", "tls", Err("can only read resources of this type"));
        check("n1", "get", "persistentvolumes", "", "pv", Ok(()));
        check("n2", "get", "persistentvolumes", "", "pv", Err(stranger));
        check("n1", "get", "secrets", "storage", "mount", Ok(()));
        check("n1", "get", "nodes", "", "n1", Ok(()));
        check("n1", "get", "nodes", "", "n2", Err("node 'n1' cannot read 'n2', only its own Node object"));
        check("n1", "list", "pods", "", "", Err("can only list/watch pods with spec.nodeName field selector"));
        check("n1", "list", "services", "", "", Ok(()));
        check("n1", "delete", "services", "ns", "x", Err(""));

        nodes.graph.write().unwrap().untie(&source);
        check("n1", "get", "secrets", "ns", "tls", Err("no relationship found between node 'n1' and this object"));
        check("n1", "get", "persistentvolumes", "", "pv", Err("no relationship found between node 'n1' and this object"));
        assert!(nodes.graph.read().unwrap().nodes.is_empty());
    }

    #[tokio::test]
    async fn a_pod_that_the_graph_has_not_seen_yet_counts() {
        let store = testing::store(&[("/registry/pods/ns/web", POD)]).await;
        let nodes = Nodes::default();
        let user = node("n1");
        let ask = Attributes::resource(&user, "get", "", "secrets", "ns", "tls");
        assert!(nodes.authorize(&ask, || store.snapshot()).unwrap().allowed());
        let ask = Attributes { name: "other", ..ask };
        assert!(!nodes.authorize(&ask, || store.snapshot()).unwrap().allowed());
    }

    #[test]
    fn only_members_of_the_nodes_group_are_nodes() {
        assert_eq!(identity(&node("n1")), Some("n1"));
        assert_eq!(identity(&User { name: "system:node:n1".into(), ..User::default() }), None);
        assert_eq!(identity(&User { name: "jane".into(), groups: vec![super::super::NODES.into()], ..User::default() }), None);
    }
}
