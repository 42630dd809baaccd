//! What each path answers.

use super::auth::{Error as Refusal, User};
use super::query::{self, first, flag};
use super::remote::{self, Wants};
use super::upgrade::{self, Wish};
use super::{Answer, Body, Context, metrics, text, websocket};
use crate::logs::{self, Options, Stream};
use crate::pleg::LastSeen;
use crate::view;
use crate::{pod, sandbox};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kubelet_cri::v1;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

/// Pieces of a log that wait for a slow reader.
const PIECES_MAX: usize = 8;
/// A runtime that has not been listed for this long is sick.
const LISTING_AGE_MAX_SECONDS: i64 = 180;

/// An answer that says no.
type Refused = Box<Answer>;

pub async fn answer(context: Context, caller: Option<User>, request: Request<Incoming>) -> Answer {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    if let Err(refusal) = context.gate.admit(caller, request.headers(), &method, &path).await {
        return refuse(&refusal);
    }
    let parts: Vec<String> = path.trim_matches('/').split('/').map(query::decode).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let get = method == Method::GET;
    match parts.as_slice() {
        ["healthz", ..] if get => health(&context.last_seen),
        ["pods"] if get => pods(&context),
        ["metrics"] if get => metrics::process(),
        ["metrics", "resource"] if get => metrics::resource(&context).await,
        ["metrics", "cadvisor" | "probes"] if get => text(StatusCode::OK, ""),
        ["stats", "summary"] if get => metrics::summary(&context).await,
        ["containerLogs", namespace, name, container] if get => container_logs(&context, request, namespace, name, container).await,
        ["exec", namespace, name, container] => exec(&context, request, namespace, name, None, container).await,
        ["exec", namespace, name, uid, container] => exec(&context, request, namespace, name, Some(uid), container).await,
        ["attach", namespace, name, container] => attach(&context, request, namespace, name, None, container).await,
        ["attach", namespace, name, uid, container] => attach(&context, request, namespace, name, Some(uid), container).await,
        ["portForward", namespace, name] => port_forward(&context, request, namespace, name, None).await,
        ["portForward", namespace, name, uid] => port_forward(&context, request, namespace, name, Some(uid)).await,
        _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

fn refuse(refusal: &Refusal) -> Answer {
    let status = match refusal {
        Refusal::Unauthenticated => StatusCode::UNAUTHORIZED,
        Refusal::Forbidden { .. } => StatusCode::FORBIDDEN,
        Refusal::Review { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    };
    text(status, refusal.to_string())
}

pub fn health(last_seen: &LastSeen) -> Answer {
    match last_seen.age() {
        Some(age) if age > LISTING_AGE_MAX_SECONDS => text(StatusCode::INTERNAL_SERVER_ERROR, format!("pleg was last seen active {age}s ago")),
        _ => text(StatusCode::OK, "ok"),
    }
}

fn json(value: &serde_json::Value) -> Answer {
    let mut answer = text(StatusCode::OK, value.to_string());
    answer.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn pods(context: &Context) -> Answer {
    let items: Vec<serde_json::Value> = context.pods.list().iter().map(|pod| serde_json::to_value(&**pod).unwrap_or_default()).collect();
    json(&serde_json::json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}))
}

/// The Pod of that name, if it is still the one that the caller means.
fn find(context: &Context, namespace: &str, name: &str, uid: Option<&&str>) -> Result<Arc<Pod>, Refused> {
    let found = context.pods.get(namespace, name).filter(|found| uid.is_none_or(|uid| pod::uid(found) == *uid));
    found.ok_or_else(|| Box::new(text(StatusCode::NOT_FOUND, format!("pod \"{name}\" not found\n"))))
}

/// The runs of one container, newest first.
async fn runs(context: &Context, pod: &Pod, container: &str) -> Result<Vec<v1::Container>, Refused> {
    let mut labels = view::selector(pod::uid(pod));
    labels.insert(view::CONTAINER_NAME.to_owned(), container.to_owned());
    let listed = context.shared.runtime.list_containers(labels).await;
    let mut runs = listed.map_err(|error| Box::new(text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"))))?;
    runs.sort_by_key(|run| std::cmp::Reverse(run.created_at));
    Ok(runs)
}

async fn running(context: &Context, pod: &Pod, container: &str) -> Result<String, Refused> {
    let runs = runs(context, pod, container).await?;
    let running = runs.into_iter().find(|run| run.state() == v1::ContainerState::ContainerRunning);
    running.map(|run| run.id).ok_or_else(|| Box::new(text(StatusCode::NOT_FOUND, format!("container not found (\"{container}\")\n"))))
}

// Logs

fn log_options(query: &[(String, String)], now: Timestamp) -> Result<(Options, bool), String> {
    let number =
        |name: &str| first(query, name).map(|value| value.parse::<u64>().map_err(|_| format!("invalid value for {name}: {value:?}"))).transpose();
    let since = match (number("sinceSeconds")?, first(query, "sinceTime")) {
        (Some(seconds), _) => {
            let ago = jiff::SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
            Some(now.saturating_sub(ago).unwrap_or(Timestamp::MIN))
        }
        (None, Some(time)) => Some(time.parse().map_err(|_| format!("invalid value for sinceTime: {time:?}"))?),
        (None, None) => None,
    };
    let stream = match first(query, "stream") {
        None | Some("" | "All") => None,
        Some("Stdout") => Some(Stream::Stdout),
        Some("Stderr") => Some(Stream::Stderr),
        Some(other) => return Err(format!("invalid value for stream: {other:?}")),
    };
    let options = Options {
        follow: flag(query, "follow"),
        tail_lines: number("tailLines")?,
        since,
        timestamps: flag(query, "timestamps"),
        limit_bytes: number("limitBytes")?,
        stream,
    };
    Ok((options, flag(query, "previous")))
}

async fn container_logs(context: &Context, request: Request<Incoming>, namespace: &str, name: &str, container: &str) -> Answer {
    let wish = Wish::of(request.headers());
    let pairs = query::pairs(request.uri().query());
    let (options, previous) = match log_options(&pairs, apiserver_component::Clock.now()) {
        Ok(options) => options,
        Err(problem) => return text(StatusCode::UNPROCESSABLE_ENTITY, problem),
    };
    let run = match log_of(context, namespace, name, container, previous).await {
        Ok(run) => run,
        Err(answer) => return *answer,
    };
    let (out, pieces) = mpsc::channel(PIECES_MAX);
    let runtime = context.shared.runtime.clone();
    context.shared.tasks.spawn("container-log", async move {
        let (path, id) = run;
        let running = || {
            let (runtime, id) = (runtime.clone(), id.clone());
            async move { runtime.container_status(id).await.is_ok_and(|status| status.state() == v1::ContainerState::ContainerRunning) }
        };
        if let Err(error) = logs::read(&path, &options, running, out.clone()).await {
            let _ = out.send(Bytes::from(format!("failed to try resolving symlinks in path {:?}: {error}", path.display()))).await;
        }
    });
    match wish {
        Wish::WebSocket { key, protocols } => log_socket(context, request, &key, &protocols, pieces),
        _ => log_body(pieces),
    }
}

fn log_body(pieces: mpsc::Receiver<Bytes>) -> Answer {
    let frames = futures::stream::unfold(pieces, |mut pieces| async {
        let piece = pieces.recv().await?;
        Some((Ok::<_, std::io::Error>(Frame::data(piece)), pieces))
    });
    let body: Body = StreamBody::new(frames).boxed_unsync();
    let mut answer = Response::new(body);
    answer.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    answer
}

/// Logs over a WebSocket: every piece a message, plain or in base64.
fn log_socket(context: &Context, request: Request<Incoming>, key: &str, protocols: &[String], mut pieces: mpsc::Receiver<Bytes>) -> Answer {
    let chosen = protocols.iter().find(|name| matches!(name.as_str(), "binary.k8s.io" | "base64.binary.k8s.io")).cloned();
    let encoded = chosen.as_deref() == Some("base64.binary.k8s.io");
    let on_upgrade = hyper::upgrade::on(request);
    context.shared.tasks.spawn("log-socket", async move {
        use base64::Engine;
        let Some(socket) = websocket::open(on_upgrade).await else { return };
        let (mut to_client, mut from_client) = socket.split();
        loop {
            let piece = tokio::select! {
                piece = pieces.recv() => piece,
                // What a client says is only that it is there, or gone.
                message = from_client.next() => match message {
                    Some(Ok(_)) => continue,
                    Some(Err(_)) | None => return,
                },
            };
            let Some(piece) = piece else { break };
            let message = if encoded { Message::text(base64::engine::general_purpose::STANDARD.encode(&piece)) } else { Message::Binary(piece) };
            if to_client.send(message).await.is_err() {
                return;
            }
        }
        let _ = to_client.send(websocket::farewell()).await;
    });
    upgrade::accept_websocket(key, chosen.as_deref())
}

/// The log file of the container's present or previous run, and that run's id.
async fn log_of(context: &Context, namespace: &str, name: &str, container: &str, previous: bool) -> Result<(PathBuf, String), Refused> {
    let found = find(context, namespace, name, None)?;
    let bad = |message: String| Box::new(text(StatusCode::BAD_REQUEST, message));
    if pod::find(&found, container).is_none() {
        return Err(Box::new(text(StatusCode::NOT_FOUND, format!("container \"{container}\" not found in pod \"{name}\""))));
    }
    let mut runs = runs(context, &found, container).await?.into_iter();
    let run = if previous {
        // While the newest has ended and none follows it, it is the previous one itself.
        let ended = |run: &v1::Container| run.state() == v1::ContainerState::ContainerExited;
        let newest = runs.next();
        let before = runs.find(ended);
        before.or(newest.filter(|run| ended(run) && waits(&found, container)))
    } else {
        runs.find(|run| run.state() != v1::ContainerState::ContainerCreated)
    };
    let Some(run) = run else {
        return Err(if previous {
            bad(format!("previous terminated container \"{container}\" in pod \"{name}\" not found"))
        } else {
            let reason = waiting_reason(&found, container).unwrap_or_else(|| "ContainerCreating".to_owned());
            bad(format!("container \"{container}\" in pod \"{name}\" is waiting to start: {reason}"))
        });
    };
    let attempt = run.annotations.get(view::RESTART_COUNT).and_then(|count| count.parse().ok()).unwrap_or_default();
    let folder = sandbox::log_folder(&context.shared.config.pod_logs_dir, &found);
    Ok((logs::path(&folder, container, attempt), run.id))
}

fn waiting(pod: &Pod, container: &str) -> Option<Option<String>> {
    let status = pod::status(pod);
    let lists = [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
    let found = lists.into_iter().flatten().flatten().find(|status| status.name == container)?;
    found.state.as_ref()?.waiting.as_ref().map(|waiting| waiting.reason.clone())
}

fn waits(pod: &Pod, container: &str) -> bool {
    waiting(pod, container).is_some()
}

fn waiting_reason(pod: &Pod, container: &str) -> Option<String> {
    waiting(pod, container).flatten()
}

// Streams

fn wants(pairs: &[(String, String)]) -> Wants {
    let either = |kubelets: &str, apis: &str| flag(pairs, kubelets) || flag(pairs, apis);
    Wants { stdin: either("input", "stdin"), stdout: either("output", "stdout"), stderr: either("error", "stderr"), tty: flag(pairs, "tty") }
}

async fn exec(context: &Context, request: Request<Incoming>, namespace: &str, name: &str, uid: Option<&&str>, container: &str) -> Answer {
    let pairs = query::pairs(request.uri().query());
    let mut wants = wants(&pairs);
    wants.stderr &= !wants.tty;
    if !(wants.stdin || wants.stdout || wants.stderr) {
        return text(StatusCode::BAD_REQUEST, "you must specify at least 1 of stdin, stdout, stderr\n");
    }
    let id = match find(context, namespace, name, uid) {
        Ok(found) => running(context, &found, container).await,
        Err(answer) => Err(answer),
    };
    let id = match id {
        Ok(id) => id,
        Err(answer) => return *answer,
    };
    let cmd = pairs.iter().filter(|(name, _)| name == "command").map(|(_, value)| value.clone()).collect();
    let ask = v1::ExecRequest { container_id: id, cmd, tty: wants.tty, stdin: wants.stdin, stdout: wants.stdout, stderr: wants.stderr };
    match context.shared.runtime.exec(ask).await {
        Ok(url) => remote::stream(context, request, &url, wants).await,
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

async fn attach(context: &Context, request: Request<Incoming>, namespace: &str, name: &str, uid: Option<&&str>, container: &str) -> Answer {
    let mut wants = wants(&query::pairs(request.uri().query()));
    let found = match find(context, namespace, name, uid) {
        Ok(found) => found,
        Err(answer) => return *answer,
    };
    let id = match running(context, &found, container).await {
        Ok(id) => id,
        Err(answer) => return *answer,
    };
    // Whether there is a terminal was settled when the container was made.
    wants.tty = pod::find(&found, container).and_then(|(_, spec)| spec.tty).unwrap_or_default();
    wants.stderr &= !wants.tty;
    if !(wants.stdin || wants.stdout || wants.stderr) {
        return text(StatusCode::BAD_REQUEST, "you must specify at least 1 of stdin, stdout, stderr\n");
    }
    let ask = v1::AttachRequest { container_id: id, tty: wants.tty, stdin: wants.stdin, stdout: wants.stdout, stderr: wants.stderr };
    match context.shared.runtime.attach(ask).await {
        Ok(url) => remote::stream(context, request, &url, wants).await,
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

async fn port_forward(context: &Context, request: Request<Incoming>, namespace: &str, name: &str, uid: Option<&&str>) -> Answer {
    let found = match find(context, namespace, name, uid) {
        Ok(found) => found,
        Err(answer) => return *answer,
    };
    let sandboxes = match context.shared.runtime.list_pod_sandboxes(view::selector(pod::uid(&found))).await {
        Ok(sandboxes) => sandboxes,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    };
    let ready = sandboxes.into_iter().filter(|sandbox| sandbox.state == i32::from(v1::PodSandboxState::SandboxReady));
    let Some(sandbox) = ready.max_by_key(|sandbox| sandbox.created_at) else {
        return text(StatusCode::NOT_FOUND, format!("failed to find sandbox for pod \"{name}\"\n"));
    };
    let pairs = query::pairs(request.uri().query());
    let port = pairs.iter().filter(|(name, _)| name == "port" || name == "ports").filter_map(|(_, value)| value.parse().ok()).collect();
    match context.shared.runtime.port_forward(v1::PortForwardRequest { pod_sandbox_id: sandbox.id, port }).await {
        Ok(url) => remote::forward(context, request, &url).await,
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_options_are_read_from_the_query() {
        let now: Timestamp = "2024-01-01T00:01:00Z".parse().expect("a time");
        let read = |query: &str| log_options(&query::pairs(Some(query)), now);
        let (options, previous) = read("follow=true&tailLines=5&sinceSeconds=30&timestamps=1&limitBytes=10&previous=true").expect("options");
        assert!(options.follow && options.timestamps && previous);
        assert_eq!((options.tail_lines, options.limit_bytes), (Some(5), Some(10)));
        assert_eq!(options.since.map(|time| time.to_string()), Some("2024-01-01T00:00:30Z".to_owned()));
        assert_eq!(read("stream=Stderr").expect("options").0.stream, Some(Stream::Stderr));
        for bad in ["tailLines=-1", "tailLines=x", "sinceTime=yesterday", "stream=Both"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
