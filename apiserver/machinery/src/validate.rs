//! A stand-in of the lead until the author puts the real module here: replace the whole file. `openapi(schema, object, errors)`.
use crate::{field, schema::Schema, tree::Struct};
pub fn openapi(_: &Schema, _: &Struct, _: &mut Vec<field::Error>) {}
