//! Stock kubectl 1.37.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Where another kubectl than the fetched one is to be used.
const KUBECTL_VARIABLE: &str = "KUBECTL";
/// Lines of a followed command that wait to be looked at.
const LINES_MAX: usize = 10_000;

pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    namespace: String,
}

impl Kubectl {
    pub fn new(kubeconfig: &Path, namespace: &str) -> Self {
        let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/kubectl/kubectl");
        let program = std::env::var_os(KUBECTL_VARIABLE).map_or(fetched, PathBuf::from);
        Self { program, kubeconfig: kubeconfig.into(), namespace: namespace.into() }
    }

    pub fn in_namespace(&self, namespace: &str) -> Self {
        Self { program: self.program.clone(), kubeconfig: self.kubeconfig.clone(), namespace: namespace.into() }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        // Nothing of the user's own configuration, and no cache that another cluster filled.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", self.kubeconfig.with_file_name("home"));
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(["--namespace", &self.namespace]).args(arguments);
        command
    }

    pub fn output(&self, arguments: &[&str], input: &str) -> Output {
        use std::io::Write as _;
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be run: {error}; `make target/kubectl/kubectl` fetches it", self.program.display()));
        // One that needs no input may be gone before it is written.
        let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
        child.wait_with_output().expect("kubectl ends")
    }

    /// What it prints; it must succeed.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> String {
        self.run_with(arguments, "")
    }

    #[track_caller]
    pub fn run_with(&self, arguments: &[&str], input: &str) -> String {
        let output = self.output(arguments, input);
        let (printed, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "kubectl {arguments:?} failed:\n{printed}{errors}");
        printed.into_owned()
    }

    /// What it prints, or what it complains about.
    pub fn try_run(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.output(arguments, "");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// What it complains about; it must fail.
    #[track_caller]
    pub fn fail_with(&self, arguments: &[&str], input: &str) -> String {
        let output = self.output(arguments, input);
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success(), "kubectl {arguments:?} succeeded:\n{printed}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    #[track_caller]
    pub fn fail(&self, arguments: &[&str]) -> String {
        self.fail_with(arguments, "")
    }

    /// One that goes on, such as `get -w` and `logs -f`.
    pub fn follow(&self, arguments: &[&str]) -> Followed {
        let mut child = self.command(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("kubectl runs");
        let printed = child.stdout.take().expect("piped");
        let (send, lines) = mpsc::sync_channel(LINES_MAX);
        std::thread::spawn(move || BufReader::new(printed).lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Followed { child, lines, seen: Vec::new() }
    }

    /// Runs it on a terminal, as `exec -it` and `attach -it` want one. `script` makes the terminal.
    pub fn on_terminal(&self, arguments: &[&str], typed: &str) -> String {
        use std::io::Write as _;
        let command = self.command(arguments);
        let quoted: Vec<String> =
            std::iter::once(command.get_program()).chain(command.get_args()).map(|part| format!("'{}'", part.to_string_lossy())).collect();
        let mut child = Command::new("script")
            .args(["-qefc", &quoted.join(" "), "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script runs");
        let mut stdin = child.stdin.take().expect("piped");
        // The shell at the other end must be there before something is typed, or the terminal's echo comes first.
        std::thread::sleep(Duration::from_secs(2));
        stdin.write_all(typed.as_bytes()).expect("typed");
        let mut printed = String::new();
        child.stdout.take().expect("piped").read_to_string(&mut printed).expect("text");
        drop(stdin);
        child.wait().expect("script ends");
        printed
    }
}

/// A command that goes on until it is dropped.
pub struct Followed {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Followed {
    /// Reads on until a line is as wanted.
    #[track_caller]
    pub fn until(&mut self, within: Duration, wanted: impl Fn(&str) -> bool) -> String {
        loop {
            match self.lines.recv_timeout(within) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if wanted(&line) {
                        return line;
                    }
                }
                Err(_) => panic!("no such line; seen were:\n{}", self.seen.join("\n")),
            }
        }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
