//! States, kinds and classes with the numbers of the API.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $code:literal $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$vdoc])* $variant = $code,)*
        }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The number that is stored and sent.
            pub fn code(self) -> i32 {
                self as i32
            }

            /// The value of a stored or received number.
            pub fn from_code(code: i32) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The name in the API.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    )*};
}

codes! {
    /// The state of a job. The numbers are those of the API.
    JobState {
        /// Waits for its turn.
        Queued = 1 "QUEUED",
        /// Claimed by the prover.
        Leased = 2 "LEASED",
        /// The prover works on it.
        Running = 3 "RUNNING",
        /// The gateway checks the proof.
        Verifying = 4 "VERIFYING",
        /// Ended well.
        Succeeded = 5 "SUCCEEDED",
        /// Ended by the client's fault.
        Failed = 6 "FAILED",
        /// Ended by the client's wish.
        Cancelled = 7 "CANCELLED",
        /// Ended by its deadline.
        Expired = 8 "EXPIRED",
        /// Ended because its attempts are spent.
        Dead = 9 "DEAD",
    }
    /// What a job does.
    JobKind {
        /// Makes a proof.
        Prove = 1 "PROVE",
        /// Compiles a model.
        Compile = 2 "COMPILE",
        /// Makes the keys of a circuit.
        Setup = 3 "SETUP",
    }
    /// The state of a circuit.
    CircuitState {
        /// Its COMPILE job is not done.
        Compiling = 1 "COMPILING",
        /// Its SETUP job is not done.
        Setup = 2 "SETUP",
        /// Takes jobs.
        Ready = 3 "READY",
        /// Compile or setup failed.
        Failed = 4 "FAILED",
        /// Deleted.
        Deleted = 5 "DELETED",
    }
    /// The class of a job in the queue.
    Priority {
        /// When nothing else waits.
        Batch = 1 "BATCH",
        /// The default.
        Normal = 2 "NORMAL",
        /// First.
        Interactive = 3 "INTERACTIVE",
    }
    /// Decides retry and blame.
    FailureClass {
        /// The client's fault, never retried.
        InvalidRequest = 1 "INVALID_REQUEST",
        /// A bound on memory, time or disk was hit.
        ResourceExceeded = 2 "RESOURCE_EXCEEDED",
        /// Device error, corrupt key.
        NodeFault = 3 "NODE_FAULT",
        /// The prover disappeared.
        NodeLost = 4 "NODE_LOST",
        /// The gateway refused the proof.
        ProofInvalid = 5 "PROOF_INVALID",
        /// A defect of the service.
        Internal = 6 "INTERNAL",
        /// The client cancelled.
        Cancelled = 7 "CANCELLED",
        /// The deadline passed.
        Deadline = 8 "DEADLINE",
    }
    /// Where an attempt is.
    Phase {
        /// Reads the key's file.
        FetchKey = 1 "FETCH_KEY",
        /// Maps and checks the key.
        LoadKey = 2 "LOAD_KEY",
        /// Computes the witness.
        Witness = 3 "WITNESS",
        /// The committed round.
        Commit = 4 "COMMIT",
        /// The proof.
        Prove = 5 "PROVE",
        /// Reserved for recursive systems.
        Wrap = 6 "WRAP",
        /// Stores the result.
        Upload = 7 "UPLOAD",
        /// Verifies its own proof.
        Verify = 8 "VERIFY",
    }
    /// What an artifact is for.
    ArtifactKind {
        /// An ONNX file.
        Model = 1 "MODEL_ONNX",
        /// A compiled circuit.
        Circuit = 2 "CIRCUIT",
        /// A proving key.
        ProvingKey = 3 "PROVING_KEY",
        /// A verifying key.
        VerifyingKey = 4 "VERIFYING_KEY",
        /// A structured reference string.
        Srs = 5 "SRS",
        /// Input tensors.
        Input = 6 "INPUT",
        /// A proof.
        Proof = 7 "PROOF",
        /// Compile settings.
        Settings = 8 "SETTINGS",
        /// Calibration samples.
        Calibration = 9 "CALIBRATION",
    }
    /// The state of a prover node.
    NodeState {
        /// Takes leases.
        Active = 1 "ACTIVE",
        /// Ends what it has, takes nothing.
        Draining = 2 "DRAINING",
        /// Not heard of within the time of a lease.
        Offline = 3 "OFFLINE",
        /// Takes nothing until the operator says otherwise.
        Quarantined = 4 "QUARANTINED",
    }
    /// How far a prover node is trusted with inputs.
    Trust {
        /// Sees public inputs only.
        Untrusted = 1 "UNTRUSTED",
        /// May see private inputs.
        Vetted = 2 "VETTED",
        /// The operator's own.
        Owned = 3 "OWNED",
    }
    /// Where a proving key lies on a node.
    Tier {
        /// In a file.
        Disk = 1 "DISK",
        /// Loaded.
        Ram = 2 "RAM",
        /// On the GPU.
        Vram = 3 "VRAM",
    }
    /// How an attempt ended.
    AttemptOutcome {
        /// It did not end yet.
        Open = 0 "OPEN",
        /// Its proof is the job's.
        Won = 1 "WON",
        /// It failed.
        Failed = 2 "FAILED",
        /// Its node was not heard of in time.
        Lost = 3 "LOST",
        /// Its node handed it back.
        Released = 4 "RELEASED",
        /// The job ended otherwise: another attempt, a cancel, a deadline.
        Superseded = 5 "SUPERSEDED",
    }
    /// The proof system of a circuit.
    Backend {
        /// Plain Groth16.
        Groth16 = 1 "groth16",
        /// PLONK over KZG.
        Halo2Kzg = 2 "halo2-kzg",
        /// Groth16 with one committed round.
        UltraGroth = 4 "ultragroth",
    }
}

impl JobState {
    /// Whether the state never changes again.
    pub fn is_terminal(self) -> bool {
        self >= Self::Succeeded
    }
}
