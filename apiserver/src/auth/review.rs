//! The reviews: questions about tokens and permissions that are asked by creating an object, and answered in its status. Nothing is stored.

use super::attributes::Attributes;
use super::{Auth, node};
use crate::Error;
use crate::request::User;
use crate::resource::Object;
use crate::status;
use apiserver_machinery::field::{self, BadValue, Path};
use apiserver_machinery::schema::Schema;
use apiserver_machinery::tree::{Map, Struct, Value};
use apiserver_machinery::{Str, fields, json};

const AUTHORIZATION: &str = "authorization.k8s.io";

/// Answers a review of this kind, asked by `user`: `object` gets its status. `namespace` is that of the request.
///
/// `None`: the kind is no review.
pub fn answer(auth: &Auth, kind: &str, user: &User, namespace: &str, object: &mut Struct, schema: &Schema) -> Option<Result<(), Error>> {
    let review = Review { auth, user, namespace, schema };
    Some(match kind {
        "TokenReview" => review.token(object),
        "SubjectAccessReview" | "LocalSubjectAccessReview" | "SelfSubjectAccessReview" => review.access(kind, object),
        "SelfSubjectRulesReview" => review.rules(object),
        "SelfSubjectReview" => review.myself(object),
        _ => return None,
    })
}

struct Review<'a> {
    auth: &'a Auth,
    user: &'a User,
    namespace: &'a str,
    schema: &'a Schema,
}

impl Review<'_> {
    fn token(&self, object: &mut Struct) -> Result<(), Error> {
        let review = Object::new(self.schema, object);
        let token = review.text("spec.token");
        if token.is_empty() {
            return Err(Error::bad_request("token is required for TokenReview in authentication"));
        }
        let audiences: Vec<Str> = review.texts("spec.audiences").map(Str::from).collect();
        let verified = self.auth.tokens.verify(token, &audiences, &self.auth.store.snapshot(), self.auth.clock.now());
        object.take(self.schema, "status");
        match verified {
            Ok(Some(verified)) => {
                self.put(object, "status.authenticated", true)?;
                self.put_user(object, "status.user", &verified.user)?;
                self.put(object, "status.audiences", list(&verified.audiences))
            }
            Ok(None) => self.put(object, "status.error", "invalid bearer token"),
            // Nobody else knows the token, and the one who should does not take it.
            Err(error) => self.put(object, "status.error", format!("[invalid bearer token, {error}]")),
        }
    }

    fn access(&self, kind: &str, object: &mut Struct) -> Result<(), Error> {
        let review = Object::new(self.schema, object);
        let errors = self.faults(kind, review);
        if !errors.is_empty() {
            // Upstream's message names no kind.
            return Err(status::invalid_as(AUTHORIZATION, "", "", errors));
        }
        if kind == "LocalSubjectAccessReview" && review.namespace() != self.namespace {
            return Err(Error::BadRequest(format!("spec.resourceAttributes.namespace must match namespace: {}", self.namespace).into()));
        }
        let other;
        let subject = if kind == "SelfSubjectAccessReview" {
            self.user
        } else {
            other = User {
                name: review.text("spec.user").into(),
                uid: review.text("spec.uid").into(),
                groups: review.texts("spec.groups").map(Str::from).collect(),
                extra: review.entries("spec.extra").map(|(key, values)| (key.into(), strings(values))).collect(),
            };
            &other
        };
        let (decision, fault) = match review.child("spec.resourceAttributes") {
            Some(wanted) => {
                let (requirements, fault) = field_requirements(wanted);
                let ask = Attributes {
                    subresource: wanted.text("subresource"),
                    fields: &requirements,
                    ..Attributes::resource(
                        subject,
                        wanted.text("verb"),
                        wanted.text("group"),
                        wanted.text("resource"),
                        wanted.text("namespace"),
                        wanted.text("name"),
                    )
                };
                (self.auth.authorize(&ask), fault)
            }
            None => {
                let path = review.text("spec.nonResourceAttributes.path");
                let ask = Attributes { path, ..Attributes::resource(subject, review.text("spec.nonResourceAttributes.verb"), "", "", "", "") };
                (self.auth.authorize(&ask), None)
            }
        };
        object.take(self.schema, "status");
        self.put(object, "status.allowed", decision.allowed())?;
        if !decision.reason().is_empty() {
            self.put(object, "status.reason", decision.reason())?;
        }
        if let Some(fault) = fault {
            self.put(object, "status.evaluationError", fault)?;
        }
        Ok(())
    }

    /// What is wrong with an access review.
    fn faults(&self, kind: &str, review: Object<'_>) -> Vec<field::Error> {
        let mut errors = Vec::new();
        let spec = Path::new("spec");
        let (resource, path) = (review.child("spec.resourceAttributes"), review.child("spec.nonResourceAttributes"));
        if resource.is_some() == path.is_some() {
            let value = path.map_or_else(|| BadValue::json("null"), json_of);
            errors.push(field::Error::invalid(&spec, value, "exactly one of nonResourceAttributes or resourceAttributes must be specified"));
        }
        if kind != "SelfSubjectAccessReview" && review.text("spec.user").is_empty() && review.list("spec.groups").is_empty() {
            errors.push(field::Error::invalid(&spec.child("user"), "", "at least one of user or group must be specified"));
        }
        for selector in ["fieldSelector", "labelSelector"] {
            if let Some(selected) = resource.and_then(|resource| resource.child(selector)) {
                errors.extend(selector_faults(selected, &Path::new("spec.resourceAttributes").child(selector)));
            }
        }
        let local = kind == "LocalSubjectAccessReview";
        if let Some(metadata) = review.child("metadata") {
            let allowed = |name: &str| name == "managedFields" || (local && name == "namespace");
            let ty = self.schema.get(metadata.tree.ty);
            if metadata.tree.fields().iter().any(|(number, _)| !allowed(&ty.fields[usize::from(*number)].name)) {
                let detail = if local { "must be empty except for namespace" } else { "must be empty" };
                errors.push(field::Error::invalid(&Path::new("metadata"), json_of(metadata), detail));
            }
        }
        if local {
            if let Some(resource) = resource
                && resource.text("namespace") != review.namespace()
            {
                let at = Path::new("spec.resourceAttributes.namespace");
                errors.push(field::Error::invalid(&at, resource.text("namespace"), "must match metadata.namespace"));
            }
            if let Some(path) = path {
                errors.push(field::Error::invalid(&Path::new("spec.nonResourceAttributes"), json_of(path), "disallowed on this kind of request"));
            }
        }
        errors
    }

    fn rules(&self, object: &mut Struct) -> Result<(), Error> {
        let namespace = Object::new(self.schema, object).text("spec.namespace").to_owned();
        if namespace.is_empty() {
            return Err(Error::bad_request("no namespace on request"));
        }
        let (rules, unresolved) = self.auth.policy().rules_for(self.user, &namespace);
        let mut errors = Vec::new();
        // Upstream answers with rules and does not repeat the question.
        object.take(self.schema, "spec");
        object.take(self.schema, "status");
        self.put(object, "spec", self.empty(object, "spec")?)?;
        let mut resource_rules = Vec::new();
        let mut path_rules = Vec::new();
        for rule in &rules {
            if !rule.resources.is_empty() {
                let mut item = self.item(object, "resourceRules")?;
                self.put(&mut item, "verbs", list(&rule.verbs))?;
                self.put(&mut item, "apiGroups", list(&rule.api_groups))?;
                self.put(&mut item, "resources", list(&rule.resources))?;
                if !rule.resource_names.is_empty() {
                    self.put(&mut item, "resourceNames", list(&rule.resource_names))?;
                }
                resource_rules.push(item.into());
            }
            if !rule.non_resource_urls.is_empty() {
                let mut item = self.item(object, "nonResourceRules")?;
                self.put(&mut item, "verbs", list(&rule.verbs))?;
                self.put(&mut item, "nonResourceURLs", list(&rule.non_resource_urls))?;
                path_rules.push(item.into());
            }
        }
        if node::identity(self.user).is_some() {
            errors.push("node authorizer does not support user rule resolution".to_owned());
        }
        if !unresolved.is_empty() {
            errors.push(unresolved);
        }
        self.put(object, "status.resourceRules", Value::List(resource_rules))?;
        self.put(object, "status.nonResourceRules", Value::List(path_rules))?;
        self.put(object, "status.incomplete", node::identity(self.user).is_some())?;
        if !errors.is_empty() {
            let text = if errors.len() == 1 { errors.swap_remove(0) } else { format!("[{}]", errors.join(", ")) };
            self.put(object, "status.evaluationError", text)?;
        }
        Ok(())
    }

    fn myself(&self, object: &mut Struct) -> Result<(), Error> {
        object.take(self.schema, "metadata");
        object.take(self.schema, "status");
        self.put(object, "metadata.creationTimestamp", crate::meta::time(self.auth.clock.now()))?;
        self.put_user(object, "status.userInfo", self.user)
    }

    fn put_user(&self, object: &mut Struct, at: &str, user: &User) -> Result<(), Error> {
        self.put(object, &format!("{at}.username"), user.name.clone())?;
        if !user.uid.is_empty() {
            self.put(object, &format!("{at}.uid"), user.uid.clone())?;
        }
        if !user.groups.is_empty() {
            self.put(object, &format!("{at}.groups"), list(&user.groups))?;
        }
        if !user.extra.is_empty() {
            let extra: Map = user.extra.iter().map(|(key, values)| (key.clone(), list(values))).collect();
            self.put(object, &format!("{at}.extra"), Value::Map(extra))?;
        }
        Ok(())
    }

    fn put(&self, object: &mut Struct, at: &str, value: impl Into<Value>) -> Result<(), Error> {
        object.put(self.schema, at, value).ok_or_else(|| Error::Internal(format!("the schema has no {at}")))
    }

    /// An empty struct for the field of `object` with this name.
    fn empty(&self, object: &Struct, name: &str) -> Result<Value, Error> {
        let field = self.schema.get(object.ty).field(name);
        field.and_then(|field| Value::empty(&field.kind)).ok_or_else(|| Error::Internal(format!("the schema has no {name}")))
    }

    /// An empty item of a list in the status.
    fn item(&self, object: &Struct, name: &str) -> Result<Struct, Error> {
        use apiserver_machinery::schema::Kind;
        let status = self.empty(object, "status")?;
        let kind = status.as_struct().and_then(|status| self.schema.get(status.ty).field(name)).map(|field| &field.kind);
        match kind {
            Some(Kind::List(items)) => match &items.item {
                Kind::Struct(ty) => Ok(Struct::new(*ty)),
                _ => Err(Error::Internal(format!("the schema has no structs in {name}"))),
            },
            _ => Err(Error::Internal(format!("the schema has no list {name}"))),
        }
    }
}

fn json_of(object: Object<'_>) -> BadValue {
    let mut out = Vec::new();
    json::encode(object.schema, object.tree, &mut out);
    BadValue::json(String::from_utf8_lossy(&out))
}

fn list(items: &[Str]) -> Value {
    Value::List(items.iter().cloned().map(Value::String).collect())
}

fn strings(values: &Value) -> Vec<Str> {
    values.as_list().unwrap_or_default().iter().filter_map(Value::as_str).map(Str::from).collect()
}

fn selector_faults(selector: Object<'_>, at: &Path<'_>) -> Vec<field::Error> {
    let mut errors = Vec::new();
    let (raw, requirements) = (selector.text("rawSelector"), selector.list("requirements"));
    if !raw.is_empty() && !requirements.is_empty() {
        errors.push(field::Error::invalid(&at.child("rawSelector"), raw, "may not specified at the same time as requirements"));
    }
    if raw.is_empty() && requirements.is_empty() {
        errors.push(field::Error::required(&at.child("requirements"), format!("when {at} is specified, requirements or rawSelector is required")));
    }
    let list = at.child("requirements");
    for (index, requirement) in selector.items("requirements").enumerate() {
        let at = list.index(index);
        let count = requirement.list("values").len();
        match requirement.text("operator") {
            "In" | "NotIn" if count == 0 => {
                errors.push(field::Error::required(&at.child("values"), "must be specified when `operator` is 'In' or 'NotIn'"))
            }
            "Exists" | "DoesNotExist" if count > 0 => {
                errors.push(field::Error::forbidden(&at.child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
            }
            // Operators of newer clients are let through, and then ignored.
            _ => {}
        }
        if requirement.text("key").is_empty() {
            errors.push(field::Error::required(&at.child("key"), "must be specified"));
        }
    }
    errors
}

/// The equality requirements of a review's field selector, and what to say where some cannot be understood.
fn field_requirements(wanted: Object<'_>) -> (Vec<(Str, Str)>, Option<String>) {
    let Some(selector) = wanted.child("fieldSelector") else { return (Vec::new(), None) };
    let raw = selector.text("rawSelector");
    let mut bad = false;
    let mut found: Vec<(Str, Str)> = Vec::new();
    if !raw.is_empty() {
        match fields::Selector::parse(raw) {
            Ok(parsed) => found.extend(super::attributes::requirements(&parsed)),
            Err(_) => bad = true,
        }
    }
    for requirement in selector.items("requirements") {
        let values: Vec<_> = requirement.texts("values").collect();
        match (requirement.text("operator"), &values[..]) {
            ("In", [value]) => found.push((requirement.text("key").into(), (*value).into())),
            ("NotIn", [_]) => {}
            _ => bad = true,
        }
    }
    let fault = bad.then(|| {
        let part = if found.is_empty() { "ignored" } else { "partially ignored" };
        format!("spec.resourceAttributes.fieldSelector {part} due to parse error")
    });
    (found, fault)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Config, keys, testing};
    use apiserver_component::Clock;
    use apiserver_machinery::builtin;
    use apiserver_machinery::schema::Shape;
    use serde_json::{Value as Json, json};

    async fn auth() -> Auth {
        let role = r#"{"metadata":{"name":"r"},"rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["list"]},{"nonResourceURLs":["/healthz"],"verbs":["get"]}]}"#;
        let binding = r#"{"metadata":{"name":"b"},"roleRef":{"kind":"ClusterRole","name":"r"},"subjects":[{"kind":"User","name":"jane"}]}"#;
        let config = Config { issuers: vec!["https://issuer".into()], signer: Some(keys::tests::signing_key()), ..Config::default() };
        let rows = [
            ("/registry/clusterroles/r", role),
            ("/registry/clusterrolebindings/b", binding),
            ("/registry/serviceaccounts/ns/sa", r#"{"metadata":{"name":"sa","uid":"1"}}"#),
        ];
        let auth = Auth::new(config, testing::store(&rows).await, Clock).unwrap();
        auth.load();
        auth
    }

    async fn ask(auth: &Auth, group: &str, kind: &str, namespace: &str, request: Json) -> Result<Json, String> {
        let jane = User { name: "jane".into(), uid: "7".into(), groups: vec!["devs".into()], extra: vec![("k".into(), vec!["v".into()])] };
        let schema = builtin::schema();
        let shape = Shape { schema: schema.clone(), root: builtin::gvk(group, "v1", kind).unwrap() };
        let mut object = json::decode(&shape, request.to_string().as_bytes(), &mut json::Report::new()).unwrap();
        answer(auth, kind, &jane, namespace, &mut object, schema).unwrap().map_err(|error| error.to_string())?;
        let mut out = Vec::new();
        json::encode(schema, &object, &mut out);
        Ok(serde_json::from_slice(&out).unwrap())
    }

    #[tokio::test]
    async fn access_is_reviewed_for_oneself_and_for_others() {
        let auth = auth().await;
        let list_pods = json!({"spec": {"resourceAttributes": {"verb": "list", "resource": "pods", "namespace": "ns"}}});
        let seen = ask(&auth, AUTHORIZATION, "SelfSubjectAccessReview", "", list_pods).await.unwrap();
        let reason = r#"RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "r" to User "jane""#;
        assert_eq!(seen["status"], json!({"allowed": true, "reason": reason}));
        let path = json!({"spec": {"user": "bob", "nonResourceAttributes": {"verb": "get", "path": "/healthz"}}});
        let seen = ask(&auth, AUTHORIZATION, "SubjectAccessReview", "", path).await.unwrap();
        assert_eq!(seen["status"], json!({"allowed": false}));
        let local = json!({"metadata": {"namespace": "ns"}, "spec": {"user": "jane", "resourceAttributes": {"verb": "list", "resource": "pods", "namespace": "ns"}}});
        let seen = ask(&auth, AUTHORIZATION, "LocalSubjectAccessReview", "ns", local).await.unwrap();
        assert_eq!(seen["status"]["allowed"], true);
    }

    #[tokio::test]
    async fn bad_access_reviews_are_refused() {
        let auth = auth().await;
        let check =
            async |kind: &str, request: Json, expect: &str| assert_eq!(ask(&auth, AUTHORIZATION, kind, "ns", request).await.unwrap_err(), expect);
        check(
            "SubjectAccessReview",
            json!({"spec": {"resourceAttributes": {"verb": "get"}}}),
            r#".authorization.k8s.io "" is invalid: spec.user: Invalid value: "": at least one of user or group must be specified"#,
        )
        .await;
        check(
            "SelfSubjectAccessReview",
            json!({"spec": {}}),
            r#".authorization.k8s.io "" is invalid: spec: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified"#,
        )
        .await;
        check(
            "LocalSubjectAccessReview",
            json!({"metadata": {"namespace": "ns"}, "spec": {"user": "x", "resourceAttributes": {"namespace": "other"}}}),
            r#".authorization.k8s.io "" is invalid: spec.resourceAttributes.namespace: Invalid value: "other": must match metadata.namespace"#,
        )
        .await;
        check(
            "LocalSubjectAccessReview",
            json!({"metadata": {"namespace": "b"}, "spec": {"user": "x", "resourceAttributes": {"namespace": "b"}}}),
            "spec.resourceAttributes.namespace must match namespace: ns",
        )
        .await;
    }

    #[tokio::test]
    async fn rules_and_oneself_are_told() {
        let auth = auth().await;
        let seen = ask(&auth, AUTHORIZATION, "SelfSubjectRulesReview", "", json!({"spec": {"namespace": "ns"}})).await.unwrap();
        let expect = json!({
            "incomplete": false,
            "resourceRules": [{"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]}],
            "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz"]}],
        });
        assert_eq!(seen["status"], expect);
        assert_eq!(ask(&auth, AUTHORIZATION, "SelfSubjectRulesReview", "", json!({"spec": {}})).await.unwrap_err(), "no namespace on request");
        let seen = ask(&auth, "authentication.k8s.io", "SelfSubjectReview", "", json!({})).await.unwrap();
        assert_eq!(seen["status"]["userInfo"], json!({"username": "jane", "uid": "7", "groups": ["devs"], "extra": {"k": ["v"]}}));
    }

    #[tokio::test]
    async fn tokens_are_reviewed() {
        use crate::auth::token::{Claims, Kubernetes, Reference};
        let auth = auth().await;
        let now = auth.clock.now().as_second();
        let claims = Claims {
            audiences: vec!["https://issuer".into()],
            expires: Some(now + 600),
            kubernetes: Kubernetes {
                namespace: "ns".into(),
                service_account: Reference { name: "sa".into(), uid: "1".into() },
                ..Kubernetes::default()
            },
            ..Claims::default()
        };
        let token = auth.tokens.mint(claims).unwrap().unwrap();
        let seen = ask(&auth, "authentication.k8s.io", "TokenReview", "", json!({"spec": {"token": token}})).await.unwrap();
        assert_eq!(seen["status"]["authenticated"], true);
        assert_eq!(seen["status"]["user"]["username"], "system:serviceaccount:ns:sa");
        assert_eq!(seen["status"]["audiences"], json!(["https://issuer"]));
        let seen = ask(&auth, "authentication.k8s.io", "TokenReview", "", json!({"spec": {"token": token, "audiences": ["other"]}})).await.unwrap();
        assert_eq!(
            seen["status"]["error"],
            r#"[invalid bearer token, token audiences ["https://issuer"] is invalid for the target audiences ["other"]]"#
        );
        let seen = ask(&auth, "authentication.k8s.io", "TokenReview", "", json!({"spec": {"token": "x"}})).await.unwrap();
        assert_eq!(seen["status"], json!({"error": "invalid bearer token", "user": {}}));
        assert!(ask(&auth, "authentication.k8s.io", "TokenReview", "", json!({})).await.is_err());
    }
}
