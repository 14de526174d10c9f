//! # What can go wrong, one enum for each operation

use thiserror::Error;
use zkinfer_circuits::arithmetization::{LowerError, Violation};
use zkinfer_circuits::constraint::SolveError;
use zkinfer_gpu::{BasesError, DeviceError};
use zkinfer_params::keys::{KeyOpenError, KeyWriteError, SectionKind};
use zkinfer_params::srs::SrsError;
use zkinfer_verifier::{KeyError, ProofSystem, Setup, StatementError, VerifyError};

use crate::backend::Cancelled;
use crate::halo2_kzg::key::KeygenError;

/// Why no keys were made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The system is not one this operation works for.
    #[error("this set-up does not make {system} keys")]
    System {
        /// The system asked for.
        system: ProofSystem,
    },
    /// The system's keys do not come from a reference string alone.
    #[error(
        "{system} keys need a set-up for each circuit, a reference string does not make them; compile the model for halo2-kzg"
    )]
    Source {
        /// The system asked for.
        system: ProofSystem,
    },
    /// The reference string is too small or not what it says.
    #[error(transparent)]
    Srs(SrsError),
    /// The circuit has no key.
    #[error(transparent)]
    Keygen(#[from] KeygenError),
    /// The program has no circuit of the system's form.
    #[error(transparent)]
    Lower(#[from] LowerError),
    /// The circuit has more rows than the field has roots of unity.
    #[error("the circuit needs a domain of {rows} points, the field has 2^28")]
    DomainTooLarge {
        /// Rows, those of the instance included.
        rows: usize,
    },
    /// τ is a root of unity, or a value is zero (probability below 2⁻²²⁰): draw another trapdoor.
    #[error("the trapdoor has a zero or a root of unity; draw another trapdoor")]
    DegenerateTrapdoor,
    /// The key could not be written.
    #[error(transparent)]
    Write(#[from] KeyWriteError),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The verifying key breaks a rule of the verifier.
    #[error("the new verifying key is not acceptable: {0}")]
    VerifyingKey(#[from] KeyError),
    /// The progress listener stopped the work.
    #[error("cancelled")]
    Cancelled,
}

/// Why a program and its keys make no prover.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// A key is of another proof system.
    #[error("the {what} is for {got}, this prover is for {expected}")]
    System {
        /// Which key.
        what: &'static str,
        /// The prover's system.
        expected: ProofSystem,
        /// The key's system.
        got: ProofSystem,
    },
    /// The two keys say differently who made them.
    #[error("the proving key is a {proving_key} key, the verifying key a {verifying_key} key")]
    Setup {
        /// By the proving key.
        proving_key: Setup,
        /// By the verifying key.
        verifying_key: Setup,
    },
    /// Two things that must have one digest do not.
    #[error("{what}: expected {}, got {}; the program and the keys are of different bundles", hex(.expected), hex(.got))]
    Digest {
        /// What is compared.
        what: &'static str,
        /// The digest needed.
        expected: [u8; 32],
        /// The digest found.
        got: [u8; 32],
    },
    /// The verifying key announces other tensors than the program.
    #[error(
        "the verifying key's statement layout is not the program's; they are of different bundles"
    )]
    Layout,
    /// A section has another number of points than the circuit needs.
    #[error("section {kind:?} of the proving key: expected {expected} points, got {got}")]
    SectionCount {
        /// The section.
        kind: SectionKind,
        /// By the circuit.
        expected: usize,
        /// By the key.
        got: u64,
    },
    /// The program has no circuit of the system's form.
    #[error(transparent)]
    Lower(#[from] LowerError),
    /// The circuit has more rows than the field has roots of unity.
    #[error("the circuit needs a domain of {rows} points, the field has 2^28")]
    DomainTooLarge {
        /// Rows, those of the instance included.
        rows: usize,
    },
    /// The verifying key breaks a rule of the verifier.
    #[error("the verifying key is not acceptable: {0}")]
    VerifyingKey(#[from] KeyError),
    /// The proving key file is damaged or incomplete.
    #[error(transparent)]
    ProvingKey(#[from] KeyOpenError),
    /// The powers in the proving key do not give the verifying key.
    #[error(
        "the proving key was made with another reference string than the verifying key; they are of different bundles"
    )]
    OtherSrs,
    /// The circuit has no key.
    #[error(transparent)]
    Keygen(#[from] KeygenError),
    /// A single point of the proving key is not that of the verifying key: proofs made with it might not be blinded.
    #[error(
        "the proving key's {what} is not the verifying key's; it was edited or is of another bundle"
    )]
    Single {
        /// Which point.
        what: &'static str,
    },
    /// A section of the proving key cannot be mapped.
    #[error(transparent)]
    Bases(#[from] BasesError),
    /// A section of the proving key cannot be tabulated.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// Why there is no proof.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProveError {
    /// The input has another shape or type, or a value leaves its interval.
    #[error(transparent)]
    Solve(#[from] SolveError),
    /// A value is in no row of its table.
    #[error("the solved values have no witness: {0}")]
    Witness(#[from] Violation),
    /// The public tensors do not fit the statement.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// A column has more values than rows above the blinding rows.
    #[error("{what} has {got} rows, at most {most} fit")]
    Rows {
        /// The column.
        what: &'static str,
        /// Rows there are.
        most: usize,
        /// Rows it has.
        got: usize,
    },
    /// A commitment has no encoding: a polynomial is zero, or the random generator is broken.
    #[error("commitment {commitment} of the proof is the point at infinity")]
    Identity {
        /// Its position in the proof.
        commitment: usize,
    },
    /// Every attempt met a zero denominator: the random generator is broken.
    #[error(
        "{attempts} commitments in a row had a zero denominator; the random generator is broken"
    )]
    ZeroDenominator {
        /// Attempts made.
        attempts: u32,
    },
    /// The own verifier refused the proof; the first violated constraint, if one is.
    #[error("the prover's own check refused the proof: {reason}{}", named(.violation))]
    SelfCheck {
        /// What the verifier said.
        reason: VerifyError,
        /// The constraint that the witness breaks.
        violation: Option<Violation>,
    },
    /// The own verifier refused the proof, and a section of the proving key does not have its digest.
    #[error(transparent)]
    ProvingKey(#[from] KeyOpenError),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The key that a failed device took with it cannot be made anew.
    #[error(transparent)]
    Keygen(#[from] KeygenError),
    /// The progress listener stopped the work.
    #[error("cancelled")]
    Cancelled,
}

impl From<SrsError> for SetupError {
    fn from(error: SrsError) -> Self {
        match error {
            SrsError::Cancelled => Self::Cancelled,
            other => Self::Srs(other),
        }
    }
}

impl From<Cancelled> for SetupError {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

impl From<Cancelled> for ProveError {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn named(violation: &Option<Violation>) -> String {
    violation
        .as_ref()
        .map_or_else(String::new, |violation| format!(" ({violation})"))
}
