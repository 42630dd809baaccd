//! Requests that go on to somebody else: the kubelet (log, exec, attach, portforward, its own API), Pods and Services by proxy.
//!
//! Upgraded connections are copied byte for byte: what WebSocket frames mean is between the client and the kubelet.

use crate::Error;
use crate::api::Api;
use crate::auth::Attributes;
use crate::body::{Body, Incoming, StreamError};
use crate::convert;
use crate::options::Options;
use crate::read;
use crate::request::Verb;
use crate::resource::Object;
use crate::serve::{Authorized, Found};
use apiserver_store::Range;
use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderName, HeaderValue, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

const DIAL_MS_MAX: u64 = 10_000;
/// The kubelet's port, where the Node does not say another.
const KUBELET_PORT: i64 = 10_250;

/// The client's side of a connection that becomes something else after the answer's head.
#[derive(Clone)]
pub struct Upgrade(pub hyper::upgrade::OnUpgrade);

/// Where a request goes on to.
struct Onward {
    tls: Option<Arc<rustls::ClientConfig>>,
    host: String,
    port: u16,
    path_and_query: String,
}

type Stream = Box<dyn ReadWrite>;
trait ReadWrite: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> ReadWrite for T {}

/// Whether a target is one of those that go on to somebody else.
pub fn is_connect(found: &Found, subresource: &str) -> bool {
    let core = found.resource.group.is_empty();
    core && matches!(
        (found.resource.plural.as_str(), subresource),
        ("pods", "log" | "exec" | "attach" | "portforward" | "proxy") | ("nodes" | "services", "proxy")
    )
}

pub async fn answer(api: &Arc<Api>, found: &Found, request: Authorized, body: Incoming) -> Result<Response<Body>, Error> {
    let subresource = request.target.subresource.clone();
    if matches!(subresource.as_str(), "exec" | "attach" | "portforward") && request.verb == Verb::Get {
        // A WebSocket can only be opened by GET; what it does is a create.
        let target = &request.target;
        let ask = Attributes {
            subresource: &target.subresource,
            ..Attributes::resource(&request.user, "create", "", &target.resource, &target.namespace, &target.name)
        };
        let decision = api.auth.authorize(&ask);
        if !decision.allowed() {
            return Err(ask.forbidden(decision.reason()));
        }
    }
    let onward = match (found.resource.plural.as_str(), subresource.as_str()) {
        ("pods", "proxy") => pod_proxy(api, found, &request)?,
        ("services", _) => service_proxy(api, found, &request)?,
        ("nodes", _) => node_proxy(api, &request)?,
        _ => kubelet_stream(api, found, &request)?,
    };
    if request.parts.headers.contains_key(UPGRADE) {
        return tunnel(api, onward, request.parts).await;
    }
    forward(api, onward, request.parts, body).await
}

/// log, exec, attach and portforward of a Pod.
fn kubelet_stream(api: &Api, found: &Found, request: &Authorized) -> Result<Onward, Error> {
    let row = read::row(&api.store.snapshot(), &found.resource, &request.target)?;
    let tree = convert::stored(&found.resource, &row)?;
    let pod = Object { schema: &found.resource.storage.shape.schema, tree: &tree };
    let options = Options::parse("PodLogOptions", request.parts.uri.query())?;
    let (namespace, name) = (&request.target.namespace, &request.target.name);
    let subresource = request.target.subresource.as_str();
    let path = if subresource == "portforward" {
        format!("/portForward/{namespace}/{name}")
    } else {
        let container = container(pod, options.other("container"), name, subresource)?;
        match subresource {
            "log" => format!("/containerLogs/{namespace}/{name}/{container}"),
            verb => format!("/{verb}/{namespace}/{name}/{container}"),
        }
    };
    let node = pod.text("spec.nodeName");
    if node.is_empty() {
        return Err(Error::BadRequest(format!("pod {name} does not have a host assigned").into()));
    }
    let query = kubelet_query(subresource, &options);
    // A node that is gone is reported as the Pod's fault, as upstream does.
    kubelet(api, node, if query.is_empty() { path } else { format!("{path}?{query}") }).map_err(|error| match error {
        Error::NotFound { name, .. } => read::not_found(&found.resource, &name),
        other => other,
    })
}

/// Which container is meant: the named one, the annotated default, or the only one.
fn container<'a>(pod: Object<'a>, named: Option<&'a str>, name: &str, subresource: &str) -> Result<&'a str, Error> {
    let names: Vec<&str> = ["spec.initContainers", "spec.containers", "spec.ephemeralContainers"]
        .iter()
        .flat_map(|path| pod.list(path))
        .filter_map(|container| container.at(pod.schema, "name").and_then(|value| value.as_str()))
        .collect();
    if let Some(named) = named.filter(|named| !named.is_empty()) {
        return if names.contains(&named) {
            Ok(named)
        } else {
            Err(Error::BadRequest(format!("container {named} is not valid for pod {name}").into()))
        };
    }
    let regular: Vec<&str> =
        pod.list("spec.containers").iter().filter_map(|container| container.at(pod.schema, "name").and_then(|value| value.as_str())).collect();
    if let [only] = regular.as_slice() {
        return Ok(only);
    }
    if let Some(default) =
        pod.get("metadata.annotations").and_then(|value| value.as_map()).and_then(|map| map.get("kubectl.kubernetes.io/default-container"))
        && subresource != "log"
        && let Some(default) = default.as_str()
        && names.contains(&default)
    {
        return Ok(default);
    }
    let init: Vec<&str> =
        pod.list("spec.initContainers").iter().filter_map(|container| container.at(pod.schema, "name").and_then(|value| value.as_str())).collect();
    let choice = if init.is_empty() {
        format!("choose one of: [{}]", regular.join(" "))
    } else {
        format!("choose one of: [{}] or one of the init containers: [{}]", regular.join(" "), init.join(" "))
    };
    Err(Error::BadRequest(format!("a container name must be specified for pod {name}, {choice}").into()))
}

/// The parameters that the kubelet knows, in its own spelling.
fn kubelet_query(subresource: &str, options: &Options) -> String {
    const LOG: &[&str] = &["follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "stream"];
    let mut pairs = Vec::new();
    for (name, value) in &options.others {
        let name = match (subresource, name.as_str()) {
            ("log", name) if LOG.contains(&name) => name,
            ("exec", "command") => "command",
            ("exec" | "attach", "stdin") => "input",
            ("exec" | "attach", "stdout") => "output",
            ("exec" | "attach", "stderr") => "error",
            ("exec" | "attach", "tty") => "tty",
            ("portforward", "ports") => "port",
            _ => continue,
        };
        // The kubelet reads a stream's flag as 1 or nothing.
        let value = match (name, value.as_str()) {
            ("input" | "output" | "error" | "tty", "true" | "1") => "1",
            ("input" | "output" | "error" | "tty", _) => continue,
            (_, value) => value,
        };
        pairs.push(format!("{name}={}", encode(value)));
    }
    pairs.join("&")
}

/// Percent-encodes a query value.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A request to a node's kubelet.
fn kubelet(api: &Api, node: &str, path_and_query: String) -> Result<Onward, Error> {
    let nodes = api.catalog().resource("", "nodes").cloned().ok_or(Error::NoSuchPath)?;
    let row = api.store.snapshot().get(nodes.key("", node)).cloned().ok_or_else(|| read::not_found(&nodes, node))?;
    let tree = convert::stored(&nodes, &row)?;
    let object = Object { schema: &nodes.storage.shape.schema, tree: &tree };
    let address = |wanted: &str| {
        object.list("status.addresses").iter().find_map(|address| {
            let kind = address.at(object.schema, "type").and_then(|value| value.as_str());
            (kind == Some(wanted)).then(|| address.at(object.schema, "address").and_then(|value| value.as_str())).flatten()
        })
    };
    let host = api
        .config
        .kubelet_preferred_address_types
        .iter()
        .find_map(|kind| address(kind))
        .ok_or_else(|| Error::Internal(format!("no preferred addresses found; known addresses: {:?}", object.list("status.addresses").len())))?;
    let port = object.int("status.daemonEndpoints.kubeletEndpoint.Port").filter(|port| *port > 0).unwrap_or(KUBELET_PORT);
    let port = u16::try_from(port).map_err(|_| Error::Internal(format!("node {node} has the kubelet port {port}")))?;
    Ok(Onward { tls: Some(api.kubelet_tls()), host: host.to_owned(), port, path_and_query })
}

fn node_proxy(api: &Api, request: &Authorized) -> Result<Onward, Error> {
    let (_, name, _) = split_name(&request.target.name);
    kubelet(api, name, onward_path(request))
}

fn onward_path(request: &Authorized) -> String {
    let query = request.parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("/{}{query}", request.target.rest)
}

/// `https:web:http` → (https, web, http).
fn split_name(name: &str) -> (&str, &str, &str) {
    let parts: Vec<&str> = name.split(':').collect();
    match parts.as_slice() {
        [name] => ("", name, ""),
        [name, port] => ("", name, port),
        [scheme, name, port] => (scheme, name, port),
        _ => ("", name, ""),
    }
}

fn onward(api: &Api, scheme: &str, host: &str, port: u16, request: &Authorized) -> Onward {
    let tls = (scheme == "https").then(|| api.insecure_tls());
    Onward { tls, host: host.to_owned(), port, path_and_query: onward_path(request) }
}

fn pod_proxy(api: &Api, found: &Found, request: &Authorized) -> Result<Onward, Error> {
    let (scheme, name, port) = split_name(&request.target.name);
    let target = crate::request::Target { name: name.into(), ..request.target.clone() };
    let row = read::row(&api.store.snapshot(), &found.resource, &target)?;
    let tree = convert::stored(&found.resource, &row)?;
    let pod = Object { schema: &found.resource.storage.shape.schema, tree: &tree };
    let ip = pod.text("status.podIP");
    if ip.is_empty() {
        return Err(Error::Unavailable("address not allowed".into()));
    }
    let ports = pod
        .list("spec.containers")
        .iter()
        .flat_map(|container| container.at(pod.schema, "ports").and_then(|ports| ports.as_list()).unwrap_or_default())
        .filter_map(|entry| {
            let name = entry.at(pod.schema, "name").and_then(|value| value.as_str()).unwrap_or_default();
            entry.at(pod.schema, "containerPort").and_then(|value| value.as_int()).map(|number| (name, number))
        })
        .collect::<Vec<_>>();
    let number = match port {
        "" => ports.first().map_or(80, |(_, number)| *number),
        port => match port.parse::<i64>() {
            Ok(number) => number,
            Err(_) => ports
                .iter()
                .find_map(|(name, number)| (*name == port).then_some(*number))
                .ok_or_else(|| Error::Unavailable(format!("no port named {port:?} in pod {name:?}").into()))?,
        },
    };
    let number = u16::try_from(number).map_err(|_| Error::BadRequest(format!("invalid port {number}").into()))?;
    Ok(onward(api, scheme, ip, number, request))
}

/// A ready endpoint of a Service, by its EndpointSlices.
fn service_proxy(api: &Api, found: &Found, request: &Authorized) -> Result<Onward, Error> {
    let (scheme, name, port) = split_name(&request.target.name);
    let target = crate::request::Target { name: name.into(), ..request.target.clone() };
    let snapshot = api.store.snapshot();
    let row = read::row(&snapshot, &found.resource, &target)?;
    let tree = convert::stored(&found.resource, &row)?;
    let service = Object { schema: &found.resource.storage.shape.schema, tree: &tree };
    let port_name = service
        .list("spec.ports")
        .iter()
        .find_map(|entry| {
            let own = entry.at(service.schema, "name").and_then(|value| value.as_str()).unwrap_or_default();
            let number = entry.at(service.schema, "port").and_then(|value| value.as_int()).unwrap_or(0);
            (port.is_empty() || own == port || number.to_string() == port).then_some(own)
        })
        .ok_or_else(|| Error::Unavailable(format!("no service port {port:?} found for service {name:?}").into()))?;
    let slices = api.catalog().resource("discovery.k8s.io", "endpointslices").cloned().ok_or(Error::NoSuchPath)?;
    let schema = &*slices.storage.shape.schema;
    let mut backends = Vec::new();
    for (_, row) in snapshot.range(&Range::prefix(format!("{}{}/", slices.prefix, request.target.namespace))) {
        if row.facts.label("kubernetes.io/service-name") != Some(name) {
            continue;
        }
        let tree = convert::stored(&slices, row)?;
        let Some(number) = tree.list_at(schema, "ports").iter().find_map(|entry| {
            let own = entry.at(schema, "name").and_then(|value| value.as_str()).unwrap_or_default();
            (own == port_name).then(|| entry.at(schema, "port").and_then(|value| value.as_int())).flatten()
        }) else {
            continue;
        };
        for endpoint in tree.list_at(schema, "endpoints") {
            let ready = endpoint.at(schema, "conditions.ready").and_then(|value| value.as_bool()).unwrap_or(true);
            let address =
                endpoint.at(schema, "addresses").and_then(|value| value.as_list()).and_then(|list| list.first()).and_then(|value| value.as_str());
            if let (true, Some(address), Ok(number)) = (ready, address, u16::try_from(number)) {
                backends.push((address.to_owned(), number));
            }
        }
    }
    if backends.is_empty() {
        return Err(Error::Unavailable(format!("no endpoints available for service {name:?}").into()));
    }
    let (host, number) = backends.swap_remove(rand::random_range(0..backends.len()));
    Ok(onward(api, scheme, &host, number, request))
}

async fn dial(onward: &Onward) -> Result<Stream, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Unavailable(format!("error trying to reach {}:{}: {error}", onward.host, onward.port).into());
    let connecting = TcpStream::connect((onward.host.as_str(), onward.port));
    let stream = match tokio::time::timeout(Duration::from_millis(DIAL_MS_MAX), connecting).await {
        Ok(stream) => stream.map_err(|error| failed(&error))?,
        Err(_) => return Err(failed(&"dial timeout")),
    };
    let _ = stream.set_nodelay(true);
    let Some(tls) = &onward.tls else { return Ok(Box::new(stream)) };
    let name = rustls_pki_types::ServerName::try_from(onward.host.clone()).map_err(|error| failed(&error))?;
    let handshake = tokio_rustls::TlsConnector::from(tls.clone()).connect(name, stream);
    match tokio::time::timeout(Duration::from_millis(DIAL_MS_MAX), handshake).await {
        Ok(stream) => Ok(Box::new(stream.map_err(|error| failed(&error))?)),
        Err(_) => Err(failed(&"TLS handshake timeout")),
    }
}

/// The client's headers, but for those that speak of its own connection or of who it is.
fn onward_headers(headers: &HeaderMap, onward: &Onward) -> HeaderMap {
    const OWN: [&str; 8] = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "te", "upgrade", "authorization", "host"];
    let mut out = HeaderMap::with_capacity(headers.len() + 1);
    for (name, value) in headers {
        if !OWN.contains(&name.as_str()) && !name.as_str().starts_with("impersonate-") && !name.as_str().starts_with("x-remote-") {
            out.append(name.clone(), value.clone());
        }
    }
    if let Ok(host) = HeaderValue::from_str(&format!("{}:{}", onward.host, onward.port)) {
        out.insert(HOST, host);
    }
    out
}

fn unreachable(error: impl std::fmt::Display) -> Error {
    Error::Unavailable(format!("error trying to reach the backend: {error}").into())
}

fn onward_request<B>(onward: &Onward, method: Method, mut headers: HeaderMap, body: B, upgrade: Option<&HeaderValue>) -> Result<Request<B>, Error> {
    let uri: Uri = onward.path_and_query.parse().map_err(|error| Error::BadRequest(format!("invalid path: {error}").into()))?;
    if let Some(upgrade) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, upgrade.clone());
    }
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}

/// Sends a request on and streams the answer back.
async fn forward(api: &Api, onward: Onward, parts: Parts, body: Incoming) -> Result<Response<Body>, Error> {
    let stream = dial(&onward).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
    api.tasks.spawn("onward-connection", async move {
        let _ = connection.await;
    });
    let headers = onward_headers(&parts.headers, &onward);
    let request = onward_request(&onward, parts.method, headers, body, None)?;
    let (mut head, body) = sender.send_request(request).await.map_err(unreachable)?.into_parts();
    for name in [CONNECTION, HeaderName::from_static("keep-alive"), http::header::TRANSFER_ENCODING] {
        head.headers.remove(name);
    }
    Ok(Response::from_parts(head, Body::stream(body.map_err(|error| Box::new(error) as StreamError))))
}

/// Asks for an upgrade and, once it is granted, copies bytes both ways until either side ends.
async fn tunnel(api: &Api, onward: Onward, mut parts: Parts) -> Result<Response<Body>, Error> {
    let client = parts.extensions.remove::<Upgrade>().ok_or_else(|| Error::bad_request("this connection cannot be upgraded"))?;
    let stream = dial(&onward).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
    api.tasks.spawn("onward-connection", async move {
        let _ = connection.with_upgrades().await;
    });
    let headers = onward_headers(&parts.headers, &onward);
    let request = onward_request(&onward, parts.method, headers, Empty::<Bytes>::new(), parts.headers.get(UPGRADE))?;
    let mut answer = sender.send_request(request).await.map_err(unreachable)?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let (head, body) = answer.into_parts();
        return Ok(Response::from_parts(head, Body::stream(body.map_err(|error| Box::new(error) as StreamError))));
    }
    let server = hyper::upgrade::on(&mut answer);
    api.tasks.spawn("tunnel", async move {
        let (Ok(client), Ok(server)) = tokio::join!(client.0, server) else { return };
        let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(server)).await;
    });
    let (head, _) = answer.into_parts();
    Ok(Response::from_parts(head, Body::empty()))
}
