//! ControllerRevisions: the templates that DaemonSets and StatefulSets have had.

use crate::hash::hash;
use controllers_runtime::{Action, Kind, owner};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::core::ObjectMeta;
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) const REVISIONS: Kind = Kind::of::<ControllerRevision>();
/// On revisions and on Pods: which template it is.
pub(crate) const HASH_LABEL: &str = "controller-revision-hash";

/// The patch that brings an owner back to this template; `kubectl rollout undo` sends it.
pub(crate) fn data(template: &PodTemplateSpec) -> Value {
    let mut template = json!(template);
    template["$patch"] = "replace".into();
    json!({"spec": {"template": template}})
}

pub(crate) fn hash_of(revision: &ControllerRevision) -> &str {
    let label = revision.metadata.labels.as_ref().and_then(|labels| labels.get(HASH_LABEL));
    label.or(revision.metadata.name.as_ref()).map_or("", String::as_str)
}

fn number(revision: &ControllerRevision) -> i64 {
    revision.revision.unwrap_or(0)
}

/// The revisions of one owner, for its present template and for earlier ones.
pub(crate) struct History {
    /// None where it has to be made.
    pub current: Option<Arc<ControllerRevision>>,
    /// Of the present template too, but older: left over from a race.
    pub duplicates: Vec<Arc<ControllerRevision>>,
    /// Lowest revision first.
    pub old: Vec<Arc<ControllerRevision>>,
}

impl History {
    pub fn new(revisions: Vec<Arc<ControllerRevision>>, template: &PodTemplateSpec) -> Self {
        let data = data(template);
        let is_present = |revision: &Arc<ControllerRevision>| revision.data.0 == data;
        let (mut present, mut old): (Vec<_>, Vec<_>) = revisions.into_iter().partition(is_present);
        present.sort_by_key(|revision| number(revision));
        old.sort_by_key(|revision| number(revision));
        Self { current: present.pop(), duplicates: present, old }
    }

    pub fn next_revision(&self) -> i64 {
        self.old.last().map_or(1, |newest| number(newest).saturating_add(1))
    }

    /// What brings the present revision's number above all others; an old template that is back gets a new number.
    pub fn renumber(&self) -> Option<Action> {
        let current = self.current.as_ref().filter(|current| number(current) < self.next_revision())?;
        Some(Action::merge(REVISIONS.target_of(&**current), json!({"revision": self.next_revision()})))
    }

    /// Deletes old revisions beyond the limit that no Pod in `live` runs.
    pub fn clean_up(&self, limit: i32, live: &dyn Fn(&str) -> bool) -> Vec<Action> {
        let surplus = self.old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        let dead = self.old.iter().filter(|revision| !live(hash_of(revision)));
        dead.take(surplus).map(|revision| Action::delete(REVISIONS.target_of(&**revision))).collect()
    }
}

/// The hash that a new revision of the template gets, and its name.
pub(crate) fn new_name(owner: &ObjectMeta, template: &PodTemplateSpec, collisions: Option<i32>) -> (String, String) {
    let hash = hash(template, collisions);
    let name = format!("{}-{hash}", owner.name.as_deref().unwrap_or_default());
    (hash, name)
}

/// Makes the revision for the present template.
pub(crate) fn create(kind: &Kind, meta: &ObjectMeta, template: &PodTemplateSpec, collisions: Option<i32>, revision: i64) -> Action {
    let (hash, name) = new_name(meta, template, collisions);
    let mut labels = template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
    labels.insert(HASH_LABEL.into(), hash);
    let metadata = ObjectMeta {
        name: Some(name),
        namespace: meta.namespace.clone(),
        labels: Some(labels),
        annotations: meta.annotations.clone(),
        owner_references: Some(vec![owner::reference(kind, meta)]),
        ..Default::default()
    };
    let object = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": metadata, "data": data(template), "revision": revision});
    Action::create(&REVISIONS, meta.namespace.as_deref().unwrap_or_default(), object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(image: &str) -> PodTemplateSpec {
        serde_json::from_value(json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": image}]}})).unwrap()
    }

    fn revision(name: &str, image: &str, number: i64) -> Arc<ControllerRevision> {
        let metadata = json!({"namespace": "a", "name": name, "labels": {HASH_LABEL: name}});
        Arc::new(serde_json::from_value(json!({"metadata": metadata, "data": data(&template(image)), "revision": number})).unwrap())
    }

    #[test]
    fn the_present_template_is_found_and_gets_the_highest_number() {
        let history = History::new(vec![revision("b", "v2", 2), revision("a", "v1", 1), revision("a2", "v1", 0)], &template("v1"));
        assert_eq!(history.current.as_ref().unwrap().metadata.name.as_deref(), Some("a"));
        assert_eq!((history.duplicates.len(), history.old.len(), history.next_revision()), (1, 1, 3));
        assert_eq!(history.renumber().unwrap().to_string(), r#"patch controllerrevisions.apps a/a {"revision":3}"#);
        assert!(History::new(vec![revision("a", "v1", 1)], &template("v1")).renumber().is_none());
        assert!(History::new(vec![revision("a", "v1", 1)], &template("v9")).current.is_none());
    }

    #[test]
    fn dead_revisions_beyond_the_limit_go_oldest_first() {
        let history = History::new(vec![revision("a", "v1", 1), revision("b", "v2", 2), revision("c", "v3", 3)], &template("v4"));
        let told = |limit, live: &[&str]| history.clean_up(limit, &|hash| live.contains(&hash)).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(told(2, &[]), ["delete controllerrevisions.apps a/a"]);
        assert_eq!(told(1, &["a"]), ["delete controllerrevisions.apps a/b", "delete controllerrevisions.apps a/c"]);
        assert_eq!(told(10, &[]), [""; 0]);
    }

    #[test]
    fn a_revision_holds_the_patch_that_brings_its_template_back() {
        let owner = serde_json::from_value(json!({"namespace": "a", "name": "web", "uid": "u", "annotations": {"x": "y"}})).unwrap();
        let Action::Create { object, .. } = create(&Kind::of::<k8s_openapi::api::apps::v1::DaemonSet>(), &owner, &template("v1"), None, 4) else {
            panic!()
        };
        assert_eq!(object["data"]["spec"]["template"]["$patch"], "replace");
        assert_eq!(object["revision"], 4);
        assert_eq!(object["metadata"]["name"].as_str().unwrap(), format!("web-{}", object["metadata"]["labels"][HASH_LABEL].as_str().unwrap()));
    }
}
