//! # Genesis: the accounts a chain begins with

use alloc::{vec, vec::Vec};

use frame_support::build_struct_json_patch;
use sp_core::hex2array;
use sp_genesis_builder::{DEV_RUNTIME_PRESET, PresetId};

use crate::{AccountId, Balance, BalancesConfig, RuntimeGenesisConfig};

/// The keys that every development chain of Substrate knows by these names.
const ALICE: [u8; 32] =
    hex2array!("d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d");
const BOB: [u8; 32] =
    hex2array!("8eaf04151687736326c9fea17e25fc5287613693c912909cb226aa4794f26a48");
const ENDOWMENT: Balance = 1_000_000_000_000_000_000;

/// The patch of the preset `id`: "development" endows Alice and Bob.
pub(crate) fn preset(id: &PresetId) -> Option<Vec<u8>> {
    if id != DEV_RUNTIME_PRESET {
        return None;
    }
    let balances = [ALICE, BOB].map(|account| (AccountId::new(account), ENDOWMENT));
    let patch = build_struct_json_patch!(RuntimeGenesisConfig {
        balances: BalancesConfig {
            balances: balances.to_vec()
        },
    });
    serde_json::to_vec(&patch).ok()
}

/// The presets that [`preset`] knows.
pub(crate) fn presets() -> Vec<PresetId> {
    vec![PresetId::from(DEV_RUNTIME_PRESET)]
}
