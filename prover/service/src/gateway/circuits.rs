//! Circuits: what may be compiled, and what a contract needs.

use std::sync::Arc;

use sha2::Digest as _;

use super::{Gateway, GatewayError, gate};
use crate::{
    config,
    store::{
        ArtifactKind, Backend, Circuit, CircuitFilter, CircuitId, CircuitState, Digest, JobFilter,
        JobKind, JobState, Labels, NewCircuit, Page, RequestKey,
    },
    work::{CompileRequest, Gate, ProofParts, VerifierFiles},
};

/// The version of the circuits that this server compiles.
pub(crate) const BACKEND_VERSION: &str = "1";

/// A circuit that a client wants.
#[derive(Clone, Debug)]
pub struct CircuitRequest {
    /// The ONNX file.
    pub model: Digest,
    /// The settings file.
    pub settings: Option<Digest>,
    /// The calibration file.
    pub calibration: Digest,
    /// The proof system.
    pub backend: Backend,
    /// The version wanted; empty is ours.
    pub backend_version: String,
    /// The client's labels.
    pub labels: Labels,
    /// For idempotency.
    pub request: Option<RequestKey>,
    /// Check only.
    pub validate_only: bool,
}

impl Gateway {
    /// Creates a circuit; its COMPILE job is queued with it.
    pub(crate) async fn create_circuit(
        &self,
        request: CircuitRequest,
    ) -> Result<Circuit, GatewayError> {
        if !["", BACKEND_VERSION].contains(&request.backend_version.as_str()) {
            let message = format!(
                "version {} is not served, only {BACKEND_VERSION}",
                request.backend_version
            );
            return Err(GatewayError::invalid(
                "backend_version",
                "VERSION_NOT_SERVED",
                message,
            ));
        }
        super::jobs::check_labels(&request.labels)?;
        self.check_artifact("model", &request.model, ArtifactKind::Model)
            .await?;
        self.check_artifact(
            "calibration",
            &request.calibration,
            ArtifactKind::Calibration,
        )
        .await?;
        if let Some(settings) = &request.settings {
            self.check_artifact("settings", settings, ArtifactKind::Settings)
                .await?;
            let bytes = self.farm.blobs.read(settings, config::MAX_SETTINGS_BYTES)?;
            CompileRequest::read_settings(Some(&bytes))
                .map_err(|message| GatewayError::invalid("settings", "BAD_SETTINGS", message))?;
        }
        let mut hash = sha2::Sha256::new();
        hash.update(b"zkinfer-circuit-v1");
        hash.update(request.backend.code().to_be_bytes());
        hash.update(BACKEND_VERSION);
        hash.update(request.model.0);
        hash.update(request.settings.map(|d| d.0).unwrap_or_default());
        hash.update(request.calibration.0);
        let fingerprint = Digest(hash.finalize().into());
        if request.validate_only {
            return Ok(Circuit {
                id: CircuitId(uuid::Uuid::nil()),
                tenant: self.tenant,
                fingerprint,
                backend: request.backend,
                model: request.model,
                settings: request.settings,
                calibration: request.calibration,
                state: CircuitState::Compiling,
                failure: None,
                compiled: None,
                keys: None,
                labels: request.labels,
                version: 0,
                created_at: 0,
            });
        }
        let new = NewCircuit {
            fingerprint,
            backend: request.backend,
            model: request.model,
            settings: request.settings,
            calibration: request.calibration,
            labels: request.labels,
            request: request.request,
            max_queued: self.farm.limits.max_queued,
        };
        // No artifact of the circuit may leave between the check and the row that keeps it.
        let _pinned = self.farm.blobs.pin().await;
        Ok(self
            .farm
            .store
            .create_circuit(self.tenant, new)
            .await?
            .resource)
    }

    async fn check_artifact(
        &self,
        field: &'static str,
        digest: &Digest,
        kind: ArtifactKind,
    ) -> Result<(), GatewayError> {
        match self.farm.store.artifact(self.tenant, digest).await? {
            Some(artifact) if artifact.kind == kind => Ok(()),
            Some(artifact) => {
                let message = format!("artifact {digest} is a {}, expected {kind}", artifact.kind);
                Err(GatewayError::invalid(field, "WRONG_KIND", message))
            }
            None => {
                let message =
                    format!("artifact {digest} is not uploaded; call FindMissing, then upload it");
                Err(GatewayError::invalid(field, "ARTIFACT_MISSING", message))
            }
        }
    }

    /// The circuit with `id`.
    pub(crate) async fn circuit(&self, id: CircuitId) -> Result<Circuit, GatewayError> {
        Ok(self.farm.store.circuit(self.tenant, id).await?)
    }

    /// A page of circuits.
    pub(crate) async fn circuits(
        &self,
        filter: &CircuitFilter,
        page: &Page,
    ) -> Result<Vec<Circuit>, GatewayError> {
        Ok(self.farm.store.circuits(self.tenant, filter, page).await?)
    }

    /// The contract of a READY circuit.
    pub(crate) async fn solidity(&self, id: CircuitId) -> Result<VerifierFiles, GatewayError> {
        self.verifier(id, |gate| gate.solidity()).await
    }

    /// The Substrate crate of a READY circuit, tested on the newest proof of it that the tenant has.
    pub(crate) async fn substrate(&self, id: CircuitId) -> Result<VerifierFiles, GatewayError> {
        // Refuses a circuit that is not there or not READY before it asks for a proof.
        gate(&self.farm, self.tenant, id).await?;
        let example = self.newest_proof(id).await?;
        self.verifier(id, move |gate| gate.substrate(&example))
            .await
    }

    async fn verifier(
        &self,
        id: CircuitId,
        generate: impl FnOnce(&dyn Gate) -> Result<VerifierFiles, String> + Send + 'static,
    ) -> Result<VerifierFiles, GatewayError> {
        let gate = gate(&self.farm, self.tenant, id).await?;
        let permit = self.check_permit().await?;
        let work = move || {
            let _permit = permit;
            generate(&*gate)
        };
        let made = tokio::task::spawn_blocking(work).await;
        made.map_err(|_| GatewayError::Internal("generating the verifier met a defect".into()))?
            .map_err(GatewayError::Internal)
    }

    /// The proof of the newest job of a circuit that has one.
    async fn newest_proof(&self, id: CircuitId) -> Result<ProofParts, GatewayError> {
        let filter = JobFilter {
            states: vec![JobState::Succeeded],
            circuit: Some(id),
            ..JobFilter::default()
        };
        // Beside those that prove, a circuit has a job or two that made it.
        let page = Page {
            size: 4,
            after: None,
        };
        let jobs = self.farm.store.jobs(self.tenant, &filter, &page).await?;
        for job in jobs.iter().filter(|job| job.kind == JobKind::Prove) {
            if let Some(record) = self.farm.store.proof(self.tenant, job.id).await? {
                return Ok(ProofParts {
                    proof: record.proof,
                    public_values: record.public_values,
                });
            }
        }
        Err(GatewayError::NoExample)
    }

    /// The gateway's view of a READY circuit.
    pub(crate) async fn gate(&self, id: CircuitId) -> Result<Arc<dyn Gate>, GatewayError> {
        gate(&self.farm, self.tenant, id).await
    }
}
