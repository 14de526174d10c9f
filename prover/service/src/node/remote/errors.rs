//! What a refused or broken call means for the node, and the sentences for whoever joins one.

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::super::home::HomeError;
use crate::{farm::lease::UplinkError, store::cut};

/// Longest text of the gateway that is repeated.
const MAX_TEXT_BYTES: usize = 1024;

/// Why a node did not join, or has no new certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// It is no address.
    #[error("--gateway {address}: {reason}")]
    Address {
        /// What was said.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// It is no token.
    #[error(
        "--token: not an enrollment token; expected zkt1.….… as `zkinfer token create` prints it, on one line"
    )]
    Token,
    /// Nobody answers.
    #[error("the gateway does not answer at {gateway}: {reason}")]
    Unreachable {
        /// Where.
        gateway: String,
        /// Why.
        reason: String,
    },
    /// Somebody else answers.
    #[error(
        "{gateway} is not the gateway that made this token: its certificate comes from another authority; check the address, or make a \
         token there with `zkinfer token create`"
    )]
    OtherGateway {
        /// Where.
        gateway: String,
    },
    /// The gateway does not take the token or the certificate.
    #[error(
        "the gateway refuses: {0}; a token works once and for 15 minutes, make another with `zkinfer token create`"
    )]
    Refused(String),
    /// Another version.
    #[error(
        "the gateway does not speak this version's language ({0}); use the same zkinfer version on both sides"
    )]
    Version(String),
    /// The gateway's answer lacks something.
    #[error("the gateway's answer has no certificate; use the same zkinfer version on both sides")]
    Answer,
    /// No key or request can be made.
    #[error("making a key: {0}")]
    Key(String),
    /// The folder cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
}

/// A line that broke: the call is made again.
pub(super) fn broken(why: impl Into<String>) -> UplinkError {
    UplinkError::Unreachable(cut(why.into(), MAX_TEXT_BYTES))
}

/// What a status of the gateway means.
#[allow(clippy::needless_pass_by_value)]
pub(super) fn refused(status: Status) -> UplinkError {
    let reason = status.get_details_error_info().map(|info| info.reason);
    if matches!(reason.as_deref(), Some("STALE_SESSION" | "SESSION_STALE")) {
        return UplinkError::StaleSession;
    }
    let text = cut(status.message().to_owned(), MAX_TEXT_BYTES);
    match status.code() {
        Code::Unauthenticated
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::InvalidArgument
        | Code::NotFound
        | Code::OutOfRange => UplinkError::Refused(text),
        Code::Unimplemented => UplinkError::Refused(format!(
            "it does not know this call ({text}); use the same zkinfer version on both sides"
        )),
        code => broken(match reasons(&status) {
            Some(reasons) => format!("{code:?}: {text}: {reasons}"),
            None => format!("{code:?}: {text}"),
        }),
    }
}

/// The chain of causes below an error, without repetitions.
fn reasons(error: &dyn std::error::Error) -> Option<String> {
    let mut next = error.source();
    let mut all: Vec<String> = Vec::new();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !all.iter().any(|known| known.contains(&text)) {
            all.push(text);
        }
        next = cause.source();
    }
    (!all.is_empty()).then(|| cut(all.join(": "), MAX_TEXT_BYTES))
}

/// A connection that cannot be made.
pub(super) fn no_connection(gateway: &str, error: &tonic::transport::Error) -> JoinError {
    let reason = reasons(error).unwrap_or_else(|| error.to_string());
    let gateway = gateway.to_owned();
    // A certificate of another authority, or no certificate for nodes.
    if [
        "UnknownIssuer",
        "BadSignature",
        "NotValidForName",
        "invalid peer certificate",
    ]
    .iter()
    .any(|word| reason.contains(word))
    {
        return JoinError::OtherGateway { gateway };
    }
    JoinError::Unreachable { gateway, reason }
}

/// An enrollment that was refused.
pub(super) fn not_enrolled(gateway: &str, status: &Status) -> JoinError {
    let text = cut(status.message().to_owned(), MAX_TEXT_BYTES);
    match status.code() {
        Code::Unauthenticated
        | Code::PermissionDenied
        | Code::InvalidArgument
        | Code::NotFound
        | Code::FailedPrecondition => JoinError::Refused(text),
        Code::Unimplemented => JoinError::Version(text),
        _ => JoinError::Unreachable {
            gateway: gateway.to_owned(),
            reason: reasons(status).map_or(text.clone(), |r| format!("{text}: {r}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn each_status_is_asked_again_given_up_or_a_new_session() {
        let stale = Status::with_error_details(
            Code::FailedPrecondition,
            "over",
            ErrorDetails::with_error_info(
                "STALE_SESSION",
                "zkinfer",
                [("a".to_owned(), "b".to_owned())],
            ),
        );
        assert!(matches!(refused(stale), UplinkError::StaleSession));
        for code in [
            Code::Unauthenticated,
            Code::PermissionDenied,
            Code::Unimplemented,
        ] {
            assert!(matches!(
                refused(Status::new(code, "no")),
                UplinkError::Refused(_)
            ));
        }
        for code in [
            Code::Unavailable,
            Code::Unknown,
            Code::DeadlineExceeded,
            Code::Internal,
            Code::ResourceExhausted,
        ] {
            assert!(matches!(
                refused(Status::new(code, "no")),
                UplinkError::Unreachable(_)
            ));
        }
    }

    #[test]
    fn a_long_text_of_the_gateway_is_cut() {
        let UplinkError::Refused(text) = refused(Status::permission_denied("x".repeat(1 << 20)))
        else {
            panic!("expected Refused");
        };
        assert!(text.len() <= MAX_TEXT_BYTES);
    }
}
