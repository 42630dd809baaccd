use super::*;
use apiserver_client::ObjectKey;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::client::Body;
use std::collections::VecDeque;

/// Answers from a script and remembers what was asked.
#[derive(Clone, Default)]
struct Server {
    answers: Arc<Mutex<VecDeque<(u16, Value)>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new(answers: &[(u16, Value)]) -> Self {
        Self { answers: Arc::new(Mutex::new(answers.iter().cloned().collect())), asked: Arc::default() }
    }

    fn executor(&self) -> (Executor, tokio::sync::mpsc::Receiver<apiserver_client::recorder::Emitted>) {
        let server = self.clone();
        let client = apiserver_client::config::in_process(tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let asked = format!("{} {}", request.method(), request.uri());
                let body = request.into_body().collect_bytes().await?;
                server.asked.lock().unwrap().push(format!("{asked} {}", String::from_utf8_lossy(&body)));
                let (code, mut answer) = server.answers.lock().unwrap().pop_front().unwrap_or((200, json!({"metadata": {}})));
                if code >= 400 {
                    answer["kind"] = "Status".into();
                    answer["status"] = "Failure".into();
                    answer["code"] = code.into();
                }
                Ok::<_, kube::Error>(http::Response::builder().status(code).body(Body::from(answer.to_string().into_bytes())).unwrap())
            }
        }));
        let (recorder, events) = Recorder::captured();
        (Executor::new(client, recorder), events)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

const PODS: Kind = Kind::of::<Pod>();

fn create(announce: bool) -> Action {
    let announce = announce.then(|| Announce {
        about: ObjectReference::default(),
        success: Some(("SuccessfulCreate", "Created pod: ".into())),
        failure: ("FailedCreate", "Error creating: ".into()),
    });
    Action::Create { kind: PODS, namespace: "a".into(), object: json!({"metadata": {"generateName": "p-"}}), exists_ok: false, announce }
}

#[tokio::test]
async fn slow_start_doubles_and_stops_at_the_first_batch_that_fails() {
    let refusal = (403, json!({"message": "exceeded quota", "reason": "Forbidden"}));
    let ok = (201, json!({"metadata": {"name": "p-x"}}));
    let server = Server::new(&[ok.clone(), ok.clone(), refusal]);
    let (executor, mut events) = server.executor();
    let plan = Plan {
        actions: vec![Action::SlowStart(vec![create(true); 9])],
        status_after_failure: Some(Box::new(|failure| Some(Action::status(PODS.target("a", "x"), None, json!({"why": failure.message}))))),
        ..Plan::default()
    };
    let error = executor.execute(plan).await.unwrap_err();
    assert_eq!(error.to_string(), "create pods a/p-*: exceeded quota");
    assert_eq!(server.asked().len(), 1 + 2 + 1);
    assert_eq!(server.asked()[3], r#"PATCH /api/v1/namespaces/a/pods/x/status {"status":{"why":"exceeded quota"}}"#);
    let mut told = Vec::new();
    while let Ok(event) = events.try_recv() {
        told.push(format!("{} {}", event.reason, event.message));
    }
    assert_eq!(told, ["SuccessfulCreate Created pod: p-x", "SuccessfulCreate Created pod: p-x", "FailedCreate Error creating: exceeded quota"]);
}

#[tokio::test]
async fn creating_in_a_namespace_that_is_being_deleted_is_no_failure_and_no_event() {
    let causes = json!({"message": "no", "reason": "Forbidden", "details": {"causes": [{"reason": "NamespaceTerminating"}]}});
    let (executor, mut events) = Server::new(&[(403, causes)]).executor();
    executor.execute(Plan::act(create(true))).await.unwrap();
    assert!(events.try_recv().is_err());
}

#[tokio::test]
async fn what_is_gone_is_no_failure_and_a_conflict_is_one_except_for_deletes() {
    let target = || crate::Target { kind: PODS, key: ObjectKey::new("a", "p"), uid: Some("u".into()) };
    let patch = || Action::merge(target(), json!({"metadata": {"labels": {"x": "y"}}}));
    for (action, code, ok) in [
        (patch(), 404, true),
        (patch(), 409, false),
        (Action::delete(target()), 404, true),
        (Action::delete(target()), 409, true),
        (create(false), 409, false),
    ] {
        let (executor, _) = Server::new(&[(code, json!({"message": "m", "reason": "r"}))]).executor();
        assert_eq!(executor.execute(Plan::act(action.clone())).await.is_ok(), ok, "{action} {code}");
    }
    let server = Server::new(&[]);
    let (executor, _) = server.executor();
    executor.execute(Plan { actions: vec![patch(), Action::delete(target())], ..Plan::default() }).await.unwrap();
    assert_eq!(
        server.asked(),
        [
            r#"PATCH /api/v1/namespaces/a/pods/p {"metadata":{"labels":{"x":"y"},"uid":"u"}}"#,
            r#"DELETE /api/v1/namespaces/a/pods/p {"apiVersion":"v1","kind":"DeleteOptions","preconditions":{"uid":"u"}}"#,
        ]
    );
}

#[tokio::test]
async fn adoption_is_refused_for_an_owner_that_is_being_deleted_or_replaced() {
    let target = || Action::Verify(crate::Target { kind: PODS, key: ObjectKey::new("a", "p"), uid: Some("u".into()) });
    for (meta, ok) in
        [(json!({"uid": "u"}), true), (json!({"uid": "v"}), false), (json!({"uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z"}), false)]
    {
        let (executor, _) = Server::new(&[(200, json!({"metadata": meta}))]).executor();
        assert_eq!(executor.execute(Plan::act(target())).await.is_ok(), ok, "{meta}");
    }
}

#[tokio::test]
async fn what_roles_allow_no_patch_of_is_read_and_put_back() {
    const DEPLOYMENTS: crate::Kind = crate::Kind::of::<k8s_openapi::api::apps::v1::Deployment>();
    let stored = json!({"metadata": {"name": "d", "resourceVersion": "7"}, "spec": {"replicas": 1}, "status": {"replicas": 1, "readyReplicas": 1}});
    let server = Server::new(&[(200, stored), (200, json!({"metadata": {"resourceVersion": "8"}}))]);
    let (executor, _) = server.executor();
    let status = Action::status(DEPLOYMENTS.target("a", "d"), None, json!({"replicas": 2, "readyReplicas": null}));
    executor.execute(Plan { status: Some(status), ..Plan::default() }).await.unwrap();
    let asked = server.asked();
    assert!(asked[0].starts_with("GET /apis/apps/v1/namespaces/a/deployments/d"), "{asked:?}");
    let body = asked[1].strip_prefix("PUT /apis/apps/v1/namespaces/a/deployments/d/status ").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["kind"], &body["metadata"]["resourceVersion"]), (&json!("Deployment"), &json!("7")));
    assert_eq!((&body["spec"], &body["status"]), (&json!({"replicas": 1}), &json!({"replicas": 2})));
}
