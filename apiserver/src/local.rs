//! The API for callers in the same process: no socket and no TLS, but every stage of a request.

use crate::api::Api;
use crate::auth::PeerIdentity;
use crate::body::Body;
use crate::request::User;
use crate::serve::{self, Peer};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Answers requests as one user.
#[derive(Clone)]
pub struct Local {
    api: Arc<Api>,
    peer: Arc<Peer>,
}

impl Local {
    pub fn new(api: Arc<Api>, user: &str, groups: &[&str]) -> Self {
        let user = User { name: user.into(), groups: groups.iter().map(|group| (*group).into()).collect(), ..User::default() };
        Self { api, peer: Arc::new(Peer { identity: PeerIdentity::known(user), remote: None }) }
    }

    /// For whoever brings a token, and nobody else.
    pub fn anonymous(api: Arc<Api>) -> Self {
        Self { api, peer: Arc::default() }
    }
}

impl<B> tower::Service<Request<B>> for Local
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (api, peer) = (self.api.clone(), self.peer.clone());
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        Box::pin(async move { Ok(serve::handle(api, peer, request).await) })
    }
}
