//! TLS from PEM files or bytes: configurations for servers and clients whose certificates follow their files.
//!
//! ring is the only provider. Files are looked at when a handshake needs them, at most once per [`CHECK_INTERVAL`], so that a rotated certificate
//! or authority is in use a few seconds after it was written and no task has to watch it. A file that has become unreadable keeps what was loaded last.
//!
//! A server only *asks* clients for certificates: which authority a certificate must come from depends on the request (clients, front proxies),
//! so whoever authenticates calls [`Authorities::verify_client`].

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// How old a look at a file may be.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Larger files are refused.
pub const PEM_BYTES_MAX: u64 = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is larger than {PEM_BYTES_MAX} bytes")]
    TooLarge { path: PathBuf },
    #[error("reading PEM: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    #[error("no certificate found in PEM")]
    NoCertificate,
    #[error("certificate and key: {0}")]
    Identity(rustls::Error),
    #[error("authorities: {0}")]
    Authority(String),
    #[error("protocol versions: {0}")]
    Versions(rustls::Error),
    #[error("verifying a certificate: {0}")]
    Verify(rustls::Error),
}

/// Where PEM text comes from.
#[derive(Clone, Debug)]
pub enum Pem {
    File(PathBuf),
    Bytes(Vec<u8>),
}

impl Pem {
    fn read(&self) -> Result<Vec<u8>, Error> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.clone()),
            Self::File(path) => {
                let failed = |source| Error::Read { path: path.clone(), source };
                if std::fs::metadata(path).map_err(failed)?.len() > PEM_BYTES_MAX {
                    return Err(Error::TooLarge { path: path.clone() });
                }
                std::fs::read(path).map_err(failed)
            }
        }
    }

    fn modified(&self) -> Option<SystemTime> {
        match self {
            Self::Bytes(_) => None,
            Self::File(path) => std::fs::metadata(path).and_then(|meta| meta.modified()).ok(),
        }
    }
}

impl From<&Path> for Pem {
    fn from(path: &Path) -> Self {
        Self::File(path.to_path_buf())
    }
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::OnceLock<Arc<CryptoProvider>> = std::sync::OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())).clone()
}

/// A value made from files, made anew when one of them changes.
struct Reloaded<T> {
    from: Vec<Pem>,
    make: fn(&[Vec<u8>]) -> Result<T, Error>,
    state: Mutex<Loaded<T>>,
}

struct Loaded<T> {
    value: Arc<T>,
    modified: Vec<Option<SystemTime>>,
    looked: Option<Instant>,
}

impl<T> Reloaded<T> {
    fn new(from: Vec<Pem>, make: fn(&[Vec<u8>]) -> Result<T, Error>) -> Result<Self, Error> {
        // Times are taken before the content, so that a write in between is seen as a change later.
        let modified = from.iter().map(Pem::modified).collect();
        let texts = from.iter().map(Pem::read).collect::<Result<Vec<_>, _>>()?;
        let value = Arc::new(make(&texts)?);
        Ok(Self { from, make, state: Mutex::new(Loaded { value, modified, looked: None }) })
    }

    fn get(&self) -> Arc<T> {
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let now = Instant::now();
        if state.looked.is_some_and(|looked| now.saturating_duration_since(looked) < CHECK_INTERVAL) {
            return state.value.clone();
        }
        state.looked = Some(now);
        let modified: Vec<_> = self.from.iter().map(Pem::modified).collect();
        if modified != state.modified {
            let made = self.from.iter().map(Pem::read).collect::<Result<Vec<_>, _>>().and_then(|texts| (self.make)(&texts));
            match made {
                Ok(value) => {
                    tracing::info!(files = ?self.from, "certificate files reloaded");
                    state.value = Arc::new(value);
                    state.modified = modified;
                }
                // The pair may be half written: the next look tries again.
                Err(error) => tracing::warn!(%error, files = ?self.from, "certificate files changed but cannot be used yet"),
            }
        }
        state.value.clone()
    }
}

/// A certificate chain with its key, for either side of a connection.
pub struct Identity(Reloaded<CertifiedKey>);

impl Identity {
    pub fn new(certificate: Pem, key: Pem) -> Result<Arc<Self>, Error> {
        let make = |texts: &[Vec<u8>]| {
            let chain = certificates(&texts[0])?;
            let key = PrivateKeyDer::from_pem_slice(&texts[1])?;
            CertifiedKey::from_der(chain, key, &provider()).map_err(Error::Identity)
        };
        Reloaded::new(vec![certificate, key], make).map(Self).map(Arc::new)
    }

    /// The chain in use now, leaf first.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.0.get().cert.clone()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.0.from.first()).finish()
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.get())
    }
}

impl rustls::client::ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.get())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// All certificates in a PEM text.
pub fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let chain = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>()?;
    if chain.is_empty() { Err(Error::NoCertificate) } else { Ok(chain) }
}

/// A bundle of certificate authorities, to verify servers or clients with.
pub struct Authorities(Reloaded<Verifiers>);

struct Verifiers {
    server: Arc<WebPkiServerVerifier>,
    client: Arc<dyn ClientCertVerifier>,
}

impl Authorities {
    pub fn new(bundle: Pem) -> Result<Arc<Self>, Error> {
        let make = |texts: &[Vec<u8>]| {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(&texts[0])? {
                roots.add(certificate).map_err(|error| Error::Authority(error.to_string()))?;
            }
            let roots = Arc::new(roots);
            let failed = |error: rustls::server::VerifierBuilderError| Error::Authority(error.to_string());
            let server = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider()).build().map_err(failed)?;
            let client = WebPkiClientVerifier::builder_with_provider(roots, provider()).build().map_err(failed)?;
            Ok(Verifiers { server, client })
        };
        Reloaded::new(vec![bundle], make).map(Self).map(Arc::new)
    }

    /// Whether `chain` (leaf first), as a client sent it, comes from one of these authorities and is valid at `now` for client authentication.
    pub fn verify_client(&self, chain: &[CertificateDer<'_>], now: jiff::Timestamp) -> Result<(), Error> {
        let (leaf, between) = chain.split_first().ok_or(Error::NoCertificate)?;
        let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0)));
        self.0.get().client.verify_client_cert(leaf, between, now).map(|_| ()).map_err(Error::Verify)
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Authorities").field(&self.0.from.first()).finish()
    }
}

impl ServerCertVerifier for Authorities {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.0.get().server.verify_server_cert(end_entity, intermediates, server_name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    provider().signature_verification_algorithms
}

/// Accepts any certificate whose key the peer proves to hold; for clients because they are judged per request, for servers only when told to.
#[derive(Debug)]
struct AnyCertificate;

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(&self, _: &CertificateDer<'_>, _: &[CertificateDer<'_>], _: UnixTime) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

/// HTTP/2 where both sides can, else HTTP/1.1.
pub const ALPN_HTTP: &[&str] = &["h2", "http/1.1"];
/// For connections that are upgraded (WebSocket, SPDY).
pub const ALPN_HTTP1: &[&str] = &["http/1.1"];

/// How a server treats client certificates.
#[derive(Clone, Debug)]
pub enum ClientCertificates {
    Ignore,
    /// Asked for, not required; the handshake does not judge them.
    Request,
    /// Required, and from one of these authorities.
    Require(Arc<Authorities>),
}

pub fn server_config(identity: Arc<Identity>, clients: ClientCertificates, alpn: &[&str]) -> Result<Arc<ServerConfig>, Error> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(Error::Versions)?;
    let builder = match clients {
        ClientCertificates::Ignore => builder.with_no_client_auth(),
        ClientCertificates::Request => builder.with_client_cert_verifier(Arc::new(AnyCertificate)),
        ClientCertificates::Require(authorities) => builder.with_client_cert_verifier(Arc::new(RequiredFrom(authorities))),
    };
    let mut config = builder.with_cert_resolver(identity);
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}

/// Client certificates from authorities that follow their file.
#[derive(Debug)]
struct RequiredFrom(Arc<Authorities>);

impl ClientCertVerifier for RequiredFrom {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.0.0.get().client.verify_client_cert(leaf, between, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

/// Whom a client believes.
#[derive(Clone, Debug)]
pub enum ServerTrust {
    Authorities(Arc<Authorities>),
    /// `insecure-skip-tls-verify`.
    Anyone,
}

pub fn client_config(trust: ServerTrust, identity: Option<Arc<Identity>>, alpn: &[&str]) -> Result<Arc<ClientConfig>, Error> {
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        ServerTrust::Authorities(authorities) => authorities,
        ServerTrust::Anyone => Arc::new(AnyCertificate),
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(Error::Versions)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(identity),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    struct Authority {
        issuer: Issuer<'static, KeyPair>,
        pem: String,
    }

    fn authority() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    fn issue(authority: &Authority, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_string()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        (params.signed_by(&key, &authority.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn identity(pems: &(String, String)) -> Arc<Identity> {
        Identity::new(Pem::Bytes(pems.0.clone().into()), Pem::Bytes(pems.1.clone().into())).unwrap()
    }

    /// Shakes hands in memory; gives what the server saw of the client, or None where the handshake failed.
    async fn shake(server: Arc<ServerConfig>, client: Arc<ClientConfig>, name: &'static str) -> Option<Vec<CertificateDer<'static>>> {
        let (near, far) = tokio::io::duplex(1 << 16);
        let accept = async {
            let mut stream = tokio_rustls::TlsAcceptor::from(server).accept(far).await.ok()?;
            stream.write_all(b"x").await.ok()?;
            Some(stream.get_ref().1.peer_certificates().map(<[_]>::to_vec).unwrap_or_default())
        };
        let connect = async {
            let mut stream = tokio_rustls::TlsConnector::from(client).connect(ServerName::try_from(name).unwrap(), near).await.ok()?;
            stream.read_u8().await.ok()
        };
        let (seen, read) = tokio::join!(accept, connect);
        read.and(seen)
    }

    #[tokio::test]
    async fn a_requested_client_certificate_is_seen_and_judged_afterwards() {
        let (ours, other) = (authority(), authority());
        let server = server_config(identity(&issue(&ours, "api")), ClientCertificates::Request, ALPN_HTTP).unwrap();
        let trust = Authorities::new(Pem::Bytes(ours.pem.clone().into())).unwrap();
        let now = crate::Clock.now();
        for (client, valid) in [(Some(&ours), true), (Some(&other), false), (None, false)] {
            let client = client.map(|authority| identity(&issue(authority, "me")));
            let client = client_config(ServerTrust::Authorities(trust.clone()), client, ALPN_HTTP).unwrap();
            let chain = shake(server.clone(), client, "api").await.unwrap();
            assert_eq!(trust.verify_client(&chain, now).is_ok(), valid);
        }
    }

    #[tokio::test]
    async fn a_server_of_another_authority_or_name_is_refused() {
        let (ours, other) = (authority(), authority());
        let server = server_config(identity(&issue(&ours, "api")), ClientCertificates::Ignore, ALPN_HTTP1).unwrap();
        for (believed, name, ok) in [(&ours, "api", true), (&ours, "elsewhere", false), (&other, "api", false)] {
            let trust = ServerTrust::Authorities(Authorities::new(Pem::Bytes(believed.pem.clone().into())).unwrap());
            let client = client_config(trust, None, ALPN_HTTP1).unwrap();
            assert_eq!(shake(server.clone(), client, name).await.is_some(), ok);
        }
        let anyone = client_config(ServerTrust::Anyone, None, ALPN_HTTP1).unwrap();
        assert!(shake(server, anyone, "elsewhere").await.is_some());
    }

    #[tokio::test]
    async fn a_required_client_certificate_must_come_from_the_authority() {
        let (ours, other) = (authority(), authority());
        let trust = Authorities::new(Pem::Bytes(ours.pem.clone().into())).unwrap();
        let server = server_config(identity(&issue(&ours, "api")), ClientCertificates::Require(trust), ALPN_HTTP1).unwrap();
        for (client, ok) in [(Some(&ours), true), (Some(&other), false), (None, false)] {
            let client = client.map(|authority| identity(&issue(authority, "me")));
            let client = client_config(ServerTrust::Anyone, client, ALPN_HTTP1).unwrap();
            assert_eq!(shake(server.clone(), client, "api").await.is_some(), ok);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rewritten_certificate_is_used_after_the_check_interval_and_a_broken_one_never() {
        let (dir, ours) = (tempfile::tempdir().unwrap(), authority());
        let (cert, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
        let write = |pems: &(String, String), age: u64| {
            for (path, text) in [(&cert, &pems.0), (&key, &pems.1)] {
                std::fs::write(path, text).unwrap();
                let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + age);
                std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
            }
        };
        let (first, second) = (issue(&ours, "first"), issue(&ours, "second"));
        write(&first, 0);
        let identity = Identity::new(cert.as_path().into(), key.as_path().into()).unwrap();
        let leaf = |pems: &(String, String)| certificates(pems.0.as_bytes()).unwrap();
        assert_eq!(identity.chain(), leaf(&first));
        write(&("broken".into(), second.1.clone()), 1);
        tokio::time::advance(CHECK_INTERVAL).await;
        assert_eq!(identity.chain(), leaf(&first));
        write(&second, 2);
        assert_eq!(identity.chain(), leaf(&first), "not looked at before the interval has passed");
        tokio::time::advance(CHECK_INTERVAL).await;
        assert_eq!(identity.chain(), leaf(&second));
    }
}
