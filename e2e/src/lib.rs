//! The lab: whole clusters on this machine, for tests. Each has a unique name, its data in a folder of its own and no route out, and is taken
//! down without a trace when it is dropped, also by a panic.
//!
//! It drives the `corten` binary and stock kubectl from outside, as a user does; it links nothing of the components.

mod image;
mod kubectl;
mod lab;
#[path = "../../src/oci.rs"]
mod oci;
pub mod trace;

pub use image::{BUSYBOX, WEB, WEB_NEXT};
pub use kubectl::Kubectl;
pub use lab::Lab;

use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Waits until `look` finds something; its last complaint is the panic's message.
#[track_caller]
pub fn eventually<T>(within: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    #[expect(clippy::disallowed_methods, reason = "the clusters under test run on the machine's time")]
    let deadline = Instant::now() + within;
    loop {
        match look() {
            Ok(found) => return found,
            #[expect(clippy::disallowed_methods, reason = "as above")]
            Err(complaint) if Instant::now() > deadline => panic!("after {within:?}: {complaint}"),
            Err(_) => std::thread::sleep(LOOK_EVERY),
        }
    }
}
