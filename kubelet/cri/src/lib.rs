//! The Container Runtime Interface as the kubelet uses it: one trait, a gRPC client over a unix socket, and a fake.
//!
//! It translates nothing: requests and answers are the interface's own messages ([`v1`]). It keeps no state and retries
//! nothing; what a failed call means is the caller's to say.

mod client;
mod error;
pub mod fake;
mod runtime;

/// The messages of `runtime.v1`.
#[allow(clippy::all, missing_docs)]
pub mod v1 {
    tonic::include_proto!("runtime.v1");
}

pub use client::Client;
pub use error::{Error, Kind};
pub use runtime::{Call, EventStream, Runtime};
