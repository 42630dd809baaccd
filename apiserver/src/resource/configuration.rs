//! ConfigMaps, Secrets and ServiceAccounts.

use super::rules::{each, map_at};
use super::validation::{Errors, messages, metadata, value};
use super::{Context, Object, Rules, Selectable};
use apiserver_machinery::field::{Error, Path};
use apiserver_machinery::names;
use apiserver_machinery::schema::{Schema, Shape};
use apiserver_machinery::tree::{Struct, Value};

pub static CONFIG_MAP: Rules = Rules { validate: validate_config_map, ..Rules::PLAIN };

pub static SECRET: Rules = Rules {
    defaults: secret_defaults,
    validate: validate_secret,
    selectable: &[Selectable { label: "type", value: |secret| secret.text("type").into() }],
    ..Rules::PLAIN
};

pub static SERVICE_ACCOUNT: Rules = Rules {
    create: |account, context| clean_references(account, context.schema),
    update: |_, account, context| clean_references(account, context.schema),
    warnings: account_warnings,
    returns_deleted: true,
    ..Rules::PLAIN
};

/// The data of one ConfigMap or Secret.
const DATA_BYTES_MAX: usize = 1 << 20;

/// What is written as text becomes data, over what was there.
fn secret_defaults(secret: &mut Struct, shape: &Shape) {
    let schema = &*shape.schema;
    if let Some(Value::Map(text)) = secret.take(schema, "stringData")
        && !text.is_empty()
        && let Some(data) = map_at(secret, schema, "data")
    {
        for (key, value) in text {
            if let Value::String(value) = value {
                data.insert(key, Value::Bytes(value.as_bytes().into()));
            }
        }
    }
    super::rules::defaults(secret, shape);
}

fn size(value: &Value) -> usize {
    match value {
        Value::Bytes(bytes) | Value::Raw(bytes) => bytes.len(),
        Value::String(text) => text.len(),
        _ => 0,
    }
}

/// What an immutable object does not let change.
fn immutable(new: Object<'_>, old: Option<Object<'_>>, fields: &[&str], errors: &mut Errors) {
    let Some(old) = old.filter(|old| old.flag("immutable")) else { return };
    const DETAIL: &str = "field is immutable when `immutable` is set";
    if !new.flag("immutable") {
        errors.push(Error::forbidden(&Path::new("immutable"), DETAIL));
    }
    for field in fields {
        if !super::rules::same(new, old, field) {
            errors.push(Error::forbidden(&Path::new(field), DETAIL));
        }
    }
}

fn validate_config_map(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    immutable(new, old, &["data", "binaryData"], errors);
    let mut bytes = 0;
    for list in ["data", "binaryData"] {
        let at = Path::new(list);
        for (key, value) in new.entries(list) {
            messages(names::config_map_key(key), key, &at.key(key), errors);
            if list == "data" && new.map("binaryData").is_some_and(|other| other.get(key).is_some()) {
                errors.push(Error::invalid(&at.key(key), key, "duplicate of key present in binaryData"));
            }
            bytes += size(value);
        }
    }
    if bytes > DATA_BYTES_MAX {
        errors.push(Error::too_long(&Path::new(""), DATA_BYTES_MAX));
    }
}

fn validate_secret(new: Object<'_>, old: Option<Object<'_>>, context: &Context<'_>, errors: &mut Errors) {
    metadata::validate(new, old, context, errors);
    if let Some(old) = old {
        super::validation::immutable(new, old, "type", &Path::new("type"), errors);
    }
    immutable(new, old, &["data"], errors);
    let at = Path::new("data");
    let mut bytes = 0;
    for (key, value) in new.entries("data") {
        messages(names::config_map_key(key), key, &at.key(key), errors);
        bytes += size(value);
    }
    if bytes > DATA_BYTES_MAX {
        errors.push(Error::too_long(&at, DATA_BYTES_MAX));
    }
    secret_type(new, &at, errors);
}

/// What a Secret of a known type holds.
fn secret_type(secret: Object<'_>, at: &Path<'_>, errors: &mut Errors) {
    let data = |key: &str| secret.map("data").and_then(|data| data.get(key));
    let need = |keys: &[&str], errors: &mut Errors| {
        for key in keys.iter().filter(|key| data(key).is_none()) {
            errors.push(Error::required(&at.key(key), ""));
        }
    };
    match secret.text("type") {
        "kubernetes.io/service-account-token" => {
            let key = "kubernetes.io/service-account.name";
            if secret.annotation(key).unwrap_or_default().is_empty() {
                errors.push(Error::required(&Path::new("metadata.annotations").key(key), ""));
            }
        }
        "kubernetes.io/dockercfg" => docker(data(".dockercfg"), &at.key(".dockercfg"), errors),
        "kubernetes.io/dockerconfigjson" => docker(data(".dockerconfigjson"), &at.key(".dockerconfigjson"), errors),
        "kubernetes.io/basic-auth" if data("username").is_none() && data("password").is_none() => need(&["username", "password"], errors),
        "kubernetes.io/ssh-auth" if data("ssh-privatekey").is_none_or(value::is_empty) => {
            errors.push(Error::required(&at.key("ssh-privatekey"), ""));
        }
        "kubernetes.io/tls" => need(&["tls.crt", "tls.key"], errors),
        _ => {}
    }
}

fn docker(config: Option<&Value>, at: &Path<'_>, errors: &mut Errors) {
    let Some(config) = config else {
        errors.push(Error::required(at, ""));
        return;
    };
    let bytes = match config {
        Value::Bytes(bytes) => bytes.as_ref(),
        _ => &[],
    };
    match apiserver_machinery::json::to_any(bytes) {
        Ok(Value::Map(_) | Value::Null) => {}
        Ok(_) => {
            let detail = "json: cannot unmarshal value into Go value of type map[string]interface {}";
            errors.push(Error::invalid(at, "<secret contents redacted>", detail));
        }
        Err(error) => errors.push(Error::invalid(at, "<secret contents redacted>", error.to_string())),
    }
}

/// Of references to secrets, only names count.
fn clean_references(account: &mut Struct, schema: &Schema) {
    each(account, schema, "secrets", |reference| {
        let name = reference.take(schema, "name");
        reference.retain(|_, _| false);
        if let Some(name) = name {
            reference.put(schema, "name", name);
        }
    });
}

fn account_warnings(new: Object<'_>, old: Option<Object<'_>>, _: &Context<'_>) -> Vec<String> {
    const KEY: &str = "kubernetes.io/enforce-mountable-secrets";
    if new.annotation(KEY).is_none() || old.is_some_and(|old| old.annotation(KEY).is_some()) {
        return Vec::new();
    }
    vec![format!("metadata.annotations[{KEY}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets")]
}
