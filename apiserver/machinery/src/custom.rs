//! A stand-in of the lead until the author puts the real module here: replace the whole file. `shape(declared openAPIV3Schema, preserveUnknownFields)`.
use crate::{field, schema::Shape};
pub fn shape(_: Option<&serde_json::Value>, _: bool) -> Result<Shape, Vec<field::Error>> {
    Err(Vec::new())
}
