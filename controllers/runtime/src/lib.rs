//! What every controller is made of: a keyed queue, workers, plans and their execution, ownership.
//!
//! ```text
//!   informers ──► routes: event → keys ──► Queue ──► worker: observe (caches) → plan (pure) → execute → wait until own writes are seen
//!                                            ▲                                                   │
//!                                            └────────── again at a time, or after a failure ────┘
//! ```
//! A controller gives [`Rule::observe`] and [`Rule::plan`]; it never talks to the network. It knows no controller by name.

mod execute;
mod kind;
pub mod owner;
pub mod plan;
pub mod queue;
pub mod selector;
mod worker;

pub use execute::{Error, Executor};
pub use kind::{Kind, Target};
pub use plan::{Action, Failure, Plan};
pub use queue::Queue;
pub use selector::Selector;
pub use worker::{Context, Routes, Rule};
