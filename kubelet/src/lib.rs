//! The node agent: it runs the Pods bound to its node through a container runtime and tells the API server how they are.

mod backoff;
mod cgroup;
mod container;
mod dns;
mod downward;
mod env;
mod pod;
mod pod_worker;
mod sandbox;
mod security;
mod status;
mod view;
mod volume;
