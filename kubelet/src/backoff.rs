//! How long what keeps failing waits: doubling from a first delay to a longest one, forgotten after a good while.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// Restarts and pulls begin with this.
pub const FIRST: SignedDuration = SignedDuration::from_secs(10);
/// And wait no longer than this.
pub const LONGEST: SignedDuration = SignedDuration::from_secs(300);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    delay: SignedDuration,
    updated: Timestamp,
}

/// Delays by key. An entry is forgotten once twice the longest delay has passed between its last use and the next failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoffs {
    first: SignedDuration,
    longest: SignedDuration,
    entries: BTreeMap<String, Entry>,
}

impl Default for Backoffs {
    fn default() -> Self {
        Self::new(FIRST, LONGEST)
    }
}

impl Backoffs {
    pub fn new(first: SignedDuration, longest: SignedDuration) -> Self {
        Self { first, longest, entries: BTreeMap::new() }
    }

    fn live(&self, key: &str, failed: Timestamp) -> Option<&Entry> {
        self.entries.get(key).filter(|entry| failed.duration_since(entry.updated) <= self.longest * 2)
    }

    /// The delay and its end, when what failed at `failed` must still wait.
    ///
    /// Example: the first failure never waits; after [`Backoffs::next`] the second waits 10 s from when it failed.
    pub fn waits(&self, key: &str, failed: Timestamp, now: Timestamp) -> Option<(SignedDuration, Timestamp)> {
        let entry = self.live(key, failed)?;
        let until = failed.saturating_add(entry.delay).unwrap_or(Timestamp::MAX);
        (now < until).then_some((entry.delay, until))
    }

    /// Counts one more failure, that of `failed`.
    pub fn next(&mut self, key: &str, failed: Timestamp, now: Timestamp) {
        let delay = self.live(key, failed).map_or(self.first, |entry| (entry.delay * 2).min(self.longest));
        self.entries.insert(key.to_owned(), Entry { delay, updated: now });
    }

    pub fn forget(&mut self, key: &str) {
        self.entries.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn delay(backoffs: &Backoffs, failed: i64) -> i64 {
        backoffs.waits("c", at(failed), at(failed)).map_or(0, |(delay, _)| delay.as_secs())
    }

    #[test]
    fn delays_double_from_ten_seconds_to_five_minutes() {
        let mut backoffs = Backoffs::default();
        let mut seen = Vec::new();
        let mut now = 0;
        for _ in 0..8 {
            let wait = delay(&backoffs, now);
            seen.push(wait);
            now += wait;
            backoffs.next("c", at(now), at(now));
        }
        assert_eq!(seen, [0, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn a_container_that_ran_long_starts_over() {
        let mut backoffs = Backoffs::default();
        backoffs.next("c", at(0), at(0));
        backoffs.next("c", at(10), at(10));
        assert_eq!(delay(&backoffs, 600), 20);
        assert_eq!(delay(&backoffs, 611), 0);
        backoffs.next("c", at(611), at(611));
        assert_eq!(delay(&backoffs, 612), 10);
    }

    #[test]
    fn a_wait_ends() {
        let mut backoffs = Backoffs::default();
        backoffs.next("c", at(0), at(0));
        assert!(backoffs.waits("c", at(5), at(14)).is_some());
        assert!(backoffs.waits("c", at(5), at(15)).is_none());
    }
}
