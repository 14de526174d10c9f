//! A file on its way out, in chunks with checksums.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
};

use tonic::Status;

use crate::{
    api::{
        answers::{Answers, Sender, answers},
        proto,
    },
    auth::crowd::Place,
    config,
    farm::desk::Fetched,
    gateway::GatewayError,
    store::NodeId,
};

/// The chunks of a file.
pub(super) type Chunks = Answers<proto::ReadArtifactResponse>;

fn read(mut file: File) -> Result<(File, Vec<u8>), GatewayError> {
    let mut data = Vec::with_capacity(config::MAX_CHUNK_BYTES);
    let most = config::MAX_CHUNK_BYTES as u64;
    file.by_ref()
        .take(most)
        .read_to_end(&mut data)
        .map_err(|e| GatewayError::Internal(format!("a file for a node: {e}")))?;
    Ok((file, data))
}

/// Streams `file` from `offset` on; `place` is held as long as that takes.
pub(super) fn stream(file: Fetched, offset: u64, place: Place<NodeId>) -> Result<Chunks, Status> {
    if offset > file.size {
        let message = format!("{offset} is beyond the file's {} bytes", file.size);
        return Err(GatewayError::invalid("offset", "OFFSET_BEYOND_END", message).into());
    }
    Ok(answers(2, place, async move |sender: Sender<_>| {
        let opened = tokio::task::spawn_blocking(move || {
            let mut open = File::open(&file.path)?;
            open.seek(SeekFrom::Start(offset))?;
            Ok::<_, std::io::Error>(open)
        });
        let defect = |_| GatewayError::Internal("reading a file met a defect".to_owned());
        let lost = |e| GatewayError::Internal(format!("a file for a node: {e}"));
        let mut file = opened.await.map_err(defect)?.map_err(lost)?;
        let mut at = offset;
        loop {
            let next = tokio::task::spawn_blocking(move || read(file)).await;
            let (open, data) = next.map_err(defect)??;
            if data.is_empty() {
                return Ok(());
            }
            file = open;
            let chunk = proto::Chunk {
                offset: at,
                crc32c: crc32c::crc32c(&data),
                data,
            };
            at += chunk.data.len() as u64;
            let answer = proto::ReadArtifactResponse { chunk: Some(chunk) };
            sender.send(answer).await?;
        }
    }))
}
