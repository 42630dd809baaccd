//! ServiceAccount: every Pod runs as one, and gets its token, the cluster's authority and its namespace mounted.

use super::{Kind, items_mut, literal, put};
use crate::Error;
use crate::resource::Object;
use crate::stage::{Admission, Operation};
use apiserver_machinery::Str;
use apiserver_machinery::schema::Schema;
use apiserver_machinery::text::quote;
use apiserver_machinery::tree::{Struct, Value};
use apiserver_store::Store;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

pub const SERVICE_ACCOUNTS: Kind = Kind::core("ServiceAccount", "/registry/serviceaccounts/");
pub const DEFAULT: &str = "default";
pub const MIRROR: &str = "kubernetes.io/config.mirror";

const VOLUME_PREFIX: &str = "kube-api-access-";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const ENFORCE_SECRETS: &str = "kubernetes.io/enforce-mountable-secrets";
const SUFFIX_LETTERS: usize = 5;

/// How long a Pod waits for the default ServiceAccount of its namespace, which a controller makes a moment after the namespace.
const WAIT_TRIES: u32 = 20;
const WAIT_STEP: Duration = Duration::from_millis(100);

/// Waits a little for a ServiceAccount that is about to be made. Whether it came is for [`mutate`] to see.
pub async fn await_default(store: &Store, namespace: &str) {
    for _ in 0..WAIT_TRIES {
        let snapshot = store.snapshot();
        let exists = |key: String| snapshot.get(key).is_some_and(|row| !row.facts.deleting);
        if exists(format!("{}{namespace}/{DEFAULT}", SERVICE_ACCOUNTS.prefix)) || !exists(format!("/registry/namespaces/{namespace}")) {
            return;
        }
        tokio::time::sleep(WAIT_STEP).await;
    }
}

fn account(admission: &Admission<'_>, name: &str) -> Result<super::Stored, Error> {
    let namespace = admission.namespace();
    SERVICE_ACCOUNTS
        .get(admission.snapshot, &format!("{namespace}/{name}"))?
        .ok_or_else(|| admission.refuse(format!("error looking up service account {namespace}/{name}: serviceaccount {} not found", quote(name))))
}

pub fn mutate(pod: &mut Struct, admission: &Admission<'_>) -> Result<(), Error> {
    if !admission.is_pod() || admission.operation != Operation::Create {
        return Ok(());
    }
    let schema = admission.schema();
    let read = Object { schema, tree: pod };
    if read.annotation(MIRROR).is_some() {
        return Ok(());
    }
    let name = Str::from(match read.text("spec.serviceAccountName") {
        "" => DEFAULT,
        name => name,
    });
    let account = account(admission, &name)?;
    let account = account.object();
    let automount = read.flag_opt("spec.automountServiceAccountToken").or_else(|| account.flag_opt("automountServiceAccountToken")).unwrap_or(true);
    let pull_secrets = read.list("spec.imagePullSecrets").is_empty();
    // The old name of the field is kept in step, so that reading the object back changes nothing.
    put(pod, schema, "spec.serviceAccount", name.clone())?;
    put(pod, schema, "spec.serviceAccountName", name)?;
    if automount {
        mount_token(pod, schema)?;
    }
    if pull_secrets {
        let secrets: Vec<Value> = account.list("imagePullSecrets").to_vec();
        if !secrets.is_empty() {
            put(pod, schema, "spec.imagePullSecrets", Value::List(secrets))?;
        }
    }
    Ok(())
}

/// Mounts the token into every container that mounts nothing else at its place.
fn mount_token(pod: &mut Struct, schema: &Arc<Schema>) -> Result<(), Error> {
    let read = Object { schema, tree: pod };
    let known = read.items("spec.volumes").map(|volume| volume.text("name")).find(|name| name.starts_with(VOLUME_PREFIX)).map(str::to_owned);
    let name = known.clone().unwrap_or_else(generated_name);
    let mount = literal(
        schema,
        "io.k8s.api.core.v1.VolumeMount",
        &format!(r#"{{"name":{},"readOnly":true,"mountPath":"{MOUNT_PATH}"}}"#, serde_json::Value::from(name.as_str())),
    )?;
    let mut needed = false;
    for list in ["spec.initContainers", "spec.containers"] {
        let Some(containers) = pod.at_mut(schema, list).and_then(Value::as_list_mut) else { continue };
        for container in containers.iter_mut().filter_map(Value::as_struct_mut) {
            if Object::new(schema, container).items("volumeMounts").any(|mount| mount.text("mountPath") == MOUNT_PATH) {
                continue;
            }
            items_mut(container, schema, "volumeMounts")?.push(mount.clone().into());
            needed = true;
        }
    }
    if needed && known.is_none() {
        let volume = literal(
            schema,
            "io.k8s.api.core.v1.Volume",
            &format!(
                concat!(
                    r#"{{"name":"{}","projected":{{"defaultMode":420,"sources":["#,
                    r#"{{"serviceAccountToken":{{"path":"token","expirationSeconds":3607}}}},"#,
                    r#"{{"configMap":{{"name":"kube-root-ca.crt","items":[{{"key":"ca.crt","path":"ca.crt"}}]}}}},"#,
                    r#"{{"downwardAPI":{{"items":[{{"path":"namespace","fieldRef":{{"apiVersion":"v1","fieldPath":"metadata.namespace"}}}}]}}}}]}}}}"#
                ),
                name
            ),
        )?;
        items_mut(pod, schema, "spec.volumes")?.push(volume.into());
    }
    Ok(())
}

fn generated_name() -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let suffix = (0..SUFFIX_LETTERS).map(|_| char::from(LETTERS[rand::random_range(0..LETTERS.len())]));
    VOLUME_PREFIX.chars().chain(suffix).collect()
}

pub fn validate(pod: Object<'_>, admission: &Admission<'_>) -> Result<(), Error> {
    let ephemeral = admission.is("", "pods", "ephemeralcontainers") && admission.operation == Operation::Update;
    let created = admission.is_pod() && admission.operation == Operation::Create;
    if !ephemeral && !created {
        return Ok(());
    }
    if !ephemeral && pod.annotation(MIRROR).is_some() {
        return validate_mirror(pod, admission);
    }
    let name = pod.text("spec.serviceAccountName");
    if name.is_empty() {
        return Err(admission.refuse(format!("no service account specified for pod {}/{}", admission.namespace(), pod.name())));
    }
    let account = account(admission, name)?;
    let account = account.object();
    if !account.annotation(ENFORCE_SECRETS).is_some_and(|text| matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True")) {
        return Ok(());
    }
    let kinds: &[(&str, &str)] = if ephemeral {
        &[("spec.ephemeralContainers", "ephemeral container")]
    } else {
        &[("spec.initContainers", "init container"), ("spec.containers", "container")]
    };
    check_secrets(pod, account, kinds, !ephemeral).map_err(|why| admission.refuse(why))
}

fn validate_mirror(pod: Object<'_>, admission: &Admission<'_>) -> Result<(), Error> {
    if !pod.text("spec.serviceAccountName").is_empty() {
        return Err(admission.refuse("a mirror pod may not reference service accounts"));
    }
    let containers = || ["spec.initContainers", "spec.containers", "spec.ephemeralContainers"].into_iter().flat_map(move |list| pod.items(list));
    let env = containers().any(|container| {
        container.items("env").any(|env| env.has("valueFrom.secretKeyRef")) || container.items("envFrom").any(|source| source.has("secretRef"))
    });
    let sources = || pod.items("spec.volumes").flat_map(|volume| volume.items("projected.sources"));
    let volumes = pod.items("spec.volumes").any(|volume| volume.has("secret")) || sources().any(|source| source.has("secret"));
    if env || volumes || !pod.list("spec.imagePullSecrets").is_empty() {
        return Err(admission.refuse("a mirror pod may not reference secrets"));
    }
    if sources().any(|source| source.has("serviceAccountToken")) {
        return Err(admission.refuse("a mirror pod may not use ServiceAccountToken volume projections"));
    }
    Ok(())
}

/// Checks that a Pod uses only the Secrets that its account names.
fn check_secrets(pod: Object<'_>, account: Object<'_>, kinds: &[(&str, &str)], whole: bool) -> Result<(), String> {
    let mountable: BTreeSet<&str> = account.items("secrets").map(|secret| secret.text("name")).collect();
    let unknown = |name: &str| !name.is_empty() && !mountable.contains(name);
    let because = |secret: &str| {
        format!(r#"secret.secretName="{secret}" is not allowed because service account {} does not reference that secret"#, account.name())
    };
    let mut volumes = pod.items("spec.volumes").map(|volume| volume.text("secret.secretName"));
    if let Some(secret) = volumes.find(|name| whole && unknown(name)) {
        return Err(format!("volume with {}", because(secret)));
    }
    for (list, kind) in kinds {
        for container in pod.items(list) {
            let name = container.text("name");
            let mut variables = container.items("env").map(|env| (env.text("name"), env.text("valueFrom.secretKeyRef.name")));
            if let Some((variable, secret)) = variables.find(|(_, secret)| unknown(secret)) {
                return Err(format!("{kind} {name} with envVar {variable} referencing {}", because(secret)));
            }
            if let Some(secret) = container.items("envFrom").map(|source| source.text("secretRef.name")).find(|secret| unknown(secret)) {
                return Err(format!("{kind} {name} with envFrom referencing {}", because(secret)));
            }
        }
    }
    if whole {
        let pullable: BTreeSet<&str> = account.items("imagePullSecrets").map(|secret| secret.text("name")).collect();
        for (index, secret) in pod.items("spec.imagePullSecrets").enumerate() {
            let name = secret.text("name");
            if !pullable.contains(name) {
                let account = account.name();
                return Err(format!(
                    r#"imagePullSecrets[{index}].name="{name}" is not allowed because service account {account} does not reference that imagePullSecret"#
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::admission::testing::{Case, check_mutate, check_validate, encode};

    const BARE: &str = r#"{"spec":{"containers":[{"name":"c"}]}}"#;

    fn case(account: &str, pod: &str) -> Case {
        Case::create("", "Pod", "ns", pod).row("/registry/serviceaccounts/ns/default", account)
    }

    #[tokio::test]
    async fn a_pod_gets_its_account_and_token() {
        let account = r#"{"metadata":{"name":"default","namespace":"ns"},"imagePullSecrets":[{"name":"pull"}]}"#;
        let (tree, _, result) = case(account, BARE).run(|tree, admission, _| super::mutate(tree, admission)).await;
        result.unwrap();
        let pod = encode(&tree);
        let volume = &pod["spec"]["volumes"][0];
        let name = volume["name"].as_str().unwrap();
        assert_eq!(name.len(), "kube-api-access-".len() + 5);
        assert_eq!(pod["spec"]["containers"][0]["volumeMounts"][0]["name"], name);
        assert_eq!(pod["spec"]["containers"][0]["volumeMounts"][0]["readOnly"], true);
        let expect = serde_json::json!({"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"items": [{"key": "ca.crt", "path": "ca.crt"}], "name": "kube-root-ca.crt"}},
            {"downwardAPI": {"items": [{"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}, "path": "namespace"}]}},
        ]});
        assert_eq!(volume["projected"], expect);
        assert_eq!(pod["spec"]["serviceAccountName"], "default");
        assert_eq!(pod["spec"]["serviceAccount"], "default");
        assert_eq!(pod["spec"]["imagePullSecrets"][0]["name"], "pull");
    }

    #[tokio::test]
    async fn automounting_can_be_refused_by_pod_and_account() {
        let no = r#"{"metadata":{"name":"default"},"automountServiceAccountToken":false}"#;
        let plain = r#"{"metadata":{"name":"default"}}"#;
        let bare = r#"{"spec":{"containers":[{"name":"c"}],"serviceAccount":"default","serviceAccountName":"default"}}"#;
        check_mutate(super::mutate, case(no, BARE), Ok(bare)).await;
        let opted = r#"{"spec":{"automountServiceAccountToken":false,"containers":[{"name":"c"}]}}"#;
        let expect = r#"{"spec":{"automountServiceAccountToken":false,"containers":[{"name":"c"}],"serviceAccount":"default","serviceAccountName":"default"}}"#;
        check_mutate(super::mutate, case(plain, opted), Ok(expect)).await;
        let own =
            r#"{"spec":{"containers":[{"name":"c","volumeMounts":[{"name":"v","mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}]}]}}"#;
        let expect = r#"{"spec":{"containers":[{"name":"c","volumeMounts":[{"name":"v","mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}]}],"serviceAccount":"default","serviceAccountName":"default"}}"#;
        check_mutate(super::mutate, case(plain, own), Ok(expect)).await;
    }

    #[tokio::test]
    async fn a_pod_of_a_new_namespace_waits_for_its_account() {
        let store = crate::auth::testing::store(&[("/registry/namespaces/ns", "{}")]).await;
        let waiting = super::await_default(&store, "ns");
        tokio::pin!(waiting);
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        crate::auth::testing::put(&store, "/registry/serviceaccounts/ns/default", "{}").await;
        waiting.await;
        assert!(futures::poll!(Box::pin(super::await_default(&store, "none"))).is_ready(), "no namespace, no account");
    }

    #[tokio::test]
    async fn an_account_must_exist() {
        let missing = r#"pods "x" is forbidden: error looking up service account ns/gone: serviceaccount "gone" not found"#;
        check_mutate(super::mutate, case("{}", r#"{"spec":{"serviceAccountName":"gone"}}"#), Err(missing)).await;
    }

    #[tokio::test]
    async fn mirror_pods_name_no_account_and_no_secret() {
        let mirror = |spec: &str| case("{}", &format!(r#"{{"metadata":{{"annotations":{{"kubernetes.io/config.mirror":"x"}}}},"spec":{spec}}}"#));
        check_validate(super::validate, mirror(r#"{"containers":[{"name":"c"}]}"#), Ok(())).await;
        let account = r#"pods "x" is forbidden: a mirror pod may not reference service accounts"#;
        check_validate(super::validate, mirror(r#"{"serviceAccountName":"a"}"#), Err(account)).await;
        let secret = r#"pods "x" is forbidden: a mirror pod may not reference secrets"#;
        check_validate(super::validate, mirror(r#"{"volumes":[{"name":"v","secret":{"secretName":"s"}}]}"#), Err(secret)).await;
    }

    #[tokio::test]
    async fn mountable_secrets_are_enforced_where_the_account_says_so() {
        let account =
            r#"{"metadata":{"name":"default","annotations":{"kubernetes.io/enforce-mountable-secrets":"true"}},"secrets":[{"name":"good"}]}"#;
        let pod = |secret: &str| {
            format!(r#"{{"spec":{{"serviceAccountName":"default","volumes":[{{"name":"v","secret":{{"secretName":"{secret}"}}}}]}}}}"#)
        };
        check_validate(super::validate, case(account, &pod("good")), Ok(())).await;
        let bad = r#"pods "x" is forbidden: volume with secret.secretName="bad" is not allowed because service account default does not reference that secret"#;
        check_validate(super::validate, case(account, &pod("bad")), Err(bad)).await;
    }
}
