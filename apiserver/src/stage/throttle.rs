//! A bound on the requests in flight. Watches, logs and the like give their seat back once they stream.

use crate::Error;
use crate::api::Api;
use crate::request::{User, Verb};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a request may wait for a seat.
const WAIT_MS_MAX: u64 = 15_000;

/// Upstream's `--max-requests-inflight` and `--max-mutating-requests-inflight`, and how many may wait behind them.
pub struct Seats {
    reading: Arc<Semaphore>,
    writing: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// A place among the requests in flight, held until it is dropped.
pub struct Seat(#[expect(dead_code, reason = "held for its drop")] Option<OwnedSemaphorePermit>);

impl Seats {
    pub fn new(reading_max: usize, writing_max: usize, waiting_max: usize) -> Self {
        Self {
            reading: Arc::new(Semaphore::new(reading_max)),
            writing: Arc::new(Semaphore::new(writing_max)),
            waiting: Arc::new(Semaphore::new(waiting_max)),
        }
    }
}

pub async fn throttle(api: &Api, user: &User, verb: Verb, is_resource: bool) -> Result<Seat, Error> {
    // The cluster's own administrators are never kept waiting, so that they can mend what keeps others waiting.
    if user.in_group("system:masters") || !is_resource {
        return Ok(Seat(None));
    }
    let seats = match verb {
        Verb::Get | Verb::List | Verb::Watch => &api.seats.reading,
        _ => &api.seats.writing,
    };
    if let Ok(seat) = seats.clone().try_acquire_owned() {
        return Ok(Seat(Some(seat)));
    }
    let Ok(_waiting) = api.seats.waiting.clone().try_acquire_owned() else { return Err(too_many()) };
    match tokio::time::timeout(Duration::from_millis(WAIT_MS_MAX), seats.clone().acquire_owned()).await {
        Ok(Ok(seat)) => Ok(Seat(Some(seat))),
        _ => Err(too_many()),
    }
}

fn too_many() -> Error {
    Error::TooManyRequests { message: "Too many requests, please try again later.".into(), retry_after_seconds: 1, causes: Vec::new() }
}
