//! What time does to jobs and files: deadlines, private inputs of jobs that ended, uploads nobody finished.

use std::{sync::Arc, time::Duration};

use super::Farm;
use crate::store::{Digest, StoreError, TenantId};

const EVERY: Duration = Duration::from_secs(2);
const FILES_EVERY: u32 = 30;

/// Runs until the farm stops.
pub(super) async fn run(farm: Arc<Farm>) {
    let mut round = 0u32;
    loop {
        if let Err(error) = turn(&farm, round.is_multiple_of(FILES_EVERY)).await {
            tracing::error!(%error, "the reaper failed");
        }
        round = round.wrapping_add(1);
        tokio::select! {
            () = farm.stopping.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn turn(farm: &Farm, files: bool) -> Result<(), StoreError> {
    for job in farm.store.expire().await? {
        farm.live.stop(job.id);
        farm.live.forget_nodes_of(job.id);
        tracing::info!(job = %job.id, "expired");
    }
    for attempt in farm.store.expire_leases().await? {
        farm.live.forget(attempt);
        tracing::warn!(%attempt, "lease expired");
    }
    for job in farm.store.private_inputs_to_drop().await? {
        for digest in [job.input, job.input_artifact].into_iter().flatten() {
            forget(farm, job.tenant, &digest).await?;
        }
        farm.store.input_dropped(job.id).await?;
    }
    if files {
        for upload in farm.store.expired_uploads().await? {
            farm.store.end_upload(upload, false).await?;
            farm.blobs.drop_upload(upload);
        }
        for (tenant, digest) in farm.store.expired_artifacts().await? {
            forget(farm, tenant, &digest).await?;
        }
        farm.store.sweep().await?;
    }
    Ok(())
}

/// Deletes an artifact unless something live needs it.
async fn forget(farm: &Farm, tenant: TenantId, digest: &Digest) -> Result<(), StoreError> {
    let _collecting = farm.blobs.collect().await;
    if farm.store.remove_artifact(tenant, digest).await? {
        farm.blobs.remove(digest);
    }
    Ok(())
}
