//! The machine: what it has, and what it calls itself.

use crate::config::Config;
use apiserver_placement::Amount;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;

/// As Go names it.
pub const ARCHITECTURE: &str = if cfg!(target_arch = "x86_64") {
    "amd64"
} else if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    std::env::consts::ARCH
};
/// Held back so that the node itself never starves: what upstream's hard eviction threshold is.
const MEMORY_KEPT_BYTES: i64 = 100 << 20;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading {path}: {source}")]
    Read { path: &'static str, source: std::io::Error },
    #[error("{0} does not say how much memory there is")]
    NoMemory(&'static str),
    #[error("reserved {resource}: {quantity:?} is not a quantity")]
    Reserved { resource: String, quantity: String },
    #[error("the size of the file system of {path}: {source}")]
    FileSystem { path: String, source: rustix::io::Errno },
}

#[derive(Clone, Debug, Default)]
pub struct Machine {
    pub capacity: BTreeMap<String, Amount>,
    pub allocatable: BTreeMap<String, Amount>,
    pub machine_id: String,
    pub system_uuid: String,
    pub boot_id: String,
    pub kernel_version: String,
    pub os_image: String,
}

fn read(path: &'static str) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Read { path, source })
}

/// A file's only line; empty where there is none.
fn line(path: &str) -> String {
    std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

impl Machine {
    pub fn read(config: &Config) -> Result<Self, Error> {
        const MEMORY: &str = "/proc/meminfo";
        let memory = memory_kib(&read(MEMORY)?).ok_or(Error::NoMemory(MEMORY))?;
        let cpus = std::thread::available_parallelism().map_or(1, |cpus| i64::try_from(cpus.get()).unwrap_or(1));
        let mut capacity = BTreeMap::from([
            ("cpu".to_owned(), Amount::from_units(cpus)),
            ("memory".to_owned(), Amount::from_units(memory.saturating_mul(1024))),
            ("ephemeral-storage".to_owned(), Amount::from_units(disk_bytes(&config.root_dir)?)),
            ("pods".to_owned(), Amount::from_units(i64::from(config.max_pods))),
        ]);
        capacity.extend(huge_pages());
        let machine_id = line("/etc/machine-id");
        let boot_id = line("/proc/sys/kernel/random/boot_id");
        let product = line("/sys/class/dmi/id/product_uuid");
        Ok(Self {
            allocatable: allocatable(&capacity, &config.reserved)?,
            capacity,
            system_uuid: if product.is_empty() { machine_id.clone() } else { product },
            machine_id: if machine_id.is_empty() { boot_id.replace('-', "") } else { machine_id },
            boot_id,
            kernel_version: line("/proc/sys/kernel/osrelease"),
            os_image: os_name(&line("/etc/os-release")),
        })
    }
}

fn memory_kib(meminfo: &str) -> Option<i64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// `PRETTY_NAME` of os-release.
fn os_name(release: &str) -> String {
    let value = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    value.map_or_else(|| "Linux".to_owned(), |value| value.trim_matches('"').to_owned())
}

fn disk_bytes(folder: &Path) -> Result<i64, Error> {
    let failed = |source| Error::FileSystem { path: folder.display().to_string(), source };
    let stat = rustix::fs::statvfs(folder).map_err(failed)?;
    Ok(i64::try_from(stat.f_blocks.saturating_mul(stat.f_frsize)).unwrap_or(i64::MAX))
}

/// `hugepages-2Mi` and so on, for the sizes that the kernel has.
fn huge_pages() -> BTreeMap<String, Amount> {
    let sizes = std::fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    sizes
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let kib: i64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let count: i64 = std::fs::read_to_string(entry.path().join("nr_hugepages")).ok()?.trim().parse().ok()?;
            let size = if kib % (1 << 20) == 0 {
                format!("{}Gi", kib >> 20)
            } else if kib % 1024 == 0 {
                format!("{}Mi", kib >> 10)
            } else {
                format!("{kib}Ki")
            };
            Some((format!("hugepages-{size}"), Amount::from_units(count.saturating_mul(kib).saturating_mul(1024))))
        })
        .collect()
}

/// What Pods may have: the machine, less what is reserved and kept.
fn allocatable(capacity: &BTreeMap<String, Amount>, reserved: &BTreeMap<String, String>) -> Result<BTreeMap<String, Amount>, Error> {
    let mut left = capacity.clone();
    let mut take = |name: &str, millis: i64| {
        if let Some(amount) = left.get_mut(name) {
            *amount = Amount::from_millis(amount.millis().saturating_sub(millis).max(0));
        }
    };
    take("memory", MEMORY_KEPT_BYTES.saturating_mul(1000));
    for (resource, quantity) in reserved {
        let amount = Amount::parse(quantity).ok_or_else(|| Error::Reserved { resource: resource.clone(), quantity: quantity.clone() })?;
        take(resource, amount.millis());
    }
    Ok(left)
}

/// The address that packets to elsewhere would come from; the loopback where there is no route.
pub fn own_address() -> IpAddr {
    // Connecting a datagram socket only looks up a route; nothing is sent.
    let address = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    address.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_files_are_read() {
        assert_eq!(memory_kib("MemTotal:       24635348 kB\nMemFree: 1 kB\n"), Some(24_635_348));
        assert_eq!(memory_kib(""), None);
        assert_eq!(os_name("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n"), "Debian GNU/Linux 12");
        assert_eq!(os_name(""), "Linux");
    }

    #[test]
    fn what_is_reserved_is_not_for_pods() {
        let capacity = BTreeMap::from([("cpu".to_owned(), Amount::from_units(2)), ("memory".to_owned(), Amount::from_units(1 << 30))]);
        let reserved = |cpu: &str| BTreeMap::from([("cpu".to_owned(), cpu.to_owned())]);
        let left = allocatable(&capacity, &reserved("500m")).expect("left");
        assert_eq!(left["cpu"], Amount::from_millis(1500));
        assert_eq!(left["memory"], Amount::from_units((1 << 30) - (100 << 20)));
        assert_eq!(allocatable(&capacity, &reserved("9")).expect("left")["cpu"], Amount::ZERO);
        assert!(matches!(allocatable(&capacity, &reserved("many")), Err(Error::Reserved { .. })));
    }

    #[test]
    fn this_machine_has_something() {
        let config = Config { root_dir: "/".into(), ..Default::default() };
        let machine = Machine::read(&config).expect("a machine");
        assert!(machine.capacity["cpu"].value() >= 1 && machine.allocatable["memory"] < machine.capacity["memory"]);
        assert!(!machine.kernel_version.is_empty() && !machine.boot_id.is_empty());
    }
}
