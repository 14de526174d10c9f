//! `Debug` of the messages that may carry a private input: sizes, never bytes.

use std::fmt;

use super::proto::{Chunk, CreateJobRequest, create_job_request::Input};

impl fmt::Debug for CreateJobRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let input = match &self.input {
            Some(Input::InlineInput(bytes)) => format!("{} bytes inline", bytes.len()),
            Some(Input::InputArtifact(_)) => "artifact".to_owned(),
            None => "none".to_owned(),
        };
        f.debug_struct("CreateJobRequest")
            .field("circuit", &self.circuit)
            .field("input", &input)
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk").field("offset", &self.offset).field("len", &self.data.len()).finish_non_exhaustive()
    }
}
