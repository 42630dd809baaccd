//! What can go wrong with a runtime call.

use tonic::Code;

/// How a failed call should be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The sandbox, container or image does not exist.
    NotFound,
    /// The runtime is older than the call.
    Unimplemented,
    /// The runtime is not there, or went away during the call: the call may or may not have taken effect.
    Unavailable,
    /// The call ran out of time.
    Timeout,
    Other,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error("the runtime endpoint {endpoint:?} is not a unix socket path")]
    Endpoint { endpoint: String },
    /// Worded as gRPC clients word it, since it ends in events and statuses that people search for.
    #[error("rpc error: code = {} desc = {message}", code_name(*code))]
    Call { call: &'static str, code: Code, message: String },
    #[error("{call}: the runtime's answer lacks {field}")]
    Incomplete { call: &'static str, field: &'static str },
}

impl Error {
    pub(crate) fn of(call: &'static str, status: &tonic::Status) -> Self {
        Self::Call { call, code: status.code(), message: status.message().to_owned() }
    }

    pub fn kind(&self) -> Kind {
        match self {
            Self::Call { code, .. } => match code {
                Code::NotFound => Kind::NotFound,
                Code::Unimplemented => Kind::Unimplemented,
                Code::Unavailable => Kind::Unavailable,
                Code::DeadlineExceeded | Code::Cancelled => Kind::Timeout,
                _ => Kind::Other,
            },
            Self::Endpoint { .. } | Self::Incomplete { .. } => Kind::Other,
        }
    }

    pub fn is_not_found(&self) -> bool {
        self.kind() == Kind::NotFound
    }

    /// What the runtime said, without the gRPC wrapping.
    pub fn message(&self) -> String {
        match self {
            Self::Call { message, .. } => message.clone(),
            other => other.to_string(),
        }
    }
}

/// The code as Go's gRPC prints it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_as_grpc_clients_print_it() {
        let error = Error::of("PullImage", &tonic::Status::not_found("no such image"));
        assert_eq!(error.to_string(), "rpc error: code = NotFound desc = no such image");
        assert!(error.is_not_found());
        assert_eq!(error.message(), "no such image");
    }
}
