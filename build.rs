//! Compiles the process that Pod sandboxes run: a program of its own, without libraries, that the binary carries.

use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = "src/pause/process.rs";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let out = PathBuf::from(variable("OUT_DIR")).join("pause");
    let mut rustc = Command::new(variable("RUSTC"));
    rustc.args([SOURCE, "--edition=2024", "--crate-name=pause", "--crate-type=bin", "--target", &variable("TARGET"), "-o"]).arg(&out);
    let mut codegen = vec!["opt-level=s", "panic=abort", "strip=symbols", "relocation-model=static"];
    codegen.extend(["link-arg=-nostartfiles", "link-arg=-nostdlib", "link-arg=-static", "link-arg=-no-pie"]);
    rustc.args(codegen.iter().flat_map(|option| ["-C", option]));
    if let Ok(linker) = std::env::var("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={linker}"));
    }
    let status = rustc.status().unwrap_or_else(|error| panic!("running rustc: {error}"));
    assert!(status.success(), "{SOURCE} does not compile");
}
