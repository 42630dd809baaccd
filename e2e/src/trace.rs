//! What a cluster might leave on the machine: asked before and after, both must be the same.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Everything on this machine that names one cluster.
pub fn of(name: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut note = |kind: &str, line: &str| {
        if line.contains(&format!("corten-{name}")) || line.contains(&format!("/corten/{name}")) || line.contains(&format!("--name {name}")) {
            found.insert(format!("{kind}: {line}"));
        }
    };
    for (kind, program, arguments) in
        [("namespace", "ip", ["netns", "list"].as_slice()), ("table", "nft", &["list", "tables"]), ("process", "ps", &["-ww", "-eo", "args"])]
    {
        printed(program, arguments).lines().for_each(|line| note(kind, line));
    }
    fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines().for_each(|line| note("mount", line));
    for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        below(&hierarchy.path()).iter().for_each(|path| note("cgroup", path));
    }
    note("folder", &if Path::new("/run/corten").join(name).exists() { format!("/run/corten/{name}") } else { String::new() });
    found
}

/// Links and routes of the machine, and the sockets of shims, which name no cluster.
pub fn of_machine() -> BTreeSet<String> {
    let links = printed("ip", &["-o", "link"]).lines().filter_map(|line| Some(format!("link {}", line.split(' ').nth(1)?))).collect::<Vec<_>>();
    let routes = printed("ip", &["route"]).lines().map(|line| format!("route {line}")).collect::<Vec<_>>();
    links.into_iter().chain(routes).collect()
}

fn below(group: &Path) -> Vec<String> {
    let mut all = vec![group.display().to_string()];
    for entry in fs::read_dir(group).into_iter().flatten().flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        all.extend(below(&entry.path()));
    }
    all
}

fn printed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
