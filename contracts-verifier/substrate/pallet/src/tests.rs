//! What the pallet does with keys and proofs. Proofs come from keys whose secrets are known ([`crate::simulate`]); generated crates test real ones.

mod digests;
mod keys;
mod limits;
mod migration;
mod proofs;
mod worst;

use frame_support::{BoundedVec, traits::ConstU32};
use zkinfer_verifier::{Proof, ProofSystem, Statement, VerifyingKey};

use crate::{
    mock::*,
    pallet::{Error, Pallet},
    simulate::{Simulator, layout},
};

type Key = BoundedVec<u8, ConstU32<16_384>>;

/// The systems whose proofs can be simulated.
const SYSTEMS: [ProofSystem; 2] = [ProofSystem::Groth16, ProofSystem::UltraGroth];

fn alice() -> RuntimeOrigin {
    RuntimeOrigin::signed(ALICE)
}

fn key_bytes(bytes: Vec<u8>) -> Key {
    let Ok(key) = bytes.try_into() else {
        panic!("over the bound");
    };
    key
}

/// Alice registers a key.
fn register(key: &VerifyingKey) -> Result<(), sp_runtime::DispatchError> {
    ZkinferVerifier::register_key(alice(), key_bytes(key.encode()))
}

/// A registered key of a system, a statement and its proof.
fn registered(system: ProofSystem) -> (Simulator, Statement, Vec<u8>) {
    let simulator = Simulator::new(system, layout(3, 0), system as u8);
    frame_support::assert_ok!(register(&simulator.key));
    let statement = simulator.statement(9);
    let proof = simulator.prove(&statement, 9);
    (simulator, statement, proof)
}

/// The call, with everything that may be changed.
fn verify(
    key: [u8; 32],
    context: [u8; 32],
    tensors: &[u8],
    proof: &[u8],
) -> Result<(), sp_runtime::DispatchError> {
    let tensors = tensors.to_vec().try_into().expect("within the bound");
    let proof = proof.to_vec().try_into().expect("within the bound");
    ZkinferVerifier::verify(RuntimeOrigin::signed(BOB), key, context, tensors, proof)
        .map(|_| ())
        .map_err(|e| e.error)
}

fn verify_statement(
    simulator: &Simulator,
    statement: &Statement,
    proof: &[u8],
) -> Result<(), sp_runtime::DispatchError> {
    let context = statement.context.to_bytes();
    verify(
        simulator.key.digest(),
        context,
        &statement.to_bytes(),
        proof,
    )
}

fn run_to(block: u64) {
    while System::block_number() < block {
        System::set_block_number(System::block_number() + 1);
        <Pallet<Test> as frame_support::traits::Hooks<u64>>::on_initialize(System::block_number());
    }
}

/// Runs a test in a fresh chain; the storage must be sound when it ends.
fn in_chain(test: impl FnOnce()) {
    new_test_ext().execute_with(|| {
        test();
        assert_eq!(ZkinferVerifier::check_state(), Ok(()));
    });
}

/// The pallet and `zkinfer_verifier::verify` on the same bytes, read as a program would read them.
fn library(key: &[u8], context: [u8; 32], tensors: &[u8], proof: &[u8]) -> bool {
    let Ok(key) = VerifyingKey::decode(key) else {
        return false;
    };
    let Ok(context) = zkinfer_verifier::Context::from_bytes(context) else {
        return false;
    };
    let Ok(statement) = Statement::from_bytes(&key.layout, context, tensors) else {
        return false;
    };
    Proof::from_bytes(key.system, proof)
        .is_ok_and(|proof| zkinfer_verifier::verify(&key, &statement, &proof).is_ok())
}
