//! Names of resources and of single objects, without their types, so that one executor serves all kinds.

use apiserver_client::ObjectKey;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use kube::core::ObjectMeta;
use std::borrow::Cow;
use std::fmt;

/// A resource: what the API serves under one name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind {
    pub group: Cow<'static, str>,
    pub version: Cow<'static, str>,
    pub kind: Cow<'static, str>,
    pub plural: Cow<'static, str>,
}

impl Kind {
    pub const fn of<K: k8s_openapi::Resource>() -> Self {
        Self {
            group: Cow::Borrowed(K::GROUP),
            version: Cow::Borrowed(K::VERSION),
            kind: Cow::Borrowed(K::KIND),
            plural: Cow::Borrowed(K::URL_PATH_SEGMENT),
        }
    }

    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The path of the collection; `namespace` is empty for cluster-scoped resources and for all namespaces.
    pub fn path(&self, namespace: &str) -> String {
        let root = if self.group.is_empty() { format!("/api/{}", self.version) } else { format!("/apis/{}/{}", self.group, self.version) };
        if namespace.is_empty() { format!("{root}/{}", self.plural) } else { format!("{root}/namespaces/{namespace}/{}", self.plural) }
    }

    pub fn target(&self, namespace: &str, name: &str) -> Target {
        Target { kind: self.clone(), key: ObjectKey::new(namespace, name), uid: None }
    }

    /// The object itself, not another that came to have its name.
    pub fn target_of<K: Resource>(&self, object: &K) -> Target {
        Target { kind: self.clone(), key: ObjectKey::of(object), uid: object.meta().uid.clone() }
    }

    /// What Events about the object refer to.
    pub fn reference(&self, meta: &ObjectMeta) -> ObjectReference {
        ObjectReference {
            api_version: Some(self.api_version()),
            kind: Some(self.kind.to_string()),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            field_path: None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() { f.write_str(&self.plural) } else { write!(f, "{}.{}", self.plural, self.group) }
    }
}

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub kind: Kind,
    pub key: ObjectKey,
    /// Writes fail where the object of that name has another uid.
    pub uid: Option<String>,
}

impl Target {
    pub fn path(&self) -> String {
        format!("{}/{}", self.kind.path(&self.key.namespace), self.key.name)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.key)
    }
}
