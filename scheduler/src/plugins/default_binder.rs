//! Binds through the Pod's `binding` subresource.

use crate::Error;
use crate::api::ApiServer;
use crate::framework::{Bind, Plugin};
use crate::pod_info::PodInfo;
use k8s_openapi::api::core::v1::{Binding, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub struct DefaultBinder;

impl Bind for DefaultBinder {
    const PLUGIN: Plugin = Plugin::DefaultBinder;

    /// The uid makes the server refuse when the Pod was deleted and made again under the same name.
    async fn bind(&self, pod: &PodInfo, node: &str, api: &impl ApiServer) -> Result<(), Error> {
        let own = &pod.pod.metadata;
        let metadata = ObjectMeta { namespace: own.namespace.clone(), name: own.name.clone(), uid: own.uid.clone(), ..ObjectMeta::default() };
        let target = ObjectReference { kind: Some("Node".to_owned()), name: Some(node.to_owned()), ..ObjectReference::default() };
        api.bind(&Binding { metadata, target }).await
    }
}
