//! A cluster for tests.

use crate::image;
use crate::kubectl::Kubectl;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// Where another binary than the one beside the tests is to be used.
const CORTEN_VARIABLE: &str = "CORTEN";

pub struct Lab {
    name: String,
    corten: PathBuf,
    folder: TempDir,
}

impl Lab {
    /// Brings a cluster up, its images imported.
    pub fn up() -> Self {
        let lab = Self::new();
        lab.corten_ok(&["up", "--isolated"]);
        lab.import_images();
        lab
    }

    /// A name and a folder, and nothing that runs.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("corten-lab").tempdir().expect("a folder");
        Self { name: format!("lab-{:08x}", rand::random::<u32>()), corten: corten(), folder }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The pid that the cluster keeps of one of its processes: supervisor, control, node-n1, containerd-n1.
    pub fn pid(&self, process: &str) -> Option<i32> {
        let path = Path::new("/run/corten").join(&self.name).join(format!("{process}.pid"));
        fs::read_to_string(path).ok()?.split(' ').next()?.parse().ok()
    }

    /// Kills one of the cluster's processes as power loss would.
    pub fn kill(&self, process: &str) {
        let pid = self.pid(process).unwrap_or_else(|| panic!("{process} has no pid"));
        let status = Command::new("kill").args(["-KILL", &pid.to_string()]).status().expect("kill runs");
        assert!(status.success(), "killing {process}");
    }

    pub fn import_images(&self) {
        for (name, archive) in image::all().expect("images can be made") {
            let path = self.folder.path().join(name);
            fs::write(&path, archive).expect("written");
            self.corten_ok(&["image", "import", path.to_str().expect("a path of ours is text")]);
        }
    }

    /// Runs `corten VERB … --name NAME`, with the data folder where it is asked for.
    pub fn corten(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.corten);
        command.args(arguments).args(["--name", &self.name]);
        if arguments.first() == Some(&"up") {
            command.arg("--data-dir").arg(self.data_dir());
        }
        command.output().unwrap_or_else(|error| panic!("{} cannot be run: {error}; `cargo build` makes it", self.corten.display()))
    }

    #[track_caller]
    pub fn corten_ok(&self, arguments: &[&str]) -> String {
        let output = self.corten(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "corten {arguments:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Stock kubectl, as the administrator, in a namespace.
    pub fn kubectl(&self, namespace: &str) -> Kubectl {
        Kubectl::new(&self.data_dir().join("admin.kubeconfig"), namespace)
    }

    /// The end of every log of the cluster, for the reader of a failed test.
    pub fn logs(&self) -> String {
        const LINES: usize = 40;
        let mut all = String::new();
        for entry in fs::read_dir(self.data_dir().join("log")).into_iter().flatten().flatten() {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            all.push_str(&format!("==> {}\n{}\n", entry.path().display(), lines[lines.len().saturating_sub(LINES)..].join("\n")));
        }
        all
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        // One that was never brought up, or is down already, says so; there is nobody to tell.
        let output = self.corten(&["down", "--delete"]);
        let errors = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() && !errors.contains("no cluster named") {
            eprintln!("{} is not down: {errors}", self.name);
        }
    }
}

/// The binary beside the tests: target/PROFILE/corten, where this is target/PROFILE/deps/….
fn corten() -> PathBuf {
    match std::env::var_os(CORTEN_VARIABLE) {
        Some(path) => path.into(),
        None => {
            let own = std::env::current_exe().expect("a path");
            let profile = own.parent().and_then(Path::parent).expect("tests lie in a folder of a profile's folder");
            profile.join("corten")
        }
    }
}
