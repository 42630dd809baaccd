//! Gathers the descriptions of types and fields that OpenAPI publishes, from the doc comments of the `k8s-openapi` crate's sources: reading them
//! takes a fraction of a second, where compiling the crate once more with its `schemars` feature would take a minute.
//!
//! The result is one text, deflated: a line `=TYPE` and the type's description, then a line `FIELD<tab>DESCRIPTION` for each field.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const CRATE: &str = "k8s-openapi";
const VERSION: &str = "v1_37";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../Cargo.lock");
    let sources = sources().unwrap_or_else(|why| panic!("the sources of {CRATE}: {why}"));
    let mut types = BTreeMap::new();
    gather(&sources, &mut types);
    assert!(types.len() > 500, "only {} types found in {}", types.len(), sources.display());
    let text: String = types.into_values().collect();
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("descriptions.deflate");
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(text.as_bytes()).expect("writing to memory");
    fs::write(out, encoder.finish().expect("writing to memory")).expect("writing to OUT_DIR");
}

/// Where cargo keeps the crate's sources.
fn sources() -> Result<PathBuf, String> {
    let cargo = env::var_os("CARGO").ok_or("CARGO is not set")?;
    // Of this platform alone, so that nothing is fetched that the build does not need anyway.
    let platform = env::var("HOST").map_err(|error| error.to_string())?;
    let output =
        Command::new(cargo).args(["metadata", "--format-version=1", "--filter-platform", &platform]).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
    let packages = metadata["packages"].as_array().ok_or("no packages")?;
    let package = packages.iter().find(|package| package["name"] == CRATE).ok_or("not among the packages")?;
    let manifest = package["manifest_path"].as_str().ok_or("no manifest")?;
    Ok(Path::new(manifest).with_file_name("src").join(VERSION))
}

fn gather(folder: &Path, types: &mut BTreeMap<String, String>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("a folder entry").path();
        if path.is_dir() {
            gather(&path, types);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            if let Some((name, described)) = describe(&text) {
                types.insert(name, described);
            }
        }
    }
}

/// Reads one file: the first struct's comments, and the JSON names of its fields from the deserializer that follows it.
fn describe(text: &str) -> Option<(String, String)> {
    let name = text.lines().find_map(|line| line.strip_prefix("// Generated from definition "))?.trim().to_owned();
    // `"hostIP" => Field::Key_host_ip,`
    let json_names: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| {
            let (json, rust) = line.trim().strip_prefix('"')?.split_once("\" => Field::Key_")?;
            Some((rust.trim_end_matches(','), json))
        })
        .collect();
    let mut out = String::new();
    let mut comment: Vec<&str> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let line = line.trim();
        if let Some(words) = line.strip_prefix("///") {
            comment.push(words.strip_prefix(' ').unwrap_or(words));
            continue;
        }
        if line.starts_with("pub struct ") || line.starts_with("pub enum ") {
            let _ = writeln!(out, "={name}\t{}", joined(&comment));
            inside = true;
        } else if inside && line == "}" {
            return Some((name, out));
        } else if inside && let Some((field, _)) = line.strip_prefix("pub ").and_then(|field| field.split_once(':')) {
            let field = field.trim_start_matches("r#").trim_end_matches('_');
            let json = json_names.get(field).copied().unwrap_or(field);
            let _ = writeln!(out, "{json}\t{}", joined(&comment));
        }
        if !line.starts_with("#[") {
            comment.clear();
        }
    }
    (!out.is_empty()).then_some((name, out))
}

/// Paragraphs on one line, without the escapes that rustdoc needs.
fn joined(comment: &[&str]) -> String {
    let text = comment.join("\n");
    let mut out = String::with_capacity(text.len());
    let mut chars = text.trim().chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek().is_some_and(char::is_ascii_punctuation) => {}
            '\n' => out.push_str("\\n"),
            '\t' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
