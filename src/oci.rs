//! OCI image archives made in memory: layers of files, one image a file, the same bytes for the same input. Nothing is compressed or fetched.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::io;

/// A layer: files, folders and links, owned by root.
pub struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    pub fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    pub fn file(mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<Self> {
        append(&mut self.0, path, mode, content)?;
        Ok(self)
    }

    #[allow(dead_code, reason = "for the images of the lab, which shares this file")]
    pub fn folder(mut self, path: &str, mode: u32) -> io::Result<Self> {
        let mut header = header(mode, 0);
        header.set_entry_type(tar::EntryType::Directory);
        self.0.append_data(&mut header, path, io::empty())?;
        Ok(self)
    }

    #[allow(dead_code, reason = "for the images of the lab, which shares this file")]
    pub fn symlink(mut self, path: &str, target: &str) -> io::Result<Self> {
        let mut header = header(0o777, 0);
        header.set_entry_type(tar::EntryType::Symlink);
        self.0.append_link(&mut header, path, target)?;
        Ok(self)
    }
}

/// What runs in an image of one layer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Program<'a> {
    pub entrypoint: &'a [&'a str],
    pub cmd: &'a [&'a str],
    pub user: &'a str,
    pub env: &'a [&'a str],
}

/// An archive that holds one image under these names, as `ctr images import` takes it.
pub fn archive(names: &[&str], layer: Layer, program: Program<'_>) -> io::Result<Vec<u8>> {
    let layer = layer.0.into_inner()?;
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = text(&json!({
        "architecture": architecture,
        "os": "linux",
        "config": {"Entrypoint": program.entrypoint, "Cmd": program.cmd, "User": program.user, "Env": program.env, "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
    }));
    let describe =
        |kind: &str, bytes: &[u8]| json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest(bytes), "size": bytes.len()});
    let manifest = text(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": describe("config.v1+json", &config),
        "layers": [describe("layer.v1.tar", &layer)],
    }));
    let named = |name: &&str| {
        let mut described = describe("manifest.v1+json", &manifest);
        described["platform"] = json!({"os": "linux", "architecture": architecture});
        described["annotations"] = json!({"io.containerd.image.name": name});
        described
    };
    let index = text(&json!({"schemaVersion": 2, "manifests": names.iter().map(named).collect::<Vec<_>>()}));
    let mut out = tar::Builder::new(Vec::new());
    append(&mut out, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    append(&mut out, "index.json", 0o644, &index)?;
    for blob in [&config, &manifest, &layer] {
        append(&mut out, &format!("blobs/{}", digest(blob).replace(':', "/")), 0o644, blob)?;
    }
    out.into_inner()
}

fn header(mode: u32, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size as u64);
    header
}

fn append(out: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
    out.append_data(&mut header(mode, content.len()), path, content)
}

fn text(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn an_archive_names_its_image_and_holds_every_blob_it_speaks_of() {
        let make = || {
            let layer = Layer::new().folder("bin", 0o755).unwrap().file("bin/a", 0o755, b"x").unwrap().symlink("bin/b", "a").unwrap();
            archive(&["localhost/a:1"], layer, Program { entrypoint: &["/bin/a"], ..Program::default() }).unwrap()
        };
        let bytes = make();
        assert_eq!(bytes, make());
        let mut files = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(entry.path().unwrap().to_string_lossy().into_owned(), content);
        }
        let blob = |described: &Value| {
            let bytes = &files[&format!("blobs/{}", described["digest"].as_str().unwrap().replace(':', "/"))];
            assert_eq!(digest(bytes), described["digest"].as_str().unwrap());
            assert_eq!(Some(bytes.len() as u64), described["size"].as_u64());
            bytes
        };
        let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let entry = json(&files["index.json"])["manifests"][0].clone();
        assert_eq!(entry["annotations"]["io.containerd.image.name"], "localhost/a:1");
        let manifest = json(blob(&entry));
        let config = json(blob(&manifest["config"]));
        assert_eq!(config["config"]["Entrypoint"], json!(["/bin/a"]));
        assert_eq!(config["rootfs"]["diff_ids"][0], digest(blob(&manifest["layers"][0])));
    }
}
