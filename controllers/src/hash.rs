//! Short names for templates.

/// A short text that differs where templates (and collision counts) do. The alphabet has no vowels, so that no words appear.
pub(crate) fn hash<T: serde::Serialize>(template: &T, collisions: Option<i32>) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut hash: u32 = 0x811c_9dc5;
    let mut feed = |bytes: &[u8]| bytes.iter().for_each(|byte| hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    // Maps are in key order, so equal templates have equal bytes.
    feed(&serde_json::to_vec(template).unwrap_or_default());
    if let Some(collisions) = collisions {
        feed(&collisions.to_le_bytes());
    }
    hash.to_string().bytes().map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_hash_follows_the_template_and_the_collisions() {
        let hash_of = |image: &str, collisions| hash(&json!({"image": image}), collisions);
        assert_eq!(hash_of("a", None), hash_of("a", None));
        assert_ne!(hash_of("a", None), hash_of("b", None));
        assert_ne!(hash_of("a", None), hash_of("a", Some(1)));
        assert!(hash_of("a", None).chars().all(|letter| "bcdfghjklmnpqrstvwxz2456789".contains(letter)));
    }
}
