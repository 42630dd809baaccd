//! The API server: authenticate ─► throttle ─► authorize ─► decode ─► propose ─► mutate ─► prepare ─► validate ─► commit ─► respond.
//!
//! `write.rs`, `read.rs` and `watch.rs` hold the three paths, each top to bottom in one place; `resource/` holds one row per kind.

mod admission;
mod allocate;
pub mod api;
pub mod auth;
mod body;
mod bootstrap;
mod collection;
mod connect;
mod convert;
mod custom;
pub mod discovery;
mod http;
mod local;
mod media;
mod meta;
mod metrics;
mod nonresource;
pub mod openapi;
mod options;
mod own;
mod present;
mod read;
pub mod request;
pub mod resource;
mod review;
mod scale;
mod select;
pub mod serve;
mod stage;
mod start;
pub mod status;
mod table;
#[cfg(test)]
mod tests;
mod watch;
mod write;

pub use api::{Api, Config};
pub use local::Local;
pub use start::{StartError, run, start};
pub use status::Error;
