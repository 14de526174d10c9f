//! # Verification without an extrinsic
//! What other pallets build on: they name a key (and pin its digest), compute the context that they expect, and ask.

use codec::{Decode, DecodeWithMemTracking, Encode};
use frame_support::weights::Weight;
use frame_system::pallet_prelude::BlockNumberFor;
use scale_info::TypeInfo;
use zkinfer_verifier::{Proof, ProofError, Statement, VerifyError, VerifyingKey, verify};

use crate::{
    pallet::{Attestations, Config, KeyBytes, Keys, Pallet, RecordOf, Revoked},
    types::Attestation,
};

/// Why a proof is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub enum InferenceError {
    /// No key with this digest is registered.
    KeyUnknown,
    /// The key was registered under bounds that are stricter today.
    KeyBarred,
    /// The context is 2^253 or more.
    ContextTooLarge,
    /// The public tensors and the digests behind them do not have the number of bytes that the key fixes.
    PublicLength,
    /// The proof does not have the number of bytes that the key fixes.
    ProofLength,
    /// A point of the proof is not canonical, not finite, not on its curve or not in its subgroup.
    ProofPoint,
    /// An evaluation of the proof is not less than the order of the group.
    ProofScalar,
    /// The proof does not prove this statement under this key.
    ProofRejected,
    /// A digest of a hashed tensor is not less than the order of the group.
    DigestTooLarge,
}

/// Verification of inferences, for pallets.
///
/// `public_tensors` are the bytes of the public inputs and outputs, then 32 big-endian bytes of the digest of each hashed one.
///
/// A caller that acts on a proof pins the key's digest, computes the context from its own state (so that a proof copied from another
/// task is worthless), and charges [`Self::weight`] before it calls [`Self::verify_inference`]. A key can go: by its owner after a notice, by
/// governance at once. So a caller whose users wait for a proof has a way to refund them.
pub trait VerifyInference {
    /// Accounts of the chain.
    type AccountId;
    /// Blocks of the chain.
    type BlockNumber;

    /// The digest of a statement: the one id to remember it by. `None` if the key is not registered or the sizes are not the key's.
    fn statement_digest(
        key: [u8; 32],
        context: [u8; 32],
        public_tensors: &[u8],
    ) -> Option<[u8; 32]>;

    /// Verifies a proof and records nothing; the statement's digest.
    ///
    /// # Errors
    /// [`InferenceError`], why it is not accepted.
    fn verify_inference(
        key: [u8; 32],
        context: [u8; 32],
        public_tensors: &[u8],
        proof: &[u8],
    ) -> Result<[u8; 32], InferenceError>;

    /// Whether somebody has shown, by an extrinsic, that a statement holds; not after it has expired or its key was revoked.
    fn attestation(statement: [u8; 32]) -> Option<Attestation<Self::AccountId, Self::BlockNumber>>;

    /// From when on the owner may remove a key, if that was announced: no task whose proof comes later should depend on it.
    fn retires(key: [u8; 32]) -> Option<Self::BlockNumber>;

    /// What one verification under a key takes at most, reading it included; `None` if it is not registered.
    fn weight(key: [u8; 32]) -> Option<Weight>;
}

impl<T: Config> VerifyInference for Pallet<T> {
    type AccountId = T::AccountId;
    type BlockNumber = BlockNumberFor<T>;

    fn statement_digest(
        key: [u8; 32],
        context: [u8; 32],
        public_tensors: &[u8],
    ) -> Option<[u8; 32]> {
        let record = Keys::<T>::get(key)?;
        let statement = record.statement::<T>(context, public_tensors, record.proof_bytes as usize);
        statement.ok().map(|statement| statement.digest(&key))
    }

    fn verify_inference(
        key: [u8; 32],
        context: [u8; 32],
        public_tensors: &[u8],
        proof: &[u8],
    ) -> Result<[u8; 32], InferenceError> {
        let record = Keys::<T>::get(key).ok_or(InferenceError::KeyUnknown)?;
        let statement = record.statement::<T>(context, public_tensors, proof.len())?;
        Self::check_proof(&key, &record, &statement, proof)?;
        Ok(statement.digest(&key))
    }

    fn attestation(statement: [u8; 32]) -> Option<Attestation<T::AccountId, BlockNumberFor<T>>> {
        let now = frame_system::Pallet::<T>::block_number();
        Attestations::<T>::get(statement).filter(|attestation| {
            attestation.expires > now && !Revoked::<T>::contains_key(attestation.key)
        })
    }

    fn retires(key: [u8; 32]) -> Option<BlockNumberFor<T>> {
        Keys::<T>::get(key)?.retires
    }

    fn weight(key: [u8; 32]) -> Option<Weight> {
        Keys::<T>::get(key).map(|record| record.cost.weight::<T>())
    }
}

impl<T: Config> Pallet<T> {
    /// Accepts exactly if `zkinfer_verifier::verify` does.
    pub(crate) fn check_proof(
        digest: &[u8; 32],
        record: &RecordOf<T>,
        statement: &Statement,
        proof: &[u8],
    ) -> Result<(), InferenceError> {
        let bytes = KeyBytes::<T>::get(digest).ok_or(InferenceError::KeyUnknown)?;
        // The bytes were decoded with all checks before they were stored; nothing else writes them.
        let key = VerifyingKey::decode_unchecked(&bytes).map_err(|_| InferenceError::KeyUnknown)?;
        let proof = Proof::from_bytes(record.cost.system.into(), proof)
            .map_err(|error| refusal(VerifyError::Proof(error)))?;
        verify(&key, statement, &proof).map_err(refusal)
    }
}

fn refusal(error: VerifyError) -> InferenceError {
    match error {
        VerifyError::Proof(ProofError::Point { .. }) => InferenceError::ProofPoint,
        VerifyError::Proof(ProofError::Scalar { .. }) => InferenceError::ProofScalar,
        VerifyError::Proof(_) => InferenceError::ProofLength,
        VerifyError::Statement(_) => InferenceError::PublicLength,
        _ => InferenceError::ProofRejected,
    }
}
