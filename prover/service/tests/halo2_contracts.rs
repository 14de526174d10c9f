//! Proofs that the library makes are accepted by both halo2-kzg contracts, and what the library's verifier, ours and the contracts say to
//! changed proofs is the same: for a circuit of the library's own kind and for our lowering of programs.
#![allow(clippy::unwrap_used)]

#[path = "../../engine/tests/halo2_small/mod.rs"]
mod halo2_small;
#[path = "../../engine/tests/small/mod.rs"]
mod small;
#[path = "../../../contracts-verifier/tests/solc/mod.rs"]
mod solc;

use halo2_small::{Bundle, Shape};
use zkinfer_contracts::{
    Solidity, Target as _, creation_code,
    evm::{Evm, EvmError},
    solidity::{DEVELOPMENT_CHAIN_ID, calldata_verify_proof},
};
use zkinfer_engine::halo2_kzg::transcript::from_verifier;
use zkinfer_verifier::{Fr, Proof, verify_words};

const SOLIDITY: Solidity = Solidity {
    allow_dev_key: true,
};

/// The verifiers of one key.
struct Verifiers {
    bundle: Bundle,
    evm: Evm,
    contracts: Vec<(&'static str, [u8; 20])>,
}

impl Verifiers {
    fn new(bundle: Bundle) -> Self {
        let tree = SOLIDITY.generate(&bundle.key).unwrap();
        let source = &tree["ZkinferVerifier.sol"];
        let specialised = solc::compile(source, solc::EMBEDDED)["ZkinferVerifier"].clone();
        let reusable = creation_code(&bundle.key, true).unwrap();
        let mut evm = Evm::new(DEVELOPMENT_CHAIN_ID);
        let contracts = [("reusable", reusable), ("specialised", specialised)];
        let contracts = contracts.into_iter().map(|(name, creation)| {
            let contract = evm.deploy(&creation).unwrap();
            println!("{:?} {name}: {} bytes", bundle.shape, contract.code_size);
            (name, contract.address)
        });
        let contracts = contracts.collect();
        Self {
            bundle,
            evm,
            contracts,
        }
    }

    /// What all say about words and proof bytes; they agree.
    fn accept(&mut self, words: &[Fr], bytes: &[u8], what: &str) -> bool {
        let proof = Proof::Halo2Kzg {
            bytes: bytes.to_vec(),
        };
        let ours = verify_words(&self.bundle.key, words, &proof).is_ok();
        let library: Vec<_> = words.iter().map(|word| from_verifier(*word)).collect();
        assert_eq!(
            self.bundle.library_accepts(&library, bytes),
            ours,
            "{what}: the library"
        );
        let data = calldata_verify_proof(words, &proof);
        for (name, address) in &self.contracts {
            let accepted = match self.evm.call(*address, &data) {
                Ok(_) => true,
                Err(EvmError::Reverted { .. }) => false,
                Err(other) => panic!("{what}: {name}: {other}"),
            };
            assert_eq!(accepted, ours, "{what}: {name}");
        }
        ours
    }
}

#[test]
fn library_native_and_contracts_accept_and_reject_the_same_proofs() {
    let mut mutations = 0;
    for bundle in [
        Bundle::new(Shape::Full, 70, 1),
        Bundle::new(Shape::Plain, 33, 2),
        Bundle::of_program(small::dense(7), 3),
    ] {
        let mut verifiers = Verifiers::new(bundle);
        for seed in 1..3 {
            let (statement, proof) = verifiers.bundle.proven(seed, u64::from(seed));
            let words = statement.words();
            assert!(verifiers.accept(&words, &proof, "honest"));
            let data = SOLIDITY.encode(
                &verifiers.bundle.key,
                &statement,
                &Proof::Halo2Kzg {
                    bytes: proof.clone(),
                },
            );
            let data = data.unwrap();
            for (name, address) in &verifiers.contracts {
                let outcome = verifiers.evm.call(*address, &data).expect("accepted");
                println!(
                    "{:?} {name}: {} gas",
                    verifiers.bundle.shape, outcome.gas_used
                );
            }
            if seed == 2 {
                continue;
            }
            for i in 0..words.len() {
                let mut changed = words.clone();
                changed[i] += Fr::from(1_u64 << 40);
                assert!(!verifiers.accept(&changed, &proof, "a word"));
                mutations += 1;
            }
            for at in (0..proof.len()).step_by(32) {
                for (byte, bits) in [(31, 1), (16, 0x40), (2, 0x08)] {
                    let mut changed = proof.clone();
                    changed[at + byte] ^= bits;
                    assert!(!verifiers.accept(&words, &changed, &format!("byte {}", at + byte)));
                    mutations += 1;
                }
                // The evaluation of an empty column is zero already.
                let mut zeros = proof.clone();
                zeros[at..at + 32].fill(0);
                let mut swapped = proof.clone();
                swapped.swap(at, (at + 64) % proof.len());
                for changed in [zeros, swapped] {
                    if changed != proof {
                        assert!(!verifiers.accept(&words, &changed, &format!("word at {at}")));
                        mutations += 1;
                    }
                }
            }
        }
    }
    assert!(mutations >= 300);
    println!("{mutations} changed proofs");
}
