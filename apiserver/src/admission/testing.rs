//! Table tests of plugins: a write, the objects around it, and what a plugin makes of it.

use crate::Error;
use crate::auth::{self, Auth, testing as store};
use crate::request::{Target, User};
use crate::resource::catalog::Catalog;
use crate::resource::{Object, Resource};
use crate::stage::{Admission, Extra, Operation};
use apiserver_component::Clock;
use apiserver_machinery::schema::Shape;
use apiserver_machinery::tree::Struct;
use apiserver_machinery::{builtin, json};
use serde_json::Value;
use std::sync::{Arc, OnceLock};

fn catalog() -> &'static Catalog {
    static CATALOG: OnceLock<Catalog> = OnceLock::new();
    CATALOG.get_or_init(Catalog::builtin)
}

pub fn resource(group: &str, kind: &str) -> Arc<Resource> {
    let found = catalog().resources().iter().find(|resource| resource.group == group && resource.kind == kind);
    found.unwrap_or_else(|| panic!("no resource {kind}.{group}")).clone()
}

/// An object of the kind's storage version.
pub fn tree(group: &str, kind: &str, text: &str) -> Struct {
    let resource = resource(group, kind);
    decode(&resource.storage.shape, text)
}

fn decode(shape: &Shape, text: &str) -> Struct {
    let mut report = json::Report::new();
    let tree = json::decode(shape, text.as_bytes(), &mut report).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!(report.is_empty(), "{:?} in {text}", report.problems());
    tree
}

pub fn object(tree: &Struct) -> Object<'_> {
    Object { schema: builtin::schema(), tree }
}

pub fn encode(tree: &Struct) -> Value {
    let mut out = Vec::new();
    json::encode(builtin::schema(), tree, &mut out);
    serde_json::from_slice(&out).unwrap()
}

/// One write.
pub struct Case {
    group: String,
    kind: String,
    target: Target,
    operation: Operation,
    user: User,
    object: String,
    old: Option<String>,
    rows: Vec<(String, String)>,
}

impl Case {
    /// The create of an object named `x`.
    pub fn create(group: &str, kind: &str, namespace: &str, object: &str) -> Self {
        let resource = resource(group, kind);
        let target = Target {
            group: group.into(),
            version: resource.versions[0].version.clone(),
            resource: resource.plural.clone(),
            namespace: namespace.into(),
            name: "x".into(),
            ..Target::default()
        };
        Self {
            group: group.into(),
            kind: kind.into(),
            target,
            operation: Operation::Create,
            user: User { name: "jane".into(), ..User::default() },
            object: object.into(),
            old: None,
            rows: Vec::new(),
        }
    }

    pub fn update(mut self, old: &str) -> Self {
        self.old = Some(old.into());
        self.operation(Operation::Update)
    }

    pub fn operation(mut self, operation: Operation) -> Self {
        self.operation = operation;
        self
    }

    pub fn named(mut self, name: &str) -> Self {
        self.target.name = name.into();
        self
    }

    pub fn subresource(mut self, subresource: &str) -> Self {
        self.target.subresource = subresource.into();
        self
    }

    pub fn by(mut self, name: &str, group: &str) -> Self {
        self.user = User { name: name.into(), groups: vec![group.into()], ..User::default() };
        self
    }

    pub fn row(mut self, key: &str, object: &str) -> Self {
        self.rows.push((key.into(), object.into()));
        self
    }

    pub fn rows(mut self, rows: &[(&str, &str)]) -> Self {
        self.rows.extend(rows.iter().map(|(key, object)| ((*key).to_owned(), (*object).to_owned())));
        self
    }

    pub async fn run<T>(
        &self,
        plugin: impl FnOnce(&mut Struct, &Admission<'_>, &mut Extra) -> Result<T, Error>,
    ) -> (Struct, Extra, Result<T, Error>) {
        let rows: Vec<_> = self.rows.iter().map(|(key, object)| (key.as_str(), object.as_str())).collect();
        let store = store::store(&rows).await;
        let auth = Auth::new(auth::Config::default(), store.clone(), Clock).unwrap();
        auth.load();
        let resource = resource(&self.group, &self.kind);
        let mut tree = decode(&resource.storage.shape, &self.object);
        let old = self.old.as_ref().map(|old| decode(&resource.storage.shape, old));
        let snapshot = store.snapshot();
        let ports = 30_000..=32_767;
        let admission = Admission {
            user: &self.user,
            target: &self.target,
            name: &self.target.name,
            operation: self.operation,
            resource: &resource,
            old: old.as_ref().map(object),
            dry_run: false,
            now: "2026-11-24T12:00:00Z".parse().unwrap(),
            snapshot: &snapshot,
            auth: &auth,
            node_ports: &ports,
        };
        let mut extra = Extra::default();
        let result = plugin(&mut tree, &admission, &mut extra);
        (tree, extra, result)
    }
}

fn told(seen: &Result<(), Error>, expect: Result<(), &str>) {
    assert_eq!(seen.as_ref().copied().map_err(ToString::to_string), expect.map_err(str::to_owned));
}

/// Of a plugin that does not look at the object.
pub async fn check(plugin: fn(&Admission<'_>) -> Result<(), Error>, case: Case, expect: Result<(), &str>) {
    let (.., seen) = case.run(|_, admission, _| plugin(admission)).await;
    told(&seen, expect);
}

pub async fn check_validate(plugin: fn(Object<'_>, &Admission<'_>) -> Result<(), Error>, case: Case, expect: Result<(), &str>) {
    let (.., seen) = case.run(|tree, admission, _| plugin(object(tree), admission)).await;
    told(&seen, expect);
}

/// `expect` is the object as JSON, with the server's names (`kube-api-access-…`) as they come.
pub async fn check_mutate(plugin: fn(&mut Struct, &Admission<'_>) -> Result<(), Error>, case: Case, expect: Result<&str, &str>) {
    let (tree, _, seen) = case.run(|tree, admission, _| plugin(tree, admission)).await;
    match (seen, expect) {
        (Ok(()), Ok(expect)) => assert_eq!(encode(&tree), encode(&decode(&resource(&case.group, &case.kind).storage.shape, expect))),
        (Err(error), Err(expect)) => assert_eq!(error.to_string(), expect),
        (seen, expect) => panic!("{seen:?} instead of {expect:?}"),
    }
}
