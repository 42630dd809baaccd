//! From flags to a serving API server: files are read, the store is opened, what a cluster starts with is written, the ports are opened.

use crate::api::{Api, Config};
use crate::auth::{self, keys};
use crate::own::Own;
use crate::{bootstrap, custom, http};
use apiserver_component::metrics::prometheus;
use apiserver_component::tls::{self, ALPN_HTTP, Authorities, ClientCertificates, Identity, Pem};
use apiserver_component::{Shutdown, Tasks};
use apiserver_store::{Memory, ServerId, Store, StoreError};
use apiserver_store_embedded::Embedded;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why the API server did not start, by the step that failed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("reading {}: {source}", file.display())]
    File { file: PathBuf, source: std::io::Error },
    #[error("certificates: {0}")]
    Tls(#[source] tls::Error),
    #[error("ServiceAccount keys: {0}")]
    ServiceAccountKeys(#[source] keys::Error),
    #[error("metrics: {0}")]
    Metrics(#[source] prometheus::Error),
    #[error("--storage={0:?} is neither embedded:///PATH nor memory:")]
    Storage(String),
    #[error("opening the embedded store: {0}")]
    Embedded(#[source] apiserver_store::EngineError),
    #[error("opening the store: {0}")]
    Store(#[source] StoreError),
    #[error("listening on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("writing what a cluster starts with: {0}")]
    Bootstrap(#[source] crate::Error),
    #[error("header name {0:?}")]
    HeaderName(String),
}

/// Serves until shutdown, on the port of the configuration.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), StartError> {
    let address = SocketAddr::new(config.bind_address, config.secure_port);
    let listener = TcpListener::bind(address).map_err(|source| StartError::Listen { address, source })?;
    let tasks = Tasks::new(shutdown.clone());
    start(config, vec![listener], tasks.clone()).await?;
    shutdown.wait().await;
    tasks.join().await;
    Ok(())
}

/// Starts serving on sockets that are bound already.
pub async fn start(config: Config, listeners: Vec<TcpListener>, tasks: Tasks) -> Result<Arc<Api>, StartError> {
    let store = open(&config, &tasks).await?;
    let auth = auth_config(&config)?;
    let identity = Identity::new(Pem::File(config.tls_cert_file.clone()), Pem::File(config.tls_private_key_file.clone())).map_err(StartError::Tls)?;
    let api = Api::new(config, store, auth, tasks.clone())?;
    prepare(&api, &tasks).await?;
    let server = tls::server_config(identity, ClientCertificates::Request, ALPN_HTTP).map_err(StartError::Tls)?;
    for listener in listeners {
        let address = listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
        let failed = |source| StartError::Listen { address, source };
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
        tasks.spawn("listener", http::listen(listener, server.clone(), api.clone(), tasks.clone()));
        tracing::info!(%address, "serving");
    }
    Ok(api)
}

/// Writes what a cluster starts with, and begins to follow what the API server itself depends on.
pub(crate) async fn prepare(api: &Arc<Api>, tasks: &Tasks) -> Result<(), StartError> {
    custom::load(api);
    let facts = facts(api)?;
    bootstrap::run(&Own(api), &facts, api.clock.now()).await.map_err(StartError::Bootstrap)?;
    api.auth.start(tasks);
    let own = api.clone();
    tasks.spawn("own-objects", async move { bootstrap::keep(&Own(&own), &facts).await });
    tasks.spawn("custom-resources", custom::run(api.clone()));
    Ok(())
}

async fn open(config: &Config, tasks: &Tasks) -> Result<Store, StartError> {
    let store = apiserver_store::Config::new(ServerId("apiserver".into()));
    if config.storage == "memory:" {
        return Store::open(Memory::new(), store, tasks).await.map_err(StartError::Store);
    }
    let path = config.storage.strip_prefix("embedded://").filter(|path| path.starts_with('/'));
    let path = path.ok_or_else(|| StartError::Storage(config.storage.clone()))?;
    let engine = Embedded::open(Path::new(path)).await.map_err(StartError::Embedded)?;
    Store::open(engine, store, tasks).await.map_err(StartError::Store)
}

/// What the objects that a cluster starts with say of this server.
fn facts(api: &Api) -> Result<bootstrap::Facts, StartError> {
    let config = &api.config;
    let text = |file: &PathBuf| read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let request_header = match &config.requestheader_client_ca_file {
        None => None,
        Some(file) => Some(bootstrap::RequestHeader {
            ca: text(file)?,
            allowed_names: config.requestheader_allowed_names.clone(),
            username_headers: config.requestheader_username_headers.clone(),
            uid_headers: Vec::new(),
            group_headers: config.requestheader_group_headers.clone(),
            extra_header_prefixes: config.requestheader_extra_headers_prefix.clone(),
        }),
    };
    let catalog = api.catalog();
    let mut api_services = vec![bootstrap::ApiService::new("", "v1", 0)];
    for group in catalog.groups().iter().filter(|group| catalog.resources().iter().any(|own| own.group == group.name && !own.custom)) {
        api_services.extend(group.versions.iter().map(|version| bootstrap::ApiService::new(&group.name, version, group.priority)));
    }
    Ok(bootstrap::Facts {
        advertise_address: config.advertise_address.into(),
        secure_port: config.secure_port,
        service_cidr: config.service_cluster_ip_range.into(),
        client_ca: config.client_ca_file.as_ref().map(text).transpose()?,
        request_header,
        api_services,
    })
}

fn read(file: &Path) -> Result<Vec<u8>, StartError> {
    std::fs::read(file).map_err(|source| StartError::File { file: file.to_owned(), source })
}

fn auth_config(config: &Config) -> Result<auth::Config, StartError> {
    let mut verifying = Vec::new();
    for file in &config.service_account_key_files {
        verifying.extend(keys::VerifyingKey::all_from_pem(&read(file)?).map_err(StartError::ServiceAccountKeys)?);
    }
    let signer = keys::SigningKey::from_pem(&read(&config.service_account_signing_key_file)?).map_err(StartError::ServiceAccountKeys)?;
    let authorities = |file: &PathBuf| Authorities::new(Pem::File(file.clone())).map_err(StartError::Tls);
    let front_proxy = match &config.requestheader_client_ca_file {
        None => None,
        Some(file) => Some(auth::FrontProxy {
            authorities: authorities(file)?,
            allowed_names: config.requestheader_allowed_names.clone(),
            username_headers: header_names(&config.requestheader_username_headers)?,
            uid_headers: Vec::new(),
            group_headers: header_names(&config.requestheader_group_headers)?,
            extra_header_prefixes: config.requestheader_extra_headers_prefix.iter().map(|prefix| prefix.to_lowercase()).collect(),
        }),
    };
    Ok(auth::Config {
        clients: config.client_ca_file.as_ref().map(authorities).transpose()?,
        front_proxy,
        issuers: config.service_account_issuer.clone(),
        audiences: config.api_audiences.clone(),
        keys: verifying,
        signer: Some(signer),
        key_set_uri: None,
        external_address: format!("{}:{}", config.advertise_address, config.secure_port),
        token_seconds_max: None,
        extend_tokens: true,
        anonymous: config.anonymous_auth,
    })
}

fn header_names(names: &[apiserver_machinery::Str]) -> Result<Vec<::http::HeaderName>, StartError> {
    names.iter().map(|name| name.parse().map_err(|_| StartError::HeaderName(name.to_string()))).collect()
}
