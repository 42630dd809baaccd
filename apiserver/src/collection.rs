//! deletecollection: a list, and a delete for each of its objects through the one write path.

use crate::Error;
use crate::api::Api;
use crate::body::{self, Body, Incoming};
use crate::media::Accept;
use crate::options::Options;
use crate::present::{ListHead, View};
use crate::read;
use crate::request::Target;
use crate::select::Selection;
use crate::serve::{Authorized, Found};
use crate::stage::{decode, respond};
use crate::write::{self, Action, DeleteOptions, Intent};
use apiserver_machinery::Str;
use apiserver_store::{Range, Row};
use futures::stream::{self, StreamExt};
use http::Response;
use std::sync::Arc;

/// Deletes of one collection that run at a time.
const DELETES_AT_ONCE_MAX: usize = 16;

pub async fn delete(
    api: &Arc<Api>,
    found: &Found,
    request: Authorized,
    body: Incoming,
    options: Options,
    accept: Accept,
) -> Result<Response<Body>, Error> {
    let bytes = body::read(body).await?;
    let delete = decode::delete_options(&request.parts.headers, &bytes, &options)?;
    let selection = Selection::new(&found.resource, &request.target, &options)?;
    let snapshot = api.store.consistent().await?;
    let prefix = read::prefix(&found.resource, &request.target.namespace);
    let rows: Vec<Arc<Row>> = snapshot.range(&Range::prefix(prefix)).filter(|(_, row)| selection.matches(row)).map(|(_, row)| row.clone()).collect();
    let view = View::new(found, accept, &options, api.clock.now());
    let deletes: Vec<_> = rows.iter().map(|row| one(api, intent(api, found, &request, &delete, accept, row))).collect();
    let results: Vec<Result<(), Error>> = stream::iter(deletes).buffer_unordered(DELETES_AT_ONCE_MAX).collect().await;
    if let Some(error) = results.into_iter().find_map(Result::err) {
        return Err(error);
    }
    let head = ListHead { revision: snapshot.revision(), ..ListHead::default() };
    respond::list(view, head, rows, &options)
}

fn intent(api: &Api, found: &Found, request: &Authorized, delete: &DeleteOptions, accept: Accept, row: &Row) -> Intent {
    let name = Str::from(row.facts.field("metadata.name").unwrap_or_default());
    Intent {
        found: found.clone(),
        target: Target { name, namespace: row.facts.namespace.clone(), ..request.target.clone() },
        user: request.user.clone(),
        options: Options::default(),
        accept,
        action: Action::Delete(delete.clone()),
        manager: Str::default(),
        now: api.clock.now(),
    }
}

async fn one(api: &Arc<Api>, intent: Intent) -> Result<(), Error> {
    match write::run(api, &intent).await {
        // Somebody else was faster.
        Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
