//! What time does to jobs and files: deadlines, private inputs of jobs that ended, uploads nobody finished.

use std::{sync::Arc, time::Duration};

use super::Farm;
use crate::store::{AttemptOutcome, Digest, FailureClass, JobState, StoreError, TenantId};

const EVERY: Duration = Duration::from_secs(2);
const FILES_EVERY: u32 = 30;

/// Runs until the farm stops.
pub(super) async fn run(farm: Arc<Farm>) {
    let mut round = 0u32;
    let mut counted = None;
    loop {
        if let Err(error) = count_ends(&farm, &mut counted).await {
            tracing::error!(%error, "cannot count the jobs that ended");
        }
        // One that fails keeps the others from nothing.
        let told = [
            deadlines(&farm).await,
            leases(&farm).await,
            inputs(&farm).await,
            match round.is_multiple_of(FILES_EVERY) {
                true => files(&farm).await,
                false => Ok(()),
            },
        ];
        for error in told.into_iter().filter_map(Result::err) {
            tracing::error!(%error, "the reaper failed");
            farm.metrics.store_error();
        }
        farm.live.prune(farm.limits.lease_ttl.saturating_mul(2));
        round = round.wrapping_add(1);
        tokio::select! {
            () = farm.stopping.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Counts the jobs that ended since the last time; `cursor` is the last event that was looked at.
async fn count_ends(farm: &Farm, cursor: &mut Option<i64>) -> Result<(), StoreError> {
    let Some(from) = *cursor else {
        *cursor = Some(farm.store.newest_change().await?);
        return Ok(());
    };
    for end in farm.store.ends_after(from).await? {
        let dead = end.failure.filter(|_| end.state == JobState::Dead);
        let reason = dead.map(|f| match f.code.as_str() {
            "POISON_SUSPECT" => "POISON_SUSPECT",
            _ => f.class.name(),
        });
        farm.metrics.job_ended(end.state, end.backend, reason);
        *cursor = Some(end.cursor);
    }
    Ok(())
}

async fn deadlines(farm: &Farm) -> Result<(), StoreError> {
    for job in farm.store.expire().await? {
        farm.live.stop(job.id);
        farm.live.forget_nodes_of(job.id);
        tracing::info!(job = %job.id, "expired");
    }
    Ok(())
}

async fn leases(farm: &Farm) -> Result<(), StoreError> {
    for attempt in farm.store.expire_leases().await? {
        farm.live.forget(attempt);
        farm.metrics
            .attempt_ended(AttemptOutcome::Lost, Some(FailureClass::NodeLost));
        tracing::warn!(%attempt, "lease expired");
    }
    Ok(())
}

async fn inputs(farm: &Farm) -> Result<(), StoreError> {
    for job in farm.store.private_inputs_to_drop().await? {
        for digest in [job.input, job.input_artifact].into_iter().flatten() {
            forget(farm, job.tenant, &digest).await?;
        }
        farm.store.input_dropped(job.id).await?;
    }
    Ok(())
}

async fn files(farm: &Farm) -> Result<(), StoreError> {
    for upload in farm.store.expired_uploads().await? {
        farm.store.end_upload(upload, false).await?;
        farm.blobs.drop_upload(upload);
    }
    for (tenant, digest) in farm.store.expired_artifacts().await? {
        forget(farm, tenant, &digest).await?;
    }
    farm.store.sweep().await
}

/// Deletes an artifact unless something live needs it.
async fn forget(farm: &Farm, tenant: TenantId, digest: &Digest) -> Result<(), StoreError> {
    let _collecting = farm.blobs.collect().await;
    if farm.store.remove_artifact(tenant, digest).await? {
        farm.blobs.remove(digest);
    }
    Ok(())
}
