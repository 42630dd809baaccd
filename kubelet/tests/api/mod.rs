//! As much of an API server as a kubelet needs: watches with a streaming list, patches of Pod statuses, deletes, and an echo for the rest.

use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use kube::client::Body;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::mpsc;

const PODS: &str = "/api/v1/pods";
type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

#[derive(Default)]
struct State {
    revision: u64,
    /// By the path of the collection that is watched, then by name.
    objects: BTreeMap<String, BTreeMap<String, Value>>,
    watchers: Vec<(String, mpsc::UnboundedSender<Value>)>,
    statuses: BTreeMap<String, Value>,
}

#[derive(Clone, Default)]
pub struct Api(Arc<Mutex<State>>);

impl State {
    fn tell(&mut self, path: &str, kind: &str, object: &Value) {
        let event = json!({"type": kind, "object": object});
        self.watchers.retain(|(watched, out)| watched != path || out.send(event.clone()).is_ok());
    }

    fn put(&mut self, path: &str, mut object: Value) -> Value {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
        let known = self.objects.entry(path.to_owned()).or_default().insert(name, object.clone()).is_some();
        self.tell(path, if known { "MODIFIED" } else { "ADDED" }, &object);
        object
    }

    fn remove(&mut self, path: &str, name: &str) {
        if let Some(mut object) = self.objects.entry(path.to_owned()).or_default().remove(name) {
            self.revision += 1;
            object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
            self.tell(path, "DELETED", &object);
        }
    }
}

impl Api {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("not poisoned")
    }

    pub fn client(&self) -> kube::Client {
        let this = self.clone();
        apiserver_client::config::in_process(tower::service_fn(move |request| {
            let this = this.clone();
            async move { Ok::<_, Infallible>(this.answer(request).await) }
        }))
    }

    pub fn create(&self, pod: Value) {
        self.lock().put(PODS, pod);
    }

    pub fn put(&self, path: &str, object: Value) {
        self.lock().put(path, object);
    }

    pub fn pod(&self, name: &str) -> Option<Value> {
        self.lock().objects.get(PODS)?.get(name).cloned()
    }

    /// Asks for a Pod's deletion.
    pub fn delete(&self, name: &str, grace_seconds: i64) {
        let mut pod = self.pod(name).expect("a Pod");
        pod["metadata"]["deletionTimestamp"] = json!("2030-01-01T00:00:00Z");
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace_seconds);
        self.lock().put(PODS, pod);
    }

    /// A Pod is gone at once, as after a forced deletion.
    pub fn vanish(&self, name: &str) {
        self.lock().remove(PODS, name);
    }

    /// The last status that was written for a Pod, even if it is gone.
    pub fn last_status(&self, name: &str) -> Option<Value> {
        self.lock().statuses.get(name).cloned()
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let query = request.uri().query().unwrap_or_default().to_owned();
        let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (method, parts.as_slice()) {
            (Method::GET, _) if query.contains("watch=") => self.watch(&path),
            (Method::GET, ["api", "v1", "nodes", _]) => not_found(),
            (Method::PATCH, ["api", "v1", "namespaces", _, "pods", name, "status"]) => self.patch_status(name, &body),
            (Method::DELETE, ["api", "v1", "namespaces", _, "pods", name]) => {
                self.lock().remove(PODS, name);
                json_answer(StatusCode::OK, &json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
            }
            _ => json_answer(StatusCode::OK, &body),
        }
    }

    fn watch(&self, path: &str) -> Answer {
        let (out, events) = mpsc::unbounded_channel();
        let mut state = self.lock();
        for object in state.objects.get(path).into_iter().flat_map(BTreeMap::values) {
            let _ = out.send(json!({"type": "ADDED", "object": object}));
        }
        let metadata = json!({"resourceVersion": (state.revision + 1).to_string(), "annotations": {"k8s.io/initial-events-end": "true"}});
        let _ = out.send(json!({"type": "BOOKMARK", "object": {"kind": "Pod", "apiVersion": "v1", "metadata": metadata}}));
        state.watchers.push((path.to_owned(), out));
        let lines = futures::stream::unfold(events, |mut events| async move { Some((events.recv().await?, events)) });
        let frames = lines.map(|event| Ok(Frame::data(Bytes::from(format!("{event}\n")))));
        Response::new(StreamBody::new(frames).boxed_unsync())
    }

    fn patch_status(&self, name: &str, patch: &Value) -> Answer {
        let mut state = self.lock();
        let Some(mut pod) = state.objects.get(PODS).and_then(|pods| pods.get(name)).cloned() else { return not_found() };
        if patch["metadata"]["uid"] != pod["metadata"]["uid"] {
            return json_answer(StatusCode::CONFLICT, &json!({"kind": "Status", "code": 409, "message": "another uid"}));
        }
        for (field, value) in patch["status"].as_object().into_iter().flatten() {
            match field.as_str() {
                "conditions" => merge_conditions(&mut pod["status"]["conditions"], value),
                "podIPs" | "hostIPs" => {
                    pod["status"][field] = value.as_array().into_iter().flatten().filter(|item| item.get("$patch").is_none()).cloned().collect()
                }
                _ if value.is_null() => drop(pod["status"].as_object_mut().map(|status| status.remove(field))),
                _ => pod["status"][field] = value.clone(),
            }
        }
        state.statuses.insert(name.to_owned(), pod["status"].clone());
        json_answer(StatusCode::OK, &state.put(PODS, pod))
    }
}

/// By type; a null takes a field away.
fn merge_conditions(into: &mut Value, patch: &Value) {
    let mut all = into.as_array().cloned().unwrap_or_default();
    for change in patch.as_array().into_iter().flatten() {
        let place = all.iter().position(|known| known["type"] == change["type"]).unwrap_or_else(|| {
            all.push(json!({}));
            all.len() - 1
        });
        for (field, value) in change.as_object().into_iter().flatten() {
            if value.is_null() && field != "lastProbeTime" {
                all[place].as_object_mut().map(|known| known.remove(field));
            } else {
                all[place][field] = value.clone();
            }
        }
    }
    *into = Value::Array(all);
}

fn json_answer(status: StatusCode, body: &Value) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body.to_string())).boxed_unsync());
    *answer.status_mut() = status;
    answer
}

fn not_found() -> Answer {
    json_answer(
        StatusCode::NOT_FOUND,
        &json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404, "message": "not found"}),
    )
}
