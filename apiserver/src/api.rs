//! One API server: what its paths share.

use crate::admission::resource_quota::Turns;
use crate::auth::{self, Auth};
use crate::metrics::Metrics;
use crate::request::Target;
use crate::resource::catalog::Catalog;
use crate::serve::Found;
use crate::stage::throttle::Seats;
use crate::{Error, StartError};
use apiserver_component::health::Health;
use apiserver_component::tls::{self, ALPN_HTTP1, Authorities, Identity, Pem, ServerTrust};
use apiserver_component::{Clock, Tasks};
use apiserver_machinery::Str;
use apiserver_store::Store;
use arc_swap::{ArcSwap, Guard};
use ipnet::Ipv4Net;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

/// What the flags say. Names are upstream's.
#[derive(Clone, Debug)]
pub struct Config {
    /// `embedded:///path` or `memory:`.
    pub storage: String,
    pub bind_address: IpAddr,
    pub secure_port: u16,
    pub advertise_address: Ipv4Addr,
    pub service_cluster_ip_range: Ipv4Net,
    pub service_node_port_range: std::ops::RangeInclusive<u16>,
    pub client_ca_file: Option<PathBuf>,
    pub tls_cert_file: PathBuf,
    pub tls_private_key_file: PathBuf,
    pub kubelet_certificate_authority: Option<PathBuf>,
    pub kubelet_client_certificate: Option<PathBuf>,
    pub kubelet_client_key: Option<PathBuf>,
    pub kubelet_preferred_address_types: Vec<Str>,
    pub service_account_issuer: Vec<Str>,
    pub service_account_key_files: Vec<PathBuf>,
    pub service_account_signing_key_file: PathBuf,
    pub api_audiences: Vec<Str>,
    pub requestheader_client_ca_file: Option<PathBuf>,
    pub requestheader_allowed_names: Vec<Str>,
    pub requestheader_username_headers: Vec<Str>,
    pub requestheader_group_headers: Vec<Str>,
    pub requestheader_extra_headers_prefix: Vec<Str>,
    pub anonymous_auth: bool,
    pub max_requests_inflight: usize,
    pub max_mutating_requests_inflight: usize,
}

impl Config {
    /// The defaults of the flags; files and addresses are still to be said.
    pub fn new() -> Self {
        let none = PathBuf::new;
        Self {
            storage: String::new(),
            bind_address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            secure_port: 6443,
            advertise_address: Ipv4Addr::LOCALHOST,
            service_cluster_ip_range: Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16),
            service_node_port_range: 30_000..=32_767,
            client_ca_file: None,
            tls_cert_file: none(),
            tls_private_key_file: none(),
            kubelet_certificate_authority: None,
            kubelet_client_certificate: None,
            kubelet_client_key: None,
            kubelet_preferred_address_types: ["Hostname", "InternalDNS", "InternalIP", "ExternalDNS", "ExternalIP"].map(Str::const_new).to_vec(),
            service_account_issuer: Vec::new(),
            service_account_key_files: Vec::new(),
            service_account_signing_key_file: none(),
            api_audiences: Vec::new(),
            requestheader_client_ca_file: None,
            requestheader_allowed_names: Vec::new(),
            requestheader_username_headers: Vec::new(),
            requestheader_group_headers: Vec::new(),
            requestheader_extra_headers_prefix: Vec::new(),
            anonymous_auth: true,
            max_requests_inflight: 400,
            max_mutating_requests_inflight: 200,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

/// Requests that may wait for a seat behind those in flight.
const WAITING_REQUESTS_MAX: usize = 2_000;

pub struct Api {
    pub config: Config,
    pub store: Store,
    pub auth: Auth,
    pub clock: Clock,
    pub metrics: Metrics,
    pub health: Health,
    pub seats: Seats,
    pub turns: Turns,
    pub tasks: Tasks,
    pub documents: crate::nonresource::Documents,
    catalog: ArcSwap<Catalog>,
    kubelet_tls: Arc<rustls::ClientConfig>,
    insecure_tls: Arc<rustls::ClientConfig>,
}

impl Api {
    pub fn new(config: Config, store: Store, auth: auth::Config, tasks: Tasks) -> Result<Arc<Self>, StartError> {
        let clock = Clock;
        let trust = match &config.kubelet_certificate_authority {
            Some(file) => ServerTrust::Authorities(Authorities::new(Pem::File(file.clone())).map_err(StartError::Tls)?),
            None => ServerTrust::Anyone,
        };
        let identity = match (&config.kubelet_client_certificate, &config.kubelet_client_key) {
            (Some(certificate), Some(key)) => Some(Identity::new(Pem::File(certificate.clone()), Pem::File(key.clone())).map_err(StartError::Tls)?),
            _ => None,
        };
        let api = Self {
            auth: Auth::new(auth, store.clone(), clock).map_err(StartError::ServiceAccountKeys)?,
            turns: Turns::new(),
            seats: Seats::new(config.max_requests_inflight, config.max_mutating_requests_inflight, WAITING_REQUESTS_MAX),
            metrics: Metrics::new().map_err(StartError::Metrics)?,
            health: Health::new(),
            documents: crate::nonresource::Documents::default(),
            catalog: ArcSwap::from_pointee(Catalog::builtin()),
            kubelet_tls: tls::client_config(trust, identity, ALPN_HTTP1).map_err(StartError::Tls)?,
            insecure_tls: tls::client_config(ServerTrust::Anyone, None, ALPN_HTTP1).map_err(StartError::Tls)?,
            config,
            store,
            clock,
            tasks,
        };
        Ok(Arc::new(api))
    }

    pub fn catalog(&self) -> Guard<Arc<Catalog>> {
        self.catalog.load()
    }

    pub fn publish(&self, catalog: Catalog) {
        self.catalog.store(Arc::new(catalog));
    }

    /// The resource and version that a target names.
    pub fn find(&self, target: &Target) -> Result<Found, Error> {
        let catalog = self.catalog.load();
        let (resource, version) = catalog.find(&target.group, &target.version, &target.resource).ok_or(Error::NoSuchPath)?;
        if !target.subresource.is_empty() && resource.subresource(&target.subresource).is_none() {
            return Err(Error::NoSuchPath);
        }
        Ok(Found { resource: resource.clone(), version })
    }

    pub fn kubelet_tls(&self) -> Arc<rustls::ClientConfig> {
        self.kubelet_tls.clone()
    }

    /// For proxied Pods and Services, which have certificates of their own making.
    pub fn insecure_tls(&self) -> Arc<rustls::ClientConfig> {
        self.insecure_tls.clone()
    }
}
