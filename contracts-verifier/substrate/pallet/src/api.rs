//! # The runtime API: what clients ask without an extrinsic

use alloc::vec::Vec;

use codec::Codec;

use crate::{inference::InferenceError, types::Attestation};

sp_api::decl_runtime_apis! {
    /// Questions to the verifier.
    pub trait ZkinferVerifierApi<AccountId: Codec, BlockNumber: Codec> {
        /// The bytes of a registered key.
        fn key(digest: [u8; 32]) -> Option<Vec<u8>>;

        /// From when on its owner may remove a key, if that was announced.
        fn retires(key: [u8; 32]) -> Option<BlockNumber>;

        /// The digest of a statement of a registered key; nothing if the sizes are not the key's. Behind the public tensors stand 32
        /// big-endian bytes of the digest of each hashed one.
        fn statement_digest(key: [u8; 32], context: [u8; 32], public_tensors: Vec<u8>) -> Option<[u8; 32]>;

        /// Whether a proof would be accepted; the digest of its statement.
        fn check(
            key: [u8; 32],
            context: [u8; 32],
            public_tensors: Vec<u8>,
            proof: Vec<u8>,
        ) -> Result<[u8; 32], InferenceError>;

        /// The attestation of a statement that has not expired.
        fn attestation(statement: [u8; 32]) -> Option<Attestation<AccountId, BlockNumber>>;
    }
}
