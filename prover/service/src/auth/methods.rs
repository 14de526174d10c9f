//! What each method of the API needs: one table.

use std::time::Duration;

use crate::{config, store::Scope};

/// The longest call: a minute's wait for a job, and what comes before and after.
const LONGEST: Duration = Duration::from_secs(75);
/// The largest request that carries names, digests and labels only.
const MAX_BODY_BYTES: usize = 256 << 10;
/// As long as its bytes come.
const UPLOAD: &str = "/zkinfer.v1.Artifacts/WriteArtifact";

/// Which calls share a bound on their rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// Makes or changes something.
    Create,
    /// Moves bytes in.
    Upload,
    /// Has a proof checked.
    Verify,
    /// Looks at something.
    Read,
    /// The operator's.
    Admin,
}

/// What a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing: health.
    Nothing,
    /// A caller, whatever its scopes: the description of the API.
    Caller,
    /// A caller with a scope.
    Scope(Scope, Class),
    /// The method does not exist; only callers are told.
    Unknown,
}

/// What `path` ("/package.Service/Method") needs.
pub(crate) fn need(path: &str) -> Need {
    if path.starts_with("/grpc.health.v1.Health/") {
        return Need::Nothing;
    }
    let described = [
        "/grpc.reflection.v1.ServerReflection/",
        "/grpc.reflection.v1alpha.ServerReflection/",
    ];
    if described.iter().any(|service| path.starts_with(service)) {
        return Need::Caller;
    }
    let Some((service, method)) = path
        .strip_prefix("/zkinfer.v1.")
        .and_then(|rest| rest.split_once('/'))
    else {
        return Need::Unknown;
    };
    let (scope, class) = match (service, method) {
        ("Artifacts", "FindMissing" | "GetUpload") => (Scope::Submit, Class::Read),
        ("Artifacts", "StartUpload" | "WriteArtifact" | "FinishUpload") => {
            (Scope::Submit, Class::Upload)
        }
        ("Artifacts", "ReadArtifact" | "GetArtifact") => (Scope::Read, Class::Read),
        ("Circuits", "CreateCircuit") => (Scope::Submit, Class::Create),
        ("Circuits", "GetCircuit" | "ListCircuits" | "GetVerifier") => (Scope::Read, Class::Read),
        ("Jobs", "CreateJob" | "CancelJob") => (Scope::Submit, Class::Create),
        ("Jobs", "GetJob" | "ListJobs" | "WaitJob" | "WatchJobs" | "GetProof") => {
            (Scope::Read, Class::Read)
        }
        ("Jobs", "VerifyProof") => (Scope::Verify, Class::Verify),
        ("Admin", _) => (Scope::Admin, Class::Admin),
        _ => return Need::Unknown,
    };
    Need::Scope(scope, class)
}

/// How long a call may take until its answer begins.
pub(crate) fn longest(path: &str) -> Option<Duration> {
    (path != UPLOAD).then_some(LONGEST)
}

/// The largest request; `None` for messages that come one after another, each with a bound of its own.
pub(crate) fn max_body_bytes(path: &str) -> Option<usize> {
    match path {
        UPLOAD => None,
        "/zkinfer.v1.Jobs/CreateJob" => Some(config::MAX_INLINE_INPUT_BYTES + MAX_BODY_BYTES),
        "/zkinfer.v1.Jobs/VerifyProof" => Some(config::MAX_REQUEST_BYTES),
        _ if need(path) == Need::Caller => None,
        _ => Some(MAX_BODY_BYTES),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_served_method_needs_a_scope() {
        let methods = crate::api::served_methods();
        for method in &methods {
            let path = format!("/zkinfer.v1.{method}");
            assert!(matches!(need(&path), Need::Scope(..)), "{path}");
        }
        assert!(methods.len() >= 29, "{}", methods.len());
        for path in [
            "",
            "/",
            "/zkinfer.v1.Jobs",
            "/zkinfer.v1.Jobs/",
            "/zkinfer.v1.ProverNodes/Enroll",
        ] {
            assert_eq!(need(path), Need::Unknown, "{path}");
        }
    }
}
