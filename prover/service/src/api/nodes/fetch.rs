//! A file on its way out, in chunks with checksums.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    time::Duration,
};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::{
    api::proto,
    auth::{peer::Place, trace::carry},
    config,
    farm::desk::Fetched,
    gateway::GatewayError,
};

/// The longest time that a node may leave a chunk unread.
const UNREAD: Duration = Duration::from_secs(60);

/// The chunks of a file.
pub(super) type Chunks = ReceiverStream<Result<proto::ReadArtifactResponse, Status>>;

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
pub(super) fn stream(file: Fetched, offset: u64, place: Place) -> Result<Chunks, Status> {
    if offset > file.size {
        let message = format!("{offset} is beyond the file's {} bytes", file.size);
        return Err(GatewayError::invalid("offset", "OFFSET_BEYOND_END", message).into());
    }
    let (sender, receiver) = mpsc::channel(2);
    let work = async move {
        let _place = place;
        let opened = tokio::task::spawn_blocking(move || {
            let mut open = File::open(&file.path)?;
            open.seek(SeekFrom::Start(offset))?;
            Ok::<_, std::io::Error>(open)
        });
        let defect = |_| GatewayError::Internal("reading a file met a defect".to_owned());
        let mut file = match opened.await.map_err(defect) {
            Ok(Ok(file)) => file,
            Ok(Err(e)) => {
                let lost = GatewayError::Internal(format!("a file for a node: {e}"));
                let _ = sender.send(Err(lost.into())).await;
                return;
            }
            Err(e) => {
                let _ = sender.send(Err(e.into())).await;
                return;
            }
        };
        let mut at = offset;
        loop {
            let next = tokio::task::spawn_blocking(move || read(file)).await;
            let answer = match next.map_err(defect).and_then(|read| read) {
                Ok((_, data)) if data.is_empty() => return,
                Ok((open, data)) => {
                    file = open;
                    let chunk = proto::Chunk {
                        offset: at,
                        crc32c: crc32c::crc32c(&data),
                        data,
                    };
                    at += chunk.data.len() as u64;
                    proto::ReadArtifactResponse { chunk: Some(chunk) }
                }
                Err(e) => {
                    let _ = sender.send(Err(e.into())).await;
                    return;
                }
            };
            match tokio::time::timeout(UNREAD, sender.send(Ok(answer))).await {
                Ok(Ok(())) => {}
                _ => return,
            }
        }
    };
    tokio::spawn(carry(work));
    Ok(ReceiverStream::new(receiver))
}
