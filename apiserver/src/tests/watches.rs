//! Watches: what events come, in which order, from where.

use super::Server;
use crate::body::Body;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use std::time::Duration;
use tower::ServiceExt;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// An open watch, read event by event.
struct Events {
    body: Body,
    buffered: Vec<u8>,
}

impl Events {
    async fn open(server: &Server, query: &str) -> Self {
        let request = Request::get(format!("{MAPS}?watch=1&{query}")).body(Full::<Bytes>::default()).unwrap();
        let response = server.admin.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        Self { body: response.into_body(), buffered: Vec::new() }
    }

    /// Type, name and resource version of the next event; `None` at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some(end) = self.buffered.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffered.drain(..=end).collect();
                let mut event: Value = serde_json::from_slice(&line).unwrap();
                return Some((event["type"].as_str().unwrap().to_owned(), event["object"].take()));
            }
            let frame = tokio::time::timeout(Duration::from_secs(5), self.body.frame()).await.expect("an event in time")?;
            self.buffered.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
    }

    async fn expect(&mut self, kind: &str, name: &str) -> Value {
        let (seen, object) = self.next().await.expect("the stream goes on");
        assert_eq!((seen.as_str(), object["metadata"]["name"].as_str().unwrap_or_default()), (kind, name), "{object}");
        object
    }
}

fn map(name: &str, label: &str) -> Value {
    json!({ "metadata": { "name": name, "labels": { "l": label } } })
}

#[tokio::test]
async fn a_watch_without_revision_begins_with_what_is_there() {
    let server = Server::new().await;
    server.post(MAPS, &map("a", "1")).await.expect(201);
    let mut events = Events::open(&server, "").await;
    events.expect("ADDED", "a").await;
    server.post(MAPS, &map("b", "1")).await.expect(201);
    events.expect("ADDED", "b").await;
    server.merge(&format!("{MAPS}/a"), &json!({ "data": { "x": "1" } })).await.expect(200);
    events.expect("MODIFIED", "a").await;
    let deleted = server.delete(&format!("{MAPS}/b")).await;
    assert_eq!(deleted.code, 200);
    let gone = events.expect("DELETED", "b").await;
    let revision: u64 = gone["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    assert_eq!(revision, server.api.store.revision().0);
}

#[tokio::test]
async fn a_watch_goes_on_after_a_revision() {
    let server = Server::new().await;
    let first = server.post(MAPS, &map("a", "1")).await.expect(201);
    server.post(MAPS, &map("b", "1")).await.expect(201);
    let revision = first["metadata"]["resourceVersion"].as_str().unwrap();
    let mut events = Events::open(&server, &format!("resourceVersion={revision}")).await;
    events.expect("ADDED", "b").await;
}

#[tokio::test]
async fn an_object_that_begins_or_ends_to_match_is_added_or_deleted() {
    let server = Server::new().await;
    let mut events = Events::open(&server, "labelSelector=l%3D1").await;
    server.post(MAPS, &map("a", "2")).await.expect(201);
    server.merge(&format!("{MAPS}/a"), &json!({ "metadata": { "labels": { "l": "1" } } })).await.expect(200);
    events.expect("ADDED", "a").await;
    let edge = server.merge(&format!("{MAPS}/a"), &json!({ "metadata": { "labels": { "l": "3" } } })).await.expect(200);
    let gone = events.expect("DELETED", "a").await;
    assert_eq!(gone["metadata"]["resourceVersion"], edge["metadata"]["resourceVersion"]);
    assert_eq!(gone["metadata"]["labels"]["l"], "1");
}

#[tokio::test]
async fn streamed_initial_events_end_with_a_bookmark() {
    let server = Server::new().await;
    server.post(MAPS, &map("b", "1")).await.expect(201);
    server.post(MAPS, &map("a", "1")).await.expect(201);
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut events = Events::open(&server, query).await;
    events.expect("ADDED", "a").await;
    events.expect("ADDED", "b").await;
    let bookmark = events.expect("BOOKMARK", "").await;
    assert_eq!(bookmark["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(bookmark["kind"], "ConfigMap");
}

#[tokio::test]
async fn a_watch_of_a_compacted_revision_is_told_so_in_the_stream() {
    let server = Server::new().await;
    let first = server.post(MAPS, &map("a", "1")).await.expect(201);
    server.post(MAPS, &map("b", "1")).await.expect(201);
    server.api.store.compact(server.api.store.revision()).await.unwrap();
    let revision = first["metadata"]["resourceVersion"].as_str().unwrap();
    let mut events = Events::open(&server, &format!("resourceVersion={revision}")).await;
    let (kind, status) = events.next().await.unwrap();
    assert_eq!((kind.as_str(), &status["code"], &status["reason"]), ("ERROR", &json!(410), &json!("Expired")));
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn a_watch_ends_when_its_time_is_over() {
    let server = Server::new().await;
    let mut events = Events::open(&server, "timeoutSeconds=1").await;
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn all_watchers_see_one_order() {
    let server = Server::new().await;
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(Events::open(&server, "").await);
    }
    for number in 0..20 {
        server.post(MAPS, &map(&format!("m{number}"), "1")).await.expect(201);
    }
    let mut orders = Vec::new();
    for events in &mut all {
        let mut order = Vec::new();
        for _ in 0..20 {
            order.push(events.next().await.unwrap().1["metadata"]["resourceVersion"].clone());
        }
        orders.push(order);
    }
    assert!(orders.windows(2).all(|pair| pair[0] == pair[1]));
}
