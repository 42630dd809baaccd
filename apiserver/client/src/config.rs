//! Clients: from a kubeconfig file, from inside a Pod, or in process over a tower service.
//!
//! Of a kubeconfig, certificates (inline or in files, which are followed), tokens and impersonation are known; exec and auth-provider plugins are not.

pub use crate::transport::{Settings, Token, client};

use crate::Error;
use crate::retry::Retry;
use apiserver_component::tls::{Authorities, Identity, Pem, ServerTrust};
use base64::Engine;
use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Request, Response};
use kube::client::Body;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tower::{BoxError, Service};

const SERVICE_ACCOUNT_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A client that calls `service` directly: no socket, no TLS. The service decides who the caller is.
pub fn in_process<S, B>(service: S) -> kube::Client
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError> + Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    kube::Client::new(Retry(service), "default")
}

/// A client from the kubeconfig at `path`, as its `context`, or its current one.
pub fn from_kubeconfig(path: &Path, context: Option<&str>) -> Result<kube::Client, Error> {
    client(settings_from_kubeconfig(path, context)?)
}

/// What [`from_kubeconfig`] would use.
pub fn settings_from_kubeconfig(path: &Path, context: Option<&str>) -> Result<Settings, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::ReadKubeconfig { path: path.into(), source })?;
    let kubeconfig: Kubeconfig =
        serde_saphyr::from_str(&text).map_err(|error| Error::ParseKubeconfig { path: path.into(), reason: error.to_string() })?;
    kubeconfig.settings(path.parent().unwrap_or(Path::new("")), context)
}

/// A client from the environment and the mounted ServiceAccount of a Pod.
pub fn in_cluster() -> Result<kube::Client, Error> {
    let variable = |name| std::env::var(name).map_err(|_| Error::NotInCluster(name));
    let (host, port) = (variable("KUBERNETES_SERVICE_HOST")?, variable("KUBERNETES_SERVICE_PORT")?);
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let dir = Path::new(SERVICE_ACCOUNT_DIR);
    client(Settings {
        server: parse_server(&format!("https://{host}:{port}"))?,
        trust: ServerTrust::Authorities(Authorities::new(Pem::File(dir.join("ca.crt")))?),
        identity: None,
        server_name: None,
        token: Some(Token::File(dir.join("token"))),
        headers: Vec::new(),
        namespace: std::fs::read_to_string(dir.join("namespace")).map_or_else(|_| "default".into(), |text| text.trim().to_string()),
    })
}

fn parse_server(text: &str) -> Result<http::Uri, Error> {
    text.parse().map_err(|error: http::uri::InvalidUri| Error::BadField { field: "server", reason: error.to_string() })
}

#[derive(Deserialize)]
struct Kubeconfig {
    #[serde(rename = "current-context", default)]
    current_context: Option<String>,
    #[serde(default)]
    contexts: Vec<NamedContext>,
    #[serde(default)]
    clusters: Vec<NamedCluster>,
    #[serde(default)]
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    namespace: Option<String>,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    #[serde(default)]
    certificate_authority: Option<PathBuf>,
    #[serde(default)]
    certificate_authority_data: Option<String>,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
    #[serde(default)]
    tls_server_name: Option<String>,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    #[serde(default)]
    user: Option<User>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
struct User {
    #[serde(default)]
    client_certificate: Option<PathBuf>,
    #[serde(default)]
    client_certificate_data: Option<String>,
    #[serde(default)]
    client_key: Option<PathBuf>,
    #[serde(default)]
    client_key_data: Option<String>,
    #[serde(default)]
    token: Option<String>,
    #[serde(default, rename = "tokenFile")]
    token_file: Option<PathBuf>,
    #[serde(default, rename = "as")]
    impersonate: Option<String>,
    #[serde(default)]
    as_uid: Option<String>,
    #[serde(default)]
    as_groups: Vec<String>,
    #[serde(default)]
    as_user_extra: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    exec: Option<serde_json::Value>,
}

impl Kubeconfig {
    /// Relative paths are below `dir`, the kubeconfig's own folder.
    fn settings(self, dir: &Path, context: Option<&str>) -> Result<Settings, Error> {
        let missing = |what, name: &str| Error::NotInKubeconfig { what, name: name.to_string() };
        let name = context.or(self.current_context.as_deref()).ok_or(Error::MissingField("current-context"))?;
        let context = self.contexts.into_iter().find(|entry| entry.name == name).ok_or_else(|| missing("context", name))?.context;
        let named = self.clusters.into_iter().find(|entry| entry.name == context.cluster);
        let cluster = named.ok_or_else(|| missing("cluster", &context.cluster))?.cluster;
        let user = match &context.user {
            None => User::default(),
            Some(name) => self.users.into_iter().find(|entry| entry.name == *name).ok_or_else(|| missing("user", name))?.user.unwrap_or_default(),
        };
        if user.exec.is_some() {
            return Err(Error::BadField { field: "exec", reason: "credential plugins are not supported".into() });
        }

        let authorities = pem(dir, "certificate-authority-data", cluster.certificate_authority_data, cluster.certificate_authority)?;
        let trust = match authorities {
            _ if cluster.insecure_skip_tls_verify => ServerTrust::Anyone,
            Some(pem) => ServerTrust::Authorities(Authorities::new(pem)?),
            None if cluster.server.starts_with("http:") => ServerTrust::Anyone,
            None => return Err(Error::MissingField("certificate-authority")),
        };
        let certificate = pem(dir, "client-certificate-data", user.client_certificate_data.clone(), user.client_certificate.clone())?;
        let key = pem(dir, "client-key-data", user.client_key_data.clone(), user.client_key.clone())?;
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some(Identity::new(certificate, key)?),
            (None, None) => None,
            (Some(_), None) => return Err(Error::MissingField("client-key")),
            (None, Some(_)) => return Err(Error::MissingField("client-certificate")),
        };
        Ok(Settings {
            server: parse_server(&cluster.server)?,
            trust,
            identity,
            server_name: cluster.tls_server_name,
            headers: impersonation(&user)?,
            token: user.token.map(Token::Fixed).or_else(|| user.token_file.map(|path| Token::File(dir.join(path)))),
            namespace: context.namespace.unwrap_or_else(|| "default".into()),
        })
    }
}

fn pem(dir: &Path, field: &'static str, data: Option<String>, file: Option<PathBuf>) -> Result<Option<Pem>, Error> {
    match data.filter(|data| !data.is_empty()) {
        Some(data) => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(data.trim());
            bytes.map(|bytes| Some(Pem::Bytes(bytes))).map_err(|error| Error::BadField { field, reason: error.to_string() })
        }
        None => Ok(file.map(|path| Pem::File(dir.join(path)))),
    }
}

fn impersonation(user: &User) -> Result<Vec<(HeaderName, HeaderValue)>, Error> {
    let mut headers = Vec::new();
    let mut add = |name: String, value: &str| -> Result<(), Error> {
        let bad = |reason: String| Error::BadField { field: "as", reason };
        let name = HeaderName::try_from(name).map_err(|error| bad(error.to_string()))?;
        headers.push((name, HeaderValue::try_from(value).map_err(|error| bad(error.to_string()))?));
        Ok(())
    };
    if let Some(name) = &user.impersonate {
        add("impersonate-user".into(), name)?;
    }
    if let Some(uid) = &user.as_uid {
        add("impersonate-uid".into(), uid)?;
    }
    for group in &user.as_groups {
        add("impersonate-group".into(), group)?;
    }
    for (key, values) in &user.as_user_extra {
        for value in values {
            add(format!("impersonate-extra-{}", key.to_ascii_lowercase()), value)?;
        }
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(yaml: &str, context: Option<&str>) -> Result<Settings, Error> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        std::fs::write(&path, yaml).unwrap();
        settings_from_kubeconfig(&path, context)
    }

    const TWO: &str = r#"
apiVersion: v1
kind: Config
current-context: one
preferences: {}
contexts:
- {name: one, context: {cluster: here, user: me}}
- {name: two, context: {cluster: here, user: other, namespace: apps}}
- {name: lost, context: {cluster: nowhere}}
clusters:
- {name: here, cluster: {server: "http://127.0.0.1:8001/base"}}
users:
- {name: me, user: {token: abc}}
- {name: other, user: {tokenFile: token, as: eve, as-groups: [a, b]}}
- {name: plugin, user: {exec: {command: aws}}}
"#;

    #[test]
    fn the_context_decides_cluster_user_and_namespace() {
        let one = settings(TWO, None).unwrap();
        assert_eq!((one.server.to_string(), one.namespace.as_str()), ("http://127.0.0.1:8001/base".into(), "default"));
        assert!(matches!(one.token, Some(Token::Fixed(token)) if token == "abc"));
        let two = settings(TWO, Some("two")).unwrap();
        assert!(matches!(&two.token, Some(Token::File(path)) if path.is_absolute() && path.ends_with("token")));
        assert_eq!((two.headers.len(), two.namespace.as_str()), (3, "apps"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let check = |yaml: &str, context, expect: &str| assert_eq!(settings(yaml, context).err().unwrap().to_string(), expect);
        check(TWO, Some("three"), "kubeconfig has no context named \"three\"");
        check(TWO, Some("lost"), "kubeconfig has no cluster named \"nowhere\"");
        check(&TWO.replace("http:", "https:"), None, "kubeconfig field certificate-authority is missing");
        check(&TWO.replace("user: me", "user: plugin"), None, "kubeconfig field exec cannot be used: credential plugins are not supported");
        check("clusters: []", None, "kubeconfig field current-context is missing");
    }
}
