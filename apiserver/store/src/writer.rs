//! The writer: one task that takes what is queued, checks, numbers, appends, applies and notifies.
//!
//! ```text
//!   queue ─► Stage (check, number) ─► engine.append ─► publish ─► watchers ─► replies
//!                                        │ unknown
//!                                        └─► settle until it is known; nothing later is shown before
//! ```
//! It owns the leases and the times of compaction. It decides nothing about objects.

use crate::config::{Config, Limits};
use crate::engine::{AppendError, Batch, BatchId, EngineError, Epoch, Folding, Head, Item, LogStream, Reader, Settled, Writer as EngineWriter};
use crate::error::{CommitError, CompactError, Compacted, LeaseError};
use crate::failpoint;
use crate::history::Change;
use crate::lease::{LEASE_TTL_MAX, LeaseInfo, LeaseTable};
use crate::row::{Lease, Revision};
use crate::shared::Shared;
use crate::snapshot::Published;
use crate::stage::Stage;
use crate::txn::{Committed, Txn};
use apiserver_component::Shutdown;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

pub(crate) type Reply<T, E> = oneshot::Sender<Result<T, E>>;

pub(crate) enum Request {
    Commit {
        txn: Txn,
        reply: Reply<Committed, CommitError>,
    },
    Grant {
        lease: Option<Lease>,
        ttl: Duration,
        reply: Reply<Lease, LeaseError>,
    },
    /// A lease of at least this time that others may share.
    Share {
        ttl: Duration,
        reply: Reply<Lease, LeaseError>,
    },
    Revoke {
        lease: Lease,
        reply: Reply<Revision, LeaseError>,
    },
    KeepAlive {
        lease: Lease,
        reply: Reply<Duration, LeaseError>,
    },
    LeaseInfo {
        lease: Lease,
        with_keys: bool,
        reply: Reply<LeaseInfo, LeaseError>,
    },
    Leases {
        reply: oneshot::Sender<Vec<Lease>>,
    },
    Compact {
        floor: Revision,
        reply: Reply<(), CompactError>,
    },
}

/// Requests that one batch takes from the queue at most.
const BATCH_REQUESTS_MAX: usize = 1_024;
/// Expired leases that one batch revokes at most.
const EXPIRED_LEASES_MAX: usize = 64;
const SETTLE_PAUSE_MIN: Duration = Duration::from_millis(50);
const SETTLE_PAUSE_MAX: Duration = Duration::from_secs(2);
/// After a failed step of compaction.
const COMPACTION_PAUSE: Duration = Duration::from_secs(10);
/// Reads of the log after which the outcome of a fenced writer's batch is given up.
const FENCED_READS_MAX: u32 = 5;
/// Keys that live by one shared lease at most.
const SHARED_LEASE_KEYS_MAX: usize = 1_000;
/// How much longer than asked a shared lease may live: a twentieth of its time, at most this.
const SHARED_LEASE_EXTRA_MAX: Duration = Duration::from_secs(60);
const SHARED_LEASE_EXTRA_DIVISOR: u32 = 20;

pub(crate) struct Writer<R, W> {
    shared: Arc<Shared>,
    reader: R,
    engine: W,
    requests: mpsc::Receiver<Request>,
    shutdown: Shutdown,
    pending: VecDeque<Request>,
    taken: Vec<Request>,
    leases: LeaseTable,
    shared_leases: HashMap<Duration, SharedLease>,
    epoch: Epoch,
    /// The last batch that landed.
    batch: BatchId,
    /// The last number that was given to one.
    attempted: BatchId,
    lease_counter: u64,
    compaction: Compaction,
    /// Another leads, or the engine is gone: nothing is written any more.
    ended: bool,
}

struct SharedLease {
    lease: Lease,
    until: Instant,
}

struct Compaction {
    interval: Option<Duration>,
    due: Option<Instant>,
    /// The revision that was current when the last run began: the floor of the next.
    next_floor: Revision,
    /// Whether something below the floor is still to be folded.
    folding: bool,
    /// Folding waits until then, after a step that failed.
    paused_until: Option<Instant>,
    /// A batch was written since the last step: it is folding's turn, however many more wait.
    wrote: bool,
}

/// What an answer waits for.
enum Waiting {
    Commit(Reply<Committed, CommitError>, Result<Committed, CommitError>),
    Grant(Reply<Lease, LeaseError>, Lease),
    Revoke(Reply<Revision, LeaseError>, Revision),
}

impl Waiting {
    fn answer(self) {
        match self {
            Self::Commit(reply, result) => drop(reply.send(result)),
            Self::Grant(reply, lease) => drop(reply.send(Ok(lease))),
            Self::Revoke(reply, revision) => drop(reply.send(Ok(revision))),
        }
    }

    fn fail(self, error: CommitError) {
        match self {
            Self::Commit(reply, _) => drop(reply.send(Err(error))),
            Self::Grant(reply, _) => drop(reply.send(Err(error.into()))),
            Self::Revoke(reply, _) => drop(reply.send(Err(error.into()))),
        }
    }
}

/// Everything that can wake the writer.
enum Event {
    Requests,
    LeaseExpired,
    CompactionDue,
    FoldMore,
    End,
}

enum Appended {
    Landed,
    /// Not applied; the error for everybody in the batch.
    Not(Box<dyn Fn() -> CommitError + Send>),
    /// The process ends, or another leads, before anybody could tell.
    Unknown,
}

impl<R: Reader, W: EngineWriter> Writer<R, W> {
    #[expect(clippy::too_many_arguments, reason = "called once, by open")]
    pub(crate) fn new(
        shared: Arc<Shared>,
        reader: R,
        engine: W,
        head: Head,
        mut leases: LeaseTable,
        requests: mpsc::Receiver<Request>,
        config: &Config,
        shutdown: Shutdown,
    ) -> Self {
        let now = Instant::now();
        leases.start_anew(now);
        shared.metrics.leases.set(leases.len() as i64);
        let interval = config.compaction_interval;
        let compaction = Compaction {
            interval,
            due: interval.map(|interval| now + interval),
            next_floor: head.revision,
            folding: true,
            paused_until: None,
            wrote: false,
        };
        Self {
            shared,
            reader,
            engine,
            requests,
            shutdown,
            pending: VecDeque::new(),
            taken: Vec::new(),
            leases,
            shared_leases: HashMap::new(),
            epoch: head.epoch,
            batch: head.batch,
            attempted: head.batch,
            lease_counter: 0,
            compaction,
            ended: false,
        }
    }

    pub(crate) async fn run(mut self) {
        loop {
            match self.next_event().await {
                Event::Requests => self.write_batch().await,
                Event::LeaseExpired => self.expire_leases().await,
                Event::CompactionDue => self.compact_by_time().await,
                Event::FoldMore => self.fold().await,
                Event::End => break,
            }
        }
        self.shared.close();
    }

    fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    async fn next_event(&mut self) -> Event {
        if self.shutdown.fired() || self.ended {
            return Event::End;
        }
        let now = Instant::now();
        let lease = self.leases.next_deadline();
        if lease.is_some_and(|deadline| deadline <= now) {
            return Event::LeaseExpired;
        }
        if self.compaction.due.is_some_and(|due| due <= now) {
            return Event::CompactionDue;
        }
        let fold_at = self.compaction.folding.then(|| self.compaction.paused_until.unwrap_or(now));
        if self.compaction.wrote && fold_at.is_some_and(|at| at <= now) {
            return Event::FoldMore;
        }
        if !self.pending.is_empty() {
            return Event::Requests;
        }
        let shutdown = self.shutdown.clone();
        tokio::select! {
            biased;
            () = shutdown.wait() => Event::End,
            taken = self.requests.recv_many(&mut self.taken, BATCH_REQUESTS_MAX) => {
                self.pending.extend(self.taken.drain(..));
                if taken == 0 { Event::End } else { Event::Requests }
            }
            () = until(lease) => Event::LeaseExpired,
            () = until(self.compaction.due) => Event::CompactionDue,
            () = until(fold_at) => Event::FoldMore,
        }
    }

    /// Makes one batch of what is queued, as much of it as fits.
    async fn write_batch(&mut self) {
        self.take_queued();
        let now = Instant::now();
        let current = self.shared.snapshot();
        let shared = self.shared.clone();
        let leases = std::mem::take(&mut self.leases);
        let mut stage = Stage::new(current.published(), &shared.limits, &leases);
        let mut waiting = Vec::new();
        let mut compact = None;
        let mut quick = Vec::new();
        while stage.weight < shared.limits.batch_bytes_max
            && let Some(request) = self.pending.pop_front()
        {
            match request {
                Request::Commit { txn, reply } => {
                    let result = stage.commit(txn);
                    waiting.push(Waiting::Commit(reply, result));
                }
                Request::Grant { lease, ttl, reply } => match self.check_grant(&stage, lease, ttl) {
                    Ok(lease) => {
                        stage.grant(lease, ttl);
                        waiting.push(Waiting::Grant(reply, lease));
                    }
                    Err(error) => drop(reply.send(Err(error))),
                },
                Request::Share { ttl, reply } => match self.share_lease(&mut stage, &leases, ttl, now) {
                    Ok(lease) => waiting.push(Waiting::Grant(reply, lease)),
                    Err(error) => drop(reply.send(Err(error))),
                },
                // What a revocation deletes is known of the applied state only, so that it begins a batch.
                Request::Revoke { lease, reply } if stage.is_empty() => {
                    if stage.knows_lease(lease) {
                        waiting.push(Waiting::Revoke(reply, stage.revoke(lease)));
                        break;
                    }
                    drop(reply.send(Err(LeaseError::NotFound(lease))));
                }
                Request::Compact { floor, reply } if stage.is_empty() => {
                    compact = Some((floor, reply));
                    break;
                }
                request @ (Request::Revoke { .. } | Request::Compact { .. }) => {
                    self.pending.push_front(request);
                    break;
                }
                request @ (Request::KeepAlive { .. } | Request::LeaseInfo { .. } | Request::Leases { .. }) => quick.push(request),
            }
        }
        let (published, changes, items) = stage.finish();
        self.leases = leases;
        self.append_and_apply(published, changes, items, waiting).await;
        quick.into_iter().for_each(|request| self.answer_about_leases(request, now));
        if let Some((floor, reply)) = compact {
            let _ = reply.send(self.compact(floor).await);
        }
    }

    fn take_queued(&mut self) {
        while self.pending.len() < BATCH_REQUESTS_MAX
            && let Ok(request) = self.requests.try_recv()
        {
            self.pending.push_back(request);
        }
        self.shared.metrics.queue_requests.set((self.pending.len() + self.requests.len()) as i64);
    }

    fn check_grant(&mut self, stage: &Stage<'_>, lease: Option<Lease>, ttl: Duration) -> Result<Lease, LeaseError> {
        if ttl > LEASE_TTL_MAX {
            return Err(LeaseError::TooLong { ttl_s: ttl.as_secs() as i64, limit_s: LEASE_TTL_MAX.as_secs() as i64 });
        }
        let limit = self.limits().leases_max;
        if stage.leases_len() >= limit {
            return Err(LeaseError::TooMany { limit });
        }
        match lease.filter(|lease| lease.is_some()) {
            Some(lease) if stage.knows_lease(lease) => Err(LeaseError::Exists(lease)),
            Some(lease) => Ok(lease),
            None => loop {
                self.lease_counter += 1;
                // Epochs are never used twice, so that neither is this, for as long as one does not grant 2³² leases.
                let lease = Lease(((self.epoch.0 << 32 | (self.lease_counter & 0xffff_ffff)) & i64::MAX as u64) as i64);
                if lease.is_some() && !stage.knows_lease(lease) {
                    return Ok(lease);
                }
            },
        }
    }

    fn share_lease(&mut self, stage: &mut Stage<'_>, leases: &LeaseTable, ttl: Duration, now: Instant) -> Result<Lease, LeaseError> {
        self.shared_leases.retain(|_, shared| shared.until > now);
        if let Some(shared) = self.shared_leases.get(&ttl)
            && stage.knows_lease(shared.lease)
            && leases.keys_len(shared.lease) < SHARED_LEASE_KEYS_MAX
        {
            return Ok(shared.lease);
        }
        let extra = (ttl / SHARED_LEASE_EXTRA_DIVISOR).min(SHARED_LEASE_EXTRA_MAX);
        let lease = self.check_grant(stage, None, ttl + extra)?;
        stage.grant(lease, ttl + extra);
        self.shared_leases.insert(ttl, SharedLease { lease, until: now + extra });
        Ok(lease)
    }

    fn answer_about_leases(&mut self, request: Request, now: Instant) {
        match request {
            Request::KeepAlive { lease, reply } => {
                let _ = reply.send(self.leases.keep_alive(lease, now).ok_or(LeaseError::NotFound(lease)));
            }
            Request::LeaseInfo { lease, with_keys, reply } => {
                let _ = reply.send(self.leases.info(lease, with_keys, now).ok_or(LeaseError::NotFound(lease)));
            }
            Request::Leases { reply } => {
                let _ = reply.send(self.leases.all());
            }
            Request::Commit { .. } | Request::Grant { .. } | Request::Share { .. } | Request::Revoke { .. } | Request::Compact { .. } => {}
        }
    }

    /// Deletes the leases whose time is over, each with its keys at one revision.
    async fn expire_leases(&mut self) {
        let current = self.shared.snapshot();
        let shared = self.shared.clone();
        let leases = std::mem::take(&mut self.leases);
        let mut stage = Stage::new(current.published(), &shared.limits, &leases);
        let expired = leases.expired(Instant::now(), EXPIRED_LEASES_MAX);
        for lease in &expired {
            stage.revoke(*lease);
            if stage.weight >= shared.limits.batch_bytes_max {
                break;
            }
        }
        let (published, changes, items) = stage.finish();
        self.leases = leases;
        if !self.append_and_apply(published, changes, items, Vec::new()).await {
            sleep(SETTLE_PAUSE_MIN).await;
        }
    }

    /// Says whether the batch counts now.
    async fn append_and_apply(&mut self, published: Published, changes: Vec<Arc<Change>>, items: Vec<Item>, waiting: Vec<Waiting>) -> bool {
        if items.is_empty() {
            self.answer(waiting);
            return true;
        }
        let after = self.shared.snapshot().revision();
        self.attempted.0 += 1;
        let batch = Batch { id: self.attempted, epoch: self.epoch, previous: self.batch, after, revision: published.revision, items };
        failpoint::hit(failpoint::BEFORE_APPEND);
        let begun = Instant::now();
        let appended = self.append(&batch).await;
        self.shared.metrics.append_seconds.observe(begun.elapsed().as_secs_f64());
        match appended {
            Appended::Landed => {
                failpoint::hit(failpoint::AFTER_APPEND_BEFORE_APPLY);
                self.batch = batch.id;
                self.compaction.wrote = true;
                self.apply_leases(&batch.items, &changes);
                self.shared.apply(published, &changes);
                self.shared.metrics.batches.inc();
                failpoint::hit(failpoint::AFTER_NOTIFY_BEFORE_REPLY);
                self.answer(waiting);
                true
            }
            Appended::Not(error) => {
                waiting.into_iter().for_each(|waiting| waiting.fail(error()));
                false
            }
            Appended::Unknown => {
                waiting.into_iter().for_each(|waiting| waiting.fail(CommitError::Unknown { batch: batch.id }));
                false
            }
        }
    }

    fn answer(&self, waiting: Vec<Waiting>) {
        let (mut txns, mut conflicts) = (0, 0);
        for waiting in waiting {
            match &waiting {
                Waiting::Commit(_, Ok(_)) => txns += 1,
                Waiting::Commit(_, Err(CommitError::Conflict { .. })) => conflicts += 1,
                _ => {}
            }
            waiting.answer();
        }
        self.shared.metrics.txns.inc_by(txns);
        self.shared.metrics.conflicts.inc_by(conflicts);
    }

    fn apply_leases(&mut self, items: &[Item], changes: &[Arc<Change>]) {
        let now = Instant::now();
        for item in items {
            if let Item::Lease { lease, ttl } = item {
                self.leases.grant(*lease, *ttl, now);
            }
        }
        for change in changes {
            let lease_of = |row: &Option<Arc<crate::row::Row>>| row.as_ref().map_or(Lease::NONE, |row| row.lease);
            let (old, new) = (lease_of(&change.old), lease_of(&change.new));
            if old != new {
                self.leases.detach(old, &change.key);
                self.leases.attach(new, &change.key);
            }
        }
        for item in items {
            if let Item::Revoked { lease } = item {
                self.leases.remove(*lease);
            }
        }
        self.shared.metrics.leases.set(self.leases.len() as i64);
    }

    async fn append(&mut self, batch: &Batch) -> Appended {
        match self.engine.append(batch).await {
            Ok(()) => Appended::Landed,
            Err(AppendError::Full) => Appended::Not(Box::new(|| CommitError::Full)),
            Err(AppendError::TooLarge) => {
                let limit = self.limits().batch_bytes_max;
                Appended::Not(Box::new(move || CommitError::TxnTooLarge { bytes: limit, limit }))
            }
            Err(AppendError::Failed(error)) => {
                tracing::error!(%error, "append failed");
                let error = Arc::new(error);
                Appended::Not(Box::new(move || CommitError::Append(error.clone())))
            }
            Err(AppendError::Fenced { by }) => {
                self.step_down(by);
                Appended::Not(Box::new(move || CommitError::Fenced { by }))
            }
            Err(AppendError::Unknown { batch: id }) => {
                self.shared.metrics.unknown_appends.inc();
                tracing::warn!(batch = id.0, "the outcome of an append is unknown; settling it");
                self.settle(batch).await
            }
        }
    }

    /// Until it is known what became of the batch, nothing later is shown and nothing else is written.
    async fn settle(&mut self, batch: &Batch) -> Appended {
        let mut pause = SETTLE_PAUSE_MIN;
        loop {
            match self.engine.settle(batch.id).await {
                Ok(Settled::Landed) => return Appended::Landed,
                Ok(Settled::Absent) => return Appended::Not(Box::new(|| CommitError::Append(Arc::new(EngineError::Closed)))),
                Ok(Settled::Fenced { by }) => {
                    self.step_down(by);
                    return look_up(&self.reader, batch, by).await;
                }
                Err(EngineError::Closed) => {
                    tracing::error!(batch = batch.id.0, "the engine is gone; the outcome of an append is unknown");
                    self.ended = true;
                    return Appended::Unknown;
                }
                Err(error) => {
                    tracing::warn!(%error, batch = batch.id.0, "settling an append");
                    let shutdown = self.shutdown.clone();
                    if shutdown.run_until(sleep(pause)).await.is_none() {
                        return Appended::Unknown;
                    }
                    pause = (pause * 2).min(SETTLE_PAUSE_MAX);
                }
            }
        }
    }

    fn step_down(&mut self, by: Epoch) {
        tracing::error!(epoch = self.epoch.0, by = by.0, "another server writes now");
        self.ended = true;
    }

    async fn compact_by_time(&mut self) {
        let now = Instant::now();
        let floor = self.compaction.next_floor;
        self.compaction.next_floor = self.shared.snapshot().revision();
        self.compaction.due = self.compaction.interval.map(|interval| now + interval);
        match self.compact(floor).await {
            // Nothing was written since the time before.
            Ok(()) | Err(CompactError::Compacted(_)) => {}
            Err(error) => {
                tracing::warn!(%error, %floor, "compaction");
                self.compaction.next_floor = floor;
            }
        }
    }

    async fn compact(&mut self, floor: Revision) -> Result<(), CompactError> {
        let current = self.shared.snapshot().revision();
        if floor > current {
            return Err(CompactError::Future { asked: floor, current });
        }
        let now = self.shared.floor();
        if floor <= now {
            return Err(Compacted { floor: now }.into());
        }
        match self.engine.raise_floor(floor).await {
            Ok(()) => {
                failpoint::hit(failpoint::AFTER_FLOOR_BEFORE_FOLD);
                self.shared.raise_floor(floor);
                self.shared.metrics.compactions.inc();
                self.compaction.folding = true;
                Ok(())
            }
            Err(AppendError::Fenced { by }) => {
                self.step_down(by);
                Err(CompactError::Fenced { by })
            }
            Err(AppendError::Failed(error)) => Err(CompactError::Engine(error)),
            Err(AppendError::Full) => Err(CompactError::Engine(EngineError::Full)),
            // The floor may or may not be raised: the next run raises it again, and until then nobody is told.
            Err(error @ (AppendError::Unknown { .. } | AppendError::TooLarge)) => {
                Err(CompactError::Engine(EngineError::io("raising the floor", error)))
            }
        }
    }

    /// One small step, so that a batch never waits long for it.
    async fn fold(&mut self) {
        self.compaction.paused_until = None;
        self.compaction.wrote = false;
        let folded = self.engine.fold().await;
        failpoint::hit(failpoint::IN_COMPACTION);
        match folded {
            Ok(Folding::Done) => self.compaction.folding = false,
            Ok(Folding::More) => {}
            Err(AppendError::Fenced { by }) => self.step_down(by),
            Err(error) => {
                tracing::warn!(%error, "folding the log");
                self.compaction.paused_until = Some(Instant::now() + COMPACTION_PAUSE);
            }
        }
    }
}

/// Another has taken over; whether our last batch counts stands in the log.
async fn look_up<R: Reader>(reader: &R, batch: &Batch, by: Epoch) -> Appended {
    for _ in 0..FENCED_READS_MAX {
        match is_in_log(reader, batch).await {
            Ok(true) => return Appended::Landed,
            Ok(false) => return Appended::Not(Box::new(move || CommitError::Fenced { by })),
            Err(EngineError::Compacted { .. }) => return Appended::Unknown,
            Err(error) => {
                tracing::warn!(%error, batch = batch.id.0, "looking for a batch in the log");
                sleep(SETTLE_PAUSE_MIN).await;
            }
        }
    }
    Appended::Unknown
}

async fn is_in_log<R: Reader>(reader: &R, batch: &Batch) -> Result<bool, EngineError> {
    let mut log = reader.log(batch.after, batch.revision).await?;
    while let Some(found) = log.next().await? {
        if (found.id, found.epoch) == (batch.id, batch.epoch) {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
