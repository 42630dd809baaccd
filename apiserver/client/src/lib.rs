//! How components reach the API server: a client from a kubeconfig or in process, informers that share watches, an event recorder, leader election.
//!
//! It decides nothing about objects. Reads come from memory; writes go through [`kube::Api`] as patches, applies and creates, never as a PUT of a
//! typed struct, which would drop the fields that the struct does not know.

pub mod config;
mod error;
pub mod informer;
pub mod leader;
pub mod recorder;
mod retry;
pub mod time;
mod transport;

pub use error::Error;
pub use informer::{Event, Events, Index, Informer, Informers, ObjectKey};
pub use kube::Client;
pub use recorder::{EventType, Recorder};
