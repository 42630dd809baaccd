use super::*;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::client::Body;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;

/// A server that answers from a script; each watch stays open while its sender is held.
#[derive(Clone)]
struct Server {
    script: Arc<Mutex<VecDeque<Answer>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

enum Answer {
    Json(u16, Value),
    Watch(mpsc::UnboundedReceiver<Value>),
}

impl Server {
    fn new(script: impl IntoIterator<Item = Answer>) -> Self {
        Self { script: Arc::new(Mutex::new(script.into_iter().collect())), asked: Arc::default() }
    }

    fn informers(&self) -> (Informers, Shutdown) {
        let server = self.clone();
        let client = crate::config::in_process(tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { server.answer(request) }
        }));
        let shutdown = Shutdown::new();
        (Informers::new(client, Tasks::new(shutdown.clone())), shutdown)
    }

    fn answer(&self, request: Request<Body>) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, Infallible> {
        self.asked.lock().unwrap().push(request.uri().to_string());
        let (code, body) = match self.script.lock().unwrap().pop_front() {
            None => (503, Full::default().boxed_unsync()),
            Some(Answer::Json(code, value)) => (code, Full::from(value.to_string()).boxed_unsync()),
            Some(Answer::Watch(events)) => (200, Lines(events).boxed_unsync()),
        };
        Ok(Response::builder().status(code).body(body).unwrap())
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

struct Lines(mpsc::UnboundedReceiver<Value>);

impl http_body::Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|value| value.map(|value| Ok(Frame::data(format!("{value}\n").into()))))
    }
}

fn watch() -> (mpsc::UnboundedSender<Value>, Answer) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, Answer::Watch(receiver))
}

fn object(name: &str, revision: u64, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "a", "name": name, "uid": name, "resourceVersion": revision.to_string()}, "data": {"v": value}})
}

fn event(kind: &str, object: Value) -> Value {
    json!({"type": kind, "object": object})
}

fn bookmark(revision: u64, end: bool) -> Value {
    let annotations = if end { json!({"k8s.io/initial-events-end": "true"}) } else { json!({}) };
    event(
        "BOOKMARK",
        json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"resourceVersion": revision.to_string(), "annotations": annotations}}),
    )
}

fn status(code: u16, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "code": code, "message": message})
}

fn value(informer: &Informer<ConfigMap>, name: &str) -> Option<String> {
    informer.get("a", name).and_then(|found| found.data.clone()?.remove("v"))
}

fn told(event: Event<ConfigMap>) -> String {
    let show = |object: &ConfigMap| format!("{}={}", object.metadata.name.as_deref().unwrap(), object.data.as_ref().unwrap()["v"]);
    match event {
        Event::Added(new) => format!("added {}", show(&new)),
        Event::Updated { old, new } => format!("updated {} from {}", show(&new), show(&old)),
        Event::Deleted(last) => format!("deleted {}", show(&last)),
        Event::Synced => "synced".into(),
    }
}

async fn expect(events: &mut Events<ConfigMap>, expected: &[&str]) {
    for expected in expected {
        assert_eq!(told(events.next().await.unwrap()), *expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_streaming_list_fills_the_cache_and_goes_on_as_the_watch() {
    let (server_side, answer) = watch();
    let server = Server::new([answer]);
    let (informers, _) = server.informers();
    let informer = informers.of::<ConfigMap>();
    let mut events = informer.subscribe();
    server_side.send(event("ADDED", object("x", 3, "1"))).unwrap();
    server_side.send(event("ADDED", object("y", 4, "1"))).unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(1), informer.synced()).await.is_err(), "not synced before the end of the initial events");
    server_side.send(bookmark(5, true)).unwrap();
    informers.synced().await;
    assert_eq!((value(&informer, "x").as_deref(), informer.len(), informer.revision()), (Some("1"), 2, 5));
    expect(&mut events, &["added x=1", "added y=1", "synced"]).await;
    server_side.send(event("MODIFIED", object("x", 6, "2"))).unwrap();
    server_side.send(event("DELETED", object("y", 7, "1"))).unwrap();
    expect(&mut events, &["updated x=2 from x=1", "deleted y=1"]).await;
    informer.reached(7).await;
    server_side.send(bookmark(9, false)).unwrap();
    informer.reached(9).await;
    assert!(server.asked()[0].contains("sendInitialEvents=true&resourceVersionMatch=NotOlderThan"), "{:?}", server.asked());
}

#[tokio::test(start_paused = true)]
async fn a_server_without_streaming_lists_is_paged_and_watched() {
    let (_open, answer) = watch();
    let server = Server::new([
        Answer::Json(422, status(422, "sendInitialEvents is forbidden")),
        Answer::Json(
            200,
            json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "9", "continue": "t/1"}, "items": [object("x", 3, "1")]}),
        ),
        Answer::Json(200, json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "9"}, "items": [object("y", 4, "1")]})),
        answer,
    ]);
    let (informers, _) = server.informers();
    let informer = informers.select::<ConfigMap>("metadata.name!=z", "app in (a,b)");
    informer.synced().await;
    assert_eq!((informer.len(), informer.revision()), (2, 9));
    tokio::time::sleep(Duration::from_millis(1)).await;
    let asked = server.asked();
    assert!(asked[1].contains("limit=500&fieldSelector=metadata.name%21%3Dz&labelSelector=app%20in%20%28a%2Cb%29"), "{asked:?}");
    assert!(asked[2].contains("continue=t%2F1"), "{asked:?}");
    assert!(asked[3].contains("resourceVersion=9"), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_broken_watch_resumes_and_an_expired_one_lists_anew() {
    let (first, first_answer) = watch();
    let (second, second_answer) = watch();
    let (third, third_answer) = watch();
    let server = Server::new([first_answer, second_answer, third_answer]);
    let (informers, _) = server.informers();
    let informer = informers.of::<ConfigMap>();
    let mut events = informer.subscribe();
    first.send(event("ADDED", object("x", 3, "1"))).unwrap();
    first.send(event("ADDED", object("y", 4, "1"))).unwrap();
    first.send(bookmark(5, true)).unwrap();
    expect(&mut events, &["added x=1", "added y=1", "synced"]).await;
    drop(first);
    second.send(event("MODIFIED", object("x", 6, "2"))).unwrap();
    expect(&mut events, &["updated x=2 from x=1"]).await;
    second.send(event("ERROR", status(410, "too old"))).unwrap();
    third.send(event("ADDED", object("x", 8, "3"))).unwrap();
    third.send(bookmark(9, true)).unwrap();
    expect(&mut events, &["deleted y=1", "updated x=3 from x=2"]).await;
    let asked = server.asked();
    assert!(asked[1].contains("resourceVersion=5"), "{asked:?}");
    assert!(asked[2].contains("sendInitialEvents=true"), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_subscriber_gets_each_objects_last_state() {
    let (server_side, answer) = watch();
    let server = Server::new([answer]);
    let (informers, _) = server.informers();
    let informer = informers.of::<ConfigMap>();
    let mut events = informer.subscribe();
    for name in ["kept", "gone", "replaced"] {
        server_side.send(event("ADDED", object(name, 1, "1"))).unwrap();
    }
    server_side.send(bookmark(2, true)).unwrap();
    expect(&mut events, &["added kept=1", "added gone=1", "added replaced=1", "synced"]).await;
    let mut revision = 10;
    let mut send = |kind: &str, name: &str, value: &str| {
        revision += 1;
        server_side.send(event(kind, object(name, revision, value))).unwrap();
        revision
    };
    send("MODIFIED", "kept", "2");
    send("MODIFIED", "kept", "3");
    send("MODIFIED", "gone", "2");
    send("DELETED", "gone", "2");
    send("DELETED", "replaced", "1");
    send("ADDED", "replaced", "2");
    send("ADDED", "brief", "1");
    let last = send("DELETED", "brief", "1");
    informer.reached(last).await;
    expect(&mut events, &["updated kept=3 from kept=1", "deleted gone=2", "deleted replaced=1", "added replaced=2"]).await;
    send("ADDED", "brief", "2");
    expect(&mut events, &["added brief=2"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_late_subscriber_and_an_index_see_what_is_there_and_what_comes() {
    let (server_side, answer) = watch();
    let server = Server::new([answer]);
    let (informers, _) = server.informers();
    let informer = informers.of::<ConfigMap>();
    server_side.send(event("ADDED", object("x", 1, "red"))).unwrap();
    server_side.send(bookmark(2, true)).unwrap();
    informer.synced().await;
    let by_value = informer.index("value", |object| object.data.iter().flat_map(|data| data.get("v").cloned()).collect());
    let names = |value: &str| by_value.get(value).iter().map(|found| found.metadata.name.clone().unwrap()).collect::<Vec<_>>();
    expect(&mut informer.subscribe(), &["added x=red", "synced"]).await;
    assert_eq!(names("red"), ["x"]);
    server_side.send(event("MODIFIED", object("x", 3, "blue"))).unwrap();
    server_side.send(event("ADDED", object("y", 4, "blue"))).unwrap();
    informer.reached(4).await;
    assert_eq!((names("red"), names("blue")), (vec![], vec!["x".to_string(), "y".to_string()]));
    server_side.send(event("DELETED", object("x", 5, "blue"))).unwrap();
    informer.reached(5).await;
    assert_eq!(names("blue"), ["y"]);
}

#[tokio::test(start_paused = true)]
async fn one_watch_serves_all_who_ask_and_ends_with_the_last() {
    let (server_side, answer) = watch();
    let server = Server::new([answer]);
    let (informers, _) = server.informers();
    let (one, two) = (informers.of::<ConfigMap>(), informers.of::<ConfigMap>());
    server_side.send(bookmark(2, true)).unwrap();
    one.synced().await;
    two.synced().await;
    assert_eq!(server.asked().len(), 1);
    drop(one);
    tokio::task::yield_now().await;
    assert!(!server_side.is_closed());
    let events = two.subscribe();
    drop(two);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(!server_side.is_closed(), "a subscription keeps the watch");
    drop(events);
    tokio::time::timeout(Duration::from_secs(1), server_side.closed()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn subscriptions_end_with_the_process() {
    let (_server_side, answer) = watch();
    let server = Server::new([answer]);
    let (informers, shutdown) = server.informers();
    let mut events = informers.of::<ConfigMap>().subscribe();
    shutdown.fire();
    assert!(events.next().await.is_none());
}
