//! Time, from one place, so that a whole cluster can run on a paused clock.

use jiff::Timestamp;
use std::sync::OnceLock;
use tokio::time::Instant;

/// Where wall time and monotonic time come from. Cheap to copy; all clocks of a process agree.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

struct Epoch {
    wall: Timestamp,
    instant: Instant,
}

/// Set once by [`Clock::follow_tokio`].
static EPOCH: OnceLock<Epoch> = OnceLock::new();

impl Clock {
    /// From now on, in this process, wall time moves only as tokio's clock does: `tokio::time::pause` and `advance` move it.
    pub fn follow_tokio() {
        EPOCH.get_or_init(|| Epoch { wall: machine_now(), instant: Instant::now() });
    }

    /// Wall time: the machine's, unless [`Clock::follow_tokio`] was called.
    pub fn now(&self) -> Timestamp {
        match EPOCH.get() {
            None => machine_now(),
            Some(epoch) => {
                let elapsed = Instant::now().saturating_duration_since(epoch.instant);
                jiff::SignedDuration::try_from(elapsed).map_or(epoch.wall, |elapsed| epoch.wall + elapsed)
            }
        }
    }

    /// Monotonic time, for deadlines within this process.
    pub fn instant(&self) -> Instant {
        Instant::now()
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
fn machine_now() -> Timestamp {
    Timestamp::now()
}
