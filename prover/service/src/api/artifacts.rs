//! The Artifacts service.

use std::{sync::Arc, time::Duration};

use tonic::{Code, Request, Response, Status, Streaming};

use super::{
    answers::{Answers, Sender, answers},
    caller, convert, proto, status,
};
use crate::{
    auth::crowd::Crowd,
    config,
    gateway::{Gateway, GatewayError},
    store::TenantId,
};

/// The longest silence of an upload.
const PAUSE: Duration = Duration::from_secs(30);

/// Serves Artifacts.
#[derive(Debug, Clone)]
pub(super) struct Artifacts {
    pub gateway: Gateway,
    pub streams: Arc<Crowd<TenantId>>,
}

impl Artifacts {
    /// The gateway, for the resources of the caller.
    fn of<T>(&self, request: &Request<T>) -> Result<Gateway, Status> {
        Ok(self.gateway.of(caller(request)?.tenant))
    }
}

#[tonic::async_trait]
impl proto::artifacts_server::Artifacts for Artifacts {
    async fn find_missing(
        &self,
        request: Request<proto::FindMissingRequest>,
    ) -> Result<Response<proto::FindMissingResponse>, Status> {
        let gateway = self.of(&request)?;
        let digests = request
            .get_ref()
            .digests
            .iter()
            .map(|d| convert::digest("digests", Some(d)));
        let missing = gateway
            .find_missing(digests.collect::<Result<_, _>>()?)
            .await?;
        Ok(Response::new(convert::missing(&missing)))
    }

    async fn start_upload(
        &self,
        request: Request<proto::StartUploadRequest>,
    ) -> Result<Response<proto::StartUploadResponse>, Status> {
        let gateway = self.of(&request)?;
        let m = request.into_inner();
        let digest = convert::digest("digest", m.digest.as_ref())?;
        let kind = convert::artifact_kind(m.kind)?;
        let work = gateway.clone();
        let state = gateway
            .detached(async move { work.start_upload(digest, m.size, kind).await })
            .await?;
        Ok(Response::new(convert::started(state.as_ref())))
    }

    async fn write_artifact(
        &self,
        request: Request<Streaming<proto::WriteArtifactRequest>>,
    ) -> Result<Response<proto::WriteArtifactResponse>, Status> {
        use proto::write_artifact_request::Message;
        let gateway = self.of(&request)?;
        let mut stream = request.into_inner();
        let no_header = || {
            GatewayError::invalid(
                "header",
                "HEADER_MISSING",
                "the first message must be the header",
            )
        };
        let mut next = async || {
            let read = tokio::time::timeout(PAUSE, stream.message()).await;
            let slow = |_| {
                let message = "an upload goes on without pauses of 30 s; go on after GetUpload";
                status::refuse(Code::DeadlineExceeded, "TOO_SLOW", message, None)
            };
            read.map_err(slow)?
        };
        let first = next().await?.and_then(|m| m.message);
        let Some(Message::Header(header)) = first else {
            return Err(no_header().into());
        };
        let mut writer = gateway
            .write_upload(convert::upload_id(&header.upload_id)?, header.write_offset)
            .await?;
        while let Some(message) = next().await? {
            let Some(Message::Chunk(chunk)) = message.message else {
                return Err(GatewayError::invalid(
                    "chunk",
                    "CHUNK_MISSING",
                    "expected a chunk after the header",
                )
                .into());
            };
            let bytes = chunk.data.len() as u64;
            gateway.farm().metrics.artifact_bytes("in", bytes);
            // A client that goes away half-way leaves a whole chunk or none.
            writer = gateway
                .detached(writer.write(chunk.offset, chunk.data, chunk.crc32c))
                .await?;
        }
        Ok(Response::new(proto::WriteArtifactResponse {
            committed_size: writer.committed(),
        }))
    }

    async fn get_upload(
        &self,
        request: Request<proto::GetUploadRequest>,
    ) -> Result<Response<proto::Upload>, Status> {
        let state = self
            .of(&request)?
            .upload(convert::upload_id(&request.get_ref().upload_id)?)
            .await?;
        Ok(Response::new(convert::upload(&state)))
    }

    async fn finish_upload(
        &self,
        request: Request<proto::FinishUploadRequest>,
    ) -> Result<Response<proto::Artifact>, Status> {
        let gateway = self.of(&request)?;
        let id = convert::upload_id(&request.get_ref().upload_id)?;
        let work = gateway.clone();
        let artifact = gateway
            .detached(async move { work.finish_upload(id).await })
            .await?;
        Ok(Response::new(convert::artifact(&artifact)))
    }

    type ReadArtifactStream = Answers<proto::ReadArtifactResponse>;

    async fn read_artifact(
        &self,
        request: Request<proto::ReadArtifactRequest>,
    ) -> Result<Response<Self::ReadArtifactStream>, Status> {
        let gateway = self.of(&request)?;
        let place = self.streams.enter(gateway.tenant())?;
        let m = request.into_inner();
        let digest = convert::digest("digest", m.digest.as_ref())?;
        let size = gateway.artifact(&digest).await?.size;
        if m.offset > size {
            let message = format!("{} is beyond the artifact's {size} bytes", m.offset);
            return Err(GatewayError::invalid("offset", "OFFSET_BEYOND_END", message).into());
        }
        let end = if m.limit == 0 {
            size
        } else {
            size.min(m.offset.saturating_add(m.limit))
        };
        let work = async move |sender: Sender<_>| {
            let mut offset = m.offset;
            while offset < end {
                let len = (end - offset).min(config::MAX_CHUNK_BYTES as u64);
                let data = gateway.read_artifact(digest, offset, len).await?;
                if data.is_empty() {
                    let message = format!("{digest} is shorter than recorded");
                    return Err(GatewayError::Internal(message).into());
                }
                let chunk = proto::Chunk {
                    offset,
                    crc32c: crc32c::crc32c(&data),
                    data,
                };
                let bytes = chunk.data.len() as u64;
                gateway.farm().metrics.artifact_bytes("out", bytes);
                offset += bytes;
                let answer = proto::ReadArtifactResponse { chunk: Some(chunk) };
                sender.send(answer).await?;
            }
            Ok(())
        };
        Ok(Response::new(answers(2, place, work)))
    }

    async fn get_artifact(
        &self,
        request: Request<proto::GetArtifactRequest>,
    ) -> Result<Response<proto::Artifact>, Status> {
        let digest = convert::digest("digest", request.get_ref().digest.as_ref())?;
        Ok(Response::new(convert::artifact(
            &self.of(&request)?.artifact(&digest).await?,
        )))
    }
}
