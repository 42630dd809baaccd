//! The whole API server in one process: requests go through every stage, over the memory engine.

mod answers;
mod customs;
mod lists;
mod objects;
mod watches;

use crate::api::{Api, Config};
use crate::auth::{self, keys};
use crate::local::Local;
use crate::start;
use apiserver_component::{Shutdown, Tasks};
use apiserver_store::{Memory, ServerId, Store};
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use std::sync::Arc;
use tower::ServiceExt;

pub struct Server {
    pub api: Arc<Api>,
    admin: Local,
    _tasks: Tasks,
}

/// What came back.
pub struct Reply {
    pub code: u16,
    pub headers: HeaderMap,
    pub bytes: Bytes,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.bytes)))
    }

    /// The JSON of an answer that must have this code.
    pub fn expect(self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", String::from_utf8_lossy(&self.bytes));
        self.json()
    }
}

impl Server {
    pub async fn new() -> Self {
        let tasks = Tasks::new(Shutdown::new());
        let store = Store::open(Memory::new(), apiserver_store::Config::new(ServerId("test".into())), &tasks).await.unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let auth = auth::Config {
            issuers: vec!["https://kubernetes.default.svc.cluster.local".into()],
            keys: keys::VerifyingKey::all_from_pem(key.public_key_pem().as_bytes()).unwrap(),
            signer: Some(keys::SigningKey::from_pem(key.serialize_pem().as_bytes()).unwrap()),
            anonymous: true,
            ..auth::Config::default()
        };
        let config = Config { advertise_address: [10, 0, 0, 1].into(), ..Config::new() };
        let api = Api::new(config, store, auth, tasks.clone()).unwrap();
        start::prepare(&api, &tasks).await.unwrap();
        let admin = Local::new(api.clone(), "admin", &[auth::MASTERS]);
        Self { api, admin, _tasks: tasks }
    }

    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.send_as(&self.admin, method, path, headers, body).await
    }

    pub async fn send_as(&self, user: &Local, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
        let (head, body) = user.clone().oneshot(request).await.unwrap().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Reply { code: head.status.as_u16(), headers: head.headers, bytes }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"").await
    }

    pub async fn post(&self, path: &str, object: &Value) -> Reply {
        self.send("POST", path, &[("content-type", "application/json")], object.to_string().as_bytes()).await
    }

    pub async fn put(&self, path: &str, object: &Value) -> Reply {
        self.send("PUT", path, &[("content-type", "application/json")], object.to_string().as_bytes()).await
    }

    pub async fn merge(&self, path: &str, patch: &Value) -> Reply {
        self.send("PATCH", path, &[("content-type", "application/merge-patch+json")], patch.to_string().as_bytes()).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, &[], b"").await
    }
}
