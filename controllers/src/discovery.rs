//! Which resources the API server serves now, custom ones included.

use apiserver_client::Client;
use controllers_runtime::Kind;
use http::Request;
use http::header::ACCEPT;
use kube::api::ApiResource;
use serde::Deserialize;
use std::collections::HashSet;

const ACCEPT_DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// A resource in the version that the server prefers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    pub kind: Kind,
    pub namespaced: bool,
    pub verbs: Vec<String>,
}

impl Resource {
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }

    pub fn api_resource(&self) -> ApiResource {
        ApiResource {
            group: self.kind.group.to_string(),
            version: self.kind.version.to_string(),
            api_version: self.kind.api_version(),
            kind: self.kind.kind.to_string(),
            plural: self.kind.plural.to_string(),
        }
    }
}

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Discovered {
    pub resources: Vec<Resource>,
    /// Group versions whose server does not answer.
    pub failed: Vec<String>,
}

pub(crate) async fn discover(client: &Client) -> Result<Discovered, kube::Error> {
    let mut discovered = Discovered::default();
    for path in ["/api", "/apis"] {
        let request = Request::get(path).header(ACCEPT, ACCEPT_DISCOVERY).body(Vec::new()).map_err(kube::Error::HttpError)?;
        read(client.request::<Groups>(request).await?, &mut discovered);
    }
    Ok(discovered)
}

fn read(groups: Groups, into: &mut Discovered) {
    for group in groups.items {
        let name = group.metadata.name.unwrap_or_default();
        // Versions come in order of preference, so the first to serve a resource is the one to use.
        let mut seen = HashSet::new();
        for version in group.versions {
            if version.freshness.as_deref() == Some("Stale") {
                into.failed.push(if name.is_empty() { version.version } else { format!("{name}/{}", version.version) });
                continue;
            }
            for resource in version.resources.unwrap_or_default() {
                let Some(kind) = resource.response_kind else { continue };
                if seen.insert(resource.resource.clone()) {
                    into.resources.push(Resource {
                        kind: Kind {
                            group: name.clone().into(),
                            version: version.version.clone().into(),
                            kind: kind.kind.into(),
                            plural: resource.resource.into(),
                        },
                        namespaced: resource.scope == "Namespaced",
                        verbs: resource.verbs,
                    });
                }
            }
        }
    }
}

#[derive(Deserialize)]
struct Groups {
    #[serde(default)]
    items: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(default)]
    metadata: Meta,
    #[serde(default)]
    versions: Vec<Version>,
}

#[derive(Deserialize, Default)]
struct Meta {
    #[serde(default)]
    name: Option<String>,
}

#[derive(Deserialize)]
struct Version {
    version: String,
    #[serde(default)]
    resources: Option<Vec<ServedResource>>,
    #[serde(default)]
    freshness: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServedResource {
    resource: String,
    #[serde(default)]
    response_kind: Option<ResponseKind>,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    verbs: Vec<String>,
}

#[derive(Deserialize)]
struct ResponseKind {
    kind: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_preferred_version_is_taken_and_silent_groups_are_named() {
        let resource =
            |name: &str, kind: &str| json!({"resource": name, "responseKind": {"kind": kind}, "scope": "Namespaced", "verbs": ["list", "delete"]});
        let groups = json!({"items": [
            {"metadata": {"name": "autoscaling"}, "versions": [
                {"version": "v2", "freshness": "Current", "resources": [resource("horizontalpodautoscalers", "HorizontalPodAutoscaler")]},
                {"version": "v1", "resources": [resource("horizontalpodautoscalers", "HorizontalPodAutoscaler"), resource("others", "Other")]}]},
            {"metadata": {"name": "metrics.example"}, "versions": [{"version": "v1", "freshness": "Stale"}]}
        ]});
        let mut discovered = Discovered::default();
        read(serde_json::from_value(groups).unwrap(), &mut discovered);
        let names: Vec<String> = discovered.resources.iter().map(|resource| format!("{} {}", resource.kind, resource.kind.version)).collect();
        assert_eq!(names, ["horizontalpodautoscalers.autoscaling v2", "others.autoscaling v1"]);
        assert_eq!(discovered.failed, ["metrics.example/v1"]);
        assert!(discovered.resources[0].can("delete") && !discovered.resources[0].can("watch"));
    }
}
