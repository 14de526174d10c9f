//! # zkinfer-minimal-runtime: the smallest chain with the pallet
//! What the tests and benchmarks of the pallet execute as WASM. It has accounts with balances, a clock and the pallet; no consensus,
//! no fees, no governance: no network runs on it.
//! It builds for WASM only (`build-wasm`).
#![no_std]
#![forbid(unsafe_code)]
// What frame's macros expand to.
#![recursion_limit = "256"]

extern crate alloc;

mod api;
#[cfg(feature = "runtime-benchmarks")]
mod benchmarks;
mod genesis;

use alloc::{borrow::Cow, vec::Vec};

use frame_support::{
    derive_impl, parameter_types,
    traits::{
        ConstBool, ConstU32, ConstU64, ConstU128, LinearStoragePrice, fungible::HoldConsideration,
    },
    weights::{Weight, constants::WEIGHT_REF_TIME_PER_SECOND},
};
use frame_system::limits;
use sp_runtime::{
    AccountId32, MultiAddress, MultiSignature, Perbill, generic, traits::BlakeTwo256,
};
use sp_version::{RuntimeVersion, runtime_version};

/// Accounts.
pub type AccountId = AccountId32;
/// Balances.
pub type Balance = u128;
/// The number of an account's next transaction.
pub type Nonce = u32;
/// Block headers.
pub type Header = generic::Header<u32, BlakeTwo256>;
/// Blocks.
pub type Block = generic::Block<Header, UncheckedExtrinsic>;
/// Transactions as they come in.
pub type UncheckedExtrinsic = generic::UncheckedExtrinsic<
    MultiAddress<AccountId, ()>,
    RuntimeCall,
    MultiSignature,
    TxExtension,
>;
/// What a signed transaction carries beside its call, in this order.
pub type TxExtension = (
    frame_system::CheckNonZeroSender<Runtime>,
    frame_system::CheckSpecVersion<Runtime>,
    frame_system::CheckTxVersion<Runtime>,
    frame_system::CheckGenesis<Runtime>,
    frame_system::CheckMortality<Runtime>,
    frame_system::CheckNonce<Runtime>,
    frame_system::CheckWeight<Runtime>,
);
/// Runs blocks.
type Executive = frame_executive::Executive<
    Runtime,
    Block,
    frame_system::ChainContext<Runtime>,
    Runtime,
    AllPalletsWithSystem,
>;

/// This runtime's version. Metadata and transactions are of one `spec_version`.
#[runtime_version]
pub const VERSION: RuntimeVersion = RuntimeVersion {
    spec_name: Cow::Borrowed("zkinfer-minimal"),
    impl_name: Cow::Borrowed("zkinfer-minimal"),
    authoring_version: 1,
    spec_version: 1,
    impl_version: 1,
    apis: api::VERSIONS,
    transaction_version: 1,
    system_version: 1,
};

#[frame_support::runtime]
mod runtime {
    #[runtime::runtime]
    #[runtime::derive(
        RuntimeCall,
        RuntimeEvent,
        RuntimeError,
        RuntimeOrigin,
        RuntimeFreezeReason,
        RuntimeHoldReason,
        RuntimeSlashReason,
        RuntimeLockId,
        RuntimeTask,
        RuntimeViewFunction
    )]
    /// The runtime.
    pub struct Runtime;

    /// Accounts, blocks, events.
    #[runtime::pallet_index(0)]
    pub type System = frame_system::Pallet<Runtime>;

    /// The clock.
    #[runtime::pallet_index(1)]
    pub type Timestamp = pallet_timestamp::Pallet<Runtime>;

    /// Balances.
    #[runtime::pallet_index(2)]
    pub type Balances = pallet_balances::Pallet<Runtime>;

    /// The verifier; the index is the one that `zkinfer calldata` takes unless it is told another.
    #[runtime::pallet_index(8)]
    pub type ZkinferVerifier = pallet_zkinfer_verifier::Pallet<Runtime>;
}

/// Two seconds of computation a block, three quarters of them for transactions.
const BLOCK_WEIGHT: Weight = Weight::from_parts(2 * WEIGHT_REF_TIME_PER_SECOND, u64::MAX);
const NORMAL: Perbill = Perbill::from_percent(75);

parameter_types! {
    /// The version, as frame reads it.
    pub const Version: RuntimeVersion = VERSION;
    /// Why balance is held.
    pub const KeyDeposit: RuntimeHoldReason =
        RuntimeHoldReason::ZkinferVerifier(pallet_zkinfer_verifier::HoldReason::Key);
    /// What a block may weigh.
    pub BlockWeights: limits::BlockWeights = limits::BlockWeights::with_sensible_defaults(BLOCK_WEIGHT, NORMAL);
}

#[derive_impl(frame_system::config_preludes::SolochainDefaultConfig)]
impl frame_system::Config for Runtime {
    type Block = Block;
    type Version = Version;
    type BlockWeights = BlockWeights;
    type DbWeight = frame_support::weights::constants::RocksDbWeight;
    type AccountData = pallet_balances::AccountData<Balance>;
}

impl pallet_timestamp::Config for Runtime {
    type Moment = u64;
    type OnTimestampSet = ();
    type MinimumPeriod = ConstU64<1>;
    type WeightInfo = ();
}

#[derive_impl(pallet_balances::config_preludes::TestDefaultConfig)]
impl pallet_balances::Config for Runtime {
    type Balance = Balance;
    type AccountStore = System;
    type ExistentialDeposit = ConstU128<1_000_000_000>;
}

/// Everybody may register keys, and keys of one party at that: nothing of value depends on this chain.
impl pallet_zkinfer_verifier::Config for Runtime {
    type KeyOrigin = frame_system::EnsureSigned<AccountId>;
    type RevokeOrigin = frame_system::EnsureRoot<AccountId>;
    type RetirementNotice = ConstU32<2>;
    type Deposit = HoldConsideration<
        AccountId,
        Balances,
        KeyDeposit,
        LinearStoragePrice<ConstU128<1_000_000_000>, ConstU128<1_000_000>, Balance>,
    >;
    type AllowDevelopmentKeys = ConstBool<true>;
    type MaxKeys = ConstU32<1_024>;
    type MaxKeyBytes = ConstU32<16_384>;
    type MaxPublicBytes = ConstU32<4_096>;
    type MaxProofBytes = ConstU32<8_192>;
    type MaxSteps = ConstU32<8_192>;
    type AttestationLifetime = ConstU32<100>;
    type MaxAttestationsPerBlock = ConstU32<256>;
    type WeightInfo = pallet_zkinfer_verifier::weights::Measured<Self>;
}
