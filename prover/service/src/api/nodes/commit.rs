//! A proof on its way in: bounded before it is held, and no slower than it may be.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status, Streaming};

use super::convert;
use crate::{
    api::{proto, status},
    farm::{desk::MAX_PROOF_BYTES, lease::Finished},
    gateway::GatewayError,
    store::Digest,
};

/// The longest silence.
const PROGRESS: Duration = Duration::from_secs(10);
/// The longest time for all of it.
const TOTAL: Duration = Duration::from_secs(60);

fn invalid(field: &'static str, reason: &'static str, message: impl Into<String>) -> Status {
    GatewayError::invalid(field, reason, message).into()
}

/// Reads a proof.
pub(super) async fn read(
    mut stream: Streaming<proto::CommitProofRequest>,
) -> Result<Finished, Status> {
    use proto::commit_proof_request::Message;
    let ends = Instant::now() + TOTAL;
    let mut next = async || {
        let by = ends.min(Instant::now() + PROGRESS);
        let read = timeout_at(by, stream.message()).await;
        let slow = |_| {
            let message = "a proof is sent within 60 s, without pauses of 10 s";
            status::refuse(Code::DeadlineExceeded, "TOO_SLOW", message, None)
        };
        Ok::<_, Status>(read.map_err(slow)??.and_then(|m| m.message))
    };
    let Some(Message::Header(header)) = next().await? else {
        let message = "the first message must be the header";
        return Err(invalid("header", "HEADER_MISSING", message));
    };
    let mut finished = convert::finished(&header)?;
    if header.proof_size > MAX_PROOF_BYTES {
        // Too long whatever its bytes are: the desk refuses it, and counts it, without them.
        let more = usize::try_from(MAX_PROOF_BYTES).unwrap_or(usize::MAX - 1) + 1;
        finished.proof = vec![0; more];
        return Ok(finished);
    }
    let size = usize::try_from(header.proof_size).unwrap_or(usize::MAX);
    let mut proof = Vec::with_capacity(size);
    while let Some(message) = next().await? {
        let Message::Chunk(chunk) = message else {
            return Err(invalid("chunk", "CHUNK_MISSING", "one header, then chunks"));
        };
        if chunk.len() > size - proof.len() {
            let message = format!("more bytes than the {size} that were announced");
            return Err(invalid("chunk", "PROOF_TOO_LONG", message));
        }
        proof.extend_from_slice(&chunk);
    }
    if proof.len() != size {
        let message = format!("{} of {size} announced bytes", proof.len());
        return Err(invalid("chunk", "PROOF_INCOMPLETE", message));
    }
    let announced = super::super::convert::digest("proof_digest", header.proof_digest.as_ref())?;
    let got = Digest::of(&proof);
    if got != announced {
        let message = format!("the bytes have sha256 {got}, announced was {announced}");
        return Err(invalid("proof_digest", "DIGEST_MISMATCH", message));
    }
    finished.proof = proof;
    Ok(finished)
}
