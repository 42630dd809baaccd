//! Who is who in a cluster: its authorities, and one certificate for each component, no wider than upstream's.
//!
//! The scheduler and the controllers run in the API server's process and need none.

use crate::cluster::{API_PORT, Cluster, Node, make_dir};
use crate::error::{Error, file};
use crate::pki::{Authority, Name, Pair, Pki, Subject};
use std::fs;
use std::path::PathBuf;

const AUTHORITY: &str = "corten-ca";
const FRONT_PROXY_AUTHORITY: &str = "corten-front-proxy-ca";
/// The API server to the kubelets. `up` binds it to the role that upstream made for it.
pub const KUBELET_CLIENT: &str = "kube-apiserver-kubelet-client";
/// The API server to aggregated servers, on behalf of users.
pub const FRONT_PROXY_CLIENT: &str = "front-proxy-client";

/// The files that the processes of a cluster read.
pub struct Identities {
    pub authority: PathBuf,
    pub front_proxy_authority: PathBuf,
    pub api_server: Pair,
    pub kubelet_client: Pair,
    /// The private and the public half.
    pub service_account_key: (PathBuf, PathBuf),
}

/// What of a node's kubelet is in files.
pub struct NodeIdentity {
    pub authority: PathBuf,
    pub serving: Pair,
}

/// Makes what is missing and renews what is past two thirds of its life. Kubeconfigs are written anew.
pub fn ensure(cluster: &Cluster, now: jiff::Timestamp) -> Result<Identities, Error> {
    let pki = Pki::new(cluster.data("pki"), now)?;
    let authority = pki.authority(AUTHORITY)?;
    let front_proxy = pki.authority(FRONT_PROXY_AUTHORITY)?;
    let api_server = pki.certificate("apiserver", &authority, &api_server(cluster))?;
    let kubelet_client = pki.certificate("apiserver-kubelet-client", &authority, &Subject::client(KUBELET_CLIENT, None))?;
    pki.certificate("front-proxy-client", &front_proxy, &Subject::client(FRONT_PROXY_CLIENT, None))?;
    let admin = pki.certificate("admin", &authority, &Subject::client("kubernetes-admin", Some("system:masters")))?;
    let server = format!("https://127.0.0.1:{}", cluster.host_port);
    pki.kubeconfig(&cluster.admin_kubeconfig(), &format!("corten-{}", cluster.name), &server, &authority, &admin)?;
    for node in cluster.nodes() {
        make_dir(&node.data(""), 0o711)?;
        ensure_node(&pki, &authority, &node)?;
    }
    Ok(Identities {
        authority: authority.certificate.clone(),
        front_proxy_authority: front_proxy.certificate.clone(),
        api_server,
        kubelet_client,
        service_account_key: pki.signing_key("service-accounts")?,
    })
}

fn ensure_node(pki: &Pki, authority: &Authority, node: &Node<'_>) -> Result<(), Error> {
    let user = format!("system:node:{}", node.name);
    let client = pki.certificate(&format!("{}-client", node.name), authority, &Subject::client(user.as_str(), Some("system:nodes")))?;
    let names = vec![Name::Dns(node.name.into()), Name::Ip(node.address().into())];
    pki.certificate(&format!("{}-serving", node.name), authority, &Subject::server(user, Some("system:nodes"), names))?;
    let server = format!("https://{}:{API_PORT}", node.cluster.control_address());
    Ok(pki.kubeconfig_of_files(&node.kubeconfig(), &server, authority, &client)?)
}

pub fn of_node(node: &Node<'_>) -> NodeIdentity {
    let pki = |name: String| node.cluster.data("pki").join(name);
    let serving = Pair { certificate: pki(format!("{}-serving.crt", node.name)), key: pki(format!("{}-serving.key", node.name)) };
    NodeIdentity { authority: pki(format!("{AUTHORITY}.crt")), serving }
}

fn api_server(cluster: &Cluster) -> Subject {
    let service = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"];
    let addresses = [cluster.control_address(), cluster.api_service(), std::net::Ipv4Addr::LOCALHOST];
    let names = service.into_iter().map(|name| Name::Dns(name.into())).chain(addresses.into_iter().map(|ip| Name::Ip(ip.into())));
    Subject::server("kube-apiserver", None, names.collect())
}

/// What people paste into their shells.
pub fn admin_kubeconfig(cluster: &Cluster) -> Result<String, Error> {
    let path = cluster.admin_kubeconfig();
    fs::read_to_string(&path).map_err(file(path))
}
