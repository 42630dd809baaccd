//! Pure API semantics: the schema table, object trees, their codecs, and what Kubernetes does to objects before they are stored.
//!
//! Nothing here reads a file, a socket or a clock.

pub mod schema;
pub mod tree;

pub use compact_str::CompactString as Str;
