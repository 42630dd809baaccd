//! The rules of where a Pod fits, which scheduler, kubelet, DaemonSets and quota share: what a Pod asks for, its QoS class,
//! taints and tolerations, node affinity, label selectors, and the questions everybody asks of a Pod's status.
//!
//! Everything here is pure and typed on `k8s-openapi`; compiled forms borrow from the object they were made from. It does not
//! know nodes' free capacity, caches or clients, and it does not validate objects: what the API server let in is taken as it is.

pub mod affinity;
pub mod pod;
pub mod qos;
pub mod quantity;
pub mod resources;
pub mod selector;
pub mod taint;

pub use affinity::{NodeSelector, PreferredNodeAffinity, RequiredNodeAffinity};
pub use quantity::Amount;
pub use resources::{Counted, ResourceList, pod_limits, pod_requests};
pub use selector::Selector;

/// Why a selector cannot be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{path}.operator: Unsupported value: {operator:?}")]
    Operator { path: String, operator: String },
    #[error("{operator:?} is not a valid label selector operator")]
    LabelSelectorOperator { operator: String },
    #[error("{path}.values: Invalid value: {values:?}: {problem}")]
    Values { path: String, values: Vec<String>, problem: &'static str },
    #[error("{path}.key: Invalid value: {key:?}: not a label key")]
    LabelKey { path: String, key: String },
    #[error("{path}.values: Invalid value: {value:?}: not a label value")]
    LabelValue { path: String, value: String },
}
