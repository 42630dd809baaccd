//! Query strings.

/// The pairs of a query, decoded, in order.
pub fn pairs(query: Option<&str>) -> Vec<(String, String)> {
    let parts = query.unwrap_or_default().split('&').filter(|part| !part.is_empty());
    parts.map(|part| part.split_once('=').unwrap_or((part, ""))).map(|(name, value)| (decode(name), decode(value))).collect()
}

pub fn first<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// `1` and `true` are yes.
pub fn flag(pairs: &[(String, String)], name: &str) -> bool {
    first(pairs, name).is_some_and(|value| matches!(value, "1" | "true"))
}

/// Undoes percent and plus; what is no valid escape stays as it is.
pub fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped =
            (byte == b'%').then(|| tail.get(..2)).flatten().and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match (byte, escaped) {
            (_, Some(decoded)) => {
                out.push(decoded);
                rest = &tail[2..];
            }
            (b'+', None) => {
                out.push(b' ');
                rest = tail;
            }
            (byte, None) => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_in_order() {
        let found = pairs(Some("command=echo&command=a%20b%2Bc&input=1&x"));
        assert_eq!(found.iter().filter(|(name, _)| name == "command").map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["echo", "a b+c"]);
        assert!(flag(&found, "input") && !flag(&found, "output") && !flag(&found, "x"));
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%zz+"), "%zz ");
        assert!(pairs(None).is_empty());
    }
}
