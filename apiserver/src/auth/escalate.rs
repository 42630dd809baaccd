//! Nobody may give what they do not have: the checks on writes of roles and bindings.

use super::attributes::{Attributes, forbidden};
use super::rbac::{self, RoleKey, Rule, not_held, quoted_list};
use super::{Auth, MASTERS};
use crate::Error;
use crate::request::{Target, User};
use crate::resource::Object;
use crate::stage::{Admission, Operation};
use apiserver_machinery::Str;
use apiserver_machinery::text::quote;
use apiserver_machinery::tree::Value;
use apiserver_store::{Key, Snapshot};

/// Checks a create or update of a Role, ClusterRole, RoleBinding or ClusterRoleBinding; anything else passes.
pub fn check(auth: &Auth, admission: &Admission<'_>, object: Object<'_>) -> Result<(), Error> {
    if admission.resource.group != rbac::GROUP || !admission.target.subresource.is_empty() || admission.user.in_group(MASTERS) {
        return Ok(());
    }
    if admission.operation == Operation::Update && admission.old.is_some_and(|old| only_garbage_fields_differ(old, object)) {
        return Ok(());
    }
    match admission.resource.plural.as_str() {
        "roles" | "clusterroles" => role(auth, admission, object),
        "rolebindings" | "clusterrolebindings" => binding(auth, admission, object),
        _ => Ok(()),
    }
}

fn role(auth: &Auth, admission: &Admission<'_>, object: Object<'_>) -> Result<(), Error> {
    let Target { group, resource, namespace, name, .. } = admission.target;
    if auth.allows(&Attributes::resource(admission.user, "escalate", group, resource, namespace, name)) {
        return Ok(());
    }
    let refuse = |why: String| forbidden(group, resource, object.name(), &why);
    held(auth, admission.user, namespace, &rules(object)).map_err(refuse)?;
    let aggregates = |role: Object<'_>| !role.list("aggregationRule.clusterRoleSelectors").is_empty();
    if aggregates(object) || admission.old.is_some_and(aggregates) {
        // What it will gather is not known, so all must be held.
        let all = vec![Str::const_new("*")];
        let everything = [
            Rule { verbs: all.clone(), api_groups: all.clone(), resources: all.clone(), ..Rule::default() },
            Rule { verbs: all.clone(), non_resource_urls: all, ..Rule::default() },
        ];
        held(auth, admission.user, namespace, &everything)
            .map_err(|_| refuse("must have cluster-admin privileges to use the aggregationRule".into()))?;
    }
    Ok(())
}

fn binding(auth: &Auth, admission: &Admission<'_>, object: Object<'_>) -> Result<(), Error> {
    let Target { group, resource, namespace, .. } = admission.target;
    let (kind, name) = (object.text("roleRef.kind"), object.text("roleRef.name"));
    let role = RoleKey { namespace: if kind == "Role" { namespace.clone() } else { Str::default() }, name: name.into() };
    let plural = if kind == "Role" { "roles" } else { "clusterroles" };
    if matches!(kind, "Role" | "ClusterRole")
        && auth.allows(&Attributes::resource(admission.user, "bind", object.text("roleRef.apiGroup"), plural, namespace, name))
    {
        return Ok(());
    }
    let rules = match kind {
        "Role" | "ClusterRole" => stored_rules(admission.snapshot, &role).ok_or_else(|| Error::NotFound {
            group: rbac::GROUP.into(),
            resource: plural.into(),
            name: name.into(),
        })?,
        _ => return Err(Error::Internal(format!("unsupported role reference kind: {}", quote(kind)))),
    };
    held(auth, admission.user, namespace, &rules).map_err(|why| forbidden(group, resource, object.name(), &why))
}

/// Whether a user holds all of `wanted`; else the text that says what is missing.
fn held(auth: &Auth, user: &User, namespace: &str, wanted: &[Rule]) -> Result<(), String> {
    let (held, unresolved) = auth.policy().rules_for(user, namespace);
    let missing = not_held(&held, wanted);
    if missing.is_empty() {
        return Ok(());
    }
    let mut text = format!(
        "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        quote(&user.name),
        quoted_list(&user.groups),
        missing.join("\n")
    );
    if !unresolved.is_empty() {
        text.push_str(&format!("; resolution errors: [{unresolved}]"));
    }
    Err(text)
}

/// From the store and not from the published index, which may not have a role yet that was made a moment ago.
fn stored_rules(snapshot: &Snapshot, key: &RoleKey) -> Option<Vec<Rule>> {
    let key = if key.namespace.is_empty() {
        format!("/registry/clusterroles/{}", key.name)
    } else {
        format!("/registry/roles/{}/{}", key.namespace, key.name)
    };
    let row = snapshot.get(Key::from(key))?;
    serde_json::from_slice::<rbac::Role>(row.bytes()).ok().map(|role| role.rules)
}

fn rules(role: Object<'_>) -> Vec<Rule> {
    role.items("rules")
        .map(|rule| {
            let list = |name: &str| rule.texts(name).map(Str::from).collect();
            Rule {
                verbs: list("verbs"),
                api_groups: list("apiGroups"),
                resources: list("resources"),
                resource_names: list("resourceNames"),
                non_resource_urls: list("nonResourceURLs"),
            }
        })
        .collect()
}

/// Whether an update changes nothing but what garbage collection needs to change.
fn only_garbage_fields_differ(old: Object<'_>, new: Object<'_>) -> bool {
    let stripped = |object: Object<'_>| {
        let mut tree = object.tree.clone();
        for field in ["finalizers", "ownerReferences", "managedFields", "resourceVersion"] {
            tree.take(object.schema, &format!("metadata.{field}"));
        }
        Value::from(tree)
    };
    let fields = |object: Object<'_>| (object.get("metadata.finalizers").cloned(), object.get("metadata.ownerReferences").cloned());
    fields(old) != fields(new) && stripped(old) == stripped(new)
}

#[cfg(test)]
mod tests {
    use crate::admission::testing::{Case, check_validate};

    const GROUP: &str = "rbac.authorization.k8s.io";

    /// jane may get Pods everywhere and bind the ClusterRole `open`; `wide` may do more.
    const ROWS: [(&str, &str); 6] = [
        ("/registry/clusterroles/pods", r#"{"metadata":{"name":"pods"},"rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["get"]}]}"#),
        (
            "/registry/clusterroles/wide",
            r#"{"metadata":{"name":"wide"},"rules":[{"apiGroups":[""],"resources":["secrets"],"verbs":["get","list"]}]}"#,
        ),
        ("/registry/clusterroles/open", r#"{"metadata":{"name":"open"},"rules":[{"apiGroups":["*"],"resources":["*"],"verbs":["*"]}]}"#),
        (
            "/registry/clusterroles/binder",
            r#"{"metadata":{"name":"binder"},"rules":[{"apiGroups":["rbac.authorization.k8s.io"],"resources":["clusterroles"],"resourceNames":["open"],"verbs":["bind"]}]}"#,
        ),
        (
            "/registry/clusterrolebindings/a",
            r#"{"metadata":{"name":"a"},"roleRef":{"kind":"ClusterRole","name":"pods"},"subjects":[{"kind":"User","name":"jane"}]}"#,
        ),
        (
            "/registry/clusterrolebindings/b",
            r#"{"metadata":{"name":"b"},"roleRef":{"kind":"ClusterRole","name":"binder"},"subjects":[{"kind":"User","name":"jane"}]}"#,
        ),
    ];

    async fn check(case: Case, expect: Result<(), &str>) {
        check_validate(|object, admission| super::check(admission.auth, admission, object), case.rows(&ROWS), expect).await;
    }

    fn role(kind: &str, rules: &str) -> Case {
        let namespace = if kind == "Role" { "ns" } else { "" };
        Case::create(GROUP, kind, namespace, &format!(r#"{{"metadata":{{"name":"x"}},"rules":[{rules}]}}"#)).by("jane", "devs")
    }

    const GET_PODS: &str = r#"{"apiGroups":[""],"resources":["pods"],"verbs":["get"]}"#;
    const ALL_PODS: &str = r#"{"apiGroups":[""],"resources":["pods","pods/log"],"verbs":["get","list"]}"#;

    #[tokio::test]
    async fn a_role_grants_no_more_than_its_writer_holds() {
        check(role("Role", GET_PODS), Ok(())).await;
        let refused = concat!(
            r#"roles.rbac.authorization.k8s.io "x" is forbidden: user "jane" (groups=["devs"]) is attempting to grant RBAC permissions not currently held:"#,
            "\n",
            r#"{APIGroups:[""], Resources:["pods"], Verbs:["list"]}"#,
            "\n",
            r#"{APIGroups:[""], Resources:["pods/log"], Verbs:["get" "list"]}"#
        );
        check(role("Role", ALL_PODS), Err(refused)).await;
        check(role("Role", ALL_PODS).by("root", "system:masters"), Ok(())).await;
        let old = format!(r#"{{"metadata":{{"name":"x"}},"rules":[{ALL_PODS}]}}"#);
        let finalized = Case::create(GROUP, "Role", "ns", &old.replace(r#""name":"x""#, r#""name":"x","finalizers":["a/b"]"#)).by("jane", "devs");
        check(finalized.update(&old), Ok(())).await;
    }

    #[tokio::test]
    async fn aggregation_needs_everything() {
        let aggregated = Case::create(
            GROUP,
            "ClusterRole",
            "",
            r#"{"metadata":{"name":"x"},"aggregationRule":{"clusterRoleSelectors":[{"matchLabels":{"a":"b"}}]}}"#,
        )
        .by("jane", "devs");
        let refused = r#"clusterroles.rbac.authorization.k8s.io "x" is forbidden: must have cluster-admin privileges to use the aggregationRule"#;
        check(aggregated, Err(refused)).await;
    }

    #[tokio::test]
    async fn a_binding_needs_the_permissions_of_its_role_or_the_bind_verb() {
        let binding = |kind: &str, name: &str| {
            let object = format!(r#"{{"metadata":{{"name":"x"}},"roleRef":{{"apiGroup":"{GROUP}","kind":"{kind}","name":"{name}"}}}}"#);
            Case::create(GROUP, "RoleBinding", "ns", &object).by("jane", "devs")
        };
        check(binding("ClusterRole", "pods"), Ok(())).await;
        check(binding("ClusterRole", "open"), Ok(())).await;
        let refused = concat!(
            r#"rolebindings.rbac.authorization.k8s.io "x" is forbidden: user "jane" (groups=["devs"]) is attempting to grant RBAC permissions not currently held:"#,
            "\n",
            r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}"#
        );
        check(binding("ClusterRole", "wide"), Err(refused)).await;
        check(binding("Role", "gone"), Err(r#"roles.rbac.authorization.k8s.io "gone" not found"#)).await;
    }
}
