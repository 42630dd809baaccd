//! Processes that outlive whoever started them: found again by pid and start time, since pids are used again.

use crate::error::{Error, file};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// The field of /proc/PID/stat, after the name, in which the start time is (field 22 of all).
const START_TIME_FIELD: usize = 19;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pid: i32,
    /// In clock ticks since the machine started.
    started: u64,
}

impl Process {
    /// The process that has this pid now.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, started) = parse_stat(&stat)?;
        (state != 'Z').then_some(Self { pid, started })
    }

    /// The process that a pid file names, if it is alive.
    pub fn read(path: &Path) -> Option<Self> {
        Self::read_any(path).filter(Self::is_alive)
    }

    /// The process that a pid file names, alive or not.
    pub fn read_any(path: &Path) -> Option<Self> {
        let text = fs::read_to_string(path).ok()?;
        let (pid, started) = text.trim().split_once(' ')?;
        Some(Self { pid: pid.parse().ok()?, started: started.parse().ok()? })
    }

    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let beside = path.with_extension("new");
        fs::write(&beside, format!("{} {}\n", self.pid, self.started)).map_err(file(&beside))?;
        fs::rename(&beside, path).map_err(file(path))
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    pub fn is_alive(&self) -> bool {
        Self::of(self.pid) == Some(*self)
    }

    pub fn signal(&self, signal: Signal) {
        if self.is_alive() {
            // It may end between the look and the signal; then there is nothing to do.
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }

    /// Becomes readable when the process has ended; also for processes that are not our children.
    pub fn handle(&self) -> Option<OwnedFd> {
        let pid = rustix::process::Pid::from_raw(self.pid)?;
        let handle = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::NONBLOCK).ok()?;
        self.is_alive().then_some(handle)
    }

    /// Waits for the end; whether it came in time.
    pub fn wait(&self, within: Duration) -> bool {
        let Some(handle) = self.handle() else { return true };
        let timeout = rustix::event::Timespec { tv_sec: within.as_secs().cast_signed(), tv_nsec: within.subsec_nanos().into() };
        let mut polled = [rustix::event::PollFd::new(&handle, rustix::event::PollFlags::IN)];
        matches!(rustix::event::poll(&mut polled, Some(&timeout)), Ok(1..)) || !self.is_alive()
    }

    /// Asks it to end, and after a while makes it.
    pub fn end(&self, what: &str, grace: Duration) -> Result<(), Error> {
        self.signal(Signal::SIGTERM);
        if self.wait(grace) {
            return Ok(());
        }
        tracing::warn!(what, pid = self.pid, "did not end when asked to");
        self.signal(Signal::SIGKILL);
        if self.wait(grace) { Ok(()) } else { Err(Error::End { what: what.into(), pid: self.pid }) }
    }
}

/// All processes, with their arguments.
pub fn all() -> Vec<(Process, Vec<String>)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: i32| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let arguments = arguments.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect();
        Some((Process::of(pid)?, arguments))
    })
    .collect()
}

/// State and start time: `42 (a name) with) parentheses) S 1 42 … 7700 …`
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split(' ');
    let state = fields.next()?.chars().next()?;
    // The state was the first of them.
    Some((state, fields.nth(START_TIME_FIELD - 1)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_name_with_parentheses_is_read_over() {
        let stat = "42 (a) b) (c) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 7700 1000 10";
        assert_eq!(parse_stat(stat), Some(('S', 7700)));
        assert_eq!(parse_stat("42"), None);
    }

    #[test]
    fn a_process_is_found_again_by_its_file_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pid");
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        let process = Process::of(child.id().cast_signed()).unwrap();
        process.write(&path).unwrap();
        assert_eq!(Process::read(&path), Some(process));
        assert!(!process.wait(Duration::from_millis(10)));
        process.end("sleep", Duration::from_secs(5)).unwrap();
        assert_eq!(Process::read(&path), None);
        child.wait().unwrap();
    }

    #[test]
    fn another_process_with_the_same_pid_is_not_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pid");
        let own = Process::of(std::process::id().cast_signed()).unwrap();
        Process { started: own.started + 1, ..own }.write(&path).unwrap();
        assert_eq!(Process::read(&path), None);
    }
}
