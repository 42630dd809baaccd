//! A bounded, lock-free cache by hash: one slot for each remainder of the hash, the newest entry wins its slot.
//!
//! Losing an entry only costs computing it again.

use arc_swap::ArcSwapOption;
use std::sync::Arc;

/// Slots of a cache; a power of two.
const SLOTS: usize = 4096;

pub type Hash = [u8; 32];

/// A hash that nobody can find a second text for, so that a hit needs no comparison of secrets.
pub fn hash(text: &[u8]) -> Hash {
    let digest = ring::digest::digest(&ring::digest::SHA256, text);
    // SHA-256 has 32 bytes.
    digest.as_ref().try_into().unwrap_or_default()
}

pub struct Slots<T>(Box<[Slot<T>]>);

type Slot<T> = ArcSwapOption<(Hash, Arc<T>)>;

impl<T> Slots<T> {
    pub fn new() -> Self {
        Self((0..SLOTS).map(|_| Slot::empty()).collect())
    }

    pub fn get(&self, hash: &Hash) -> Option<Arc<T>> {
        let slot = self.slot(hash).load();
        let (own, value) = &**slot.as_ref()?;
        (own == hash).then(|| value.clone())
    }

    pub fn put(&self, hash: Hash, value: Arc<T>) {
        self.slot(&hash).store(Some(Arc::new((hash, value))));
    }

    fn slot(&self, hash: &Hash) -> &Slot<T> {
        &self.0[usize::from(u16::from_le_bytes([hash[0], hash[1]])) % SLOTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_entry_wins_its_slot() {
        let slots = Slots::new();
        let (one, mut two) = (hash(b"one"), hash(b"one"));
        two[31] ^= 1;
        slots.put(one, Arc::new(1));
        assert_eq!(slots.get(&one).as_deref(), Some(&1));
        assert!(slots.get(&two).is_none());
        slots.put(two, Arc::new(2));
        assert_eq!(slots.get(&two).as_deref(), Some(&2));
        assert!(slots.get(&one).is_none());
    }
}
