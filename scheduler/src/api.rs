//! What the scheduler writes: bindings, Pod status, Events.

use crate::Error;
use crate::report::note;
use apiserver_client::recorder::Emitted;
use apiserver_client::{Client, EventType, Recorder};
use apiserver_component::Clock;
use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod};
use kube::Resource;
use kube::api::{Patch, PatchParams, PostParams, Request};
use serde_json::Value;

/// The API server as the scheduler needs it; tests have one in memory.
pub trait ApiServer: Clone + Send + Sync + 'static {
    fn bind(&self, binding: &Binding) -> impl Future<Output = Result<(), Error>> + Send;
    fn patch_status(&self, pod: &Pod, patch: &Value) -> impl Future<Output = Result<(), Error>> + Send;
    /// Never waits.
    fn event(&self, pod: &Pod, kind: EventType, reason: &str, action: &str, message: &str);
}

/// The real one. Answers are not decoded: all that they say comes by watch.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    recorder: Recorder,
}

impl Cluster {
    pub fn new(client: Client, recorder: Recorder) -> Self {
        Self { client, recorder }
    }
}

impl ApiServer for Cluster {
    async fn bind(&self, binding: &Binding) -> Result<(), Error> {
        let (namespace, name) = (binding.metadata.namespace.as_deref(), binding.metadata.name.as_deref().unwrap_or_default());
        let body = serde_json::to_vec(binding).map_err(Error::EncodeBinding)?;
        let request = Request::new(Pod::url_path(&(), namespace)).create_subresource("binding", name, &PostParams::default(), body);
        let request = request.map_err(|source| Error::Bind(kube::Error::BuildRequest(source).into()))?;
        self.client.request_text(request).await.map(drop).map_err(|source| Error::Bind(source.into()))
    }

    async fn patch_status(&self, pod: &Pod, patch: &Value) -> Result<(), Error> {
        let (namespace, name) = (pod.metadata.namespace.as_deref(), pod.metadata.name.as_deref().unwrap_or_default());
        let request =
            Request::new(Pod::url_path(&(), namespace)).patch_subresource("status", name, &PatchParams::default(), &Patch::Strategic(patch));
        let request = request.map_err(|source| Error::PatchStatus(kube::Error::BuildRequest(source).into()))?;
        self.client.request_text(request).await.map(drop).map_err(|source| Error::PatchStatus(source.into()))
    }

    fn event(&self, pod: &Pod, kind: EventType, reason: &str, action: &str, message: &str) {
        let regarding = ObjectReference { field_path: None, ..pod.object_ref(&()) };
        self.recorder.emit(Emitted {
            regarding,
            related: None,
            kind,
            reason: reason.to_owned(),
            action: action.to_owned(),
            message: note(message),
            at: Clock.now(),
        });
    }
}
