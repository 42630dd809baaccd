//! Sends a request again when the server asks for it, as client-go does: status 429 or 5xx with a `Retry-After` header, nothing else.
//!
//! A request whose answer was lost is not repeated here: only the caller knows whether it may be.

use http::{Request, Response, StatusCode, header::RETRY_AFTER};
use kube::client::Body;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tower::{BoxError, Service, ServiceExt};

/// How often one request is repeated.
pub const RETRIES_MAX: u32 = 10;
/// The server may ask for a longer wait; it is cut to this.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub struct Retry<S>(pub S);

impl<S, B> Service<Request<Body>> for Retry<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError> + Send,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let service = self.0.clone();
        Box::pin(async move {
            let mut request = request;
            for _ in 0..RETRIES_MAX {
                let again = copy(&request);
                let response = service.clone().oneshot(request).await.map_err(Into::into)?;
                match (again, wait_asked(&response)) {
                    (Some(again), Some(wait)) => {
                        drop(response);
                        tokio::time::sleep(wait).await;
                        request = again;
                    }
                    _ => return Ok(response),
                }
            }
            service.oneshot(request).await.map_err(Into::into)
        })
    }
}

/// None for a body that is a stream.
fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().try_clone()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}

fn wait_asked<B>(response: &Response<B>) -> Option<Duration> {
    let status = response.status();
    if status != StatusCode::TOO_MANY_REQUESTS && !status.is_server_error() {
        return None;
    }
    let seconds: u64 = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    async fn check(status: u16, retry_after: Option<&'static str>, refusals: u32, expect_calls: u32, expect_status: u16) {
        let calls = Arc::new(AtomicU32::new(0));
        let counted = calls.clone();
        let service = tower::service_fn(move |_: Request<Body>| {
            let call = counted.fetch_add(1, Ordering::Relaxed);
            async move {
                let mut response = Response::builder().status(if call < refusals { status } else { 200 });
                if let Some(value) = retry_after {
                    response = response.header(RETRY_AFTER, value);
                }
                Ok::<_, BoxError>(response.body(()).unwrap())
            }
        });
        let response = Retry(service).oneshot(Request::new(Body::from(b"{}".to_vec()))).await.unwrap();
        assert_eq!((calls.load(Ordering::Relaxed), response.status().as_u16()), (expect_calls, expect_status));
    }

    #[tokio::test(start_paused = true)]
    async fn only_answers_that_ask_for_it_are_repeated() {
        check(429, Some("1"), 2, 3, 200).await;
        check(503, Some("1"), 1, 2, 200).await;
        check(503, None, 1, 1, 503).await;
        check(409, Some("1"), 1, 1, 409).await;
        check(429, Some("86400"), u32::MAX, RETRIES_MAX + 1, 429).await;
    }
}
