//! Runs the machine's own tools: `ip`, `nft`, `ctr`.

use crate::error::Error;
use std::io::{ErrorKind, Write as _};
use std::process::{Command, Stdio};

/// What is called, and the Debian package that brings it.
const PROGRAMS: [(&str, &str); 7] = [
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("iptables", "iptables"),
    ("conntrack", "conntrack"),
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
];

/// Whether everything is installed that a cluster needs.
pub fn check_installed() -> Result<(), Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // A root without a login shell may lack the folders in which these lie.
    let folders: Vec<_> = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).collect();
    match PROGRAMS.into_iter().find(|(program, _)| !folders.iter().any(|folder| folder.join(program).exists())) {
        Some((program, package)) => Err(Error::NoProgram { program, package }),
        None => Ok(()),
    }
}

/// Runs to the end and gives what it printed.
pub fn run(program: &'static str, args: &[&str]) -> Result<Vec<u8>, Error> {
    run_with_input(program, args, &[])
}

pub fn run_with_input(program: &'static str, args: &[&str], input: &[u8]) -> Result<Vec<u8>, Error> {
    let failed = |reason: String| Error::Command { command: format!("{program} {}", args.join(" ")), reason };
    let mut child = Command::new(program)
        .args(args)
        .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match (error.kind(), PROGRAMS.into_iter().find(|(name, _)| *name == program)) {
            (ErrorKind::NotFound, Some((program, package))) => Error::NoProgram { program, package },
            _ => failed(error.to_string()),
        })?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ended before it read everything says why on its standard error.
        match stdin.write_all(input) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(failed(error.to_string())),
            _ => {}
        }
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(failed(errors.trim().lines().next().unwrap_or("no reason given").to_owned()))
}
