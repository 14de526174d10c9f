//! `Debug` of the messages that may carry a private input: sizes, never bytes.

use std::fmt;

use super::proto::{Chunk, CreateJobRequest, create_job_request::Input};

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InlineInput(bytes) => write!(f, "{} bytes inline", bytes.len()),
            Self::InputArtifact(digest) => write!(f, "{digest:?}"),
        }
    }
}

impl fmt::Debug for CreateJobRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateJobRequest")
            .field("circuit", &self.circuit)
            .field("input", &self.input)
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk")
            .field("offset", &self.offset)
            .field("len", &self.data.len())
            .finish_non_exhaustive()
    }
}
