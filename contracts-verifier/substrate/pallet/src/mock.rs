//! A runtime for the tests: system, balances, the pallet.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use frame_support::{
    derive_impl, parameter_types,
    traits::{
        Consideration, ConstU32, ConstU64, Footprint, LinearStoragePrice,
        fungible::HoldConsideration,
    },
};
use frame_system::{EnsureRoot, EnsureSigned, mocking::MockBlock};
use scale_info::TypeInfo;
use sp_runtime::{BuildStorage, DispatchError, traits::IdentityLookup};

use crate as pallet_zkinfer_verifier;

pub type AccountId = u64;
pub const ALICE: AccountId = 1;
pub const BOB: AccountId = 2;
pub const ENDOWMENT: u64 = 1_000_000;
/// Blocks that an attestation stays.
pub const LIFETIME: u64 = 10;

frame_support::construct_runtime!(
    pub enum Test {
        System: frame_system,
        Balances: pallet_balances,
        ZkinferVerifier: pallet_zkinfer_verifier,
    }
);

#[derive_impl(frame_system::config_preludes::TestDefaultConfig)]
impl frame_system::Config for Test {
    type Block = MockBlock<Test>;
    type AccountData = pallet_balances::AccountData<u64>;
    type Lookup = IdentityLookup<AccountId>;
}

#[derive_impl(pallet_balances::config_preludes::TestDefaultConfig)]
impl pallet_balances::Config for Test {
    type AccountStore = System;
}

/// A deposit that can be told not to come back.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Fragile(Held);

type Held = HoldConsideration<
    AccountId,
    Balances,
    KeyDeposit,
    LinearStoragePrice<ConstU64<100>, ConstU64<1>, u64>,
>;

impl Consideration<AccountId, Footprint> for Fragile {
    fn new(who: &AccountId, new: Footprint) -> Result<Self, DispatchError> {
        Held::new(who, new).map(Self)
    }

    fn update(self, who: &AccountId, new: Footprint) -> Result<Self, DispatchError> {
        self.0.update(who, new).map(Self)
    }

    fn drop(self, who: &AccountId) -> Result<(), DispatchError> {
        if StuckDeposits::get() {
            return Err(DispatchError::Unavailable);
        }
        self.0.drop(who)
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn ensure_successful(who: &AccountId, new: Footprint) {
        Held::ensure_successful(who, new);
    }
}

parameter_types! {
    pub static StuckDeposits: bool = false;
    pub const KeyDeposit: RuntimeHoldReason = RuntimeHoldReason::ZkinferVerifier(pallet_zkinfer_verifier::HoldReason::Key);
    pub static Notice: u64 = 0;
    pub static Development: bool = true;
    pub static MaxAttestations: u32 = 3;
    pub static MaxKeys: u32 = 4;
    pub static MaxSteps: u32 = 8_192;
}

impl pallet_zkinfer_verifier::Config for Test {
    type KeyOrigin = EnsureSigned<AccountId>;
    type RevokeOrigin = EnsureRoot<AccountId>;
    type RetirementNotice = Notice;
    type Deposit = Fragile;
    type AllowDevelopmentKeys = Development;
    type MaxKeys = MaxKeys;
    type MaxKeyBytes = ConstU32<16_384>;
    type MaxPublicBytes = ConstU32<4_096>;
    type MaxProofBytes = ConstU32<8_192>;
    type MaxSteps = MaxSteps;
    type AttestationLifetime = ConstU64<LIFETIME>;
    type MaxAttestationsPerBlock = MaxAttestations;
    type WeightInfo = pallet_zkinfer_verifier::weights::Measured<Test>;
}

/// Externalities of block 1, in which Alice and Bob have the endowment.
pub fn new_test_ext() -> sp_io::TestExternalities {
    let genesis = RuntimeGenesisConfig {
        balances: pallet_balances::GenesisConfig {
            balances: vec![(ALICE, ENDOWMENT), (BOB, ENDOWMENT)],
            ..Default::default()
        },
        ..Default::default()
    };
    let storage = genesis.build_storage().expect("a sound genesis");
    let mut ext = sp_io::TestExternalities::new(storage);
    ext.execute_with(|| System::set_block_number(1));
    ext
}
