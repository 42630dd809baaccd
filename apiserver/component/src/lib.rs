//! What every Corten process is made of: named tasks, shutdown, the clock, metrics, tracing and TLS that reloads.
//!
//! It knows nothing of Kubernetes objects and opens no connection of its own.

pub mod clock;
pub mod health;
pub mod metrics;
pub mod task;
pub mod tls;
pub mod trace;

pub use clock::Clock;
pub use task::{Shutdown, Tasks};
