//! The certificates, keys and kubeconfigs of a cluster that `corten up` makes: two authorities, the ServiceAccount key, one identity a component.
//!
//! Files are written whole or not at all, and readable by root alone. A certificate is made anew once two thirds of its life are over; its key
//! goes with it. Processes reload what they serve with when the file changes.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

const AUTHORITY_DAYS: i64 = 3_650;
const LEAF_DAYS: i64 = 365;
/// Clocks of a cluster's machines may differ by this much.
const BACKDATED_MINUTES: i64 = 5;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("writing {}: {source}", file.display())]
    Write { file: PathBuf, source: std::io::Error },
    #[error("reading {}: {source}", file.display())]
    Read { file: PathBuf, source: std::io::Error },
    #[error("making the certificate {name}: {source}")]
    Make { name: String, source: rcgen::Error },
    #[error("{} is no certificate: {why}", file.display())]
    NoCertificate { file: PathBuf, why: String },
}

/// What a certificate says.
#[derive(Clone, Debug)]
pub struct Subject {
    pub common_name: String,
    pub organization: Option<String>,
    pub names: Vec<Name>,
    pub usage: Usage,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    Dns(String),
    Ip(IpAddr),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    Client,
    Server,
}

impl Subject {
    pub fn client(common_name: impl Into<String>, organization: Option<&str>) -> Self {
        Self { common_name: common_name.into(), organization: organization.map(str::to_owned), names: Vec::new(), usage: Usage::Client }
    }

    pub fn server(common_name: impl Into<String>, organization: Option<&str>, names: Vec<Name>) -> Self {
        Self { common_name: common_name.into(), organization: organization.map(str::to_owned), names, usage: Usage::Server }
    }
}

/// A folder of certificates.
#[derive(Clone, Debug)]
pub struct Pki {
    folder: PathBuf,
    now: jiff::Timestamp,
}

/// A certificate authority of the folder, able to sign.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, for those who trust it.
    pub certificate: PathBuf,
}

/// A certificate and its key, as files.
#[derive(Clone, Debug)]
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Pki {
    pub fn new(folder: PathBuf, now: jiff::Timestamp) -> Result<Self, Error> {
        fs::create_dir_all(&folder).map_err(|source| Error::Write { file: folder.clone(), source })?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).map_err(|source| Error::Write { file: folder.clone(), source })?;
        Ok(Self { folder, now })
    }

    fn pair(&self, name: &str) -> Pair {
        Pair { certificate: self.folder.join(format!("{name}.crt")), key: self.folder.join(format!("{name}.key")) }
    }

    /// The authority of this name, made if it is not there.
    pub fn authority(&self, name: &str) -> Result<Authority, Error> {
        let pair = self.pair(name);
        let make = |source| Error::Make { name: name.into(), source };
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        self.live(&mut params, AUTHORITY_DAYS);
        let key = if pair.key.exists() && pair.certificate.exists() {
            KeyPair::from_pem(&read(&pair.key)?).map_err(make)?
        } else {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(make)?;
            let certificate = params.self_signed(&key).map_err(make)?;
            write(&pair.key, key.serialize_pem().as_bytes())?;
            write(&pair.certificate, certificate.pem().as_bytes())?;
            key
        };
        let issuer = Issuer::from_ca_cert_pem(&read(&pair.certificate)?, key).map_err(make)?;
        Ok(Authority { issuer, certificate: pair.certificate })
    }

    /// A certificate for `subject`, made if it is not there, says something else, or is past two thirds of its life.
    pub fn certificate(&self, name: &str, authority: &Authority, subject: &Subject) -> Result<Pair, Error> {
        let pair = self.pair(name);
        if pair.key.exists() && pair.certificate.exists() && self.is_fresh(&pair.certificate, subject)? {
            return Ok(pair);
        }
        let make = |source| Error::Make { name: name.into(), source };
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, subject.common_name.as_str());
        if let Some(organization) = &subject.organization {
            params.distinguished_name.push(DnType::OrganizationName, organization.as_str());
        }
        for own in &subject.names {
            params.subject_alt_names.push(match own {
                Name::Dns(name) => SanType::DnsName(name.as_str().try_into().map_err(make)?),
                Name::Ip(ip) => SanType::IpAddress(*ip),
            });
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match subject.usage {
            Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
            Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        self.live(&mut params, LEAF_DAYS);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(make)?;
        let certificate = params.signed_by(&key, &authority.issuer).map_err(make)?;
        write(&pair.key, key.serialize_pem().as_bytes())?;
        write(&pair.certificate, certificate.pem().as_bytes())?;
        Ok(pair)
    }

    /// An ES256 key that signs ServiceAccount tokens, with its public half. Never renewed: tokens outlive it otherwise.
    pub fn signing_key(&self, name: &str) -> Result<(PathBuf, PathBuf), Error> {
        let (private, public) = (self.folder.join(format!("{name}.key")), self.folder.join(format!("{name}.pub")));
        if !private.exists() || !public.exists() {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|source| Error::Make { name: name.into(), source })?;
            write(&public, key.public_key_pem().as_bytes())?;
            write(&private, key.serialize_pem().as_bytes())?;
        }
        Ok((private, public))
    }

    /// A kubeconfig that holds its certificates itself, for people to copy.
    pub fn kubeconfig(&self, file: &Path, cluster: &str, server: &str, authority: &Authority, pair: &Pair) -> Result<(), Error> {
        let embed = |file: &Path| read(file).map(|text| base64(text.as_bytes()));
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {cluster}\ncontexts:\n- name: {cluster}\n  context: {{cluster: {cluster}, user: {cluster}}}\n\
             clusters:\n- name: {cluster}\n  cluster:\n    server: {server}\n    certificate-authority-data: {}\n\
             users:\n- name: {cluster}\n  user:\n    client-certificate-data: {}\n    client-key-data: {}\n",
            embed(&authority.certificate)?,
            embed(&pair.certificate)?,
            embed(&pair.key)?,
        );
        write(file, text.as_bytes())
    }

    /// A kubeconfig that names its certificates' files, for processes that reload them.
    pub fn kubeconfig_of_files(&self, file: &Path, server: &str, authority: &Authority, pair: &Pair) -> Result<(), Error> {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: corten\ncontexts:\n- name: corten\n  context: {{cluster: corten, user: corten}}\n\
             clusters:\n- name: corten\n  cluster:\n    server: {server}\n    certificate-authority: {}\n\
             users:\n- name: corten\n  user:\n    client-certificate: {}\n    client-key: {}\n",
            authority.certificate.display(),
            pair.certificate.display(),
            pair.key.display(),
        );
        write(file, text.as_bytes())
    }

    fn live(&self, params: &mut CertificateParams, days: i64) {
        let seconds = self.now.as_second();
        let at = |seconds: i64| time::OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
        params.not_before = at(seconds - BACKDATED_MINUTES * 60);
        params.not_after = at(seconds + days * 24 * 3_600);
    }

    /// Whether a certificate says what it should and has a third of its life before it.
    fn is_fresh(&self, file: &Path, subject: &Subject) -> Result<bool, Error> {
        let text = read(file)?;
        let no = |why: String| Error::NoCertificate { file: file.to_owned(), why };
        let (_, pem) = x509_parser::pem::parse_x509_pem(text.as_bytes()).map_err(|error| no(error.to_string()))?;
        let certificate = pem.parse_x509().map_err(|error| no(error.to_string()))?;
        let (from, until) = (certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp());
        if self.now.as_second() > from + (until - from) / 3 * 2 {
            return Ok(false);
        }
        let common_name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        let mut names = Vec::new();
        if let Ok(Some(extension)) = certificate.subject_alternative_name() {
            for name in &extension.value.general_names {
                match name {
                    x509_parser::extensions::GeneralName::DNSName(name) => names.push(Name::Dns((*name).to_owned())),
                    x509_parser::extensions::GeneralName::IPAddress(bytes) => match bytes.len() {
                        4 => names.push(Name::Ip(IpAddr::from(<[u8; 4]>::try_from(*bytes).unwrap_or_default()))),
                        16 => names.push(Name::Ip(IpAddr::from(<[u8; 16]>::try_from(*bytes).unwrap_or_default()))),
                        _ => {}
                    },
                    _ => {}
                }
            }
        }
        Ok(common_name == Some(subject.common_name.as_str()) && names == subject.names)
    }
}

fn read(file: &Path) -> Result<String, Error> {
    fs::read_to_string(file).map_err(|source| Error::Read { file: file.to_owned(), source })
}

/// Writes beside the file and renames, so that nobody ever reads half of it.
fn write(file: &Path, bytes: &[u8]) -> Result<(), Error> {
    let fault = |source| Error::Write { file: file.to_owned(), source };
    let beside = file.with_extension("new");
    let mut out = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside).map_err(fault)?;
    out.write_all(bytes).and_then(|()| out.sync_all()).map_err(fault)?;
    fs::rename(&beside, file).map_err(fault)
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_certificate_is_kept_until_two_thirds_of_its_life() {
        let folder = tempfile::tempdir().unwrap();
        let subject = Subject::server("kube-apiserver", None, vec![Name::Dns("localhost".into()), Name::Ip([127, 0, 0, 1].into())]);
        let make = |now: i64, subject: &Subject| {
            let pki = Pki::new(folder.path().to_owned(), at(now)).unwrap();
            let authority = pki.authority("ca").unwrap();
            let pair = pki.certificate("apiserver", &authority, subject).unwrap();
            fs::read_to_string(pair.certificate).unwrap()
        };
        let start = 1_800_000_000;
        let first = make(start, &subject);
        assert_eq!(make(start + 200 * 86_400, &subject), first);
        let renewed = make(start + 250 * 86_400, &subject);
        assert_ne!(renewed, first);
        let other = Subject { names: vec![Name::Dns("example.org".into())], ..subject };
        assert_ne!(make(start + 250 * 86_400, &other), renewed);
    }

    #[test]
    fn the_signing_key_never_changes() {
        let folder = tempfile::tempdir().unwrap();
        let pki = Pki::new(folder.path().to_owned(), at(1_800_000_000)).unwrap();
        let (private, _) = pki.signing_key("sa").unwrap();
        let before = fs::read(&private).unwrap();
        pki.signing_key("sa").unwrap();
        assert_eq!(fs::read(&private).unwrap(), before);
        assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
