//! The files of volumes that are made from objects: configMap, secret, downwardAPI and projected. Pure.

use super::atomic::{File, Files};
use crate::downward::{self, Place};
use crate::pod;
use k8s_openapi::api::core::v1::{ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, Volume, VolumeProjection};
use std::collections::BTreeMap;
use std::sync::Arc;

const DEFAULT_MODE: i32 = 0o644;
/// A token for one user or group is for nobody else.
const PRIVATE_MODE: i32 = 0o600;
/// What upstream's API defaults to where the API server did not say.
const TOKEN_SECONDS: i64 = 3600;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("configmap {0:?} not found")]
    NoConfigMap(String),
    #[error("secret {0:?} not found")]
    NoSecret(String),
    #[error("references non-existent config key: {0}")]
    NoConfigKey(String),
    #[error("references non-existent secret key: {0}")]
    NoSecretKey(String),
    #[error("no token was issued for audience {0:?}")]
    NoToken(String),
    #[error("projected source of volume {0:?} is not one that this kubelet knows")]
    Unsupported(String),
    #[error(transparent)]
    Field(#[from] downward::Error),
}

/// Which token a volume wants.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenRequest {
    pub audience: String,
    pub seconds: i64,
}

/// What files are made from. Missing objects are missing from the maps.
#[derive(Clone, Default)]
pub struct Sources {
    pub config_maps: BTreeMap<String, Arc<ConfigMap>>,
    pub secrets: BTreeMap<String, Arc<Secret>>,
    pub tokens: BTreeMap<TokenRequest, String>,
    pub place: Place,
}

/// The names of objects, and the tokens, that a Pod's volumes need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub config_maps: Vec<String>,
    pub secrets: Vec<String>,
    pub tokens: Vec<TokenRequest>,
}

pub fn needs(pod: &Pod) -> Needs {
    let mut needs = Needs::default();
    for volume in pod::spec(pod).volumes.iter().flatten() {
        needs.config_maps.extend(volume.config_map.as_ref().map(|source| source.name.clone()));
        needs.secrets.extend(volume.secret.as_ref().and_then(|source| source.secret_name.clone()));
        for source in projections(volume) {
            needs.config_maps.extend(source.config_map.as_ref().map(|source| source.name.clone()));
            needs.secrets.extend(source.secret.as_ref().map(|source| source.name.clone()));
            needs.tokens.extend(token_request(source));
        }
    }
    needs.tokens.sort();
    needs.tokens.dedup();
    needs
}

fn projections(volume: &Volume) -> impl Iterator<Item = &VolumeProjection> {
    volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten())
}

fn token_request(source: &VolumeProjection) -> Option<TokenRequest> {
    let token = source.service_account_token.as_ref()?;
    Some(TokenRequest { audience: token.audience.clone().unwrap_or_default(), seconds: token.expiration_seconds.unwrap_or(TOKEN_SECONDS) })
}

/// Where in a projected volume its tokens are.
pub fn token_paths(volume: &Volume) -> Vec<String> {
    projections(volume).filter_map(|source| source.service_account_token.as_ref()).map(|token| token.path.clone()).collect()
}

pub fn of_volume(pod: &Pod, volume: &Volume, sources: &Sources) -> Result<Files, Error> {
    let mut files = Files::new();
    if let Some(source) = &volume.config_map {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        config_map(&mut files, &source.name, source.items.as_deref(), source.optional, mode, sources)?;
    } else if let Some(source) = &volume.secret {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        let name = source.secret_name.clone().unwrap_or_default();
        secret(&mut files, &name, source.items.as_deref(), source.optional, mode, sources)?;
    } else if let Some(source) = &volume.downward_api {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        downward(&mut files, pod, source.items.as_deref().unwrap_or_default(), mode, sources)?;
    } else if let Some(projected) = &volume.projected {
        let mode = projected.default_mode.unwrap_or(DEFAULT_MODE);
        for source in projections(volume) {
            projection(&mut files, pod, &volume.name, source, mode, sources)?;
        }
    }
    Ok(files)
}

fn projection(files: &mut Files, pod: &Pod, volume: &str, source: &VolumeProjection, mode: i32, sources: &Sources) -> Result<(), Error> {
    if let Some(source) = &source.config_map {
        config_map(files, &source.name, source.items.as_deref(), source.optional, mode, sources)
    } else if let Some(source) = &source.secret {
        secret(files, &source.name, source.items.as_deref(), source.optional, mode, sources)
    } else if let Some(source) = &source.downward_api {
        downward(files, pod, source.items.as_deref().unwrap_or_default(), mode, sources)
    } else if let (Some(source), Some(request)) = (&source.service_account_token, token_request(source)) {
        let token = sources.tokens.get(&request).ok_or_else(|| Error::NoToken(request.audience.clone()))?;
        let private = super::fs_group(pod).is_some() || super::common_user(pod).is_some();
        let mode = if private { PRIVATE_MODE } else { mode };
        files.insert(source.path.clone(), file(token.as_bytes(), mode));
        Ok(())
    } else {
        Err(Error::Unsupported(volume.to_owned()))
    }
}

fn file(data: &[u8], mode: i32) -> File {
    File { data: data.to_vec(), mode: u32::try_from(mode).unwrap_or_default() & 0o777 }
}

/// All keys under their own names, or the chosen ones under the names given.
fn choose<'a>(
    files: &mut Files,
    items: Option<&[KeyToPath]>,
    mode: i32,
    optional: bool,
    all: impl Iterator<Item = (&'a str, &'a [u8])>,
    missing: impl Fn(String) -> Error,
) -> Result<(), Error> {
    let all: BTreeMap<&str, &[u8]> = all.collect();
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        files.extend(all.into_iter().map(|(key, data)| (key.to_owned(), file(data, mode))));
        return Ok(());
    };
    for item in items {
        match all.get(item.key.as_str()) {
            Some(data) => drop(files.insert(item.path.clone(), file(data, item.mode.unwrap_or(mode)))),
            None if optional => {}
            None => return Err(missing(item.key.clone())),
        }
    }
    Ok(())
}

fn config_map(files: &mut Files, name: &str, items: Option<&[KeyToPath]>, optional: Option<bool>, mode: i32, sources: &Sources) -> Result<(), Error> {
    let optional = optional.unwrap_or_default();
    let Some(object) = sources.config_maps.get(name) else {
        return if optional { Ok(()) } else { Err(Error::NoConfigMap(name.to_owned())) };
    };
    let text = object.data.iter().flatten().map(|(key, value)| (key.as_str(), value.as_bytes()));
    let binary = object.binary_data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice()));
    choose(files, items, mode, optional, text.chain(binary), Error::NoConfigKey)
}

fn secret(files: &mut Files, name: &str, items: Option<&[KeyToPath]>, optional: Option<bool>, mode: i32, sources: &Sources) -> Result<(), Error> {
    let optional = optional.unwrap_or_default();
    let Some(object) = sources.secrets.get(name) else {
        return if optional { Ok(()) } else { Err(Error::NoSecret(name.to_owned())) };
    };
    let data = object.data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice()));
    choose(files, items, mode, optional, data, Error::NoSecretKey)
}

fn downward(files: &mut Files, pod: &Pod, items: &[DownwardAPIVolumeFile], mode: i32, sources: &Sources) -> Result<(), Error> {
    for item in items {
        let text = if let Some(reference) = &item.field_ref {
            downward::field(pod, &reference.field_path, &sources.place)?
        } else if let Some(reference) = &item.resource_field_ref {
            downward::resource(pod, None, reference, &sources.place)?
        } else {
            continue;
        };
        files.insert(item.path.clone(), file(text.as_bytes(), item.mode.unwrap_or(mode)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn sources() -> Sources {
        let map = serde_json::from_value(json!({"data": {"a": "1", "b": "2"}, "binaryData": {"c": "AAE="}})).expect("a map");
        let secret = serde_json::from_value(json!({"data": {"s": "aHVzaA=="}})).expect("a secret");
        Sources {
            config_maps: BTreeMap::from([("m".to_owned(), Arc::new(map))]),
            secrets: BTreeMap::from([("s".to_owned(), Arc::new(secret))]),
            tokens: BTreeMap::from([(TokenRequest { audience: "aud".to_owned(), seconds: 600 }, "the-token".to_owned())]),
            place: Place::default(),
        }
    }

    fn made(volume: Value, security: Value) -> Result<Vec<(String, u32, String)>, Error> {
        let mut volume = volume;
        volume["name"] = json!("v");
        let pod = json!({"metadata": {"name": "p", "labels": {"x": "y"}}, "spec": {"securityContext": security, "containers": [{"name": "c"}], "volumes": [volume]}});
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        let volume = &pod::spec(&pod).volumes.as_ref().expect("volumes")[0];
        let files = of_volume(&pod, volume, &sources())?;
        Ok(files.into_iter().map(|(path, file)| (path, file.mode, String::from_utf8_lossy(&file.data).into_owned())).collect())
    }

    fn check(volume: Value, expect: Result<&[(&str, u32, &str)], Error>) {
        let expect = expect.map(|list| list.iter().map(|&(path, mode, data)| (path.to_owned(), mode, data.to_owned())).collect());
        assert_eq!(made(volume.clone(), json!({})), expect, "{volume}");
    }

    #[test]
    fn objects_become_files_by_key_or_by_item() {
        check(json!({"configMap": {"name": "m"}}), Ok(&[("a", 0o644, "1"), ("b", 0o644, "2"), ("c", 0o644, "\0\u{1}")]));
        check(
            json!({"configMap": {"name": "m", "defaultMode": 0o600, "items": [{"key": "a", "path": "d/x"}, {"key": "b", "path": "y", "mode": 0o755}]}}),
            Ok(&[("d/x", 0o600, "1"), ("y", 0o755, "2")]),
        );
        check(json!({"secret": {"secretName": "s"}}), Ok(&[("s", 0o644, "hush")]));
        check(json!({"downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}}), Ok(&[("l", 0o644, "x=\"y\"")]));
    }

    #[test]
    fn what_is_missing_is_an_error_unless_optional() {
        check(json!({"configMap": {"name": "none"}}), Err(Error::NoConfigMap("none".to_owned())));
        check(json!({"secret": {"secretName": "none"}}), Err(Error::NoSecret("none".to_owned())));
        check(json!({"configMap": {"name": "m", "items": [{"key": "z", "path": "z"}]}}), Err(Error::NoConfigKey("z".to_owned())));
        check(json!({"configMap": {"name": "m", "optional": true, "items": [{"key": "z", "path": "z"}]}}), Ok(&[]));
    }

    #[test]
    fn a_projected_volume_joins_its_sources() {
        let volume = json!({"projected": {"defaultMode": 0o444, "sources": [
            {"serviceAccountToken": {"audience": "aud", "expirationSeconds": 600, "path": "token"}},
            {"configMap": {"name": "m", "items": [{"key": "a", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.name"}}]}}]}});
        check(volume.clone(), Ok(&[("ca.crt", 0o444, "1"), ("namespace", 0o444, "p"), ("token", 0o444, "the-token")]));
        let private = made(volume, json!({"fsGroup": 5})).expect("files");
        assert_eq!(private[2].1, 0o600);
    }

    #[test]
    fn needs_name_every_object_and_token_once() {
        let pod = json!({"spec": {"containers": [], "volumes": [
            {"name": "a", "configMap": {"name": "m"}},
            {"name": "b", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}, {"secret": {"name": "s"}}]}},
            {"name": "c", "projected": {"sources": [{"serviceAccountToken": {"path": "u"}}]}}]}});
        let needs = needs(&serde_json::from_value(pod).expect("a pod"));
        assert_eq!(needs.config_maps, ["m"]);
        assert_eq!(needs.secrets, ["s"]);
        assert_eq!(needs.tokens, [TokenRequest { audience: String::new(), seconds: 3600 }]);
    }
}
