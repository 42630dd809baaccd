//! What types and fields are for, in upstream's words: see build.rs. Inflated when somebody asks.

use std::collections::HashMap;
use std::io::Read as _;

static DEFLATED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.deflate"));

/// The descriptions of all types, for the time of one rendering.
pub struct Descriptions {
    types: HashMap<String, Type>,
}

#[derive(Default)]
struct Type {
    text: String,
    fields: HashMap<String, String>,
}

impl Descriptions {
    pub fn load() -> Self {
        let mut text = String::new();
        if let Err(error) = flate2::read::DeflateDecoder::new(DEFLATED).read_to_string(&mut text) {
            tracing::error!(%error, "descriptions cannot be inflated");
        }
        let mut types: HashMap<String, Type> = HashMap::new();
        let mut current = String::new();
        for line in text.lines() {
            let Some((name, words)) = line.split_once('\t') else { continue };
            let words = words.replace("\\n", "\n");
            match name.strip_prefix('=') {
                Some(ty) => {
                    current = ty.to_owned();
                    types.entry(current.clone()).or_default().text = words;
                }
                None => {
                    types.entry(current.clone()).or_default().fields.insert(name.to_owned(), words);
                }
            }
        }
        Self { types }
    }

    pub fn of_type(&self, ty: &str) -> Option<&str> {
        self.types.get(ty).map(|own| own.text.as_str()).filter(|text| !text.is_empty())
    }

    pub fn of_field(&self, ty: &str, field: &str) -> Option<&str> {
        self.types.get(ty)?.fields.get(field).map(String::as_str).filter(|text| !text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_json_names() {
        let descriptions = Descriptions::load();
        assert!(descriptions.of_type("io.k8s.api.core.v1.ContainerPort").is_some_and(|text| text.contains("network port")));
        assert!(descriptions.of_field("io.k8s.api.core.v1.ContainerPort", "hostIP").is_some_and(|text| text.contains("host IP")));
        assert!(descriptions.of_field("io.k8s.api.core.v1.ContainerPort", "hostPort").is_some_and(|text| text.contains("0 < x < 65536")));
    }
}
