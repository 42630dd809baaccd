//! Moments with names, at which a crash test tells the process to die.
//!
//! `CORTEN_FAILPOINT=after_append_before_apply` aborts at that moment, `…:7` the seventh time it comes. Without the feature `failpoints`
//! there is nothing here.

/// Between taking a batch from the queue and giving it to the engine.
pub const BEFORE_APPEND: &str = "before_append";
/// The batch is durable, and nobody knows.
pub const AFTER_APPEND_BEFORE_APPLY: &str = "after_append_before_apply";
/// Readers see the batch, watchers do not.
pub const AFTER_APPLY_BEFORE_NOTIFY: &str = "after_apply_before_notify";
/// Watchers see the batch, and nobody has an answer.
pub const AFTER_NOTIFY_BEFORE_REPLY: &str = "after_notify_before_reply";
/// The floor is raised, and nothing is folded.
pub const AFTER_FLOOR_BEFORE_FOLD: &str = "after_floor_before_fold";
/// A step of folding is done, on its way to the disk.
pub const IN_COMPACTION: &str = "in_compaction";

#[cfg(feature = "failpoints")]
const VARIABLE: &str = "CORTEN_FAILPOINT";

#[cfg(feature = "failpoints")]
pub fn hit(name: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static ARMED: OnceLock<Option<(String, AtomicU64)>> = OnceLock::new();
    let armed = ARMED.get_or_init(|| {
        let text = std::env::var(VARIABLE).ok()?;
        let (name, times) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), AtomicU64::new(times.parse().unwrap_or(1))))
    });
    let Some((moment, left)) = armed else { return };
    if moment == name && left.fetch_sub(1, Ordering::SeqCst) == 1 {
        std::process::abort();
    }
}

#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit(_: &'static str) {}
