//! Keys of ServiceAccount tokens: reading them from PEM, signing and verifying compact JSON Web Signatures, and the key set that is published.
//!
//! RS256, ES256 and ES384, by ring, which also does our TLS. What a token claims is not looked at here; see `token.rs`.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, KeyPair, RsaKeyPair, UnparsedPublicKey};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::{PemObject, SectionKind};
use serde::{Deserialize, Serialize};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// A longer token is not one of ours.
const TOKEN_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading PEM: {0}")]
    Pem(#[from] rustls_pki_types::pem::Error),
    #[error("no key found in PEM")]
    NoKey,
    #[error("parsing a public key: {0}")]
    PublicKey(String),
    #[error("parsing a private key: {0}")]
    PrivateKey(String),
    #[error("unsupported key: only RSA of 2048 bits and more, and ECDSA on P-256 and P-384")]
    Unsupported,
    #[error("signing: the key refused")]
    Sign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Rs256,
    Es256,
    Es384,
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Algorithm::Rs256 => "RS256",
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
        }
    }

    fn verifier(self) -> &'static dyn signature::VerificationAlgorithm {
        match self {
            Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Algorithm::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
            Algorithm::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
        }
    }
}

/// A public key that tokens are verified with.
#[derive(Clone, Debug)]
pub struct VerifyingKey {
    algorithm: Algorithm,
    /// What ring takes: RSAPublicKey in DER, or the uncompressed point.
    bytes: Vec<u8>,
    /// The hash of the key's SubjectPublicKeyInfo, as upstream names keys.
    id: String,
}

/// The private key that tokens are signed with.
pub struct SigningKey {
    pair: Pair,
    public: VerifyingKey,
    random: SystemRandom,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
}

#[derive(Serialize, Deserialize)]
struct Header<'a> {
    alg: &'a str,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    kid: &'a str,
}

/// The parts of a compact JWS, its signature not verified yet.
pub struct Unverified<'a> {
    algorithm: String,
    pub key_id: String,
    signed: &'a str,
    pub payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'a> Unverified<'a> {
    /// `None` where the text is no compact JWS.
    pub fn parse(token: &'a str) -> Option<Self> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let header = BASE64.decode(header).ok()?;
        let header: Header<'_> = serde_json::from_slice(&header).ok()?;
        Some(Self {
            algorithm: header.alg.to_owned(),
            key_id: header.kid.to_owned(),
            signed,
            payload: BASE64.decode(payload).ok()?,
            signature: BASE64.decode(signature).ok()?,
        })
    }

    /// Whether `key` signed it. The key decides the algorithm; the token's header has only to agree.
    pub fn signed_by(&self, key: &VerifyingKey) -> bool {
        self.algorithm == key.algorithm.name()
            && UnparsedPublicKey::new(key.algorithm.verifier(), &key.bytes).verify(self.signed.as_bytes(), &self.signature).is_ok()
    }
}

impl SigningKey {
    /// The first private key of a PEM text: PKCS#8, PKCS#1 or SEC1.
    pub fn from_pem(pem: &[u8]) -> Result<Self, Error> {
        Self::from_der(&PrivateKeyDer::from_pem_slice(pem)?)
    }

    fn from_der(key: &PrivateKeyDer<'_>) -> Result<Self, Error> {
        let random = SystemRandom::new();
        let rejected = |error: ring::error::KeyRejected| Error::PrivateKey(error.to_string());
        match key {
            PrivateKeyDer::Pkcs1(der) => Self::rsa(RsaKeyPair::from_der(der.secret_pkcs1_der()).map_err(rejected)?, random),
            PrivateKeyDer::Sec1(der) => Self::ecdsa(&sec1_in_pkcs8(der.secret_sec1_der(), Algorithm::Es256), random.clone())
                .or_else(|_| Self::ecdsa(&sec1_in_pkcs8(der.secret_sec1_der(), Algorithm::Es384), random)),
            PrivateKeyDer::Pkcs8(der) => match RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()) {
                Ok(pair) => Self::rsa(pair, random),
                Err(_) => Self::ecdsa(der.secret_pkcs8_der(), random),
            },
            _ => Err(Error::Unsupported),
        }
    }

    fn rsa(pair: RsaKeyPair, random: SystemRandom) -> Result<Self, Error> {
        let public = VerifyingKey::new(Algorithm::Rs256, pair.public().as_ref().to_vec());
        Ok(Self { pair: Pair::Rsa(pair), public, random })
    }

    fn ecdsa(pkcs8: &[u8], random: SystemRandom) -> Result<Self, Error> {
        let curves =
            [(Algorithm::Es256, &signature::ECDSA_P256_SHA256_FIXED_SIGNING), (Algorithm::Es384, &signature::ECDSA_P384_SHA384_FIXED_SIGNING)];
        for (algorithm, signing) in curves {
            if let Ok(pair) = EcdsaKeyPair::from_pkcs8(signing, pkcs8, &random) {
                let public = VerifyingKey::new(algorithm, pair.public_key().as_ref().to_vec());
                return Ok(Self { pair: Pair::Ecdsa(pair), public, random });
            }
        }
        Err(Error::Unsupported)
    }

    pub fn public(&self) -> &VerifyingKey {
        &self.public
    }

    /// The compact JWS of a payload.
    pub fn sign(&self, payload: &[u8]) -> Result<String, Error> {
        let header = serde_json::to_vec(&Header { alg: self.public.algorithm.name(), kid: &self.public.id }).map_err(|_| Error::Sign)?;
        let mut token = BASE64.encode(header);
        token.push('.');
        BASE64.encode_string(payload, &mut token);
        let signature = match &self.pair {
            Pair::Ecdsa(pair) => pair.sign(&self.random, token.as_bytes()).map_err(|_| Error::Sign)?.as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &self.random, token.as_bytes(), &mut signature).map_err(|_| Error::Sign)?;
                signature
            }
        };
        token.push('.');
        BASE64.encode_string(signature, &mut token);
        Ok(token)
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("public", &self.public).finish_non_exhaustive()
    }
}

impl VerifyingKey {
    /// All keys of a PEM text: public keys, certificates, and private keys, of which the public part is taken.
    pub fn all_from_pem(pem: &[u8]) -> Result<Vec<Self>, Error> {
        let mut keys = Vec::new();
        for item in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
            let (kind, der) = item?;
            match kind {
                SectionKind::PublicKey => keys.push(Self::from_spki(&der)?),
                SectionKind::Certificate => {
                    let (_, certificate) = x509_parser::parse_x509_certificate(&der).map_err(|error| Error::PublicKey(error.to_string()))?;
                    keys.push(Self::from_spki(certificate.public_key().raw)?);
                }
                SectionKind::RsaPrivateKey => keys.push(SigningKey::from_der(&PrivateKeyDer::Pkcs1(der.into()))?.public),
                SectionKind::EcPrivateKey => keys.push(SigningKey::from_der(&PrivateKeyDer::Sec1(der.into()))?.public),
                SectionKind::PrivateKey => keys.push(SigningKey::from_der(&PrivateKeyDer::Pkcs8(der.into()))?.public),
                _ => {}
            }
        }
        if keys.is_empty() { Err(Error::NoKey) } else { Ok(keys) }
    }

    fn from_spki(der: &[u8]) -> Result<Self, Error> {
        let (_, info) = SubjectPublicKeyInfo::from_der(der).map_err(|error| Error::PublicKey(error.to_string()))?;
        match info.parsed().map_err(|error| Error::PublicKey(error.to_string()))? {
            PublicKey::RSA(_) => Ok(Self::new(Algorithm::Rs256, info.subject_public_key.data.to_vec())),
            PublicKey::EC(point) => match point.data().len() {
                P256_POINT_BYTES => Ok(Self::new(Algorithm::Es256, point.data().to_vec())),
                P384_POINT_BYTES => Ok(Self::new(Algorithm::Es384, point.data().to_vec())),
                _ => Err(Error::Unsupported),
            },
            _ => Err(Error::Unsupported),
        }
    }

    fn new(algorithm: Algorithm, bytes: Vec<u8>) -> Self {
        let spki = spki(algorithm, &bytes);
        let id = BASE64.encode(ring::digest::digest(&ring::digest::SHA256, &spki));
        Self { algorithm, bytes, id }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn algorithm(&self) -> &'static str {
        self.algorithm.name()
    }

    fn jwk(&self) -> Result<Jwk<'_>, Error> {
        let mut jwk = Jwk { usage: "sig", kid: &self.id, alg: self.algorithm.name(), ..Jwk::default() };
        if self.algorithm == Algorithm::Rs256 {
            let (_, key) = x509_parser::public_key::RSAPublicKey::from_der(&self.bytes).map_err(|error| Error::PublicKey(error.to_string()))?;
            let unsigned = |bytes: &[u8]| {
                let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
                Some(BASE64.encode(&bytes[zeros..]))
            };
            jwk.kty = "RSA";
            jwk.n = unsigned(key.modulus);
            jwk.e = unsigned(key.exponent);
        } else {
            // An uncompressed point is a byte 4, then x, then y.
            let (x, y) = self.bytes[1..].split_at((self.bytes.len() - 1) / 2);
            jwk.kty = "EC";
            jwk.crv = Some(if self.algorithm == Algorithm::Es256 { "P-256" } else { "P-384" });
            jwk.x = Some(BASE64.encode(x));
            jwk.y = Some(BASE64.encode(y));
        }
        Ok(jwk)
    }
}

#[derive(Serialize, Default)]
struct Jwk<'a> {
    #[serde(rename = "use")]
    usage: &'static str,
    kty: &'static str,
    kid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    crv: Option<&'static str>,
    alg: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
}

#[derive(Serialize)]
struct JwkSet<'a> {
    keys: Vec<Jwk<'a>>,
}

/// The JSON Web Key Set of these keys.
pub fn key_set(keys: &[VerifyingKey]) -> Result<Vec<u8>, Error> {
    let keys = keys.iter().map(VerifyingKey::jwk).collect::<Result<Vec<_>, _>>()?;
    serde_json::to_vec(&JwkSet { keys }).map_err(|error| Error::PublicKey(error.to_string()))
}

const P256_POINT_BYTES: usize = 65;
const P384_POINT_BYTES: usize = 97;

const OID_RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const OID_EC: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const OID_P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const OID_P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
const DER_NULL: &[u8] = &[0x05, 0x00];
const DER_SEQUENCE: u8 = 0x30;
const DER_BIT_STRING: u8 = 0x03;
const DER_OCTET_STRING: u8 = 0x04;
const DER_INTEGER_ZERO: &[u8] = &[0x02, 0x01, 0x00];

fn algorithm_identifier(algorithm: Algorithm) -> Vec<u8> {
    match algorithm {
        Algorithm::Rs256 => der(DER_SEQUENCE, &[OID_RSA, DER_NULL]),
        Algorithm::Es256 => der(DER_SEQUENCE, &[OID_EC, OID_P256]),
        Algorithm::Es384 => der(DER_SEQUENCE, &[OID_EC, OID_P384]),
    }
}

/// SubjectPublicKeyInfo of RFC 5280.
fn spki(algorithm: Algorithm, key: &[u8]) -> Vec<u8> {
    der(DER_SEQUENCE, &[&algorithm_identifier(algorithm), &der(DER_BIT_STRING, &[&[0], key])])
}

/// PKCS#8 around a SEC1 key, which names no curve that ring would read.
fn sec1_in_pkcs8(sec1: &[u8], curve: Algorithm) -> Vec<u8> {
    der(DER_SEQUENCE, &[DER_INTEGER_ZERO, &algorithm_identifier(curve), &der(DER_OCTET_STRING, &[sec1])])
}

/// One DER value of a tag and its contents.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let bytes = length.to_be_bytes();
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        out.push(0x80 | (bytes.len() - zeros) as u8);
        out.extend_from_slice(&bytes[zeros..]);
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn signing_key() -> SigningKey {
        SigningKey::from_pem(rcgen::KeyPair::generate().unwrap().serialize_pem().as_bytes()).unwrap()
    }

    #[test]
    fn a_token_is_verified_by_the_key_that_signed_it_and_by_no_other() {
        let (key, other) = (signing_key(), signing_key());
        let token = key.sign(br#"{"iss":"x"}"#).unwrap();
        let parsed = Unverified::parse(&token).unwrap();
        assert_eq!(parsed.payload, br#"{"iss":"x"}"#);
        assert_eq!(parsed.key_id, key.public().id());
        assert!(parsed.signed_by(key.public()));
        assert!(!parsed.signed_by(other.public()));

        let (head, signature) = token.rsplit_once('.').unwrap();
        let forged = format!("{}.{}.{signature}", head.split_once('.').unwrap().0, BASE64.encode(br#"{"iss":"y"}"#));
        assert!(!Unverified::parse(&forged).unwrap().signed_by(key.public()));
    }

    #[test]
    fn a_token_that_names_another_algorithm_is_not_verified() {
        let key = signing_key();
        let token = key.sign(b"{}").unwrap();
        let (_, rest) = token.split_once('.').unwrap();
        for algorithm in ["none", "HS256", "RS256", "ES384"] {
            let header = BASE64.encode(format!(r#"{{"alg":"{algorithm}"}}"#));
            assert!(!Unverified::parse(&format!("{header}.{rest}")).unwrap().signed_by(key.public()), "{algorithm}");
        }
    }

    #[test]
    fn what_is_no_token_is_not_parsed() {
        for text in ["", "a", "a.b", "a.b.c", "....", "e30.e30.e30"] {
            assert!(Unverified::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn public_keys_are_read_from_every_form() {
        let pair = rcgen::KeyPair::generate().unwrap();
        let id = SigningKey::from_pem(pair.serialize_pem().as_bytes()).unwrap().public().id().to_owned();
        let certificate = rcgen::CertificateParams::new(vec!["x".into()]).unwrap().self_signed(&pair).unwrap().pem();
        for pem in [pair.serialize_pem(), pair.public_key_pem(), certificate] {
            let keys = VerifyingKey::all_from_pem(pem.as_bytes()).unwrap();
            assert_eq!(keys.iter().map(VerifyingKey::id).collect::<Vec<_>>(), [&*id], "{pem}");
        }
        assert!(VerifyingKey::all_from_pem(b"").is_err());
    }

    #[test]
    fn the_key_id_is_the_hash_of_the_whole_public_key() {
        let pair = rcgen::KeyPair::generate().unwrap();
        let spki = rustls_pki_types::SubjectPublicKeyInfoDer::from_pem_slice(pair.public_key_pem().as_bytes()).unwrap();
        let expect = BASE64.encode(ring::digest::digest(&ring::digest::SHA256, spki.as_ref()));
        assert_eq!(VerifyingKey::all_from_pem(pair.public_key_pem().as_bytes()).unwrap()[0].id(), expect);
    }

    /// A key pair of 2048 bits made for this test with `openssl genrsa -traditional`.
    const RSA: &str = include_str!("testdata/rsa.pem");

    #[test]
    fn rsa_keys_sign_and_are_published() {
        let key = SigningKey::from_pem(RSA.as_bytes()).unwrap();
        let token = key.sign(b"{}").unwrap();
        assert!(Unverified::parse(&token).unwrap().signed_by(&VerifyingKey::all_from_pem(RSA.as_bytes()).unwrap()[0]));
        let set: serde_json::Value = serde_json::from_slice(&key_set(&[key.public().clone()]).unwrap()).unwrap();
        let jwk = &set["keys"][0];
        assert_eq!((&jwk["kty"], &jwk["alg"], &jwk["e"], &jwk["use"]), (&"RSA".into(), &"RS256".into(), &"AQAB".into(), &"sig".into()));
        assert_eq!(BASE64.decode(jwk["n"].as_str().unwrap()).unwrap().len(), 256);
    }

    #[test]
    fn sec1_keys_are_read() {
        let key = SigningKey::from_pem(include_bytes!("testdata/sec1.pem")).unwrap();
        assert_eq!(key.public().algorithm(), "ES256");
        let set: serde_json::Value = serde_json::from_slice(&key_set(&[key.public().clone()]).unwrap()).unwrap();
        assert_eq!((&set["keys"][0]["crv"], &set["keys"][0]["kty"]), (&"P-256".into(), &"EC".into()));
    }
}
