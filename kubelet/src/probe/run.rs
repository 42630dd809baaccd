//! Asking a container how it is: a command, an HTTP request, a TCP connection, or the gRPC health service.

use crate::env;
use crate::http_get::{self, Target};
use bytes::{BufMut, Bytes, BytesMut};
use http::Request;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::{Container, GRPCAction, Probe};
use kubelet_cri::{Kind, Runtime};
use std::time::Duration;
use tokio::net::TcpStream;

const OUTPUT_CHARS_MAX: usize = 10 * 1024;
const GRPC_ANSWER_BYTES_MAX: usize = 4096;

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Success,
    Failure(String),
    /// It could not be made; why.
    Error(String),
}

pub async fn run(runtime: &dyn Runtime, probe: &Probe, container: &Container, id: &str, pod_ip: &str) -> Outcome {
    let timeout = Duration::try_from(super::timeout(probe)).unwrap_or(Duration::from_secs(1));
    if let Some(exec) = &probe.exec {
        let known = |name: &str| {
            let variable = container.env.iter().flatten().find(|variable| variable.name == name);
            variable.and_then(|variable| variable.value.clone()).map(String::into_bytes)
        };
        let expand = |word: &String| String::from_utf8_lossy(&env::expand(word, &known)).into_owned();
        let command = exec.command.iter().flatten().map(expand).collect();
        return command_probe(runtime, id, command, timeout).await;
    }
    if let Some(get) = &probe.http_get {
        return match Target::of(get, container, pod_ip, "probe") {
            Ok(target) => http_probe(&target, timeout).await,
            Err(error) => Outcome::Error(error.to_string()),
        };
    }
    if let Some(tcp) = &probe.tcp_socket {
        let host = tcp.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(pod_ip);
        return match http_get::port(&tcp.port, container) {
            Ok(port) => tcp_probe(host, port, timeout).await,
            Err(error) => Outcome::Error(error.to_string()),
        };
    }
    if let Some(grpc) = &probe.grpc {
        return match tokio::time::timeout(timeout, grpc_probe(grpc, pod_ip)).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::Failure(format!(
                "timeout: failed to connect service \"{pod_ip}:{}\" within {timeout:?}: context deadline exceeded",
                grpc.port
            )),
        };
    }
    Outcome::Error("missing probe handler".to_owned())
}

async fn command_probe(runtime: &dyn Runtime, id: &str, command: Vec<String>, timeout: Duration) -> Outcome {
    let shown = command.join(" ");
    match runtime.exec_sync(id.to_owned(), command, timeout).await {
        Ok(answer) if answer.exit_code == 0 => Outcome::Success,
        Ok(answer) => {
            let output = [answer.stdout, answer.stderr].concat();
            Outcome::Failure(String::from_utf8_lossy(&output).chars().take(OUTPUT_CHARS_MAX).collect())
        }
        Err(error) if error.kind() == Kind::Timeout => Outcome::Failure(format!("command timed out: {shown:?} timed out after {timeout:?}")),
        Err(error) => Outcome::Error(error.to_string()),
    }
}

async fn http_probe(target: &Target, timeout: Duration) -> Outcome {
    match http_get::get(target, timeout).await {
        Ok(answer) if (200..400).contains(&answer.status) => Outcome::Success,
        Ok(answer) => {
            tracing::debug!(status = answer.status, body = answer.body, "an HTTP probe failed");
            Outcome::Failure(http_get::Error::Status(answer.status).to_string())
        }
        Err(error) => {
            let scheme = if target.tls { "https" } else { "http" };
            Outcome::Failure(format!("Get \"{scheme}://{}:{}{}\": {error}", target.host, target.port, target.path))
        }
    }
}

async fn tcp_probe(host: &str, port: u16, timeout: Duration) -> Outcome {
    match tokio::time::timeout(timeout, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Outcome::Success,
        Ok(Err(error)) => Outcome::Failure(format!("dial tcp {host}:{port}: {error}")),
        Err(_) => Outcome::Failure(format!("dial tcp {host}:{port}: i/o timeout")),
    }
}

/// `grpc.health.v1.Health/Check`, whose messages are small enough to write by hand: the request's field 1 is the service's name, the
/// answer's field 1 the status, 1 being SERVING.
async fn grpc_probe(action: &GRPCAction, pod_ip: &str) -> Outcome {
    let address = if pod_ip.contains(':') { format!("[{pod_ip}]:{}", action.port) } else { format!("{pod_ip}:{}", action.port) };
    match grpc_check(&address, action.service.as_deref().unwrap_or_default()).await {
        Ok(Some(1)) => Outcome::Success,
        Ok(status) => Outcome::Failure(format!("service unhealthy (responded with {status:?})")),
        Err(error) => Outcome::Failure(format!("error: {error}")),
    }
}

async fn grpc_check(address: &str, service: &str) -> Result<Option<u8>, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let stream = TcpStream::connect(address).await.map_err(|error| text(&error))?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(|error| text(&error))?;
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header(http::header::CONTENT_TYPE, "application/grpc")
        .header(http::header::TE, "trailers")
        .body(Full::new(grpc_request(service)?))
        .map_err(|error| text(&error))?;
    let work = async {
        let response = sender.send_request(request).await.map_err(|error| text(&error))?;
        let refused = response.headers().get("grpc-status").cloned();
        let body = Limited::new(response.into_body(), GRPC_ANSWER_BYTES_MAX).collect().await.map_err(|error| error.to_string())?;
        let code = refused.or_else(|| body.trailers().and_then(|trailers| trailers.get("grpc-status").cloned()));
        match code {
            Some(code) if code != "0" => Err(format!("rpc error: code = {}", code.to_str().unwrap_or("unknown"))),
            _ => Ok(grpc_status(&body.to_bytes())),
        }
    };
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => done,
        ended = connection => match ended {
            Ok(()) => work.await,
            Err(error) => Err(text(&error)),
        },
    }
}

fn grpc_request(service: &str) -> Result<Bytes, String> {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        // One byte of length is enough for any name that DNS allows.
        let length = u8::try_from(service.len()).ok().filter(|length| *length < 128).ok_or("the service's name is too long")?;
        message.put_u8(0x0a);
        message.put_u8(length);
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).map_err(|error| error.to_string())?);
    framed.put_slice(&message);
    Ok(framed.freeze())
}

fn grpc_status(body: &[u8]) -> Option<u8> {
    match body.get(5..)? {
        [] => Some(0),
        [0x08, status, ..] => Some(*status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubelet_cri::fake::Fake;
    use kubelet_cri::v1;
    use serde_json::json;

    fn probe(value: serde_json::Value) -> Probe {
        serde_json::from_value(value).expect("a probe")
    }

    #[tokio::test]
    async fn a_tcp_probe_succeeds_where_somebody_listens() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let port = listener.local_addr().expect("an address").port();
        let runtime = Fake::new(|| 0);
        let ask = probe(json!({"tcpSocket": {"port": port}}));
        assert_eq!(run(&runtime, &ask, &Container::default(), "x", "127.0.0.1").await, Outcome::Success);
        drop(listener);
        assert!(matches!(run(&runtime, &ask, &Container::default(), "x", "127.0.0.1").await, Outcome::Failure(_)));
    }

    #[tokio::test]
    async fn a_command_that_cannot_be_run_is_an_error_not_a_failure() {
        let runtime = Fake::new(|| 0);
        let outcome = run(&runtime, &probe(json!({"exec": {"command": ["true"]}})), &Container::default(), "none", "").await;
        assert!(matches!(outcome, Outcome::Error(_)), "{outcome:?}");
    }

    #[test]
    fn grpc_frames_are_as_the_health_service_has_them() {
        assert_eq!(&grpc_request("").expect("a frame")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&grpc_request("ab").expect("a frame")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(grpc_status(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        assert_eq!(grpc_status(&[0, 0, 0, 0, 0]), Some(0));
        assert_eq!(grpc_status(&[0]), None);
    }

    #[tokio::test]
    async fn a_commands_exit_code_decides() {
        let runtime = Fake::new(|| 1);
        runtime.add_image("i");
        let sandbox = runtime.run_pod_sandbox(v1::PodSandboxConfig::default(), String::new()).await.expect("a sandbox");
        let config = v1::ContainerConfig { image: Some(v1::ImageSpec { image: "i".to_owned(), ..Default::default() }), ..Default::default() };
        let id = runtime.create_container(sandbox, config, v1::PodSandboxConfig::default()).await.expect("a container");
        runtime.start_container(id.clone()).await.expect("started");
        runtime.on_exec(|_, command| {
            Ok(v1::ExecSyncResponse { exit_code: i32::from(command == ["sick"]), stdout: b"why".to_vec(), ..Default::default() })
        });
        let ask = |word: &str| probe(json!({"exec": {"command": [word]}}));
        assert_eq!(run(&runtime, &ask("well"), &Container::default(), &id, "").await, Outcome::Success);
        assert_eq!(run(&runtime, &ask("sick"), &Container::default(), &id, "").await, Outcome::Failure("why".to_owned()));
    }
}
