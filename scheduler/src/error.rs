//! What can fail.

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("metrics: {0}")]
    Metrics(prometheus::Error),
    #[error("leader election: {0}")]
    Lead(apiserver_client::Error),
    #[error("encoding a binding: {0}")]
    EncodeBinding(serde_json::Error),
    #[error("{}", said(.0))]
    Bind(Box<kube::Error>),
    #[error("{}", said(.0))]
    PatchStatus(Box<kube::Error>),
}

/// What the server answered, in its own words.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
