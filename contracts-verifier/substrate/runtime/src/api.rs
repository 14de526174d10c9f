//! # What a host asks of the runtime

use alloc::vec::Vec;

use frame_support::genesis_builder_helper;
use pallet_zkinfer_verifier::{Attestation, InferenceError, KeyBytes, VerifyInference as _};
use sp_core::OpaqueMetadata;
use sp_genesis_builder::PresetId;
use sp_inherents::{CheckInherentsResult, InherentData};
use sp_runtime::{
    ApplyExtrinsicResult, ExtrinsicInclusionMode,
    traits::Block as BlockTrait,
    transaction_validity::{TransactionSource, TransactionValidity},
};
use sp_version::RuntimeVersion;

use crate::{
    AccountId, Block, Executive, InherentDataExt, Nonce, Runtime, RuntimeGenesisConfig, System,
    VERSION, ZkinferVerifier, genesis,
};

/// The APIs and their versions, for [`VERSION`].
pub(crate) const VERSIONS: sp_version::ApisVec = RUNTIME_API_VERSIONS;

type Header = <Block as BlockTrait>::Header;
type Extrinsic = <Block as BlockTrait>::Extrinsic;
type LazyBlock = <Block as BlockTrait>::LazyBlock;
type Hash = <Block as BlockTrait>::Hash;

sp_api::impl_runtime_apis! {
    impl sp_api::Core<Block> for Runtime {
        fn version() -> RuntimeVersion {
            VERSION
        }

        fn execute_block(block: LazyBlock) {
            Executive::execute_block(block);
        }

        fn initialize_block(header: &Header) -> ExtrinsicInclusionMode {
            Executive::initialize_block(header)
        }
    }

    impl sp_api::Metadata<Block> for Runtime {
        fn metadata() -> OpaqueMetadata {
            OpaqueMetadata::new(Runtime::metadata().into())
        }

        fn metadata_at_version(version: u32) -> Option<OpaqueMetadata> {
            Runtime::metadata_at_version(version)
        }

        fn metadata_versions() -> Vec<u32> {
            Runtime::metadata_versions()
        }
    }

    impl sp_block_builder::BlockBuilder<Block> for Runtime {
        fn apply_extrinsic(extrinsic: Extrinsic) -> ApplyExtrinsicResult {
            Executive::apply_extrinsic(extrinsic)
        }

        fn finalize_block() -> Header {
            Executive::finalize_block()
        }

        fn inherent_extrinsics(data: InherentData) -> Vec<Extrinsic> {
            data.create_extrinsics()
        }

        fn check_inherents(block: LazyBlock, data: InherentData) -> CheckInherentsResult {
            data.check_extrinsics(&block)
        }
    }

    impl sp_transaction_pool::runtime_api::TaggedTransactionQueue<Block> for Runtime {
        fn validate_transaction(source: TransactionSource, transaction: Extrinsic, block: Hash) -> TransactionValidity {
            Executive::validate_transaction(source, transaction, block)
        }
    }

    impl frame_system_rpc_runtime_api::AccountNonceApi<Block, AccountId, Nonce> for Runtime {
        fn account_nonce(account: AccountId) -> Nonce {
            System::account_nonce(account)
        }
    }

    impl pallet_zkinfer_verifier::api::ZkinferVerifierApi<Block, AccountId, u32> for Runtime {
        fn key(digest: [u8; 32]) -> Option<Vec<u8>> {
            KeyBytes::<Runtime>::get(digest).map(Into::into)
        }

        fn retires(key: [u8; 32]) -> Option<u32> {
            ZkinferVerifier::retires(key)
        }

        fn statement_digest(key: [u8; 32], context: [u8; 32], public_tensors: Vec<u8>) -> Option<[u8; 32]> {
            ZkinferVerifier::statement_digest(key, context, &public_tensors)
        }

        fn check(
            key: [u8; 32],
            context: [u8; 32],
            public_tensors: Vec<u8>,
            proof: Vec<u8>,
        ) -> Result<[u8; 32], InferenceError> {
            ZkinferVerifier::verify_inference(key, context, &public_tensors, &proof)
        }

        fn attestation(statement: [u8; 32]) -> Option<Attestation<AccountId, u32>> {
            ZkinferVerifier::attestation(statement)
        }
    }

    impl sp_genesis_builder::GenesisBuilder<Block> for Runtime {
        fn build_state(json: Vec<u8>) -> sp_genesis_builder::Result {
            genesis_builder_helper::build_state::<RuntimeGenesisConfig>(json)
        }

        fn get_preset(id: &Option<PresetId>) -> Option<Vec<u8>> {
            genesis_builder_helper::get_preset::<RuntimeGenesisConfig>(id, genesis::preset)
        }

        fn preset_names() -> Vec<PresetId> {
            genesis::presets()
        }
    }

    #[cfg(feature = "runtime-benchmarks")]
    impl frame_benchmarking::Benchmark<Block> for Runtime {
        fn benchmark_metadata(
            extra: bool,
        ) -> (Vec<frame_benchmarking::BenchmarkList>, Vec<frame_support::traits::StorageInfo>) {
            crate::benchmarks::metadata(extra)
        }

        fn dispatch_benchmark(
            config: frame_benchmarking::BenchmarkConfig,
        ) -> Result<Vec<frame_benchmarking::BenchmarkBatch>, alloc::string::String> {
            crate::benchmarks::dispatch(&config)
        }
    }
}
