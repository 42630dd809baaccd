//! JSON patch (RFC 6902), with the habits of the library that upstream uses: negative indices count from the end, a replaced field of an
//! object need not be there, and an absent value is null.

use super::{Error, JSON_PATCH_COPY_BYTES_MAX};
use crate::codec::DEPTH_MAX;
use crate::json;
use crate::text::quote;
use crate::tree::{Map, Value};

/// Sentinels that end upstream's messages.
const MISSING: &str = "missing value";
const TEST_FAILED: &str = "test failed";
const INVALID_INDEX: &str = "invalid index referenced";

pub(super) fn apply(mut document: Value, operations: &[Map]) -> Result<Value, Error> {
    let mut copied_bytes = 0;
    for operation in operations {
        let done = match operation.get("op").and_then(Value::as_str).unwrap_or("unknown") {
            "add" => add(&mut document, operation),
            "remove" => remove(&mut document, operation),
            "replace" => replace(&mut document, operation),
            "move" => move_value(&mut document, operation),
            "test" => test(&document, operation),
            "copy" => copy(&mut document, operation, &mut copied_bytes),
            other => Err(format!("Unexpected kind: {other}")),
        };
        done.map_err(Error::Unprocessable)?;
    }
    Ok(document)
}

fn path<'o>(operation: &'o Map, name: &str) -> Option<&'o str> {
    operation.get(name).and_then(Value::as_str)
}

fn value(operation: &Map) -> Value {
    operation.get("value").cloned().unwrap_or(Value::Null)
}

/// `~1` is a slash, `~0` a tilde.
fn unescape(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

/// The key at the end of a path, and the keys of what holds it.
fn split(path: &str) -> Option<(Vec<String>, String)> {
    let (parents, key) = path.rsplit_once('/')?;
    Some((parents.split('/').skip(1).map(unescape).collect(), unescape(key)))
}

fn holder<'d>(document: &'d Value, path: &str) -> Option<(&'d Value, String)> {
    let (parents, key) = split(path)?;
    let mut at = document;
    for part in parents {
        at = get(at, &part).ok().flatten()?;
    }
    matches!(at, Value::Map(_) | Value::List(_)).then_some((at, key))
}

fn holder_mut<'d>(document: &'d mut Value, path: &str) -> Option<(&'d mut Value, String)> {
    let (parents, key) = split(path)?;
    let mut at = document;
    for part in parents {
        at = match at {
            Value::Map(map) => map.get_mut(&part)?,
            Value::List(items) => {
                let index = index(&part, items.len()).ok()?;
                &mut items[index]
            }
            _ => return None,
        };
    }
    matches!(at, Value::Map(_) | Value::List(_)).then_some((at, key))
}

fn number(key: &str) -> Result<i64, String> {
    let error = |why| format!("strconv.Atoi: parsing {}: {why}", quote(key));
    let digits = key.strip_prefix(['+', '-']).unwrap_or(key);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(error("invalid syntax"));
    }
    key.parse().map_err(|_| error("value out of range"))
}

/// The place of an item that is there.
fn index(key: &str, length: usize) -> Result<usize, String> {
    let index = number(key)?;
    let at = if index < 0 { index.checked_add_unsigned(length as u64) } else { Some(index) };
    let at = at.and_then(|at| usize::try_from(at).ok()).filter(|at| *at < length);
    at.ok_or_else(|| format!("Unable to access invalid index: {index}: {INVALID_INDEX}"))
}

fn get<'d>(holder: &'d Value, key: &str) -> Result<Option<&'d Value>, String> {
    match holder {
        Value::Map(map) => Ok(map.get(key)),
        Value::List(items) => index(key, items.len()).map(|at| Some(&items[at])),
        _ => Ok(None),
    }
}

/// Operations can nest what they add in what others added; a value that is too deep would be a stack frame too many later on.
fn check_depth(path: &str, value: &Value) -> Result<(), String> {
    let above = path.matches('/').count();
    if above + depth(value) <= DEPTH_MAX { Ok(()) } else { Err(format!("exceeded max depth of {DEPTH_MAX}")) }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Map(map) => 1 + map.iter().map(|(_, value)| depth(value)).max().unwrap_or_default(),
        Value::List(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

fn insert(holder: &mut Value, key: &str, value: Value) -> Result<(), String> {
    match holder {
        Value::Map(map) => {
            map.insert(key, value);
        }
        Value::List(items) if key == "-" => items.push(value),
        Value::List(items) => {
            number(key).map_err(|error| format!("value was not a proper array index: '{key}': {error}"))?;
            let at = index(key, items.len() + 1)?;
            items.insert(at, value);
        }
        _ => {}
    }
    Ok(())
}

fn take(holder: &mut Value, key: &str) -> Result<Value, String> {
    match holder {
        Value::Map(map) => map.remove(key).ok_or_else(|| format!("Unable to remove nonexistent key: {key}: {MISSING}")),
        Value::List(items) => index(key, items.len()).map(|at| items.remove(at)),
        _ => Ok(Value::Null),
    }
}

fn add(document: &mut Value, operation: &Map) -> Result<(), String> {
    let path = path(operation, "path").ok_or_else(|| format!("add operation failed to decode path: {MISSING}"))?;
    let missing = || format!("add operation does not apply: doc is missing path: \"{path}\": {MISSING}");
    let (holder, key) = holder_mut(document, path).ok_or_else(missing)?;
    let value = value(operation);
    check_depth(path, &value)?;
    insert(holder, &key, value).map_err(|error| format!("error in add for path: '{path}': {error}"))
}

fn remove(document: &mut Value, operation: &Map) -> Result<(), String> {
    let path = path(operation, "path").ok_or_else(|| format!("remove operation failed to decode path: {MISSING}"))?;
    let missing = || format!("remove operation does not apply: doc is missing path: \"{path}\": {MISSING}");
    let (holder, key) = holder_mut(document, path).ok_or_else(missing)?;
    take(holder, &key).map(drop).map_err(|error| format!("error in remove for path: '{path}': {error}"))
}

fn replace(document: &mut Value, operation: &Map) -> Result<(), String> {
    let path = path(operation, "path").ok_or_else(|| format!("replace operation failed to decode path: operation missing path field: {MISSING}"))?;
    if path.is_empty() {
        let value = value(operation);
        if !matches!(value, Value::Map(_) | Value::List(_)) {
            return Err("replace operation value must be object or array: %!w(<nil>)".to_owned());
        }
        *document = value;
        return Ok(());
    }
    let missing = || format!("replace operation does not apply: doc is missing path: {path}: {MISSING}");
    let (holder, key) = holder_mut(document, path).ok_or_else(missing)?;
    let value = value(operation);
    check_depth(path, &value)?;
    match holder {
        Value::List(items) => {
            let at = index(&key, items.len()).map_err(|_| format!("replace operation does not apply: doc is missing key: {path}: {MISSING}"))?;
            items[at] = value;
            Ok(())
        }
        holder => insert(holder, &key, value),
    }
}

fn move_value(document: &mut Value, operation: &Map) -> Result<(), String> {
    let from = path(operation, "from").ok_or_else(|| format!("move operation failed to decode from: operation, missing from field: {MISSING}"))?;
    let missing = || format!("move operation does not apply: doc is missing from path: {from}: {MISSING}");
    let (holder, key) = holder_mut(document, from).ok_or_else(missing)?;
    let value = take(holder, &key).map_err(|error| format!("error in move for path: '{key}': {error}"))?;
    let to = path(operation, "path").ok_or_else(|| format!("move operation failed to decode path: operation missing path field: {MISSING}"))?;
    let missing = || format!("move operation does not apply: doc is missing destination path: {to}: {MISSING}");
    let (holder, key) = holder_mut(document, to).ok_or_else(missing)?;
    check_depth(to, &value)?;
    insert(holder, &key, value).map_err(|error| format!("error in move for path: '{to}': {error}"))
}

fn test(document: &Value, operation: &Map) -> Result<(), String> {
    let path = path(operation, "path").ok_or_else(|| format!("test operation failed to decode path: operation missing path field: {MISSING}"))?;
    let found = if path.is_empty() {
        Some(document)
    } else {
        let missing = || format!("test operation does not apply: is missing path: {path}: {MISSING}");
        let (holder, key) = holder(document, path).ok_or_else(missing)?;
        get(holder, &key).map_err(|error| format!("error in test for path: '{path}': {error}"))?
    };
    if *found.unwrap_or(&Value::Null) == value(operation) { Ok(()) } else { Err(format!("testing value {path} failed: {TEST_FAILED}")) }
}

fn copy(document: &mut Value, operation: &Map, copied_bytes: &mut usize) -> Result<(), String> {
    let from = path(operation, "from").ok_or_else(|| format!("copy operation failed to decode from: operation, missing from field: {MISSING}"))?;
    let missing = || format!("copy operation does not apply: doc is missing from path: {from}: {MISSING}");
    let (source, key) = holder(document, from).ok_or_else(missing)?;
    let value = get(source, &key).map_err(|error| format!("error in copy for from: '{from}': {error}"))?.cloned().unwrap_or(Value::Null);
    let to = path(operation, "path").ok_or_else(|| format!("copy operation failed to decode path: {MISSING}"))?;
    let missing = || format!("copy operation does not apply: doc is missing destination path: {to}: {MISSING}");
    let (holder, key) = holder_mut(document, to).ok_or_else(missing)?;
    *copied_bytes += json::from_any(&value).len();
    if *copied_bytes > JSON_PATCH_COPY_BYTES_MAX {
        return Err(format!(
            "Unable to complete the copy, the accumulated size increase of copy is {copied_bytes}, exceeding the limit {JSON_PATCH_COPY_BYTES_MAX}"
        ));
    }
    check_depth(to, &value)?;
    insert(holder, &key, value).map_err(|error| format!("error while adding value during copy: {error}"))
}
