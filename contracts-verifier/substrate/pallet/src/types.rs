//! # What is stored
//! A key's record is derived from its bytes when it is registered ([`KeyRecord::of`]): what `verify` needs to know before it reads them.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use sp_runtime::{DispatchError, traits::Get};
use zkinfer_verifier::{
    Context, KeyError, ProofSystem, Setup, Statement, VerifyingKey, statement::DIGEST_BYTES,
};

use crate::{
    cost::{Cost, statement_words},
    inference::InferenceError,
    pallet::{Config, Error},
};

/// The proof system of a key.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub enum System {
    /// Groth16 as published.
    #[codec(index = 1)]
    Groth16,
    /// Groth16 with one committed round.
    #[codec(index = 2)]
    UltraGroth,
    /// PLONK over KZG.
    #[codec(index = 3)]
    Halo2Kzg,
}

impl From<ProofSystem> for System {
    fn from(system: ProofSystem) -> Self {
        match system {
            ProofSystem::Groth16 => Self::Groth16,
            ProofSystem::UltraGroth => Self::UltraGroth,
            ProofSystem::Halo2Kzg => Self::Halo2Kzg,
        }
    }
}

impl From<System> for ProofSystem {
    fn from(system: System) -> Self {
        match system {
            System::Groth16 => Self::Groth16,
            System::UltraGroth => Self::UltraGroth,
            System::Halo2Kzg => Self::Halo2Kzg,
        }
    }
}

/// What is known of a registered key.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct KeyRecord<AccountId, Deposit, BlockNumber> {
    /// The integer model that proofs are about, as the key says.
    pub model_id: [u8; 32],
    /// Whether one party made the key and could forge proofs, as the key says.
    pub development: bool,
    /// Bytes of the public tensors of a statement; 32 more for each digest are in [`Self::statement_bytes`].
    pub public_bytes: u32,
    /// Bytes of a proof.
    pub proof_bytes: u32,
    /// What verifying a proof takes.
    pub cost: Cost,
    /// Who registered the key, and the deposit; a key of the genesis block has neither.
    pub owner: Option<(AccountId, Deposit)>,
    /// From when on the owner may remove the key, if that was announced.
    pub retires: Option<BlockNumber>,
}

/// That a statement was shown to hold.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Attestation<AccountId, BlockNumber> {
    /// The digest of the key.
    pub key: [u8; 32],
    /// Who sent the proof.
    pub who: AccountId,
    /// The block that the proof was in.
    pub block: BlockNumber,
    /// The block at whose beginning the attestation is gone.
    pub expires: BlockNumber,
}

impl<AccountId, Deposit, BlockNumber> KeyRecord<AccountId, Deposit, BlockNumber> {
    /// The record of a key that has passed its linter, without an owner, whatever the runtime's bounds are.
    pub(crate) fn describe(key: &VerifyingKey, key_bytes: usize) -> Self {
        let saturated = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self {
            model_id: key.model_id,
            development: key.setup == Setup::Development,
            public_bytes: saturated(key.layout.public_bytes()),
            proof_bytes: saturated(key.proof_bytes()),
            cost: Cost::of_key(key, key_bytes),
            owner: None,
            retires: None,
        }
    }

    /// The record of a key that has passed its linter and is within the runtime's bounds, without an owner.
    ///
    /// # Errors
    /// [`Error::DevelopmentKey`], [`Error::KeyTooCostly`].
    pub fn of<T: Config>(key: &VerifyingKey, key_bytes: usize) -> Result<Self, DispatchError> {
        let record = Self::describe(key, key_bytes);
        if record.development && !T::AllowDevelopmentKeys::get() {
            return Err(Error::<T>::DevelopmentKey.into());
        }
        let within = record.cost.key_bytes <= T::MaxKeyBytes::get()
            && record.cost.steps <= T::MaxSteps::get()
            && record.statement_bytes() <= T::MaxPublicBytes::get()
            && record.proof_bytes <= T::MaxProofBytes::get();
        if within {
            Ok(record)
        } else {
            Err(Error::<T>::KeyTooCostly.into())
        }
    }

    /// Bytes of what a statement shows: its public tensors, and 32 for each digest. The digests are the words that are neither the context nor
    /// packed tensors.
    #[must_use]
    pub fn statement_bytes(&self) -> u32 {
        let packed = statement_words(self.public_bytes as usize);
        let digests = self.cost.words.saturating_sub(packed);
        digests
            .saturating_mul(DIGEST_BYTES as u32)
            .saturating_add(self.public_bytes)
    }

    /// The statement of a call, if its sizes are those of the key, and the key would still be registered under the runtime's bounds.
    pub(crate) fn statement<T: Config>(
        &self,
        context: [u8; 32],
        public_tensors: &[u8],
        proof_bytes: usize,
    ) -> Result<Statement, InferenceError> {
        let development = self.development && !T::AllowDevelopmentKeys::get();
        if development || self.cost.steps > T::MaxSteps::get() {
            return Err(InferenceError::KeyBarred);
        }
        let context = Context::from_bytes(context).map_err(|_| InferenceError::ContextTooLarge)?;
        if public_tensors.len() != self.statement_bytes() as usize {
            return Err(InferenceError::PublicLength);
        }
        if proof_bytes != self.proof_bytes as usize {
            return Err(InferenceError::ProofLength);
        }
        Statement::split(context, public_tensors, self.public_bytes as usize)
            .map_err(|_| InferenceError::DigestTooLarge)
    }
}

impl<T> From<KeyError> for Error<T> {
    fn from(error: KeyError) -> Self {
        use zkinfer_verifier::halo2_kzg::ProtocolError;
        match error {
            KeyError::Point { .. } | KeyError::Protocol(ProtocolError::Point { .. }) => {
                Self::KeyPoint
            }
            KeyError::Coincide { .. } | KeyError::Generator { .. } | KeyError::Protocol(_) => {
                Self::KeyRefused
            }
            _ => Self::KeyMalformed,
        }
    }
}
