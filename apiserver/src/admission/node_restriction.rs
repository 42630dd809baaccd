//! NodeRestriction: a kubelet writes its own Node, the status of its own Pods, and little else.

use super::Kind;
use super::service_account::MIRROR;
use crate::Error;
use crate::auth::{Attributes, node};
use crate::resource::Object;
use crate::stage::{Admission, Operation};
use apiserver_machinery::text::quote;
use apiserver_machinery::tree::{Struct, Value};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use std::collections::BTreeSet;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

const NODES: Kind = Kind::core("Node", "/registry/minions/");
const PODS: Kind = Kind::core("Pod", "/registry/pods/");
const NODE_LEASES: &str = "kube-node-lease";

/// `object` is what is written, where something is.
pub fn admit(object: Option<Object<'_>>, admission: &Admission<'_>) -> Result<(), Error> {
    let Some(node) = node::identity(admission.user) else { return Ok(()) };
    if node.is_empty() {
        return Err(admission.refuse(format!("could not determine node from user {}", quote(&admission.user.name))));
    }
    let restriction = Restriction { node, admission };
    let (group, plural, subresource) = (admission.resource.group.as_str(), admission.resource.plural.as_str(), admission.target.subresource.as_str());
    match (group, plural, subresource) {
        ("", "pods", "") => restriction.pod(object),
        ("", "pods", "status") => restriction.pod_status(object),
        ("", "pods", "eviction") => restriction.eviction(),
        ("", "pods", other) => {
            Err(admission.refuse(format!("unexpected pod subresource {}, only 'status' and 'eviction' are allowed", quote(other))))
        }
        ("", "nodes", _) => restriction.node(object),
        ("", "persistentvolumeclaims", "status") => restriction.claim_status(object),
        ("", "persistentvolumeclaims", _) => Err(admission.refuse("may only update PVC status")),
        ("coordination.k8s.io", "leases", _) => restriction.lease(),
        ("storage.k8s.io", "csinodes", _) => restriction.own("can only access CSINode with the same name as the requesting node"),
        ("resource.k8s.io", "resourceslices", _) => restriction.resource_slice(object),
        ("certificates.k8s.io", "certificatesigningrequests", _) => restriction.signing_request(object),
        ("certificates.k8s.io", "podcertificaterequests", _) => restriction.certificate_request(object),
        _ => Ok(()),
    }
}

struct Restriction<'a> {
    node: &'a str,
    admission: &'a Admission<'a>,
}

impl Restriction<'_> {
    fn refuse<T>(&self, why: impl AsRef<str>) -> Result<T, Error> {
        Err(self.admission.refuse(why))
    }

    fn unexpected<T>(&self) -> Result<T, Error> {
        let operation = match self.admission.operation {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        };
        self.refuse(format!("unexpected operation {}", quote(operation)))
    }

    fn own(&self, why: &str) -> Result<(), Error> {
        if self.admission.name == self.node { Ok(()) } else { self.refuse(why) }
    }

    fn pod(&self, object: Option<Object<'_>>) -> Result<(), Error> {
        let node = quote(self.node);
        match (self.admission.operation, object) {
            (Operation::Create, Some(pod)) => self.mirror_pod(pod),
            (Operation::Delete, _) if self.admission.old.is_some_and(|pod| pod.text("spec.nodeName") == self.node) => Ok(()),
            (Operation::Delete, _) => self.refuse(format!("node {node} can only delete pods with spec.nodeName set to itself")),
            _ => self.refuse(format!("unexpected operation \"UPDATE\", node {node} can only create and delete mirror pods")),
        }
    }

    fn mirror_pod(&self, pod: Object<'_>) -> Result<(), Error> {
        let node = quote(self.node);
        if pod.annotation(MIRROR).is_none() {
            return self.refuse(format!("pod does not have {} annotation, node {node} can only create mirror pods", quote(MIRROR)));
        }
        if pod.text("spec.nodeName") != self.node {
            return self.refuse(format!("node {node} can only create pods with spec.nodeName set to itself"));
        }
        let owners: Vec<_> = pod.items("metadata.ownerReferences").collect();
        let owner = match owners[..] {
            [owner] => owner,
            [] => return self.refuse(format!("node {node} can only create pods with an owner reference set to itself")),
            _ => return self.refuse(format!("node {node} can only create pods with a single owner reference set to itself")),
        };
        if owner.text("apiVersion") != "v1" || owner.text("kind") != "Node" || owner.text("name") != self.node {
            return self.refuse(format!("node {node} can only create pods with an owner reference set to itself"));
        }
        if !owner.flag("controller") {
            return self.refuse(format!("node {node} can only create pods with a controller owner reference set to itself"));
        }
        if owner.flag("blockOwnerDeletion") {
            return self.refuse(format!("node {node} must not set blockOwnerDeletion on an owner reference"));
        }
        let known = NODES.get(self.admission.snapshot, self.node)?;
        let known = known.ok_or_else(|| Error::NotFound { group: "".into(), resource: "nodes".into(), name: self.node.into() })?;
        let (claimed, uid) = (owner.text("uid"), known.object().text("metadata.uid"));
        if claimed != uid {
            return self.refuse(format!("node {} UID mismatch: expected {claimed} got {uid}", self.node));
        }
        match reference(pod) {
            Some(what) => self.refuse(format!("node {node} can not create pods that reference {what}")),
            None => Ok(()),
        }
    }

    fn pod_status(&self, object: Option<Object<'_>>) -> Result<(), Error> {
        let (Operation::Update, Some(new), Some(old)) = (self.admission.operation, object, self.admission.old) else { return self.unexpected() };
        let node = quote(self.node);
        if old.text("spec.nodeName") != self.node {
            return self.refuse(format!("node {node} can only update pod status for pods with spec.nodeName set to itself"));
        }
        let differs = |path: &str| old.get(path) != new.get(path);
        if differs("metadata.labels") {
            return self.refuse(format!("node {node} cannot update labels through pod status"));
        }
        if differs("status.resourceClaimStatuses") {
            return self.refuse(format!("node {node} cannot update resource claim statues"));
        }
        if differs("status.extendedResourceClaimStatus") {
            return self.refuse(format!("node {node} cannot update extended resource claim status"));
        }
        if differs("status.nodeAllocatableResourceClaimStatuses") {
            return self.refuse(format!("node {node} cannot update node allocatable resource claim statuses"));
        }
        Ok(())
    }

    fn eviction(&self) -> Result<(), Error> {
        if self.admission.old.is_some_and(|pod| pod.text("spec.nodeName") == self.node) {
            return Ok(());
        }
        self.refuse(format!("node {} can only evict pods with spec.nodeName set to itself", self.node))
    }

    fn claim_status(&self, object: Option<Object<'_>>) -> Result<(), Error> {
        let (Operation::Update, Some(new), Some(old)) = (self.admission.operation, object, self.admission.old) else { return self.unexpected() };
        let stripped = |claim: Object<'_>| {
            let mut tree = claim.tree.clone();
            let free = ["status.capacity", "status.conditions", "status.allocatedResourceStatuses", "status.allocatedResources"];
            for path in free.into_iter().chain(["metadata.resourceVersion", "metadata.managedFields"]) {
                tree.take(claim.schema, path);
            }
            // A status without fields is one that is absent.
            if tree.at(claim.schema, "status").and_then(Value::as_struct).is_some_and(Struct::is_empty) {
                tree.take(claim.schema, "status");
            }
            tree
        };
        if stripped(old) == stripped(new) {
            return Ok(());
        }
        self.refuse(format!("node {} is not allowed to update fields other than status.quantity and status.conditions", quote(self.node)))
    }

    fn node(&self, object: Option<Object<'_>>) -> Result<(), Error> {
        let node = quote(self.node);
        if self.admission.name != self.node {
            return self.refuse(format!("node {node} is not allowed to modify node {}", quote(self.admission.name)));
        }
        let Some(new) = object else { return Ok(()) };
        match (self.admission.operation, self.admission.old) {
            (Operation::Create, _) => {
                if new.has("spec.configSource") {
                    return self.refuse(format!("node {node} is not allowed to create pods with a non-nil configSource"));
                }
                let forbidden = forbidden_labels(new, None);
                if forbidden.is_empty() {
                    Ok(())
                } else {
                    self.refuse(format!("node {node} is not allowed to set the following labels: {forbidden}"))
                }
            }
            (Operation::Update, Some(old)) => {
                let differs = |path: &str| old.get(path) != new.get(path);
                if new.has("spec.configSource") && differs("spec.configSource") {
                    return self.refuse(format!("node {node} is not allowed to update configSource to a new non-nil configSource"));
                }
                if differs("spec.taints") {
                    return self.refuse(format!("node {node} is not allowed to modify taints"));
                }
                if differs("metadata.ownerReferences") {
                    return self.refuse(format!("node {node} is not allowed to modify ownerReferences"));
                }
                let forbidden = forbidden_labels(new, Some(old));
                if forbidden.is_empty() { Ok(()) } else { self.refuse(format!("is not allowed to modify labels: {forbidden}")) }
            }
            _ => Ok(()),
        }
    }

    fn lease(&self) -> Result<(), Error> {
        if self.admission.namespace() != NODE_LEASES {
            return self.refuse(format!("can only access leases in the {} system namespace", quote(NODE_LEASES)));
        }
        self.own("can only access node lease with the same name as the requesting node")
    }

    fn resource_slice(&self, object: Option<Object<'_>>) -> Result<(), Error> {
        let of_this_node = |slice: Option<Object<'_>>| slice.is_some_and(|slice| slice.text("spec.nodeName") == self.node);
        match self.admission.operation {
            Operation::Create if !of_this_node(object) => self.refuse("can only create ResourceSlice with the same NodeName as the requesting node"),
            Operation::Delete if !of_this_node(self.admission.old) => {
                self.refuse("can only delete ResourceSlice with the same NodeName as the requesting node")
            }
            _ => Ok(()),
        }
    }

    fn signing_request(&self, object: Option<Object<'_>>) -> Result<(), Error> {
        let (Operation::Create, Some(request)) = (self.admission.operation, object) else { return Ok(()) };
        if !matches!(request.text("spec.signerName"), "kubernetes.io/kubelet-serving" | "kubernetes.io/kube-apiserver-client-kubelet") {
            return Ok(());
        }
        let pem = match request.get("spec.request") {
            Some(Value::Bytes(bytes)) => bytes.to_vec(),
            Some(Value::String(text)) => BASE64_STANDARD.decode(text.as_bytes()).unwrap_or_default(),
            _ => Vec::new(),
        };
        let Ok(der) = CertificateSigningRequestDer::from_pem_slice(&pem) else {
            return self.refuse("unable to parse csr: PEM block type must be CERTIFICATE REQUEST");
        };
        let Ok((_, parsed)) = X509CertificationRequest::from_der(&der) else { return self.refuse("unable to parse csr: asn1: structure error") };
        let wanted = format!("system:node:{}", self.node);
        let names = parsed.certification_request_info.subject.iter_common_name().filter_map(|name| name.as_str().ok());
        if names.last() == Some(wanted.as_str()) { Ok(()) } else { self.refuse(format!("can only create a node CSR with CN={wanted}")) }
    }

    fn certificate_request(&self, object: Option<Object<'_>>) -> Result<(), Error> {
        let (Operation::Create, Some(request)) = (self.admission.operation, object) else { return self.unexpected() };
        let (pod_name, claimed) = (request.text("spec.podName"), request.text("spec.nodeName"));
        if claimed != self.node {
            return self.refuse(format!(
                "PodCertificateRequest.Spec.NodeName={}, which is not the requesting node {}",
                quote(claimed),
                quote(self.node)
            ));
        }
        let namespace = self.admission.namespace();
        let full = quote(&format!("{namespace}/{pod_name}"));
        let Some(pod) = PODS.get(self.admission.snapshot, &format!("{namespace}/{pod_name}"))? else {
            return self.refuse(format!("while retrieving pod {full} named in the PodCertificateRequest: pod {} not found", quote(pod_name)));
        };
        let pod = pod.object();
        if pod.text("spec.nodeName") != self.node {
            return self.refuse(format!("pod {full} is not running on node {} named in the PodCertificateRequest", quote(self.node)));
        }
        if pod.annotation(MIRROR).is_some() {
            return self.refuse(format!("pod {full} is a mirror pod"));
        }
        let (asked, account) = (request.text("spec.serviceAccountName"), pod.text("spec.serviceAccountName"));
        if asked != account {
            return self.refuse(format!(
                "PodCertificateRequest for pod {full} contains serviceAccountName ({}) that differs from running pod ({})",
                quote(asked),
                quote(account)
            ));
        }
        let signer = request.text("spec.signerName");
        let mounted = pod
            .items("spec.volumes")
            .flat_map(|volume| volume.items("projected.sources"))
            .any(|source| source.text("podCertificate.signerName") == signer);
        // RBAC's resources contain no slashes.
        let resource = signer.replace('/', ":");
        let ask = Attributes::resource(
            self.admission.user,
            "request-serviceaccounts-podcertificate-signer",
            "certificates.k8s.io",
            &resource,
            namespace,
            asked,
        );
        if mounted || self.admission.auth.allows(&ask) {
            return Ok(());
        }
        self.refuse(format!("pod {full} does not mount a podCertificate projected volume for signer {}", quote(signer)))
    }
}

/// What other objects a Pod refers to, which a mirror Pod must not.
fn reference(pod: Object<'_>) -> Option<&'static str> {
    if !pod.text("spec.serviceAccountName").is_empty() {
        return Some("serviceaccounts");
    }
    let containers = || ["spec.initContainers", "spec.containers", "spec.ephemeralContainers"].into_iter().flat_map(move |list| pod.items(list));
    let takes = |value: &str, source: &str| {
        containers().any(|container| container.items("env").any(|env| env.has(value)) || container.items("envFrom").any(|from| from.has(source)))
    };
    let projects = |field: &str| pod.items("spec.volumes").flat_map(|volume| volume.items("projected.sources")).any(|source| source.has(field));
    let mounts = |field: &str| pod.items("spec.volumes").any(|volume| volume.has(field));
    if takes("valueFrom.secretKeyRef", "secretRef") || projects("secret") || mounts("secret") || !pod.list("spec.imagePullSecrets").is_empty() {
        return Some("secrets");
    }
    if takes("valueFrom.configMapKeyRef", "configMapRef") || projects("configMap") || mounts("configMap") {
        return Some("configmaps");
    }
    if !pod.list("spec.resourceClaims").is_empty() {
        return Some("resourceclaims");
    }
    let volumes = [
        ("csi", "csidrivers (via CSI volumes)"),
        ("glusterfs", "endpoints (via glusterFS volumes)"),
        ("persistentVolumeClaim", "persistentvolumeclaims"),
        ("ephemeral", "persistentvolumeclaims (via ephemeral volumes)"),
        ("azureFile", "secrets (via azureFile volumes)"),
    ];
    volumes
        .into_iter()
        .find(|(field, _)| mounts(field))
        .map(|(_, what)| what)
        .or_else(|| projects("serviceAccountToken").then_some("serviceaccounts (via projected volumes)"))
}

const KUBELET_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];

/// Labels that differ and that a kubelet may not set, in order, separated by commas.
fn forbidden_labels(new: Object<'_>, old: Option<Object<'_>>) -> String {
    let before = |key: &str| old.and_then(|old| old.label(key));
    let changed = new.pairs("metadata.labels").filter(|(key, value)| before(key) != Some(value)).map(|(key, _)| key);
    let removed = old.into_iter().flat_map(|old| old.pairs("metadata.labels")).map(|(key, _)| key).filter(|key| new.label(key).is_none());
    let within = |domain: &str, suffix: &str| domain == suffix || domain.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'));
    let forbidden: BTreeSet<&str> = changed
        .chain(removed)
        .filter(|key| {
            let domain = key.split_once('/').map_or("", |(domain, _)| domain);
            let ours = within(domain, "kubernetes.io") || within(domain, "k8s.io");
            let allowed = KUBELET_LABELS.contains(key) || within(domain, "kubelet.kubernetes.io") || within(domain, "node.kubernetes.io");
            within(domain, "node-restriction.kubernetes.io") || (ours && !allowed)
        })
        .collect();
    forbidden.into_iter().collect::<Vec<_>>().join(", ")
}

/// The checks on a TokenRequest of a node: it may ask for what Pods of its own mount. `request` is a TokenRequest, for `account` of `namespace`.
pub fn admit_token(request: Object<'_>, admission: &TokenAdmission<'_>) -> Result<(), Error> {
    let Some(node) = node::identity(admission.user) else { return Ok(()) };
    let refuse = |why: &str| Err(crate::auth::forbidden("", "serviceaccounts", admission.account, why));
    let Some(reference) = request.child("spec.boundObjectRef") else { return refuse("node requested token not bound to a pod") };
    let name = reference.text("name");
    if reference.text("apiVersion") != "v1" || reference.text("kind") != "Pod" || name.is_empty() {
        return refuse("node requested token not bound to a pod");
    }
    let uid = reference.text("uid");
    if uid.is_empty() {
        return refuse("node requested token with a pod binding without a uid");
    }
    let pod = PODS.get(admission.snapshot, &format!("{}/{name}", admission.namespace))?;
    let pod = pod.ok_or_else(|| Error::NotFound { group: "".into(), resource: "pods".into(), name: name.into() })?;
    let pod = pod.object();
    if pod.text("metadata.uid") != uid {
        return refuse(&format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        ));
    }
    if pod.text("spec.nodeName") != node {
        return refuse("node requested token bound to a pod scheduled on a different node");
    }
    let audiences: Vec<&str> = request.texts("spec.audiences").collect();
    let audience = match audiences[..] {
        [] => "",
        [audience] => audience,
        _ => return refuse("node may only request 0 or 1 audiences"),
    };
    let projected = pod.items("spec.volumes").flat_map(|volume| volume.items("projected.sources"));
    let mounted = projected.filter(|source| source.has("serviceAccountToken")).any(|source| source.text("serviceAccountToken.audience") == audience);
    let ask = Attributes::resource(admission.user, "request-serviceaccounts-token-audience", "", audience, admission.namespace, admission.account);
    if mounted || driver_asks(pod, audience, admission)? || (!audience.is_empty() && admission.auth.allows(&ask)) {
        return Ok(());
    }
    refuse(&format!("{} is not authorized to request tokens for audience {}", admission.user.name, quote(audience)))
}

/// Who asks for a token for whom.
pub struct TokenAdmission<'a> {
    pub user: &'a crate::request::User,
    pub auth: &'a crate::auth::Auth,
    pub snapshot: &'a apiserver_store::Snapshot,
    pub namespace: &'a str,
    pub account: &'a str,
}

/// Whether a CSI driver of one of the Pod's volumes wants tokens for an audience.
fn driver_asks(pod: Object<'_>, audience: &str, admission: &TokenAdmission<'_>) -> Result<bool, Error> {
    const DRIVERS: Kind = Kind { group: "storage.k8s.io", version: "v1", kind: "CSIDriver", prefix: "/registry/csidrivers/" };
    const CLAIMS: Kind = Kind::core("PersistentVolumeClaim", "/registry/persistentvolumeclaims/");
    const VOLUMES: Kind = Kind::core("PersistentVolume", "/registry/persistentvolumes/");
    for volume in pod.items("spec.volumes") {
        let claim = if volume.has("ephemeral") {
            format!("{}-{}", pod.name(), volume.text("name"))
        } else {
            volume.text("persistentVolumeClaim.claimName").to_owned()
        };
        let driver = if claim.is_empty() {
            volume.text("csi.driver").to_owned()
        } else {
            let claim = CLAIMS.get(admission.snapshot, &format!("{}/{claim}", admission.namespace))?;
            let bound = claim.map(|claim| VOLUMES.get(admission.snapshot, claim.object().text("spec.volumeName"))).transpose()?.flatten();
            bound.map(|volume| volume.object().text("spec.csi.driver").to_owned()).unwrap_or_default()
        };
        if driver.is_empty() {
            continue;
        }
        let known = DRIVERS.get(admission.snapshot, &driver)?;
        if known.is_some_and(|driver| driver.object().items("spec.tokenRequests").any(|request| request.text("audience") == audience)) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use crate::admission::testing::{Case, object};
    use crate::auth::NODES;
    use crate::stage::Operation;

    async fn check(case: Case, expect: Result<(), &str>) {
        let case = case.by("system:node:n1", NODES);
        let (.., seen) = case.run(|tree, admission, _| super::admit(Some(object(tree)), admission)).await;
        assert_eq!(seen.map_err(|error| error.to_string()), expect.map_err(str::to_owned));
    }

    #[tokio::test]
    async fn a_kubelet_writes_its_own_node_only() {
        let node = |labels: &str| Case::create("", "Node", "", &format!(r#"{{"metadata":{{"labels":{labels}}}}}"#)).named("n1");
        check(node(r#"{"kubernetes.io/hostname":"n1","example.com/a":"b"}"#), Ok(())).await;
        check(node("{}").named("n2"), Err(r#"nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2""#)).await;
        let labels = r#"nodes "n1" is forbidden: node "n1" is not allowed to set the following labels: node-restriction.kubernetes.io/x, node-role.kubernetes.io/master"#;
        check(node(r#"{"node-role.kubernetes.io/master":"","node-restriction.kubernetes.io/x":"y"}"#), Err(labels)).await;
        let taint = Case::create("", "Node", "", r#"{"spec":{"taints":[]}}"#)
            .named("n1")
            .update(r#"{"spec":{"taints":[{"key":"a","effect":"NoSchedule"}]}}"#);
        check(taint, Err(r#"nodes "n1" is forbidden: node "n1" is not allowed to modify taints"#)).await;
    }

    #[tokio::test]
    async fn a_kubelet_creates_mirror_pods_and_deletes_its_own() {
        let node = ("/registry/minions/n1", r#"{"metadata":{"name":"n1","uid":"u"}}"#);
        let mirror = |spec: &str| {
            let owner = r#"[{"apiVersion":"v1","kind":"Node","name":"n1","uid":"u","controller":true}]"#;
            let metadata = format!(r#"{{"annotations":{{"kubernetes.io/config.mirror":"x"}},"ownerReferences":{owner}}}"#);
            Case::create("", "Pod", "ns", &format!(r#"{{"metadata":{metadata},"spec":{spec}}}"#)).rows(&[node])
        };
        check(mirror(r#"{"nodeName":"n1"}"#), Ok(())).await;
        check(mirror(r#"{"nodeName":"n2"}"#), Err(r#"pods "x" is forbidden: node "n1" can only create pods with spec.nodeName set to itself"#)).await;
        let secret = mirror(r#"{"nodeName":"n1","volumes":[{"name":"v","secret":{"secretName":"s"}}]}"#);
        check(secret, Err(r#"pods "x" is forbidden: node "n1" can not create pods that reference secrets"#)).await;
        let plain = Case::create("", "Pod", "ns", r#"{"spec":{"nodeName":"n1"}}"#);
        let annotation =
            r#"pods "x" is forbidden: pod does not have "kubernetes.io/config.mirror" annotation, node "n1" can only create mirror pods"#;
        check(plain, Err(annotation)).await;
        let delete =
            |node: &str| Case::create("", "Pod", "ns", "{}").update(&format!(r#"{{"spec":{{"nodeName":"{node}"}}}}"#)).operation(Operation::Delete);
        check(delete("n1"), Ok(())).await;
        check(delete("n2"), Err(r#"pods "x" is forbidden: node "n1" can only delete pods with spec.nodeName set to itself"#)).await;
    }

    #[tokio::test]
    async fn a_kubelet_writes_the_status_of_its_own_pods() {
        let status = |node: &str, new: &str| {
            Case::create("", "Pod", "ns", new)
                .update(&format!(r#"{{"metadata":{{"labels":{{"a":"b"}}}},"spec":{{"nodeName":"{node}"}}}}"#))
                .subresource("status")
        };
        check(status("n1", r#"{"metadata":{"labels":{"a":"b"}},"status":{"phase":"Running"}}"#), Ok(())).await;
        check(status("n1", "{}"), Err(r#"pods "x" is forbidden: node "n1" cannot update labels through pod status"#)).await;
        let stranger = r#"pods "x" is forbidden: node "n1" can only update pod status for pods with spec.nodeName set to itself"#;
        check(status("n2", "{}"), Err(stranger)).await;
    }

    #[tokio::test]
    async fn leases_carry_the_nodes_name() {
        let lease = |namespace: &str, name: &str| Case::create("coordination.k8s.io", "Lease", namespace, "{}").named(name);
        check(lease("kube-node-lease", "n1"), Ok(())).await;
        let name = r#"leases.coordination.k8s.io "n2" is forbidden: can only access node lease with the same name as the requesting node"#;
        check(lease("kube-node-lease", "n2"), Err(name)).await;
        let namespace = r#"leases.coordination.k8s.io "n1" is forbidden: can only access leases in the "kube-node-lease" system namespace"#;
        check(lease("default", "n1"), Err(namespace)).await;
    }

    #[tokio::test]
    async fn others_are_not_restricted() {
        let case = Case::create("", "Node", "", "{}").named("n2");
        let (.., seen) = case.run(|tree, admission, _| super::admit(Some(object(tree)), admission)).await;
        assert!(seen.is_ok());
    }
}
