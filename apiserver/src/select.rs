//! Which rows a list or watch shows: labels, fields and the name in the path, decided on a row's facts without decoding it.

use crate::Error;
use crate::options::Options;
use crate::request::Target;
use crate::resource::Resource;
use apiserver_machinery::{Str, fields, labels};
use apiserver_store::Row;

pub struct Selection {
    labels: labels::Selector,
    fields: fields::Selector,
    /// `/api/v1/namespaces/a/pods/web?watch=1` shows one object.
    name: Option<Str>,
}

impl Selection {
    /// Checks that the fields can be selected of this resource.
    pub fn new(resource: &Resource, target: &Target, options: &Options) -> Result<Selection, Error> {
        for term in options.field_selector.terms() {
            let known = match term.field.as_str() {
                "metadata.name" => true,
                "metadata.namespace" => resource.namespaced,
                field => resource.is_selectable(field),
            };
            if !known {
                let message = if resource.rules.selectable.is_empty() && resource.selectable_paths.is_empty() {
                    format!("\"{}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"", term.field)
                } else {
                    format!("field label not supported: {}", term.field)
                };
                return Err(Error::BadRequest(message.into()));
            }
        }
        let name = (!target.name.is_empty()).then(|| target.name.clone());
        Ok(Selection { labels: options.label_selector.clone(), fields: options.field_selector.clone(), name })
    }

    pub fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty() && self.name.is_none()
    }

    pub fn matches(&self, row: &Row) -> bool {
        if self.is_everything() {
            return true;
        }
        let facts = &row.facts;
        self.name.as_ref().is_none_or(|name| facts.field("metadata.name") == Some(name))
            && self.labels.matches(|label| facts.label(label))
            && self.fields.matches(|field| facts.field(field))
    }
}
