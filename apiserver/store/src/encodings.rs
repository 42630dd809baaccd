//! A budget for second encodings: JSON is always kept, and the protobuf forms that readers have left in the rows for as long as they fit.

use crate::key::Range;
use crate::row::Encoded;
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use std::sync::Weak;
use std::time::Duration;
use tokio::time::sleep;

const SWEEP_INTERVAL: Duration = Duration::from_secs(15);

/// Ends with the store.
pub(crate) async fn keep_within_budget(shared: Weak<Shared>) {
    loop {
        sleep(SWEEP_INTERVAL).await;
        let Some(shared) = shared.upgrade() else { return };
        let kept = sweep(&shared.snapshot(), shared.limits.protobuf_bytes_max);
        shared.metrics.protobuf_bytes.set(kept as i64);
    }
}

/// Over the budget, first those go that nobody has asked for since the last sweep, then others in key order. Gives what is kept, in bytes.
fn sweep(snapshot: &Snapshot, bytes_max: u64) -> u64 {
    let range = Range::all();
    let objects = || snapshot.range(&range).filter_map(|(_, row)| row.object());
    let mut bytes: u64 = objects().map(|object| object.protobuf_len() as u64).sum();
    let passes: [fn(&Encoded) -> bool; 2] = [Encoded::protobuf_is_idle, |_| true];
    for may_go in passes {
        for object in objects() {
            if bytes <= bytes_max {
                return bytes;
            }
            let len = object.protobuf_len() as u64;
            if len > 0 && may_go(object) {
                object.forget_protobuf();
                bytes = bytes.saturating_sub(len);
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;
    use crate::protobuf::ProtobufDraft;
    use crate::row::{Facts, Generation, Lease, Revision, Row, Value};
    use crate::snapshot::{Keyspace, Published};
    use std::sync::Arc;

    const FORM_BYTES: usize = 7;

    /// Rows with protobuf forms of seven bytes each.
    fn snapshot(keys: &[&str]) -> Snapshot {
        let row = || {
            let object = Encoded::fill(b"{}", 1, Generation(1), Revision(1)).expect("the gap fits");
            let draft = ProtobufDraft { bytes: vec![0x0a, 2, 0x2a, 0], metadata_start: 2, metadata_len: 2, insert_at: 2 };
            assert_eq!(object.fill_protobuf(draft).expect("sound").len(), FORM_BYTES);
            let (create, modified) = (Revision(1), Revision(1));
            Arc::new(Row { value: Value::Object(object), facts: Facts::default(), create, modified, version: 1, lease: Lease::NONE })
        };
        let map: Keyspace = keys.iter().map(|key| (Key::from(*key), row())).collect();
        Snapshot::new(Arc::new(Published { revision: Revision(1), map, bytes: 0 }))
    }

    fn kept(snapshot: &Snapshot) -> Vec<String> {
        let with = snapshot.range(&Range::all()).filter(|(_, row)| row.object().is_some_and(|object| object.protobuf_len() > 0));
        with.map(|(key, _)| key.to_string()).collect()
    }

    #[test]
    fn within_the_budget_everything_is_kept() {
        let snapshot = snapshot(&["/a", "/b", "/c"]);
        assert_eq!(sweep(&snapshot, 3 * FORM_BYTES as u64), 3 * FORM_BYTES as u64);
        assert_eq!(kept(&snapshot), ["/a", "/b", "/c"]);
    }

    #[test]
    fn what_nobody_asked_for_goes_first() {
        let snapshot = snapshot(&["/a", "/b", "/c"]);
        sweep(&snapshot, 3 * FORM_BYTES as u64 - 1);
        assert_eq!(kept(&snapshot), ["/b", "/c"], "all are new, so the first goes");
        snapshot.get("/b").and_then(|row| row.object()?.protobuf()).expect("it is there");
        assert_eq!(sweep(&snapshot, FORM_BYTES as u64), FORM_BYTES as u64);
        assert_eq!(kept(&snapshot), ["/b"]);
        assert_eq!(sweep(&snapshot, 0), 0);
    }
}
