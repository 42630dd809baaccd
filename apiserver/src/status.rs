//! Every error of the API server, and the metav1.Status that Kubernetes gives for it. Nothing else turns errors into HTTP.

use apiserver_machinery::{Str, field};
use serde::Serialize;
use std::borrow::Cow;

/// What went wrong with a request. Names are those of metav1's StatusReason.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    BadRequest(Cow<'static, str>),
    #[error("Unauthorized")]
    Unauthorized,
    /// `who` may not do this; the message is whole.
    #[error("{message}")]
    Forbidden { group: Str, resource: Str, name: Str, message: String },
    /// No such object.
    #[error("{} \"{name}\" not found", qualified(resource, group))]
    NotFound { group: Str, resource: Str, name: Str },
    /// No such path, group, version or resource.
    #[error("the server could not find the requested resource")]
    NoSuchPath,
    #[error("{} \"{name}\" already exists", qualified(resource, group))]
    AlreadyExists { group: Str, resource: Str, name: Str },
    #[error("Operation cannot be fulfilled on {} \"{name}\": {message}", qualified(resource, group))]
    Conflict { group: Str, resource: Str, name: Str, message: Cow<'static, str>, causes: Vec<Cause> },
    /// Conflicts of server-side apply; the message is whole.
    #[error("{message}")]
    ApplyConflict { message: String, causes: Vec<Cause> },
    #[error("{kind} \"{name}\" is invalid: {message}", kind = qualified(kind, group))]
    Invalid { group: Str, kind: Str, name: Str, message: String, causes: Vec<Cause> },
    /// A JSON patch that does not apply to this object.
    #[error("the server rejected our request due to an error in our request")]
    Unprocessable,
    /// What upstream has no reason for.
    #[error("{0}")]
    Unclassified(String),
    #[error("the server does not allow this method on the requested resource")]
    MethodNotAllowed,
    /// `routed`: refused by the router rather than by the codecs, which Kubernetes says with empty details.
    #[error("{message}")]
    NotAcceptable { message: String, routed: bool },
    #[error("{message}")]
    UnsupportedMediaType { message: String, routed: bool },
    /// A resource version or continue token that is gone: reason Expired.
    #[error("{message}")]
    Expired { message: Cow<'static, str>, continue_token: Option<String> },
    #[error("Timeout: {message}")]
    Timeout { message: String, causes: Vec<Cause>, retry_after_seconds: u32 },
    #[error("The {operation} operation against {} could not be completed at this time, please try again.", qualified(resource, group))]
    ServerTimeout { group: Str, resource: Str, operation: Str, retry_after_seconds: u32 },
    #[error("Request entity too large: {0}")]
    TooLarge(Cow<'static, str>),
    #[error("{message}")]
    TooManyRequests { message: Cow<'static, str>, retry_after_seconds: u32, causes: Vec<Cause> },
    #[error("{0}")]
    Unavailable(Cow<'static, str>),
    #[error("Internal error occurred: {0}")]
    Internal(String),
    /// A Status from elsewhere, passed on as it is.
    #[error("{}", .0.message)]
    Status(Box<Status>),
}

/// metav1.StatusCause.
#[derive(Clone, Debug, Serialize, PartialEq, Eq, Default)]
pub struct Cause {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: Str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// metav1.Status.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    kind: &'static str,
    api_version: &'static str,
    metadata: ListMeta,
    pub status: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
    #[serde(skip_serializing_if = "is_zero")]
    pub code: u16,
}

#[derive(Clone, Debug, Serialize, PartialEq, Eq, Default)]
struct ListMeta {
    #[serde(skip_serializing_if = "Option::is_none", rename = "continue")]
    continue_token: Option<String>,
}

/// metav1.StatusDetails.
#[derive(Clone, Debug, Serialize, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: Str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub group: Str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub kind: Str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub uid: Str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    #[serde(skip_serializing_if = "is_zero32")]
    pub retry_after_seconds: u32,
}

fn is_zero(code: &u16) -> bool {
    *code == 0
}

fn is_zero32(seconds: &u32) -> bool {
    *seconds == 0
}

/// `deployments.apps`, or the bare name in the core group.
fn qualified(name: &str, group: &str) -> Str {
    if group.is_empty() { name.into() } else { compact_str::format_compact!("{name}.{group}") }
}

impl Status {
    /// A failure with details.
    pub fn failure(code: u16, reason: &'static str, message: String, details: Option<Details>) -> Self {
        Self {
            kind: "Status",
            api_version: "v1",
            metadata: ListMeta::default(),
            status: "Failure",
            message,
            reason: Cow::Borrowed(reason),
            details,
            code,
        }
    }

    /// What a delete answers once the object is gone.
    pub fn success(details: Option<Details>) -> Self {
        Self {
            kind: "Status",
            api_version: "v1",
            metadata: ListMeta::default(),
            status: "Success",
            message: String::new(),
            reason: Cow::Borrowed(""),
            details,
            code: 0,
        }
    }

    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Error {
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Error::BadRequest(message.into())
    }

    /// The Status that Kubernetes gives for this error.
    pub fn status(&self) -> Status {
        let message = self.to_string();
        let named =
            |group: &Str, kind: &Str, name: &Str| Details { group: group.clone(), kind: kind.clone(), name: name.clone(), ..Details::default() };
        match self {
            Error::BadRequest(_) => Status::failure(400, "BadRequest", message, None),
            Error::Unauthorized => Status::failure(401, "Unauthorized", message, None),
            Error::Forbidden { group, resource, name, .. } => Status::failure(403, "Forbidden", message, Some(named(group, resource, name))),
            Error::NotFound { group, resource, name } => Status::failure(404, "NotFound", message, Some(named(group, resource, name))),
            Error::NoSuchPath => Status::failure(404, "NotFound", message, Some(Details::default())),
            Error::AlreadyExists { group, resource, name } => Status::failure(409, "AlreadyExists", message, Some(named(group, resource, name))),
            Error::Conflict { group, resource, name, causes, .. } => {
                Status::failure(409, "Conflict", message, Some(Details { causes: causes.clone(), ..named(group, resource, name) }))
            }
            Error::ApplyConflict { causes, .. } => {
                Status::failure(409, "Conflict", message, Some(Details { causes: causes.clone(), ..Details::default() }))
            }
            Error::Invalid { group, kind, name, causes, .. } => {
                Status::failure(422, "Invalid", message, Some(Details { causes: causes.clone(), ..named(group, kind, name) }))
            }
            Error::Unclassified(_) => Status::failure(500, "", message, None),
            Error::Unprocessable => Status::failure(422, "Invalid", message, Some(Details::default())),
            Error::MethodNotAllowed => Status::failure(405, "MethodNotAllowed", message, Some(Details::default())),
            Error::NotAcceptable { routed, .. } => Status::failure(406, "NotAcceptable", message, routed.then(Details::default)),
            Error::UnsupportedMediaType { routed, .. } => Status::failure(415, "UnsupportedMediaType", message, routed.then(Details::default)),
            Error::Expired { continue_token, .. } => {
                let mut status = Status::failure(410, "Expired", message, None);
                status.metadata.continue_token = continue_token.clone();
                status
            }
            Error::Timeout { causes, retry_after_seconds, .. } => Status::failure(
                504,
                "Timeout",
                message,
                Some(Details { causes: causes.clone(), retry_after_seconds: *retry_after_seconds, ..Details::default() }),
            ),
            Error::ServerTimeout { group, resource, operation, retry_after_seconds } => Status::failure(
                500,
                "ServerTimeout",
                message,
                Some(Details { retry_after_seconds: *retry_after_seconds, ..named(group, resource, operation) }),
            ),
            Error::TooLarge(_) => Status::failure(413, "RequestEntityTooLarge", message, None),
            Error::TooManyRequests { retry_after_seconds, causes, .. } => Status::failure(
                429,
                "TooManyRequests",
                message,
                Some(Details { causes: causes.clone(), retry_after_seconds: *retry_after_seconds, ..Details::default() }),
            ),
            Error::Unavailable(_) => Status::failure(503, "ServiceUnavailable", message, None),
            Error::Internal(cause) => Status::failure(
                500,
                "InternalError",
                message,
                Some(Details { causes: vec![Cause { message: cause.clone(), ..Cause::default() }], ..Details::default() }),
            ),
            Error::Status(status) => (**status).clone(),
        }
    }
}

/// What a validation that found faults answers.
pub fn invalid(resource: &crate::resource::Resource, name: &str, errors: Vec<field::Error>) -> Error {
    invalid_as(&resource.group, &resource.kind, name, errors)
}

/// As [`invalid`], of a kind that the resource itself is not (`Scale`, `Binding`).
pub fn invalid_as(group: &str, kind: &str, name: &str, errors: Vec<field::Error>) -> Error {
    let causes =
        errors.iter().map(|error| Cause { reason: error.kind.reason().into(), message: error.body(), field: error.field.to_string() }).collect();
    Error::Invalid { group: group.into(), kind: kind.into(), name: name.into(), message: field::aggregate(&errors), causes }
}

impl From<apiserver_store::StoreError> for Error {
    fn from(error: apiserver_store::StoreError) -> Self {
        Error::Unavailable(error.to_string().into())
    }
}

impl From<apiserver_store::CommitError> for Error {
    fn from(error: apiserver_store::CommitError) -> Self {
        use apiserver_store::CommitError;
        match error {
            CommitError::ValueTooLarge { .. } | CommitError::TxnTooLarge { .. } | CommitError::KeyTooLarge { .. } => {
                Error::TooLarge(error.to_string().into())
            }
            CommitError::Full => Error::Internal(error.to_string()),
            // Whether it was written will be known only later.
            CommitError::Unknown { .. } => Error::Timeout { message: error.to_string(), causes: Vec::new(), retry_after_seconds: 1 },
            other => Error::Unavailable(other.to_string().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_object_names_its_group_and_resource() {
        let error = Error::NotFound { group: "apps".into(), resource: "deployments".into(), name: "web".into() };
        let status = String::from_utf8(error.status().to_json()).unwrap();
        assert_eq!(
            status,
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"deployments.apps \"web\" not found","reason":"NotFound","details":{"name":"web","group":"apps","kind":"deployments"},"code":404}"#
        );
    }
}
