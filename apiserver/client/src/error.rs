//! What can fail between a component and the API server.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading kubeconfig {path}: {source}")]
    ReadKubeconfig { path: PathBuf, source: std::io::Error },
    #[error("parsing kubeconfig {path}: {reason}")]
    ParseKubeconfig { path: PathBuf, reason: String },
    #[error("kubeconfig has no {what} named {name:?}")]
    NotInKubeconfig { what: &'static str, name: String },
    #[error("kubeconfig field {0} is missing")]
    MissingField(&'static str),
    #[error("kubeconfig field {field} cannot be used: {reason}")]
    BadField { field: &'static str, reason: String },
    #[error("not in a cluster: {0} is not set")]
    NotInCluster(&'static str),
    #[error("TLS: {0}")]
    Tls(#[from] apiserver_component::tls::Error),
    #[error("lease {lease}: {source}")]
    Lease { lease: String, source: Box<kube::Error> },
    #[error("lost the lease {0}")]
    LostLease(String),
}
