//! Artifacts: uploads in chunks that resume, reads in ranges.

use std::sync::PoisonError;

use super::{Gateway, GatewayError};
use crate::{
    config,
    store::{Artifact, ArtifactKind, BlobError, Digest, Upload, UploadId},
};

/// An upload with the bytes that are on disk.
#[derive(Clone, Debug)]
pub struct UploadState {
    /// The upload.
    pub upload: Upload,
    /// Where to go on.
    pub committed: u64,
}

/// The one writer of an upload.
#[derive(Debug)]
pub(crate) struct UploadWriter {
    gateway: Gateway,
    upload: Upload,
    committed: u64,
}

impl Drop for UploadWriter {
    fn drop(&mut self) {
        self.gateway
            .writing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.upload.id);
    }
}

fn max_size(kind: ArtifactKind) -> Option<u64> {
    match kind {
        ArtifactKind::Model => Some(config::MAX_MODEL_BYTES),
        ArtifactKind::Input | ArtifactKind::Calibration => Some(config::MAX_TENSOR_FILE_BYTES),
        ArtifactKind::Settings => Some(config::MAX_SETTINGS_BYTES),
        _ => None,
    }
}

impl Gateway {
    /// The digests that the tenant did not upload yet.
    pub(crate) async fn find_missing(
        &self,
        digests: Vec<Digest>,
    ) -> Result<Vec<Digest>, GatewayError> {
        if digests.len() > 1000 {
            let message = format!("{} digests, at most 1000 in a call", digests.len());
            return Err(GatewayError::invalid("digests", "TOO_MANY", message));
        }
        Ok(self
            .farm
            .store
            .missing_artifacts(self.tenant, &digests)
            .await?)
    }

    /// Begins or resumes an upload; `None` when the artifact is already there.
    pub(crate) async fn start_upload(
        &self,
        digest: Digest,
        size: u64,
        kind: ArtifactKind,
    ) -> Result<Option<UploadState>, GatewayError> {
        let Some(max) = max_size(kind) else {
            let message = format!(
                "{kind} is made by the server; MODEL_ONNX, CALIBRATION, SETTINGS and INPUT are uploaded"
            );
            return Err(GatewayError::invalid(
                "kind",
                "KIND_NOT_UPLOADABLE",
                message,
            ));
        };
        if size > max {
            return Err(GatewayError::invalid(
                "size",
                "TOO_LARGE",
                format!("{size} bytes, a {kind} has at most {max}"),
            ));
        }
        if self
            .farm
            .store
            .artifact(self.tenant, &digest)
            .await?
            .is_some()
        {
            return Ok(None);
        }
        self.check_room(size).await?;
        let upload = self
            .farm
            .store
            .start_upload(self.tenant, digest, size, kind)
            .await?;
        if upload.size != size {
            let message = format!(
                "an upload of this digest with {} bytes is under way, not {size}",
                upload.size
            );
            return Err(GatewayError::invalid("size", "SIZE_MISMATCH", message));
        }
        if upload.kind != kind {
            let message = format!(
                "an upload of this digest as {} is under way, not as {kind}",
                upload.kind
            );
            return Err(GatewayError::invalid("kind", "KIND_MISMATCH", message));
        }
        Ok(Some(self.state(upload)?))
    }

    fn state(&self, upload: Upload) -> Result<UploadState, GatewayError> {
        let committed = self.farm.blobs.upload_size(upload.id, upload.kind)?;
        Ok(UploadState { upload, committed })
    }

    /// Where an upload stands.
    pub(crate) async fn upload(&self, id: UploadId) -> Result<UploadState, GatewayError> {
        self.state(self.farm.store.upload(self.tenant, id).await?)
    }

    /// Takes the right to write an upload, from its committed size on.
    pub(crate) async fn write_upload(
        &self,
        id: UploadId,
        offset: u64,
    ) -> Result<UploadWriter, GatewayError> {
        let upload = self.farm.store.upload(self.tenant, id).await?;
        if !self
            .writing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id)
        {
            return Err(GatewayError::UploadBusy);
        }
        let mut writer = UploadWriter {
            gateway: self.clone(),
            upload,
            committed: 0,
        };
        writer.committed = self.farm.blobs.upload_size(id, writer.upload.kind)?;
        writer.check_offset("header.write_offset", offset)?;
        Ok(writer)
    }

    /// Hashes the bytes of an upload and records the artifact. That somebody filed the same bytes before is no substitute for sending them.
    pub(crate) async fn finish_upload(&self, id: UploadId) -> Result<Artifact, GatewayError> {
        let upload = self.farm.store.upload(self.tenant, id).await?;
        if !self
            .writing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id)
        {
            return Err(GatewayError::UploadBusy);
        }
        let writer = UploadWriter {
            gateway: self.clone(),
            upload: upload.clone(),
            committed: 0,
        };
        let _pinned = self.farm.blobs.pin().await;
        let (blobs, kind, digest, size) = (
            std::sync::Arc::clone(&self.farm.blobs),
            upload.kind,
            upload.digest,
            upload.size,
        );
        let filed = move || blobs.adopt_upload(id, kind, &digest, size);
        let adopted = tokio::task::spawn_blocking(filed)
            .await
            .map_err(|_| GatewayError::Internal("filing the upload met a defect".into()))?;
        match adopted {
            Ok(()) => {}
            Err(BlobError::Digest { expected, got }) => {
                // These bytes can never become right: the next StartUpload begins afresh.
                self.farm.store.end_upload(id, false).await?;
                self.farm.blobs.drop_upload(id);
                let message = format!(
                    "the uploaded bytes have sha256 {got}, announced was {expected}; upload them again"
                );
                return Err(GatewayError::invalid(
                    "upload_id",
                    "DIGEST_MISMATCH",
                    message,
                ));
            }
            Err(BlobError::Length { expected, got }) => {
                let message =
                    format!("{got} of {expected} bytes were written; go on at offset {got}");
                return Err(GatewayError::invalid(
                    "upload_id",
                    "UPLOAD_INCOMPLETE",
                    message,
                ));
            }
            Err(e) => return Err(e.into()),
        }
        self.farm.store.end_upload(id, true).await?;
        drop(writer);
        self.artifact(&upload.digest).await
    }

    /// The record of an artifact.
    pub(crate) async fn artifact(&self, digest: &Digest) -> Result<Artifact, GatewayError> {
        let found = self.farm.store.artifact(self.tenant, digest).await?;
        found.ok_or_else(|| GatewayError::NotFound {
            kind: "artifact",
            id: digest.to_string(),
        })
    }

    /// At most one chunk of an artifact.
    pub(crate) async fn read_artifact(
        &self,
        digest: Digest,
        offset: u64,
        len: u64,
    ) -> Result<Vec<u8>, GatewayError> {
        let blobs = std::sync::Arc::clone(&self.farm.blobs);
        let len = len.min(config::MAX_CHUNK_BYTES as u64);
        let read =
            tokio::task::spawn_blocking(move || blobs.read_range(&digest, offset, len)).await;
        Ok(read.map_err(|_| GatewayError::Internal("reading met a defect".into()))??)
    }
}

impl UploadWriter {
    fn check_offset(&self, field: &'static str, offset: u64) -> Result<(), GatewayError> {
        if offset != self.committed {
            let message = format!("expected offset {}, got {offset}", self.committed);
            return Err(GatewayError::invalid(field, "OFFSET_MISMATCH", message));
        }
        Ok(())
    }

    /// Bytes on disk.
    pub(crate) fn committed(&self) -> u64 {
        self.committed
    }

    /// Appends a chunk, unless the upload was given up.
    pub(crate) async fn write(
        mut self,
        offset: u64,
        data: Vec<u8>,
        crc32c: u32,
    ) -> Result<Self, GatewayError> {
        self.check_offset("chunk.offset", offset)?;
        if data.len() > config::MAX_CHUNK_BYTES {
            let message = format!(
                "{} bytes, at most {} in a chunk",
                data.len(),
                config::MAX_CHUNK_BYTES
            );
            return Err(GatewayError::invalid(
                "chunk.data",
                "CHUNK_TOO_LARGE",
                message,
            ));
        }
        let got = crc32c::crc32c(&data);
        if got != crc32c {
            let message = format!("expected {crc32c:#010x}, got {got:#010x}; send the chunk again");
            return Err(GatewayError::invalid(
                "chunk.crc32c",
                "CHECKSUM_MISMATCH",
                message,
            ));
        }
        let end = self.committed + data.len() as u64;
        if end > self.upload.size {
            let message = format!("byte {end} is beyond the announced {}", self.upload.size);
            return Err(GatewayError::invalid(
                "chunk.data",
                "UPLOAD_TOO_LONG",
                message,
            ));
        }
        let store = &self.gateway.farm.store;
        store.upload(self.gateway.tenant, self.upload.id).await?;
        let (blobs, id, kind) = (
            std::sync::Arc::clone(&self.gateway.farm.blobs),
            self.upload.id,
            self.upload.kind,
        );
        let written = tokio::task::spawn_blocking(move || blobs.append_upload(id, kind, &data));
        written
            .await
            .map_err(|_| GatewayError::Internal("writing met a defect".into()))??;
        self.committed = end;
        Ok(self)
    }
}
