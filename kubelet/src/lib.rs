//! The node agent: it runs the Pods bound to its node through a container runtime and tells the API server how they are.

mod backoff;
mod pod;
mod pod_worker;
mod status;
mod view;
