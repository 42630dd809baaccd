//! Objects in the form that a client asked for: whole, as metadata only, or as table rows; in JSON, YAML or protobuf; alone, in lists, in events.
//!
//! What lies in a row as it is wanted is copied, never decoded.

use crate::convert;
use crate::media::{Accept, Form, Format};
use crate::options::Options;
use crate::resource::{CellContext, Object};
use crate::serve::Found;
use crate::stage::commit::protobuf_draft;
use crate::{Error, table};
use apiserver_machinery::tree::Struct;
use apiserver_machinery::{json, protobuf, yaml};
use apiserver_store::{Revision, Row};
use bytes::{BufMut, Bytes, BytesMut};
use std::sync::Arc;

/// How one request wants to see the objects of one resource.
#[derive(Clone)]
pub struct View {
    pub found: Found,
    pub accept: Accept,
    pub include: table::Include,
    pub now: jiff::Timestamp,
}

/// What stands before the items of a list.
#[derive(Clone, Debug, Default)]
pub struct ListHead {
    pub revision: Revision,
    pub continue_token: Option<String>,
    pub remaining: Option<u64>,
}

impl View {
    pub fn new(found: &Found, accept: Accept, options: &Options, now: jiff::Timestamp) -> Self {
        Self { found: found.clone(), accept, include: table::Include::parse(&options.include_object), now }
    }

    pub fn media_type(&self) -> &'static str {
        self.accept.format.media_type()
    }

    /// One object as a document of its own.
    pub fn object(&self, row: &Row) -> Result<Bytes, Error> {
        self.object_at(row, row.modified)
    }

    /// The same with another resourceVersion, as a deletion shows it.
    pub fn object_at(&self, row: &Row, revision: Revision) -> Result<Bytes, Error> {
        match (self.accept.form, self.accept.format) {
            (Form::Whole, Format::Json) => self.json(row, revision),
            (Form::Whole, Format::Protobuf) => {
                let raw = self.protobuf(row, revision)?;
                let mut out = Vec::with_capacity(raw.len() + 64);
                protobuf::envelope::write(&self.found.api_version(), &self.found.resource.kind, &raw, &mut out);
                Ok(out.into())
            }
            _ => self.tree(&self.decoded(row, revision)?),
        }
    }

    /// An object that is no row: of a dry run. In the served version.
    pub fn tree(&self, tree: &Struct) -> Result<Bytes, Error> {
        let shape = &self.found.served().shape;
        let mut out = Vec::new();
        match self.accept.form {
            Form::Whole => encode(self.accept.format, &shape.schema, tree, &self.found.api_version(), &self.found.resource.kind, &mut out)?,
            Form::Table(version) => {
                let object = Object { schema: &shape.schema, tree };
                table::document(&self.found.served().columns, &[object], self.include, version, &table::ListMeta::of(object), self.cells(), &mut out);
                out = as_yaml(self.accept.format, out)?;
            }
            Form::Metadata(version) => {
                table::metadata_json(Object { schema: &shape.schema, tree }, Some(version), &mut out);
                out = metadata_in(self.accept.format, "PartialObjectMetadata", version, out)?;
            }
        }
        Ok(out.into())
    }

    /// An object as an event holds it. Column definitions of a table go with the first event only.
    pub fn object_in_event(&self, row: &Row, revision: Revision, with_headers: bool) -> Result<Bytes, Error> {
        match self.accept.form {
            Form::Table(version) if !with_headers => {
                let tree = self.decoded(row, revision)?;
                let object = Object { schema: &self.found.served().shape.schema, tree: &tree };
                let mut out = Vec::new();
                table::document_without_definitions(
                    &self.found.served().columns,
                    &[object],
                    self.include,
                    version,
                    &table::ListMeta::of(object),
                    self.cells(),
                    &mut out,
                );
                Ok(out.into())
            }
            _ => self.object_at(row, revision),
        }
    }

    /// A bookmark's object: in a table it is a row like any other.
    pub fn tree_in_event(&self, tree: &Struct) -> Result<Bytes, Error> {
        self.tree(tree)
    }

    fn cells(&self) -> CellContext {
        CellContext { now: self.now }
    }

    /// The object of a row in the served version, with a resourceVersion.
    pub fn decoded(&self, row: &Row, revision: Revision) -> Result<Struct, Error> {
        let mut tree = convert::stored(&self.found.resource, row)?;
        if revision != row.modified {
            tree.put(&self.found.resource.storage.shape.schema, "metadata.resourceVersion", revision.to_string());
        }
        self.found.from_storage(tree)
    }

    /// JSON of the whole object.
    fn json(&self, row: &Row, revision: Revision) -> Result<Bytes, Error> {
        if self.found.is_as_stored(row)
            && let Some(object) = row.object()
        {
            return Ok(object.json_at(revision));
        }
        let tree = self.decoded(row, revision)?;
        let mut out = Vec::with_capacity(row.bytes().len() + 64);
        json::encode(&self.found.served().shape.schema, &tree, &mut out);
        Ok(out.into())
    }

    /// The raw protobuf message of the whole object, kept in the row for those who come after.
    fn protobuf(&self, row: &Row, revision: Revision) -> Result<Bytes, Error> {
        if self.found.is_as_stored(row)
            && let Some(object) = row.object()
        {
            self.found.resource.note_protobuf();
            if let Some(bytes) = object.protobuf_at(revision) {
                return Ok(bytes);
            }
            let mut tree = convert::stored(&self.found.resource, row)?;
            let schema = &self.found.resource.storage.shape.schema;
            tree.take(schema, "metadata.resourceVersion");
            if let Some(draft) = protobuf_draft(schema, &tree) {
                object.fill_protobuf(draft);
            }
            if let Some(bytes) = object.protobuf_at(revision) {
                return Ok(bytes);
            }
        }
        let tree = self.decoded(row, revision)?;
        let mut out = Vec::new();
        protobuf::encode(&self.found.served().shape.schema, &tree, &mut out);
        Ok(out.into())
    }

    /// Appends an object as an item of a list. Items of typed lists do not repeat apiVersion and kind.
    pub fn item(&self, row: &Row, out: &mut BytesMut) -> Result<(), Error> {
        match (self.accept.form, self.accept.format) {
            (Form::Whole, Format::Json | Format::Yaml) => {
                let bytes = self.json(row, row.modified)?;
                if self.found.resource.custom {
                    out.extend_from_slice(&bytes);
                } else {
                    out.put_u8(b'{');
                    out.extend_from_slice(without_type(&bytes));
                }
            }
            (_, Format::Protobuf) => out.extend_from_slice(&self.raw_item(row)?),
            (Form::Metadata(version), _) => out.extend_from_slice(&self.metadata(row, version)?),
            (Form::Table(version), _) => {
                let tree = self.decoded(row, row.modified)?;
                let mut item = Vec::new();
                let object = Object { schema: &self.found.served().shape.schema, tree: &tree };
                table::row(&self.found.served().columns, object, self.include, version, self.cells(), &mut item);
                out.extend_from_slice(&item);
            }
        }
        Ok(())
    }

    /// The raw message of an item of a protobuf list.
    pub fn raw_item(&self, row: &Row) -> Result<Bytes, Error> {
        match self.accept.form {
            Form::Metadata(version) => Ok(metadata_raw("PartialObjectMetadata", version, &self.metadata(row, version)?)?.into()),
            _ => self.protobuf(row, row.modified),
        }
    }

    /// PartialObjectMetadata, which names its type also as an item of a list.
    fn metadata(&self, row: &Row, version: &str) -> Result<Vec<u8>, Error> {
        let tree = self.decoded(row, row.modified)?;
        let mut item = Vec::new();
        table::metadata_json(Object { schema: &self.found.served().shape.schema, tree: &tree }, Some(version), &mut item);
        Ok(item)
    }

    /// What stands before and after the items: (head, separator, tail).
    pub fn frame(&self, head: &ListHead) -> (Bytes, &'static [u8], &'static [u8]) {
        let mut out = Vec::with_capacity(256);
        match (self.accept.form, self.accept.format) {
            (Form::Whole, Format::Protobuf) | (Form::Metadata(_), Format::Protobuf) => {
                // The envelope needs the length of the whole: see `respond::list`.
                list_meta_protobuf(head, &mut out);
                (out.into(), b"", b"")
            }
            (Form::Whole, _) => {
                let (api_version, kind) = (self.found.api_version(), &self.found.resource.list_kind);
                json_head(kind, &api_version, head, &mut out);
                out.extend_from_slice(b",\"items\":[");
                (out.into(), b",", b"]}\n")
            }
            (Form::Metadata(version), _) => {
                json_head("PartialObjectMetadataList", &format!("meta.k8s.io/{version}"), head, &mut out);
                out.extend_from_slice(b",\"items\":[");
                (out.into(), b",", b"]}\n")
            }
            (Form::Table(version), _) => {
                json_head("Table", &format!("meta.k8s.io/{version}"), head, &mut out);
                table::definitions(&self.found.served().columns, &mut out);
                out.extend_from_slice(b",\"rows\":[");
                (out.into(), b",", b"]}\n")
            }
        }
    }

    /// api_version and kind of the whole list, for the envelope.
    pub fn list_type(&self) -> (String, String) {
        match self.accept.form {
            Form::Metadata(version) => (format!("meta.k8s.io/{version}"), "PartialObjectMetadataList".into()),
            _ => (self.found.api_version().to_string(), self.found.resource.list_kind.to_string()),
        }
    }
}

/// `{"kind":"PodList","apiVersion":"v1","metadata":{…}`: open, for more members.
fn json_head(kind: &str, api_version: &str, head: &ListHead, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"kind\":");
    json::write_string(kind, out);
    out.extend_from_slice(b",\"apiVersion\":");
    json::write_string(api_version, out);
    out.extend_from_slice(format!(",\"metadata\":{{\"resourceVersion\":\"{}\"", head.revision).as_bytes());
    if let Some(token) = &head.continue_token {
        out.extend_from_slice(b",\"continue\":");
        json::write_string(token, out);
    }
    if let Some(remaining) = head.remaining {
        out.extend_from_slice(format!(",\"remainingItemCount\":{remaining}").as_bytes());
    }
    out.push(b'}');
}

/// Field 1 of a list: ListMeta { selfLink 1, resourceVersion 2, continue 3, remainingItemCount 4 }.
fn list_meta_protobuf(head: &ListHead, out: &mut Vec<u8>) {
    let mut meta = BytesMut::new();
    let mut text = |number: u8, text: &str| {
        meta.put_u8(number << 3 | 2);
        varint(text.len() as u64, &mut meta);
        meta.extend_from_slice(text.as_bytes());
    };
    text(1, "");
    text(2, &head.revision.to_string());
    text(3, head.continue_token.as_deref().unwrap_or_default());
    if let Some(remaining) = head.remaining {
        meta.put_u8(4 << 3);
        varint(remaining, &mut meta);
    }
    let mut length = BytesMut::new();
    varint(meta.len() as u64, &mut length);
    out.push(0x0a);
    out.extend_from_slice(&length);
    out.extend_from_slice(&meta);
}

pub fn varint(mut number: u64, out: &mut BytesMut) {
    while number >= 0x80 {
        out.put_u8((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

/// Rows begin `{"kind":"Pod","apiVersion":"v1",`; what follows is what a list's item holds after its brace.
fn without_type(json: &[u8]) -> &[u8] {
    let member = |at: usize| json[at..].iter().position(|byte| *byte == b',').map(|comma| at + comma + 1);
    match json.starts_with(b"{\"kind\":").then(|| member(0)).flatten() {
        Some(second) if json[second..].starts_with(b"\"apiVersion\":") => member(second).map_or(&json[1..], |rest| &json[rest..]),
        _ => &json[1..],
    }
}

/// Encodes a whole object in any format.
pub fn encode(
    format: Format,
    schema: &Arc<apiserver_machinery::schema::Schema>,
    tree: &Struct,
    api_version: &str,
    kind: &str,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    match format {
        Format::Json => json::encode(schema, tree, out),
        Format::Yaml => yaml::encode(schema, tree, out).map_err(|error| Error::Internal(error.to_string()))?,
        Format::Protobuf => {
            let mut raw = Vec::new();
            protobuf::encode(schema, tree, &mut raw);
            protobuf::envelope::write(api_version, kind, &raw, out);
        }
    }
    Ok(())
}

/// JSON bytes as YAML, where that is wanted.
fn as_yaml(format: Format, bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
    if format == Format::Yaml { yaml_of_json(&bytes) } else { Ok(bytes) }
}

pub fn yaml_of_json(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    yaml::from_json(bytes).map_err(|error| Error::Internal(error.to_string()))
}

fn metadata_raw(kind: &str, version: &str, bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let shape = crate::stage::decode::builtin_shape("meta.k8s.io", version, kind)?;
    let tree = json::decode(&shape, bytes, &mut apiserver_machinery::codec::Report::ignore()).map_err(|error| Error::Internal(error.to_string()))?;
    let mut raw = Vec::new();
    protobuf::encode(&shape.schema, &tree, &mut raw);
    Ok(raw)
}

fn metadata_in(format: Format, kind: &str, version: &str, bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
    match format {
        Format::Json => Ok(bytes),
        Format::Yaml => as_yaml(format, bytes),
        Format::Protobuf => {
            let raw = metadata_raw(kind, version, &bytes)?;
            let mut out = Vec::new();
            protobuf::envelope::write(&format!("meta.k8s.io/{version}"), kind, &raw, &mut out);
            Ok(out)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_lose_their_type() {
        assert_eq!(without_type(br#"{"kind":"Pod","apiVersion":"v1","metadata":{}}"#), br#""metadata":{}}"#);
        assert_eq!(without_type(br#"{"metadata":{}}"#), br#""metadata":{}}"#);
    }

    #[test]
    fn a_list_head_says_what_is_left() {
        let mut out = Vec::new();
        let head = ListHead { revision: Revision(7), continue_token: Some("abc".into()), remaining: Some(3) };
        json_head("PodList", "v1", &head, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7","continue":"abc","remainingItemCount":3}"#
        );
    }
}
