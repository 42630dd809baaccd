//! Pure API semantics: the schema table, object trees, their codecs, and what Kubernetes does to objects before they are stored.
//!
//! Nothing here reads a file, a socket or a clock.

pub mod apply;
pub mod builtin;
pub mod codec;
pub mod custom;
pub mod defaults;
pub mod field;
pub mod fields;
pub mod json;
pub mod labels;
pub mod names;
pub mod patch;
pub mod protobuf;
pub mod quantity;
pub mod revision;
pub mod schema;
pub mod structural;
pub mod text;
pub mod time;
pub mod tree;
pub mod validate;
mod wire;
pub mod yaml;

pub use compact_str::CompactString as Str;
