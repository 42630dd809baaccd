use crate::resource::Column; pub struct ColumnRow; impl ColumnRow { pub fn build(&self)->Column { unreachable!() } }
pub const CREATED_AT: &[ColumnRow]=&[];
pub const NAME_AND_AGE: &[ColumnRow]=&[];
pub mod autoscaling { use super::ColumnRow; pub const AUTOSCALER: &[ColumnRow]=&[]; }
pub mod certificates { use super::ColumnRow; pub const POD_CERTIFICATE: &[ColumnRow]=&[]; pub const SIGNING_REQUEST: &[ColumnRow]=&[]; pub const TRUST_BUNDLE: &[ColumnRow]=&[]; }
pub mod core { use super::ColumnRow; pub const COMPONENT_STATUS: &[ColumnRow]=&[]; pub const CONFIG_MAP: &[ColumnRow]=&[]; pub const LEASE: &[ColumnRow]=&[]; pub const NAMESPACE: &[ColumnRow]=&[]; pub const RESOURCE_QUOTA: &[ColumnRow]=&[]; pub const SECRET: &[ColumnRow]=&[]; }
pub mod dra { use super::ColumnRow; pub const CLAIM: &[ColumnRow]=&[]; pub const SLICE: &[ColumnRow]=&[]; pub const TAINT_RULE: &[ColumnRow]=&[]; }
pub mod event { use super::ColumnRow; pub const EVENT: &[ColumnRow]=&[]; }
pub mod extension { use super::ColumnRow; pub const API_SERVICE: &[ColumnRow]=&[]; pub const DEFINITION: &[ColumnRow]=&[]; pub const MUTATING_POLICY: &[ColumnRow]=&[]; pub const POLICY_BINDING: &[ColumnRow]=&[]; pub const VALIDATING_POLICY: &[ColumnRow]=&[]; pub const WEBHOOKS: &[ColumnRow]=&[]; }
pub mod node { use super::ColumnRow; pub const NODE: &[ColumnRow]=&[]; pub const RUNTIME_CLASS: &[ColumnRow]=&[]; }
pub mod pod { use super::ColumnRow; pub const POD: &[ColumnRow]=&[]; }
pub mod policy { use super::ColumnRow; pub const BINDING: &[ColumnRow]=&[]; pub const BUDGET: &[ColumnRow]=&[]; pub const FLOW_SCHEMA: &[ColumnRow]=&[]; pub const PRIORITY_CLASS: &[ColumnRow]=&[]; pub const PRIORITY_LEVEL: &[ColumnRow]=&[]; }
pub mod service { use super::ColumnRow; pub const ENDPOINTS: &[ColumnRow]=&[]; pub const ENDPOINT_SLICE: &[ColumnRow]=&[]; pub const INGRESS: &[ColumnRow]=&[]; pub const INGRESS_CLASS: &[ColumnRow]=&[]; pub const IP_ADDRESS: &[ColumnRow]=&[]; pub const NETWORK_POLICY: &[ColumnRow]=&[]; pub const SERVICE: &[ColumnRow]=&[]; pub const SERVICE_CIDR: &[ColumnRow]=&[]; }
pub mod storage { use super::ColumnRow; pub const ATTACHMENT: &[ColumnRow]=&[]; pub const ATTRIBUTES_CLASS: &[ColumnRow]=&[]; pub const CLAIM: &[ColumnRow]=&[]; pub const CLASS: &[ColumnRow]=&[]; pub const CSI_NODE: &[ColumnRow]=&[]; pub const DRIVER: &[ColumnRow]=&[]; pub const MIGRATION: &[ColumnRow]=&[]; pub const VOLUME: &[ColumnRow]=&[]; }
pub mod workload { use super::ColumnRow; pub const CONTROLLER_REVISION: &[ColumnRow]=&[]; pub const CRON_JOB: &[ColumnRow]=&[]; pub const DAEMON_SET: &[ColumnRow]=&[]; pub const DEPLOYMENT: &[ColumnRow]=&[]; pub const JOB: &[ColumnRow]=&[]; pub const POD_TEMPLATE: &[ColumnRow]=&[]; pub const REPLICA_SET: &[ColumnRow]=&[]; pub const STATEFUL_SET: &[ColumnRow]=&[]; }
