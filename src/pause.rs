//! The image of the process that keeps a Pod's namespaces. `pause/process.rs` is its program; build.rs compiles it.

use crate::error::Error;
use crate::oci::{Layer, Program, archive};

/// No registry has it: it is imported into every node.
pub const IMAGE: &str = "localhost/corten/pause:1";
/// Nobody's user: the process needs no rights.
const USER: &str = "65535:65535";

static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));

pub fn image() -> Result<Vec<u8>, Error> {
    let layer = Layer::new().file("pause", 0o755, PROGRAM).map_err(Error::Pause)?;
    archive(&[IMAGE], layer, Program { entrypoint: &["/pause"], user: USER, ..Program::default() }).map_err(Error::Pause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Process;
    use nix::sys::signal::{Signal, kill};
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    fn started(folder: &std::path::Path) -> (std::process::Child, Process) {
        let path = folder.join("pause");
        std::fs::write(&path, PROGRAM).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let child = Command::new(&path).stdin(Stdio::null()).spawn().unwrap();
        let process = Process::of(child.id().cast_signed()).unwrap();
        (child, process)
    }

    /// Until the program sleeps, which it does only once it waits for signals: before that they end it, as they end any program.
    fn until_it_waits(pid: i32) {
        for _ in 0..500 {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('S')) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the program never waited for signals");
    }

    #[test]
    fn pause_stays_until_it_is_asked_to_end() {
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let folder = tempfile::tempdir().unwrap();
            let (mut child, process) = started(folder.path());
            let pid = nix::unistd::Pid::from_raw(process.pid());
            until_it_waits(process.pid());
            kill(pid, Signal::SIGHUP).unwrap();
            kill(pid, Signal::SIGCHLD).unwrap();
            assert!(!process.wait(Duration::from_millis(100)), "other signals do not end it");
            kill(pid, signal).unwrap();
            assert!(process.wait(Duration::from_secs(5)));
            assert_eq!(child.wait().unwrap().code(), Some(0));
        }
    }

    #[test]
    fn the_program_needs_no_library_and_is_small() {
        assert!(PROGRAM.starts_with(b"\x7fELF"));
        assert!(PROGRAM.len() < 16 * 1024, "{} bytes", PROGRAM.len());
        assert!(!PROGRAM.windows(8).any(|window| window == b"ld-linux"));
    }
}
