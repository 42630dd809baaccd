//! What the API server has of a Pod's status, and the two writes that a kubelet makes to a Pod.

use crate::lifecycle::Fault;
use crate::pod;
use crate::shared::Shared;
use crate::status;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::Value;

/// A write that failed is tried again after this.
const WRITE_AGAIN: SignedDuration = SignedDuration::from_secs(2);

/// A status that the server took but shows differently is not written again before this.
const SAY_AGAIN: SignedDuration = SignedDuration::from_secs(10);

/// The newest known of the status that the API server has.
pub struct Copy {
    status: PodStatus,
    revision: u64,
    /// What is being written.
    writing: Option<PodStatus>,
    /// What was written last, and taken.
    said: Option<PodStatus>,
    again: Option<Timestamp>,
}

pub enum Turn {
    Now,
    /// A write is under way; what differs then goes into the next.
    Busy,
    After(Timestamp),
}

fn revision(pod: &Pod) -> u64 {
    pod.metadata.resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or_default()
}

impl Copy {
    pub fn of(pod: &Pod) -> Self {
        Self { status: pod::status(pod).clone(), revision: revision(pod), writing: None, said: None, again: None }
    }

    pub fn status(&self) -> &PodStatus {
        &self.status
    }

    /// The informer's copy came. It may be older than what a write of ours gave back.
    pub fn heard(&mut self, pod: &Pod) {
        if revision(pod) >= self.revision {
            self.revision = revision(pod);
            self.status = pod::status(pod).clone();
        }
    }

    /// The server took this very status, even if its copy reads differently.
    pub fn was_told(&self, status: &PodStatus) -> bool {
        self.said.as_ref() == Some(status)
    }

    pub fn may_write(&self, now: Timestamp) -> Turn {
        match self.again {
            _ if self.writing.is_some() => Turn::Busy,
            Some(again) if now < again => Turn::After(again),
            _ => Turn::Now,
        }
    }

    pub fn began(&mut self, status: PodStatus) {
        self.writing = Some(status);
    }

    pub fn written(&mut self, pod: &Pod, result: Result<Option<Pod>, kube::Error>, now: Timestamp) {
        let said = self.writing.take();
        self.again = None;
        match result {
            Ok(Some(answer)) => {
                self.heard(&answer);
                if said.as_ref().is_some_and(|said| status::patch(pod::uid(pod), &self.status, said).is_some()) {
                    tracing::warn!(pod = pod::describe(pod), "a Pod's status reads differently from what was written");
                    self.again = now.checked_add(SAY_AGAIN).ok();
                }
                self.said = said;
            }
            // It is gone, or another has its name; the informer will say so.
            Ok(None) => self.again = now.checked_add(WRITE_AGAIN).ok(),
            Err(error) => {
                tracing::warn!(pod = pod::describe(pod), %error, "a Pod's status could not be written");
                self.again = now.checked_add(WRITE_AGAIN).ok();
            }
        }
    }
}

/// Patches the status; `None` when the Pod is not there any more.
pub async fn write(shared: &Shared, pod: &Pod, patch: Value) -> Result<Option<Pod>, kube::Error> {
    let api: Api<Pod> = Api::namespaced(shared.client.clone(), pod::namespace(pod));
    match api.patch_status(pod::name(pod), &PatchParams::default(), &Patch::Strategic(patch)).await {
        Ok(answer) => Ok(Some(answer)),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
            tracing::debug!(pod = pod::describe(pod), message = status.message, "a Pod's status was refused");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Tells the API server that the Pod may go: nothing of it runs any more.
pub async fn delete(shared: &Shared, pod: &Pod) -> Result<(), Fault> {
    let api: Api<Pod> = Api::namespaced(shared.client.clone(), pod::namespace(pod));
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions { uid: pod.metadata.uid.clone(), resource_version: None }),
        ..Default::default()
    };
    match api.delete(pod::name(pod), &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(Fault::new("DeleteError", error.to_string())),
    }
}
