//! A stand-in of the lead until the author puts the real module here: replace the whole file. `apply(shape, object)`.
use crate::{schema::Shape, tree::Struct};
pub fn apply(_: &Shape, _: &mut Struct) {}
