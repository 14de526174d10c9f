//! WatchJobs: snapshots, then every change of state once and in order, progress between them, keep-alives in silence.
//!
//! A cursor is the number of the last change seen. Snapshots and progress carry the cursor of the change before them, so
//! a client may reconnect with the cursor of whatever event it saw last.

use std::{collections::HashSet, time::Duration};

use tokio::sync::broadcast::error::RecvError;
use tonic::Status;

use super::{
    answers::{Answers, Cut, answers},
    convert, proto,
};
use crate::{
    auth::{Caller, crowd::Place, unauthenticated},
    gateway::{Gateway, GatewayError, check_wanted_labels},
    store::{JobFilter, JobId, JobState, Labels, Page, StoreError, TenantId},
};

const KEEP_ALIVE: Duration = Duration::from_secs(15);
const BATCH: u32 = 200;
const MAX_NAMES: usize = 1000;
/// Jobs whose fit is remembered.
const MAX_KNOWN: usize = 10_000;

type Sender = super::answers::Sender<proto::JobEvent>;

/// Which jobs a client watches.
struct Watched {
    names: HashSet<JobId>,
    labels: Labels,
    /// Jobs that are the tenant's and fit the labels, or not.
    known: std::collections::HashMap<JobId, bool>,
}

impl Watched {
    async fn contains(&mut self, gateway: &Gateway, job: JobId) -> Result<bool, GatewayError> {
        if !self.names.is_empty() && !self.names.contains(&job) {
            return Ok(false);
        }
        if let Some(known) = self.known.get(&job) {
            return Ok(*known);
        }
        // Progress comes from the jobs of every tenant.
        let fits = match gateway.farm().store.job(gateway.tenant(), job).await {
            Ok(job) => {
                let labels = job.labels;
                self.labels.iter().all(|(k, v)| labels.get(k) == Some(v))
            }
            Err(StoreError::NotFound { .. }) => false,
            Err(e) => return Err(e.into()),
        };
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(job, fits);
        Ok(fits)
    }
}

pub(super) async fn stream(
    gateway: Gateway,
    request: proto::WatchJobsRequest,
    caller: Caller,
    recheck: Duration,
    place: Place<TenantId>,
) -> Result<Answers<proto::JobEvent>, Status> {
    if request.names.len() > MAX_NAMES {
        return Err(GatewayError::invalid(
            "names",
            "TOO_MANY",
            format!(
                "at most {MAX_NAMES} jobs in a watch, got {}",
                request.names.len()
            ),
        )
        .into());
    }
    check_wanted_labels(&request.labels)?;
    let names = request
        .names
        .iter()
        .map(|n| convert::job_id("names", n))
        .collect::<Result<HashSet<_>, _>>()?;
    for name in &names {
        let known = gateway.farm().store.job(gateway.tenant(), *name).await;
        known.map_err(GatewayError::from)?;
    }
    let cursor = convert::cursor(&request.cursor)?;
    let watched = Watched {
        names,
        labels: request.labels,
        known: Default::default(),
    };
    let work = async move |sender: Sender| {
        tokio::select! {
            ended = follow(&gateway, watched, cursor, &sender) => ended,
            cut = outlived(&gateway, &caller, recheck) => Err(cut),
        }
    };
    Ok(answers(64, place, work))
}

/// Returns when the caller would no longer be let in.
async fn outlived(gateway: &Gateway, caller: &Caller, recheck: Duration) -> Cut {
    loop {
        tokio::time::sleep(recheck).await;
        match caller.is_live(&*gateway.farm().store).await {
            Ok(true) => {}
            Ok(false) => return unauthenticated().into(),
            Err(error) => return GatewayError::from(error).into(),
        }
    }
}

async fn follow(
    gateway: &Gateway,
    mut watched: Watched,
    from: Option<i64>,
    sender: &Sender,
) -> Result<(), Cut> {
    let farm = gateway.farm();
    let mut changes = farm.store.changes();
    let mut progress = farm.live.subscribe();
    // Taken before the snapshots: a change between the two is told twice rather than never.
    let newest = farm
        .store
        .last_event(gateway.tenant())
        .await
        .map_err(GatewayError::from)?;
    let mut cursor = from.unwrap_or(newest).min(newest);
    let mut open: HashSet<JobId> = HashSet::new();
    for view in snapshots(gateway, &watched).await? {
        if !view.job.state.is_terminal() {
            open.insert(view.job.id);
        }
        let event = proto::job_event::Event::Snapshot(convert::job(&view));
        let snapshot = convert::event(cursor, view.job.id, event);
        sender.send(snapshot).await?;
    }
    let mut keep_alive =
        tokio::time::interval_at(tokio::time::Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
    loop {
        changes.mark_unchanged();
        loop {
            let events = farm
                .store
                .events_after(gateway.tenant(), cursor, BATCH)
                .await
                .map_err(GatewayError::from)?;
            for event in &events {
                if watched.contains(gateway, event.job).await? {
                    if event.to.is_terminal() {
                        open.remove(&event.job);
                    }
                    sender.send(convert::state_event(event)).await?;
                    keep_alive.reset();
                }
                cursor = event.seq;
            }
            if events.len() < BATCH as usize {
                break;
            }
        }
        if !watched.names.is_empty() && open.is_empty() {
            return Ok(());
        }
        tokio::select! {
            _ = changes.changed() => {}
            step = progress.recv() => match step {
                Ok(p) => {
                    if p.tenant == gateway.tenant() && watched.contains(gateway, p.job).await? {
                        sender.send(convert::progress_event(cursor, &p)).await?;
                        keep_alive.reset();
                    }
                }
                // Progress is a courtesy: what was missed is superseded.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ok(()),
            },
            _ = keep_alive.tick() => sender.send(convert::keep_alive(cursor)).await?,
            () = farm.stopping.cancelled() => return Err(GatewayError::Draining.into()),
            () = sender.closed() => return Ok(()),
        }
    }
}

/// The named jobs, or every job that is not over.
async fn snapshots(
    gateway: &Gateway,
    watched: &Watched,
) -> Result<Vec<crate::gateway::JobView>, GatewayError> {
    if watched.names.is_empty() {
        let live = JobState::ALL
            .iter()
            .copied()
            .filter(|s| !s.is_terminal())
            .collect();
        let filter = JobFilter {
            states: live,
            labels: watched.labels.clone(),
            ..JobFilter::default()
        };
        return gateway
            .jobs(
                &filter,
                &Page {
                    size: MAX_NAMES as u32,
                    after: None,
                },
            )
            .await;
    }
    let mut jobs = Vec::new();
    for name in &watched.names {
        jobs.push(gateway.farm().store.job(gateway.tenant(), *name).await?);
    }
    gateway.views(jobs).await
}
