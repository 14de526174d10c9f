//! `Debug` of the messages that may carry a private input or a secret: sizes and names, never bytes.

use std::fmt;

use super::proto::{
    Chunk, CreateApiKeyResponse, CreateEnrollTokenResponse, CreateJobRequest, EnrollRequest,
    create_job_request::Input,
};

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

impl fmt::Debug for CreateApiKeyResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateApiKeyResponse")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CreateEnrollTokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateEnrollTokenResponse")
            .field("expire_time", &self.expire_time)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for EnrollRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnrollRequest")
            .field("node_name", &self.node_name)
            .field("csr_len", &self.csr_der.len())
            .finish_non_exhaustive()
    }
}
