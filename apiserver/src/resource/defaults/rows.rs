//! What each type's absent fields become: Kubernetes' SetDefaults functions and `+default` markers, as rows.

use super::functions as f;
use super::{Fill, Step, Type, empty, fill, flag, number, run, text};

const fn of(name: &'static str, steps: &'static [Step]) -> Type {
    Type { name, steps }
}

#[rustfmt::skip]
pub(super) static TYPES: &[Type] = &[
    // Pods and everything inside them.
    of("api.core.v1.Pod", &[run(f::pod)]),
    of("api.core.v1.PodSpec", &[
        run(f::service_account_alias),
        text("dnsPolicy", "ClusterFirst"),
        text("restartPolicy", "Always"),
        empty("securityContext"),
        number("terminationGracePeriodSeconds", 30),
        text("schedulerName", "default-scheduler"),
    ]),
    of("api.core.v1.PodStatus", &[run(f::pod_ips)]),
    of("api.core.v1.Container", CONTAINER),
    of("api.core.v1.EphemeralContainer", CONTAINER),
    of("api.core.v1.ContainerPort", &[text("protocol", "TCP")]),
    of("api.core.v1.ResourceRequirements", &[run(f::round_requirements)]),
    of("api.core.v1.VolumeResourceRequirements", &[run(f::round_requirements)]),
    of("api.core.v1.Probe", &[
        number("timeoutSeconds", 1),
        number("periodSeconds", 10),
        number("successThreshold", 1),
        number("failureThreshold", 3),
    ]),
    of("api.core.v1.HTTPGetAction", &[text("path", "/"), text("scheme", "HTTP")]),
    of("api.core.v1.GRPCAction", &[text("service", "")]),
    of("api.core.v1.ObjectFieldSelector", &[text("apiVersion", "v1")]),
    of("api.core.v1.FileKeySelector", &[flag("optional", false)]),
    of("api.core.v1.Volume", &[run(f::volume)]),
    of("api.core.v1.HostPathVolumeSource", &[text("type", "")]),
    of("api.core.v1.SecretVolumeSource", &[number("defaultMode", 0o644)]),
    of("api.core.v1.ConfigMapVolumeSource", &[number("defaultMode", 0o644)]),
    of("api.core.v1.DownwardAPIVolumeSource", &[number("defaultMode", 0o644)]),
    of("api.core.v1.ProjectedVolumeSource", &[number("defaultMode", 0o644)]),
    of("api.core.v1.ServiceAccountTokenProjection", &[number("expirationSeconds", 3600)]),
    of("api.core.v1.ISCSIVolumeSource", &[text("iscsiInterface", "default")]),
    of("api.core.v1.ISCSIPersistentVolumeSource", &[text("iscsiInterface", "default")]),
    of("api.core.v1.RBDVolumeSource", RBD),
    of("api.core.v1.RBDPersistentVolumeSource", RBD),
    of("api.core.v1.AzureDiskVolumeSource", &[
        text("cachingMode", "ReadWrite"), text("fsType", "ext4"), flag("readOnly", false), text("kind", "Shared"),
    ]),
    of("api.core.v1.ScaleIOVolumeSource", SCALE_IO),
    of("api.core.v1.ScaleIOPersistentVolumeSource", SCALE_IO),

    // The rest of the core group.
    of("api.core.v1.EndpointPort", &[text("protocol", "TCP")]),
    of("api.core.v1.LimitRangeItem", &[run(f::limit_range_item)]),
    of("api.core.v1.Namespace", &[run(f::namespace)]),
    of("api.core.v1.NamespaceStatus", &[text("phase", "Active")]),
    of("api.core.v1.NodeStatus", &[run(f::node_status)]),
    of("api.core.v1.PersistentVolume", &[
        text("status.phase", "Pending"),
        text("spec.persistentVolumeReclaimPolicy", "Retain"),
        text("spec.volumeMode", "Filesystem"),
    ]),
    of("api.core.v1.PersistentVolumeSpec", &[run(f::round_capacity)]),
    of("api.core.v1.PersistentVolumeClaim", &[text("status.phase", "Pending")]),
    of("api.core.v1.PersistentVolumeClaimSpec", &[text("volumeMode", "Filesystem")]),
    of("api.core.v1.PersistentVolumeClaimStatus", &[run(f::round_capacity)]),
    of("api.core.v1.ReplicationController", &[run(f::replication_controller)]),
    of("api.core.v1.ReplicationControllerSpec", &[number("replicas", 1)]),
    of("api.core.v1.ResourceQuota", &[run(f::round_quota)]),
    of("api.core.v1.Secret", &[text("type", "Opaque")]),
    of("api.core.v1.Service", &[run(f::service)]),

    // Workloads.
    of("api.apps.v1.Deployment", &[
        number("spec.replicas", 1),
        text("spec.strategy.type", "RollingUpdate"),
        number("spec.revisionHistoryLimit", 10),
        number("spec.progressDeadlineSeconds", 600),
    ]),
    of("api.apps.v1.DeploymentStrategy", &[
        empty("rollingUpdate").when("type", "RollingUpdate"),
        text("rollingUpdate.maxUnavailable", "25%").when("type", "RollingUpdate"),
        text("rollingUpdate.maxSurge", "25%").when("type", "RollingUpdate"),
    ]),
    of("api.apps.v1.DaemonSet", &[
        text("spec.updateStrategy.type", "RollingUpdate"),
        number("spec.revisionHistoryLimit", 10),
    ]),
    of("api.apps.v1.DaemonSetUpdateStrategy", &[
        empty("rollingUpdate").when("type", "RollingUpdate"),
        number("rollingUpdate.maxUnavailable", 1).when("type", "RollingUpdate"),
        number("rollingUpdate.maxSurge", 0).when("type", "RollingUpdate"),
    ]),
    of("api.apps.v1.StatefulSet", &[
        text("spec.podManagementPolicy", "OrderedReady"),
        run(f::stateful_set_strategy),
        run(f::claim_templates),
        empty("spec.persistentVolumeClaimRetentionPolicy"),
        text("spec.persistentVolumeClaimRetentionPolicy.whenDeleted", "Retain"),
        text("spec.persistentVolumeClaimRetentionPolicy.whenScaled", "Retain"),
        number("spec.replicas", 1),
        number("spec.revisionHistoryLimit", 10),
    ]),
    of("api.apps.v1.StatefulSetUpdateStrategy", &[
        number("rollingUpdate.partition", 0).when("type", "RollingUpdate"),
        number("rollingUpdate.maxUnavailable", 1).when("type", "RollingUpdate"),
    ]),
    of("api.apps.v1.ReplicaSet", &[number("spec.replicas", 1)]),
    of("api.batch.v1.Job", &[run(f::job)]),
    of("api.batch.v1.PodFailurePolicyOnPodConditionsPattern", &[text("status", "True")]),
    of("api.batch.v1.CronJob", &[
        text("spec.concurrencyPolicy", "Allow"),
        flag("spec.suspend", false),
        number("spec.successfulJobsHistoryLimit", 3),
        number("spec.failedJobsHistoryLimit", 1),
    ]),
    of("api.autoscaling.v2.HorizontalPodAutoscaler", &[number("spec.minReplicas", 1), run(f::autoscaler_metrics), run(f::autoscaler_behavior)]),
    of("api.autoscaling.v1.HorizontalPodAutoscaler", &[number("spec.minReplicas", 1)]),

    // Network.
    of("api.discovery.v1.EndpointPort", &[text("name", ""), text("protocol", "TCP")]),
    of("api.networking.v1.NetworkPolicyPort", &[text("protocol", "TCP")]),
    of("api.networking.v1.NetworkPolicy", &[run(f::network_policy)]),
    of("api.networking.v1.IngressClassParametersReference", &[text("scope", "Cluster")]),

    // Access.
    of("api.rbac.v1.ClusterRoleBinding", &[text("roleRef.apiGroup", RBAC)]),
    of("api.rbac.v1.RoleBinding", &[text("roleRef.apiGroup", RBAC)]),
    of("api.rbac.v1.Subject", &[
        text("apiGroup", RBAC).when("kind", "User"),
        text("apiGroup", RBAC).when("kind", "Group"),
    ]),
    of("api.authentication.v1.TokenRequestSpec", &[number("expirationSeconds", 3600)]),
    of("api.certificates.v1.PodCertificateRequestSpec", &[number("maxExpirationSeconds", 86_400)]),

    // Storage, scheduling, devices.
    of("api.storage.v1.StorageClass", &[text("reclaimPolicy", "Delete"), text("volumeBindingMode", "Immediate")]),
    of("api.storage.v1.CSIDriver", &[
        flag("spec.attachRequired", true),
        flag("spec.podInfoOnMount", false),
        flag("spec.storageCapacity", false),
        text("spec.fsGroupPolicy", "ReadWriteOnceWithFSType"),
        fill("spec.volumeLifecycleModes", Fill::Only("Persistent")),
        flag("spec.requiresRepublish", false),
        flag("spec.seLinuxMount", false),
        flag("spec.preventPodSchedulingIfMissing", false),
    ]),
    of("api.scheduling.v1.PriorityClass", &[text("preemptionPolicy", "PreemptLowerPriority")]),
    of("api.resource.v1.ExactDeviceRequest", DEVICE_REQUEST),
    of("api.resource.v1.DeviceSubRequest", DEVICE_REQUEST),
    of("api.resource.v1.DeviceToleration", &[text("operator", "Equal")]),

    // The API's own configuration.
    of("api.admissionregistration.v1.ValidatingWebhook", WEBHOOK),
    of("api.admissionregistration.v1.MutatingWebhook", MUTATING_WEBHOOK),
    of("api.admissionregistration.v1.RuleWithOperations", &[text("scope", "*")]),
    of("api.admissionregistration.v1.NamedRuleWithOperations", &[text("scope", "*")]),
    of("api.admissionregistration.v1.ServiceReference", &[number("port", 443)]),
    of("api.admissionregistration.v1.ValidatingAdmissionPolicySpec", &[text("failurePolicy", "Fail")]),
    of("api.admissionregistration.v1.MutatingAdmissionPolicySpec", &[text("failurePolicy", "Fail")]),
    of("api.admissionregistration.v1.MatchResources", &[
        text("matchPolicy", "Equivalent"), empty("namespaceSelector"), empty("objectSelector"),
    ]),
    of("apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition", &[run(f::definition)]),
    of("apiextensions-apiserver.pkg.apis.apiextensions.v1.ServiceReference", &[number("port", 443)]),
    of("kube-aggregator.pkg.apis.apiregistration.v1.ServiceReference", &[number("port", 443)]),
    of("api.flowcontrol.v1.FlowSchemaSpec", &[number("matchingPrecedence", 1000)]),
    of("api.flowcontrol.v1.ExemptPriorityLevelConfiguration", &[number("nominalConcurrencyShares", 0), number("lendablePercent", 0)]),
    of("api.flowcontrol.v1.LimitedPriorityLevelConfiguration", &[number("nominalConcurrencyShares", 30), number("lendablePercent", 0)]),
    of("api.flowcontrol.v1.QueuingConfiguration", &[number("handSize", 8), number("queues", 64), number("queueLengthLimit", 50)]),
];

const RBAC: &str = "rbac.authorization.k8s.io";

const CONTAINER: &[Step] =
    &[run(f::image_pull_policy), text("terminationMessagePath", "/dev/termination-log"), text("terminationMessagePolicy", "File")];

const RBD: &[Step] = &[text("pool", "rbd"), text("user", "admin"), text("keyring", "/etc/ceph/keyring")];

const SCALE_IO: &[Step] = &[text("storageMode", "ThinProvisioned"), text("fsType", "xfs")];

const DEVICE_REQUEST: &[Step] = &[text("allocationMode", "ExactCount"), number("count", 1).when("allocationMode", "ExactCount")];

const WEBHOOK: &[Step] = &[
    text("failurePolicy", "Fail"),
    text("matchPolicy", "Equivalent"),
    empty("namespaceSelector"),
    empty("objectSelector"),
    number("timeoutSeconds", 10),
];

const MUTATING_WEBHOOK: &[Step] = &[
    text("failurePolicy", "Fail"),
    text("matchPolicy", "Equivalent"),
    empty("namespaceSelector"),
    empty("objectSelector"),
    number("timeoutSeconds", 10),
    text("reinvocationPolicy", "Never"),
];
