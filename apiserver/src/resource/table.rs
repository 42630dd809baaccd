//! The table of built-in kinds: one row each. A new kind is a row here, and at most one file for the rules particular to it.
//!
//! What a row does not say has the usual value: the verbs of a stored resource, the singular in lower case, one version `v1`, and the
//! plural as the place in the store.

use super::columns::{self, ColumnRow};
use super::convert;
use super::{Columns, Convert, Resource, Rules, Scale, Served, Stored, Subresource};
use super::{
    admissionregistration, apiextensions, apiregistration, apps, autoscaling, batch, certificates, claim, configuration, coordination, dra, event,
    flowcontrol, namespace, networking, node, nodeclass, pod, policy, quota, rbac, review, scheduling, service, storage, storagemigration, volume,
};
use crate::request::Verb;
use apiserver_machinery::schema::{Shape, TypeId};
use apiserver_machinery::{Str, builtin};
use apiserver_store::Generation;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A built-in kind. See the builder functions for what each field means.
pub(super) struct Row {
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    singular: Option<&'static str>,
    short: &'static [&'static str],
    category: Option<&'static str>,
    namespaced: bool,
    verbs: &'static [Verb],
    subresources: &'static [Part],
    versions: &'static [Version],
    /// Group and version of the storage form, where it is not the first served version.
    storage: Option<(&'static str, &'static str)>,
    prefix: Option<&'static str>,
    columns: &'static [ColumnRow],
    rules: &'static Rules,
}

/// A subresource: its name, what discovery says its kind is, its verbs.
struct Part {
    name: &'static str,
    group: &'static str,
    version: &'static str,
    /// Empty: the resource's own.
    kind: &'static str,
    verbs: &'static [Verb],
    /// Spec replicas, status replicas and selector, of `scale`.
    scale: Option<(&'static str, &'static str, Option<&'static str>)>,
}

struct Version {
    name: &'static str,
    convert: Convert,
    columns: Option<&'static [ColumnRow]>,
}

const STORED: &[Verb] = &[Verb::Create, Verb::Delete, Verb::DeleteCollection, Verb::Get, Verb::List, Verb::Patch, Verb::Update, Verb::Watch];
const NO_COLLECTION_DELETE: &[Verb] = &[Verb::Create, Verb::Delete, Verb::Get, Verb::List, Verb::Patch, Verb::Update, Verb::Watch];
const CREATE: &[Verb] = &[Verb::Create];
const READ: &[Verb] = &[Verb::Get, Verb::List];
const UPDATE: &[Verb] = &[Verb::Update];
const GET: &[Verb] = &[Verb::Get];
const GET_PATCH_UPDATE: &[Verb] = &[Verb::Get, Verb::Patch, Verb::Update];
const CONNECT: &[Verb] = &[Verb::Create, Verb::Get];
const PROXY: &[Verb] = &[Verb::Create, Verb::Delete, Verb::Get, Verb::Patch, Verb::Update];
const V1: &[Version] = &[Version { name: "v1", convert: Convert::Same, columns: None }];

const fn row(group: &'static str, kind: &'static str, plural: &'static str) -> Row {
    Row {
        group,
        kind,
        plural,
        singular: None,
        short: &[],
        category: None,
        namespaced: false,
        verbs: STORED,
        subresources: &[],
        versions: V1,
        storage: None,
        prefix: None,
        columns: columns::NAME_AND_AGE,
        rules: &Rules::PLAIN,
    }
}

const fn part(name: &'static str, kind: &'static str, verbs: &'static [Verb]) -> Part {
    Part { name, group: "", version: "", kind, verbs, scale: None }
}

const STATUS: Part = part("status", "", GET_PATCH_UPDATE);

/// The kind of another group, as discovery shows it.
const fn foreign(name: &'static str, gvk: (&'static str, &'static str, &'static str), verbs: &'static [Verb]) -> Part {
    Part { name, group: gvk.0, version: gvk.1, kind: gvk.2, verbs, scale: None }
}

const fn scale(selector: Option<&'static str>) -> Part {
    Part {
        name: "scale",
        group: "autoscaling",
        version: "v1",
        kind: "Scale",
        verbs: GET_PATCH_UPDATE,
        scale: Some((".spec.replicas", ".status.replicas", selector)),
    }
}

impl Row {
    const fn namespaced(mut self) -> Self {
        self.namespaced = true;
        self
    }

    const fn singular(mut self, singular: &'static str) -> Self {
        self.singular = Some(singular);
        self
    }

    const fn short(mut self, short: &'static [&'static str]) -> Self {
        self.short = short;
        self
    }

    /// In `kubectl get all` or `api-extensions`.
    const fn category(mut self, category: &'static str) -> Self {
        self.category = Some(category);
        self
    }

    const fn verbs(mut self, verbs: &'static [Verb]) -> Self {
        self.verbs = verbs;
        self
    }

    const fn subresources(mut self, subresources: &'static [Part]) -> Self {
        self.subresources = subresources;
        self
    }

    /// Other than a single `v1`: preferred first.
    const fn versions(mut self, versions: &'static [Version]) -> Self {
        self.versions = versions;
        self
    }

    const fn stored_as(mut self, group: &'static str, version: &'static str) -> Self {
        self.storage = Some((group, version));
        self
    }

    /// Below /registry, where it is not the plural.
    const fn prefix(mut self, prefix: &'static str) -> Self {
        self.prefix = Some(prefix);
        self
    }

    const fn columns(mut self, columns: &'static [ColumnRow]) -> Self {
        self.columns = columns;
        self
    }

    const fn rules(mut self, rules: &'static Rules) -> Self {
        self.rules = rules;
        self
    }
}

const APIREGISTRATION: &str = "apiregistration.k8s.io";
const APPS: &str = "apps";
const EVENTS: &str = "events.k8s.io";
const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";
const AUTOSCALING: &str = "autoscaling";
const BATCH: &str = "batch";
const CERTIFICATES: &str = "certificates.k8s.io";
const NETWORKING: &str = "networking.k8s.io";
const POLICY: &str = "policy";
const RBAC: &str = "rbac.authorization.k8s.io";
const STORAGE: &str = "storage.k8s.io";
const ADMISSIONREGISTRATION: &str = "admissionregistration.k8s.io";
const APIEXTENSIONS: &str = "apiextensions.k8s.io";
const SCHEDULING: &str = "scheduling.k8s.io";
const COORDINATION: &str = "coordination.k8s.io";
const NODE: &str = "node.k8s.io";
const DISCOVERY: &str = "discovery.k8s.io";
const RESOURCE: &str = "resource.k8s.io";
const FLOWCONTROL: &str = "flowcontrol.apiserver.k8s.io";
const STORAGEMIGRATION: &str = "storagemigration.k8s.io";

/// In the order in which discovery shows them: groups by upstream's priority, resources by name within each.
#[rustfmt::skip]
static ROWS: &[Row] = &[
    row("", "Binding", "bindings").namespaced().verbs(CREATE).rules(&review::RULES),
    row("", "ComponentStatus", "componentstatuses").short(&["cs"]).verbs(READ).columns(columns::core::COMPONENT_STATUS),
    row("", "ConfigMap", "configmaps").short(&["cm"]).namespaced().columns(columns::core::CONFIG_MAP).rules(&configuration::CONFIG_MAP),
    row("", "Endpoints", "endpoints").singular("endpoints").short(&["ep"]).namespaced().prefix("services/endpoints").columns(columns::service::ENDPOINTS).rules(&service::ENDPOINTS),
    row("", "Event", "events").short(&["ev"]).namespaced().columns(columns::event::EVENT).rules(&event::RULES),
    row("", "LimitRange", "limitranges").short(&["limits"]).namespaced().columns(columns::CREATED_AT).rules(&quota::LIMIT_RANGE),
    row("", "Namespace", "namespaces").short(&["ns"]).verbs(NO_COLLECTION_DELETE).subresources(&[part("finalize", "", UPDATE), STATUS]).columns(columns::core::NAMESPACE).rules(&namespace::RULES),
    row("", "Node", "nodes").short(&["no"]).subresources(&[part("proxy", "NodeProxyOptions", PROXY), STATUS]).prefix("minions").columns(columns::node::NODE).rules(&node::RULES),
    row("", "PersistentVolumeClaim", "persistentvolumeclaims").short(&["pvc"]).namespaced().subresources(&[STATUS]).columns(columns::storage::CLAIM).rules(&claim::RULES),
    row("", "PersistentVolume", "persistentvolumes").short(&["pv"]).subresources(&[STATUS]).columns(columns::storage::VOLUME).rules(&volume::RULES),
    row("", "Pod", "pods").short(&["po"]).category("all").namespaced().subresources(PODS).columns(columns::pod::POD).rules(&pod::RULES),
    row("", "PodTemplate", "podtemplates").namespaced().columns(columns::workload::POD_TEMPLATE).rules(&apps::POD_TEMPLATE),
    row("", "ReplicationController", "replicationcontrollers").short(&["rc"]).category("all").namespaced().subresources(&[scale(Some(".spec.selector")), STATUS]).prefix("controllers").columns(columns::workload::REPLICA_SET).rules(&apps::REPLICATION_CONTROLLER),
    row("", "ResourceQuota", "resourcequotas").short(&["quota"]).namespaced().subresources(&[STATUS]).columns(columns::core::RESOURCE_QUOTA).rules(&quota::RESOURCE_QUOTA),
    row("", "Secret", "secrets").namespaced().columns(columns::core::SECRET).rules(&configuration::SECRET),
    row("", "ServiceAccount", "serviceaccounts").short(&["sa"]).namespaced().subresources(&[foreign("token", (AUTHENTICATION, "v1", "TokenRequest"), CREATE)]).rules(&configuration::SERVICE_ACCOUNT),
    row("", "Service", "services").short(&["svc"]).category("all").namespaced().subresources(&[part("proxy", "ServiceProxyOptions", PROXY), STATUS]).prefix("services/specs").columns(columns::service::SERVICE).rules(&service::RULES),

    row(APIREGISTRATION, "APIService", "apiservices").category("api-extensions").subresources(&[STATUS]).prefix("apiregistration.k8s.io/apiservices").columns(columns::extension::API_SERVICE).rules(&apiregistration::RULES),

    row(APPS, "ControllerRevision", "controllerrevisions").namespaced().columns(columns::workload::CONTROLLER_REVISION).rules(&apps::CONTROLLER_REVISION),
    row(APPS, "DaemonSet", "daemonsets").short(&["ds"]).category("all").namespaced().subresources(&[STATUS]).columns(columns::workload::DAEMON_SET).rules(&apps::DAEMON_SET),
    row(APPS, "Deployment", "deployments").short(&["deploy"]).category("all").namespaced().subresources(&[scale(Some(".spec.selector")), STATUS]).columns(columns::workload::DEPLOYMENT).rules(&apps::DEPLOYMENT),
    row(APPS, "ReplicaSet", "replicasets").short(&["rs"]).category("all").namespaced().subresources(&[scale(Some(".spec.selector")), STATUS]).columns(columns::workload::REPLICA_SET).rules(&apps::REPLICA_SET),
    row(APPS, "StatefulSet", "statefulsets").short(&["sts"]).category("all").namespaced().subresources(&[scale(Some(".spec.selector")), STATUS]).columns(columns::workload::STATEFUL_SET).rules(&apps::STATEFUL_SET),

    row(EVENTS, "Event", "events").short(&["ev"]).namespaced().stored_as("", "v1").versions(EVENT_VERSIONS).columns(columns::event::EVENT).rules(&event::RULES),

    row(AUTHENTICATION, "SelfSubjectReview", "selfsubjectreviews").verbs(CREATE).rules(&review::RULES),
    row(AUTHENTICATION, "TokenReview", "tokenreviews").verbs(CREATE).rules(&review::RULES),

    row(AUTHORIZATION, "LocalSubjectAccessReview", "localsubjectaccessreviews").namespaced().verbs(CREATE).rules(&review::RULES),
    row(AUTHORIZATION, "SelfSubjectAccessReview", "selfsubjectaccessreviews").verbs(CREATE).rules(&review::RULES),
    row(AUTHORIZATION, "SelfSubjectRulesReview", "selfsubjectrulesreviews").verbs(CREATE).rules(&review::RULES),
    row(AUTHORIZATION, "SubjectAccessReview", "subjectaccessreviews").verbs(CREATE).rules(&review::RULES),

    row(AUTOSCALING, "HorizontalPodAutoscaler", "horizontalpodautoscalers").short(&["hpa"]).category("all").namespaced().versions(AUTOSCALER_VERSIONS).subresources(&[STATUS]).columns(columns::autoscaling::AUTOSCALER).rules(&autoscaling::RULES),

    row(BATCH, "CronJob", "cronjobs").short(&["cj"]).category("all").namespaced().subresources(&[STATUS]).columns(columns::workload::CRON_JOB).rules(&batch::CRON_JOB),
    row(BATCH, "Job", "jobs").category("all").namespaced().subresources(&[STATUS]).columns(columns::workload::JOB).rules(&batch::JOB),

    row(CERTIFICATES, "CertificateSigningRequest", "certificatesigningrequests").short(&["csr"]).subresources(&[part("approval", "", GET_PATCH_UPDATE), STATUS]).columns(columns::certificates::SIGNING_REQUEST).rules(&certificates::SIGNING_REQUEST),
    row(CERTIFICATES, "ClusterTrustBundle", "clustertrustbundles").columns(columns::certificates::TRUST_BUNDLE).rules(&certificates::TRUST_BUNDLE),
    row(CERTIFICATES, "PodCertificateRequest", "podcertificaterequests").namespaced().subresources(&[STATUS]).columns(columns::certificates::POD_CERTIFICATE).rules(&certificates::POD_CERTIFICATE),

    row(NETWORKING, "IngressClass", "ingressclasses").columns(columns::service::INGRESS_CLASS).rules(&networking::INGRESS_CLASS),
    row(NETWORKING, "Ingress", "ingresses").short(&["ing"]).namespaced().subresources(&[STATUS]).prefix("ingress").columns(columns::service::INGRESS).rules(&networking::INGRESS),
    row(NETWORKING, "IPAddress", "ipaddresses").short(&["ip"]).columns(columns::service::IP_ADDRESS).rules(&networking::IP_ADDRESS),
    row(NETWORKING, "NetworkPolicy", "networkpolicies").short(&["netpol"]).namespaced().columns(columns::service::NETWORK_POLICY).rules(&networking::NETWORK_POLICY),
    row(NETWORKING, "ServiceCIDR", "servicecidrs").subresources(&[STATUS]).columns(columns::service::SERVICE_CIDR).rules(&networking::SERVICE_CIDR),

    row(POLICY, "PodDisruptionBudget", "poddisruptionbudgets").short(&["pdb"]).namespaced().subresources(&[STATUS]).columns(columns::policy::BUDGET).rules(&policy::RULES),

    row(RBAC, "ClusterRoleBinding", "clusterrolebindings").columns(columns::policy::BINDING).rules(&rbac::BINDING),
    row(RBAC, "ClusterRole", "clusterroles").columns(columns::CREATED_AT).rules(&rbac::CLUSTER_ROLE),
    row(RBAC, "RoleBinding", "rolebindings").namespaced().columns(columns::policy::BINDING).rules(&rbac::BINDING),
    row(RBAC, "Role", "roles").namespaced().columns(columns::CREATED_AT).rules(&rbac::ROLE),

    row(STORAGE, "CSIDriver", "csidrivers").columns(columns::storage::DRIVER).rules(&storage::DRIVER),
    row(STORAGE, "CSINode", "csinodes").subresources(&[STATUS]).columns(columns::storage::CSI_NODE).rules(&storage::CSI_NODE),
    row(STORAGE, "CSIStorageCapacity", "csistoragecapacities").namespaced().columns(columns::CREATED_AT).rules(&storage::CAPACITY),
    row(STORAGE, "StorageClass", "storageclasses").short(&["sc"]).columns(columns::storage::CLASS).rules(&storage::CLASS),
    row(STORAGE, "VolumeAttachment", "volumeattachments").subresources(&[STATUS]).columns(columns::storage::ATTACHMENT).rules(&storage::ATTACHMENT),
    row(STORAGE, "VolumeAttributesClass", "volumeattributesclasses").short(&["vac"]).columns(columns::storage::ATTRIBUTES_CLASS).rules(&storage::ATTRIBUTES_CLASS),

    row(ADMISSIONREGISTRATION, "MutatingAdmissionPolicy", "mutatingadmissionpolicies").category("api-extensions").columns(columns::extension::MUTATING_POLICY).rules(&admissionregistration::MUTATING_POLICY),
    row(ADMISSIONREGISTRATION, "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings").category("api-extensions").columns(columns::extension::POLICY_BINDING).rules(&admissionregistration::BINDING),
    row(ADMISSIONREGISTRATION, "MutatingWebhookConfiguration", "mutatingwebhookconfigurations").category("api-extensions").columns(columns::extension::WEBHOOKS).rules(&admissionregistration::WEBHOOKS),
    row(ADMISSIONREGISTRATION, "ValidatingAdmissionPolicy", "validatingadmissionpolicies").category("api-extensions").subresources(&[STATUS]).columns(columns::extension::VALIDATING_POLICY).rules(&admissionregistration::VALIDATING_POLICY),
    row(ADMISSIONREGISTRATION, "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings").category("api-extensions").columns(columns::extension::POLICY_BINDING).rules(&admissionregistration::BINDING),
    row(ADMISSIONREGISTRATION, "ValidatingWebhookConfiguration", "validatingwebhookconfigurations").category("api-extensions").columns(columns::extension::WEBHOOKS).rules(&admissionregistration::WEBHOOKS),

    row(APIEXTENSIONS, "CustomResourceDefinition", "customresourcedefinitions").short(&["crd", "crds"]).category("api-extensions").subresources(&[STATUS]).prefix("apiextensions.k8s.io/customresourcedefinitions").columns(columns::extension::DEFINITION).rules(&apiextensions::RULES),

    row(SCHEDULING, "PriorityClass", "priorityclasses").short(&["pc"]).columns(columns::policy::PRIORITY_CLASS).rules(&scheduling::PRIORITY_CLASS),

    row(COORDINATION, "Lease", "leases").namespaced().columns(columns::core::LEASE).rules(&coordination::LEASE),

    row(NODE, "RuntimeClass", "runtimeclasses").columns(columns::node::RUNTIME_CLASS).rules(&nodeclass::RULES),

    row(DISCOVERY, "EndpointSlice", "endpointslices").namespaced().columns(columns::service::ENDPOINT_SLICE).rules(&service::ENDPOINT_SLICE),

    row(RESOURCE, "DeviceClass", "deviceclasses").rules(&dra::DEVICE_CLASS),
    row(RESOURCE, "DeviceTaintRule", "devicetaintrules").subresources(&[STATUS]).columns(columns::dra::TAINT_RULE).rules(&dra::TAINT_RULE),
    row(RESOURCE, "ResourceClaim", "resourceclaims").namespaced().subresources(&[STATUS]).columns(columns::dra::CLAIM).rules(&dra::CLAIM),
    row(RESOURCE, "ResourceClaimTemplate", "resourceclaimtemplates").namespaced().rules(&dra::TEMPLATE),
    row(RESOURCE, "ResourceSlice", "resourceslices").columns(columns::dra::SLICE).rules(&dra::SLICE),

    row(FLOWCONTROL, "FlowSchema", "flowschemas").subresources(&[STATUS]).columns(columns::policy::FLOW_SCHEMA).rules(&flowcontrol::FLOW_SCHEMA),
    row(FLOWCONTROL, "PriorityLevelConfiguration", "prioritylevelconfigurations").subresources(&[STATUS]).columns(columns::policy::PRIORITY_LEVEL).rules(&flowcontrol::PRIORITY_LEVEL),

    row(STORAGEMIGRATION, "StorageVersionMigration", "storageversionmigrations").subresources(&[STATUS]).columns(columns::storage::MIGRATION).rules(&storagemigration::RULES),
];

#[rustfmt::skip]
const PODS: &[Part] = &[
    part("attach", "PodAttachOptions", CONNECT),
    part("binding", "Binding", CREATE),
    part("ephemeralcontainers", "", GET_PATCH_UPDATE),
    foreign("eviction", (POLICY, "v1", "Eviction"), CREATE),
    part("exec", "PodExecOptions", CONNECT),
    part("log", "", GET),
    part("portforward", "PodPortForwardOptions", CONNECT),
    part("proxy", "PodProxyOptions", PROXY),
    part("resize", "", GET_PATCH_UPDATE),
    STATUS,
];

const EVENT_VERSIONS: &[Version] = &[Version {
    name: "v1",
    convert: Convert::Functions { to_storage: convert::event_to_core, from_storage: convert::event_from_core },
    columns: None,
}];

const AUTOSCALER_VERSIONS: &[Version] = &[
    Version { name: "v2", convert: Convert::Same, columns: None },
    Version {
        name: "v1",
        convert: Convert::Functions { to_storage: convert::autoscaler_v1_to_v2, from_storage: convert::autoscaler_v2_to_v1 },
        columns: None,
    },
];

impl Row {
    /// `None` where the schema lacks the kind, which a test rules out.
    fn build(&self) -> Option<Resource> {
        let (storage_group, storage_version) = self.storage.unwrap_or((self.group, self.versions[0].name));
        let storage = Stored {
            api_version: api_version(storage_group, storage_version),
            kind: self.kind.into(),
            shape: shape(builtin::gvk(storage_group, storage_version, self.kind)?),
            generation: Generation(0),
        };
        let versions = self.versions.iter().map(|version| {
            Some(Served {
                version: version.name.into(),
                shape: shape(builtin::gvk(self.group, version.name, self.kind)?),
                convert: version.convert,
                columns: Columns(version.columns.unwrap_or(self.columns).iter().map(ColumnRow::build).collect()),
                deprecated: None,
                open_api: None,
            })
        });
        Some(Resource {
            group: self.group.into(),
            kind: self.kind.into(),
            list_kind: format!("{}List", self.kind).into(),
            plural: self.plural.into(),
            singular: self.singular.map_or_else(|| self.kind.to_ascii_lowercase().into(), Str::from),
            short_names: self.short.iter().map(|name| Str::from(*name)).collect(),
            categories: self.category.into_iter().map(Str::from).collect(),
            namespaced: self.namespaced,
            verbs: self.verbs.to_vec(),
            subresources: self.subresources.iter().map(|part| part.build(self.kind)).collect(),
            versions: versions.collect::<Option<Vec<_>>>()?,
            storage,
            prefix: format!("/registry/{}/", self.prefix.unwrap_or(self.plural)).into(),
            rules: self.rules,
            custom: false,
            selectable_paths: Vec::new(),
            protobuf_readers: AtomicBool::new(false),
        })
    }
}

impl Part {
    fn build(&self, own: &str) -> Subresource {
        Subresource {
            name: self.name.into(),
            group: self.group.into(),
            version: self.version.into(),
            kind: if self.kind.is_empty() { own.into() } else { self.kind.into() },
            verbs: self.verbs.to_vec(),
            scale: self.scale.map(|(spec_replicas, status_replicas, selector)| Scale {
                spec_replicas: spec_replicas.into(),
                status_replicas: status_replicas.into(),
                selector: selector.map(Str::from),
            }),
        }
    }
}

fn shape(root: TypeId) -> Shape {
    Shape { schema: Arc::clone(builtin::schema()), root }
}

/// `apps/v1`; `v1` in the core group.
pub fn api_version(group: &str, version: &str) -> Str {
    if group.is_empty() { version.into() } else { compact_str::format_compact!("{group}/{version}") }
}

/// Every built-in resource, in discovery's order.
pub fn builtin_resources() -> Vec<Resource> {
    ROWS.iter().filter_map(Row::build).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_finds_its_types() {
        for row in ROWS {
            assert!(row.build().is_some(), "{}/{}", row.group, row.kind);
        }
    }

    #[test]
    fn a_row_says_what_discovery_shows() {
        let all = builtin_resources();
        let pods = all.iter().find(|resource| resource.plural == "pods").unwrap();
        assert_eq!((&*pods.singular, &*pods.prefix, &*pods.list_kind), ("pod", "/registry/pods/", "PodList"));
        assert_eq!(
            pods.subresources.iter().map(|part| &*part.name).collect::<Vec<_>>().join(","),
            "attach,binding,ephemeralcontainers,eviction,exec,log,portforward,proxy,resize,status"
        );
        let scale = all.iter().find(|r| r.plural == "deployments").unwrap().subresources.first().unwrap();
        assert_eq!((&*scale.group, &*scale.version, &*scale.kind), ("autoscaling", "v1", "Scale"));
    }
}
