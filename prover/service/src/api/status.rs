//! Every error as a gRPC status with details: the one table.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    auth::{crowd::Crowded, retry_after, trace::TraceContext},
    farm::job::Refusal,
    gateway::GatewayError,
    store::{StoreError, cut},
};

const DOMAIN: &str = "zkinfer";
/// Longest message: message and details together stay far below the 16 KiB of trailers that clients accept.
const MAX_MESSAGE_BYTES: usize = 1024;

impl From<GatewayError> for Status {
    fn from(error: GatewayError) -> Self {
        let request_id = request_id();
        let (code, mut details) = classify(&error);
        let mut message = error.to_string();
        if code == Code::Internal {
            // What is inside is for the operator; the client gets the id to ask with.
            tracing::error!(request_id, %error, "request failed");
            message = format!(
                "internal error; the server's log explains it under request id {request_id}"
            );
        } else {
            // Not the message: it may quote an input.
            tracing::debug!(request_id, ?code, "request refused");
        }
        details.set_request_info(request_id, "");
        Status::with_error_details(code, cut(message, MAX_MESSAGE_BYTES), details)
    }
}

/// The trace that the error belongs to; outside of any, a name of its own.
fn request_id() -> String {
    TraceContext::current().map_or_else(
        || uuid::Uuid::new_v4().simple().to_string(),
        |trace| trace.id(),
    )
}

/// A refusal that no handler made.
pub(crate) fn refuse(code: Code, why: &str, message: &str, wait: Option<Duration>) -> Status {
    let mut details = reason(why, &[]);
    details.set_request_info(request_id(), "");
    if wait.is_some() {
        details.set_retry_info(wait);
    }
    Status::with_error_details(code, cut(message.to_owned(), MAX_MESSAGE_BYTES), details)
}

/// A refusal of what may come again after `wait`.
pub(crate) fn busy(message: &str, wait: Duration) -> Status {
    let wait = Some(retry_after(wait));
    refuse(Code::ResourceExhausted, "RATE_LIMITED", message, wait)
}

impl From<Crowded> for Status {
    fn from(crowded: Crowded) -> Self {
        busy(&crowded.to_string(), Duration::ZERO)
    }
}

fn reason(reason: &str, metadata: &[(&str, String)]) -> ErrorDetails {
    let metadata: HashMap<String, String> = metadata
        .iter()
        .map(|(k, v)| ((*k).to_owned(), v.clone()))
        .collect();
    ErrorDetails::with_error_info(reason, DOMAIN, metadata)
}

fn classify(error: &GatewayError) -> (Code, ErrorDetails) {
    match error {
        GatewayError::Invalid {
            field,
            reason: why,
            message,
        } => {
            let mut details = reason(why, &[]);
            details.add_bad_request_violation(*field, cut(message.clone(), MAX_MESSAGE_BYTES));
            (Code::InvalidArgument, details)
        }
        GatewayError::NotFound { kind, id } => not_found(kind, id),
        GatewayError::NoProof { state, why } => {
            let pending = why.clone().unwrap_or_default();
            (
                Code::FailedPrecondition,
                reason(
                    "NO_PROOF",
                    &[("state", state.to_string()), ("failure", pending)],
                ),
            )
        }
        GatewayError::NoExample => (Code::FailedPrecondition, reason("NO_EXAMPLE_PROOF", &[])),
        GatewayError::UploadBusy => retry(Code::Aborted, "UPLOAD_BUSY", 1),
        GatewayError::Draining => retry(Code::Unavailable, "DRAINING", 5),
        GatewayError::Blob(_) | GatewayError::Internal(_) => {
            (Code::Internal, reason("INTERNAL", &[]))
        }
        GatewayError::Store(e) => classify_store(e),
    }
}

fn classify_store(error: &StoreError) -> (Code, ErrorDetails) {
    match error {
        StoreError::NotFound { kind, id } => not_found(kind, id),
        StoreError::Exists { kind, id } => {
            let mut details = reason("ALREADY_EXISTS", &[]);
            details.set_resource_info(*kind, cut(id.clone(), 256), "", "exists");
            (Code::AlreadyExists, details)
        }
        StoreError::RequestIdReused(_) => {
            let mut details = reason("REQUEST_ID_REUSED", &[]);
            details.add_bad_request_violation("request_id", "already used with another body");
            (Code::InvalidArgument, details)
        }
        StoreError::Quota {
            what, used, limit, ..
        } => {
            let mut details = reason(
                "QUOTA",
                &[("used", used.to_string()), ("limit", limit.to_string())],
            );
            details.add_quota_failure_violation(*what, format!("{used} of {limit} in use"));
            details.set_retry_info(Some(Duration::from_secs(5)));
            (Code::ResourceExhausted, details)
        }
        StoreError::CircuitNotReady { circuit, state } => {
            let mut details = reason("CIRCUIT_NOT_READY", &[("state", state.to_string())]);
            details.add_precondition_failure_violation(
                "STATE",
                circuit.to_string(),
                format!("is {state}, not READY"),
            );
            (Code::FailedPrecondition, details)
        }
        StoreError::EtagMismatch { now } => (
            Code::Aborted,
            reason("ETAG_MISMATCH", &[("etag", now.to_string())]),
        ),
        StoreError::Refused(refusal) => {
            let why = match refusal {
                Refusal::Terminal(_) => "JOB_ENDED",
                Refusal::Stale { .. } => "STALE_ATTEMPT",
                Refusal::Impossible(_) => "WRONG_STATE",
            };
            (Code::FailedPrecondition, reason(why, &[]))
        }
        StoreError::DiskFull => disk_full(),
        StoreError::Database(_) => retry(Code::Unavailable, "STORE_DOWN", 2),
        StoreError::Corrupt(_) | StoreError::Newer { .. } => {
            (Code::Internal, reason("INTERNAL", &[]))
        }
    }
}

fn not_found(kind: &str, id: &str) -> (Code, ErrorDetails) {
    let mut details = reason("NOT_FOUND", &[]);
    details.set_resource_info(kind, cut(id.to_owned(), 256), "", "does not exist");
    (Code::NotFound, details)
}

fn retry(code: Code, why: &str, seconds: u64) -> (Code, ErrorDetails) {
    let mut details = reason(why, &[]);
    details.set_retry_info(Some(Duration::from_secs(seconds)));
    (code, details)
}

fn disk_full() -> (Code, ErrorDetails) {
    retry(Code::ResourceExhausted, "DISK_FULL", 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::JobState;

    #[test]
    fn a_message_of_a_megabyte_is_cut_to_a_kibibyte() {
        let status = Status::from(GatewayError::invalid(
            "input",
            "BAD_INPUT",
            "x".repeat(1 << 20),
        ));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().len() <= MAX_MESSAGE_BYTES);
        assert!(status.details().len() <= 8192);
    }

    #[test]
    fn every_status_carries_a_request_id_and_a_reason() {
        let errors = [
            GatewayError::Draining,
            GatewayError::UploadBusy,
            GatewayError::NoProof {
                state: JobState::Running,
                why: None,
            },
            GatewayError::Store(StoreError::RequestIdReused("id".into())),
            GatewayError::Store(StoreError::DiskFull),
            GatewayError::Internal("secret path".into()),
        ];
        for error in errors {
            let status = Status::from(error);
            assert!(
                status
                    .get_details_request_info()
                    .is_some_and(|r| !r.request_id.is_empty())
            );
            assert!(
                status
                    .get_details_error_info()
                    .is_some_and(|r| !r.reason.is_empty())
            );
            assert!(!status.message().contains("secret"));
        }
    }
}
