//! The environment of a container: what its spec lists, what it takes from ConfigMaps and Secrets, and the Services that there are.
//! Pure: the objects are handed in.

use crate::downward::{self, Place};
use crate::pod;
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, EnvVarSource, Pod, Secret, Service};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A file that variables are read from is not read further than this.
const ENV_FILE_BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("configmap {0:?} not found")]
    NoConfigMap(String),
    #[error("secret {0:?} not found")]
    NoSecret(String),
    #[error("couldn't find key {key} in ConfigMap {object}")]
    NoConfigMapKey { key: String, object: String },
    #[error("couldn't find key {key} in Secret {object}")]
    NoSecretKey { key: String, object: String },
    #[error("cannot find the volume {0:?} referenced by FileKeyRef")]
    NoVolume(String),
    #[error("couldn't parse env file")]
    File,
    #[error("environment variable key {key:?} not found in file {file:?}")]
    NoFileKey { key: String, file: String },
    #[error(transparent)]
    Field(#[from] downward::Error),
}

/// Where variables come from. Missing objects are missing from the maps.
#[derive(Clone, Default)]
pub struct Sources {
    pub config_maps: BTreeMap<String, Arc<ConfigMap>>,
    pub secrets: BTreeMap<String, Arc<Secret>>,
    pub services: Vec<Arc<Service>>,
    pub place: Place,
}

/// The ConfigMaps and Secrets that a container's environment names.
pub fn references(container: &Container) -> (Vec<&str>, Vec<&str>) {
    let from = container.env_from.iter().flatten();
    let values = || container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref());
    let config_maps = from.clone().filter_map(|from| from.config_map_ref.as_ref()).map(|reference| reference.name.as_str());
    let config_keys = values().filter_map(|from| from.config_map_key_ref.as_ref()).map(|reference| reference.name.as_str());
    let secrets = from.filter_map(|from| from.secret_ref.as_ref()).map(|reference| reference.name.as_str());
    let secret_keys = values().filter_map(|from| from.secret_key_ref.as_ref()).map(|reference| reference.name.as_str());
    (config_maps.chain(config_keys).collect(), secrets.chain(secret_keys).collect())
}

/// The variables of a container. Values are bytes, since Secrets hold bytes.
///
/// `volume` gives the folder of a mounted volume, for variables that are read from files.
pub fn environment<'v>(
    pod: &Pod,
    container: &Container,
    sources: &Sources,
    volume: &impl Fn(&str) -> Option<&'v Path>,
) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let services = service_variables(pod, &sources.services);
    let mut variables = from_objects(pod, container, sources)?;
    for variable in container.env.iter().flatten() {
        if let Some(value) = value_of(pod, container, variable, sources, &variables, &services, volume)? {
            variables.insert(variable.name.clone(), value);
        }
    }
    for (name, value) in services {
        variables.entry(name).or_insert_with(|| value.into_bytes());
    }
    Ok(variables)
}

fn from_objects(pod: &Pod, container: &Container, sources: &Sources) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let mut variables = BTreeMap::new();
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &from.config_map_ref {
            match sources.config_maps.get(&reference.name) {
                Some(object) => {
                    let data = object.data.iter().flatten();
                    variables.extend(data.map(|(key, value)| (format!("{prefix}{key}"), value.clone().into_bytes())));
                }
                None if reference.optional == Some(true) => {}
                None => return Err(Error::NoConfigMap(reference.name.clone())),
            }
        } else if let Some(reference) = &from.secret_ref {
            match sources.secrets.get(&reference.name) {
                Some(object) => {
                    let data = object.data.iter().flatten();
                    variables.extend(data.map(|(key, value)| (format!("{prefix}{key}"), value.0.clone())));
                }
                None if reference.optional == Some(true) => {}
                None => return Err(Error::NoSecret(reference.name.clone())),
            }
        }
    }
    tracing::trace!(pod = pod::name(pod), count = variables.len(), "variables from objects");
    Ok(variables)
}

/// The value of one variable; `None` when it is optional and its source is not there.
fn value_of<'v>(
    pod: &Pod,
    container: &Container,
    variable: &EnvVar,
    sources: &Sources,
    known: &BTreeMap<String, Vec<u8>>,
    services: &BTreeMap<String, String>,
    volume: &impl Fn(&str) -> Option<&'v Path>,
) -> Result<Option<Vec<u8>>, Error> {
    if let Some(value) = variable.value.as_deref().filter(|value| !value.is_empty()) {
        let lookup = |name: &str| known.get(name).cloned().or_else(|| services.get(name).map(|value| value.clone().into_bytes()));
        return Ok(Some(expand(value, &lookup)));
    }
    match &variable.value_from {
        Some(from) => value_from(pod, container, from, sources, volume),
        None => Ok(Some(Vec::new())),
    }
}

fn value_from<'v>(
    pod: &Pod,
    container: &Container,
    from: &EnvVarSource,
    sources: &Sources,
    volume: &impl Fn(&str) -> Option<&'v Path>,
) -> Result<Option<Vec<u8>>, Error> {
    let named = |name: &str| format!("{}/{name}", pod::namespace(pod));
    if let Some(reference) = &from.field_ref {
        return Ok(Some(downward::field(pod, &reference.field_path, &sources.place)?.into_bytes()));
    }
    if let Some(reference) = &from.resource_field_ref {
        return Ok(Some(downward::resource(pod, Some(container), reference, &sources.place)?.into_bytes()));
    }
    if let Some(reference) = &from.config_map_key_ref {
        let optional = reference.optional == Some(true);
        let Some(object) = sources.config_maps.get(&reference.name) else {
            return if optional { Ok(None) } else { Err(Error::NoConfigMap(reference.name.clone())) };
        };
        return match object.data.as_ref().and_then(|data| data.get(&reference.key)) {
            Some(value) => Ok(Some(value.clone().into_bytes())),
            None if optional => Ok(None),
            None => Err(Error::NoConfigMapKey { key: reference.key.clone(), object: named(&reference.name) }),
        };
    }
    if let Some(reference) = &from.secret_key_ref {
        let optional = reference.optional == Some(true);
        let Some(object) = sources.secrets.get(&reference.name) else {
            return if optional { Ok(None) } else { Err(Error::NoSecret(reference.name.clone())) };
        };
        return match object.data.as_ref().and_then(|data| data.get(&reference.key)) {
            Some(value) => Ok(Some(value.0.clone())),
            None if optional => Ok(None),
            None => Err(Error::NoSecretKey { key: reference.key.clone(), object: named(&reference.name) }),
        };
    }
    if let Some(reference) = &from.file_key_ref {
        let folder = volume(&reference.volume_name).ok_or_else(|| Error::NoVolume(reference.volume_name.clone()))?;
        let found = file_variable(folder, &reference.path, &reference.key)?;
        return match found {
            Some(value) => Ok(Some(value.into_bytes())),
            None if reference.optional == Some(true) => Ok(None),
            None => Err(Error::NoFileKey { key: reference.key.clone(), file: reference.path.clone() }),
        };
    }
    Ok(Some(Vec::new()))
}

/// Replaces `$(NAME)` where NAME is known; `$$` stands for `$`, and what is not known stays as it is.
///
/// Example: with A=1, `$(A) $$(A) $(B) $x` becomes `1 $(A) $(B) $x`.
pub fn expand(text: &str, lookup: &impl Fn(&str) -> Option<Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push(b'$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inside| inside.split_once(')')) {
            match lookup(name) {
                Some(value) => out.extend(value),
                None => out.extend(format!("$({name})").into_bytes()),
            }
            rest = after;
        } else {
            out.push(b'$');
        }
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

/// `KEY=value` lines; blank lines and those that begin with `#` do not count, and quotes around a value are dropped.
fn file_variable(folder: &Path, path: &str, key: &str) -> Result<Option<String>, Error> {
    use std::io::Read;
    let file = crate::volume::open_beneath(folder, path).map_err(|_| Error::File)?;
    let mut text = String::new();
    file.take(ENV_FILE_BYTES_MAX).read_to_string(&mut text).map_err(|_| Error::File)?;
    let mut found = None;
    for line in text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) = line.split_once('=').ok_or(Error::File)?;
        if name.trim() == key {
            let value = value.trim();
            let bare = ['"', '\''].iter().find_map(|&quote| value.strip_prefix(quote)?.strip_suffix(quote));
            found = Some(bare.unwrap_or(value).to_owned());
        }
    }
    Ok(found)
}

/// Variables for the Services of the Pod's namespace, and always for `default/kubernetes`.
fn service_variables(pod: &Pod, services: &[Arc<Service>]) -> BTreeMap<String, String> {
    let links = pod::spec(pod).enable_service_links.unwrap_or(true);
    let mut chosen: BTreeMap<&str, &Service> = BTreeMap::new();
    for service in services {
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
        let has_address = service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()).is_some_and(|ip| !ip.is_empty() && ip != "None");
        if !has_address {
            continue;
        }
        if namespace == "default" && name == "kubernetes" {
            chosen.entry(name).or_insert(service);
        } else if links && namespace == pod::namespace(pod) {
            chosen.insert(name, service);
        }
    }
    chosen.into_iter().flat_map(|(name, service)| link_variables(name, service)).collect()
}

fn variable_name(text: &str) -> String {
    text.replace('-', "_").to_uppercase()
}

fn link_variables(name: &str, service: &Service) -> Vec<(String, String)> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let ip = spec.cluster_ip.clone().unwrap_or_default();
    let ports = spec.ports.as_deref().unwrap_or_default();
    let Some(first) = ports.first() else { return Vec::new() };
    let prefix = variable_name(name);
    let mut variables = vec![(format!("{prefix}_SERVICE_HOST"), ip.clone()), (format!("{prefix}_SERVICE_PORT"), first.port.to_string())];
    for port in ports {
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            variables.push((format!("{prefix}_SERVICE_PORT_{}", variable_name(name)), port.port.to_string()));
        }
    }
    for (index, port) in ports.iter().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let host = if ip.contains(':') { format!("[{ip}]") } else { ip.clone() };
        let url = format!("{}://{host}:{}", protocol.to_lowercase(), port.port);
        if index == 0 {
            variables.push((format!("{prefix}_PORT"), url.clone()));
        }
        let prefix = format!("{prefix}_PORT_{}_{}", port.port, protocol.to_uppercase());
        variables.push((format!("{prefix}_PROTO"), protocol.to_lowercase()));
        variables.push((format!("{prefix}_PORT"), port.port.to_string()));
        variables.push((format!("{prefix}_ADDR"), ip.clone()));
        variables.push((prefix, url));
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod() -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": []}})).expect("a pod")
    }

    fn sources() -> Sources {
        let map: ConfigMap = serde_json::from_value(json!({"data": {"A": "map-a", "B": "map-b"}})).expect("a map");
        let secret: Secret = serde_json::from_value(json!({"data": {"S": "aHVzaA=="}})).expect("a secret");
        Sources {
            config_maps: BTreeMap::from([("m".to_owned(), Arc::new(map))]),
            secrets: BTreeMap::from([("s".to_owned(), Arc::new(secret))]),
            ..Default::default()
        }
    }

    fn run(container: Value, sources: &Sources) -> Result<BTreeMap<String, String>, String> {
        let mut container = container;
        container["name"] = json!("c");
        let container: Container = serde_json::from_value(container).expect("a container");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        environment(&pod(), &container, sources, &|_| None)
            .map(|variables| variables.into_iter().map(|(name, value)| (name, text(value))).collect())
            .map_err(|error| error.to_string())
    }

    fn check(container: Value, expect: Result<&[(&str, &str)], &str>) {
        let expect = expect.map(|pairs| pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()).map_err(str::to_owned);
        assert_eq!(run(container.clone(), &sources()), expect, "{container}");
    }

    #[test]
    fn references_to_other_variables_are_expanded() {
        let check = |text: &str, expect: &str| {
            let lookup = |name: &str| (name == "A").then(|| b"1".to_vec());
            assert_eq!(String::from_utf8(expand(text, &lookup)).expect("text"), expect, "{text}");
        };
        check("$(A)", "1");
        check("$(A)$(A)", "11");
        check("$$(A)", "$(A)");
        check("$$$(A)", "$1");
        check("$(B)", "$(B)");
        check("$A", "$A");
        check("$(A", "$(A");
        check("a$", "a$");
        check("é$(A)é", "é1é");
    }

    #[test]
    fn later_variables_see_earlier_ones() {
        check(
            json!({"env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "$(X)$(Z)"}, {"name": "Z", "value": "3"}]}),
            Ok(&[("X", "1"), ("Y", "1$(Z)"), ("Z", "3")]),
        );
    }

    #[test]
    fn objects_give_all_or_single_keys() {
        check(json!({"envFrom": [{"configMapRef": {"name": "m"}, "prefix": "P_"}]}), Ok(&[("P_A", "map-a"), ("P_B", "map-b")]));
        check(json!({"envFrom": [{"secretRef": {"name": "s"}}], "env": [{"name": "S", "value": "mine"}]}), Ok(&[("S", "mine")]));
        check(json!({"env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "A"}}}]}), Ok(&[("X", "map-a")]));
        check(json!({"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "S"}}}]}), Ok(&[("X", "hush")]));
    }

    #[test]
    fn what_is_missing_fails_unless_it_is_optional() {
        check(json!({"envFrom": [{"configMapRef": {"name": "none"}}]}), Err("configmap \"none\" not found"));
        check(json!({"envFrom": [{"configMapRef": {"name": "none", "optional": true}}]}), Ok(&[]));
        check(
            json!({"env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "none"}}}]}),
            Err("couldn't find key none in ConfigMap n/m"),
        );
        check(json!({"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "none", "optional": true}}}]}), Ok(&[]));
    }

    #[test]
    fn services_of_the_namespace_and_the_kubernetes_service_show() {
        let service = |namespace: &str, name: &str, ip: &str| -> Arc<Service> {
            Arc::new(
                serde_json::from_value(json!({"metadata": {"name": name, "namespace": namespace},
                "spec": {"clusterIP": ip, "ports": [{"port": 80, "name": "web-port"}]}}))
                .expect("a service"),
            )
        };
        let services = vec![
            service("n", "my-svc", "10.0.0.9"),
            service("other", "x", "10.0.0.8"),
            service("default", "kubernetes", "10.0.0.1"),
            service("n", "headless", "None"),
        ];
        let seen = run(json!({}), &Sources { services, ..Default::default() }).expect("an environment");
        assert_eq!(seen["MY_SVC_SERVICE_HOST"], "10.0.0.9");
        assert_eq!(seen["MY_SVC_SERVICE_PORT_WEB_PORT"], "80");
        assert_eq!(seen["MY_SVC_PORT"], "tcp://10.0.0.9:80");
        assert_eq!(seen["MY_SVC_PORT_80_TCP_ADDR"], "10.0.0.9");
        assert_eq!(seen["KUBERNETES_SERVICE_HOST"], "10.0.0.1");
        assert!(!seen.keys().any(|name| name.starts_with("X_") || name.starts_with("HEADLESS")));
    }
}
