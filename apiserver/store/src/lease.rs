//! Leases: who lives until when, and which keys die with it. Pure state, kept by the writer; it reads no clock of its own.

use crate::key::Key;
use crate::row::Lease;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use tokio::time::Instant;

/// The longest that etcd grants.
pub(crate) const LEASE_TTL_MAX: Duration = Duration::from_secs(9_000_000_000);

/// What is known of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    pub lease: Lease,
    pub granted: Duration,
    pub remaining: Duration,
    /// In key order; empty unless asked for.
    pub keys: Vec<Key>,
}

#[derive(Default)]
pub(crate) struct LeaseTable {
    leases: HashMap<Lease, Entry>,
    deadlines: BTreeSet<(Instant, Lease)>,
}

struct Entry {
    ttl: Duration,
    deadline: Instant,
    keys: BTreeSet<Key>,
}

impl LeaseTable {
    pub(crate) fn len(&self) -> usize {
        self.leases.len()
    }

    pub(crate) fn contains(&self, lease: Lease) -> bool {
        self.leases.contains_key(&lease)
    }

    pub(crate) fn grant(&mut self, lease: Lease, ttl: Duration, now: Instant) {
        // The writer grants no longer ones; what is loaded is bounded too, since no clock goes so far.
        let ttl = ttl.min(LEASE_TTL_MAX);
        let deadline = now + ttl;
        if let Some(entry) = self.leases.get_mut(&lease) {
            self.deadlines.remove(&(entry.deadline, lease));
            (entry.ttl, entry.deadline) = (ttl, deadline);
        } else {
            self.leases.insert(lease, Entry { ttl, deadline, keys: BTreeSet::new() });
        }
        self.deadlines.insert((deadline, lease));
    }

    pub(crate) fn remove(&mut self, lease: Lease) {
        if let Some(entry) = self.leases.remove(&lease) {
            self.deadlines.remove(&(entry.deadline, lease));
        }
    }

    /// Starts its time anew, and says how long that is.
    pub(crate) fn keep_alive(&mut self, lease: Lease, now: Instant) -> Option<Duration> {
        let entry = self.leases.get_mut(&lease)?;
        self.deadlines.remove(&(entry.deadline, lease));
        entry.deadline = now + entry.ttl;
        self.deadlines.insert((entry.deadline, lease));
        Some(entry.ttl)
    }

    /// Every deadline is at least as far away as if the lease had been granted now: the leader is new, and nobody could keep them alive before.
    pub(crate) fn start_anew(&mut self, now: Instant) {
        self.deadlines.clear();
        for (lease, entry) in &mut self.leases {
            entry.deadline = now + entry.ttl;
            self.deadlines.insert((entry.deadline, *lease));
        }
    }

    pub(crate) fn attach(&mut self, lease: Lease, key: &Key) {
        if let Some(entry) = self.leases.get_mut(&lease) {
            entry.keys.insert(key.clone());
        }
    }

    pub(crate) fn detach(&mut self, lease: Lease, key: &Key) {
        if let Some(entry) = self.leases.get_mut(&lease) {
            entry.keys.remove(key);
        }
    }

    pub(crate) fn keys(&self, lease: Lease) -> Vec<Key> {
        self.leases.get(&lease).map(|entry| entry.keys.iter().cloned().collect()).unwrap_or_default()
    }

    pub(crate) fn keys_len(&self, lease: Lease) -> usize {
        self.leases.get(&lease).map_or(0, |entry| entry.keys.len())
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// At most `max` leases whose time is over.
    pub(crate) fn expired(&self, now: Instant, max: usize) -> Vec<Lease> {
        self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now).take(max).map(|(_, lease)| *lease).collect()
    }

    pub(crate) fn info(&self, lease: Lease, with_keys: bool, now: Instant) -> Option<LeaseInfo> {
        let entry = self.leases.get(&lease)?;
        let keys = if with_keys { self.keys(lease) } else { Vec::new() };
        Some(LeaseInfo { lease, granted: entry.ttl, remaining: entry.deadline.saturating_duration_since(now), keys })
    }

    pub(crate) fn all(&self) -> Vec<Lease> {
        let mut leases: Vec<Lease> = self.leases.keys().copied().collect();
        leases.sort_unstable();
        leases
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lease_ends_at_its_deadline_and_a_keep_alive_moves_it() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut table = LeaseTable::default();
        table.grant(Lease(1), 10 * second, now);
        table.grant(Lease(2), 20 * second, now);
        assert!(table.expired(now + 9 * second, 10).is_empty());
        assert_eq!(table.keep_alive(Lease(1), now + 9 * second), Some(10 * second));
        assert!(table.expired(now + 18 * second, 10).is_empty());
        assert_eq!(table.expired(now + 25 * second, 10), [Lease(1), Lease(2)]);
        assert_eq!(table.expired(now + 25 * second, 1), [Lease(1)]);
        table.remove(Lease(1));
        assert_eq!(table.next_deadline(), Some(now + 20 * second));
        assert_eq!(table.keep_alive(Lease(1), now), None);
    }

    #[tokio::test]
    async fn a_new_leader_gives_every_lease_its_whole_time() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut table = LeaseTable::default();
        table.grant(Lease(1), 10 * second, now);
        table.start_anew(now + 8 * second);
        assert_eq!(table.info(Lease(1), false, now + 8 * second).map(|info| info.remaining), Some(10 * second));
    }

    #[tokio::test]
    async fn keys_follow_the_lease_that_they_were_last_put_with() {
        let mut table = LeaseTable::default();
        table.grant(Lease(1), Duration::from_secs(1), Instant::now());
        table.attach(Lease(1), &Key::from("a"));
        table.attach(Lease(1), &Key::from("b"));
        table.attach(Lease(9), &Key::from("c"));
        table.detach(Lease(1), &Key::from("a"));
        assert_eq!(table.keys(Lease(1)), [Key::from("b")]);
        assert_eq!(table.keys(Lease(9)), []);
    }
}
