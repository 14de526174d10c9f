//! Digests of hashed tensors on the chain: the contracts of groth16 and ultragroth accept what the native verifier accepts; the other
//! targets make nothing for such keys.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

#[path = "../../verifier/tests/simulator/mod.rs"]
mod simulator;
mod vectors;

use simulator::{
    R, SYSTEMS, Simulator, add_modulus, each_byte_changed, greatest, non_canonical, tensor,
};
use vectors::{Call, encode_words, selector, word};
use zkinfer_contracts::{
    Example, GenerateError, Solidity, Substrate, Target, creation_code,
    evm::{Deployed, Evm, EvmError},
    solidity::{DEVELOPMENT_CHAIN_ID, calldata_verify_proof},
};
use zkinfer_verifier::{
    Dtype, Proof, ProofSystem, Role, Setup, Statement, StatementError, StatementLayout,
    VerifyError, VerifyingKey, Visibility, curve::scalar_to_bytes, verify, verify_words,
};

/// Public bytes and hashed tensors: none or some of the former, word boundaries, more of them than the contracts write at once.
const SIZES: [(u32, usize); 8] = [
    (0, 1),
    (1, 1),
    (31, 2),
    (32, 1),
    (63, 3),
    (217, 1),
    (248, 9),
    (249, 2),
];

fn layout(public_bytes: u32, n_hashed: usize) -> StatementLayout {
    let (int8, hashed) = (Dtype::Int8, Visibility::Hashed);
    let mut tensors: Vec<_> = (0..n_hashed)
        .map(|i| tensor(&format!("x{i}"), Role::Input, hashed, &[3], int8))
        .collect();
    let (shown, len) = match public_bytes {
        0 => (Visibility::Private, 2),
        len => (Visibility::Public, len),
    };
    tensors.push(tensor("y", Role::Output, shown, &[len], int8));
    StatementLayout { tensors }
}

fn made(system: ProofSystem, size: (u32, usize)) -> (Simulator, Statement, Proof) {
    let simulator = Simulator::new(system, Setup::Development, layout(size.0, size.1), 31);
    let statement = simulator.statement(1);
    let proof = simulator.prove(&statement, 2);
    (simulator, statement, proof)
}

struct Chain {
    evm: Evm,
    contract: Deployed,
}

impl Chain {
    fn new(key: &VerifyingKey) -> Self {
        let mut evm = Evm::new(DEVELOPMENT_CHAIN_ID);
        let creation = creation_code(key, true).unwrap();
        let contract = evm.deploy(&creation).unwrap();
        Self { evm, contract }
    }

    fn accepts(&mut self, data: &[u8]) -> bool {
        match self.evm.call(self.contract.address, data) {
            Ok(outcome) => {
                assert_eq!(outcome.output, word(1));
                true
            }
            Err(EvmError::Reverted { .. }) => false,
            Err(other) => panic!("a call neither accepts nor reverts: {other}"),
        }
    }

    fn refuses(&mut self, data: &[u8], error: &str) {
        match self.evm.call(self.contract.address, data) {
            Err(EvmError::Reverted { output, .. }) => {
                assert_eq!(output, selector(error), "{error}");
            }
            other => panic!("expected {error}, got {other:?}"),
        }
    }
}

#[test]
fn contracts_accept_digests_and_refuse_every_changed_byte() {
    for system in SYSTEMS {
        for size in SIZES {
            let (simulator, statement, proof) = made(system, size);
            let key = &simulator.key;
            let mut chain = Chain::new(key);
            let good = Call::new(&statement, &proof);
            assert!(good.holds(key));
            let data = Solidity::default().encode(key, &statement, &proof).unwrap();
            assert_eq!(data, good.encode(), "both encoders agree");
            assert!(chain.accepts(&data), "{system}, {size:?}");
            let words = calldata_verify_proof(&statement.words(), &proof);
            assert!(chain.accepts(&words), "{system}, {size:?} words");
            let other = simulator.statement(77);
            let other_proof = simulator.prove(&other, 78);
            assert!(chain.accepts(&Call::new(&other, &other_proof).encode()));
            assert!(!chain.accepts(&Call::new(&other, &proof).encode()));
            // a few bytes of the longest, all of the others
            let stride = 1 + good.tensors.len() / 128;
            for (at, tensors) in each_byte_changed(&good.tensors, 2).step_by(stride) {
                let call = Call {
                    tensors,
                    ..good.clone()
                };
                assert!(!call.holds(key));
                assert!(!chain.accepts(&call.encode()), "{system}, {size:?}, {at}");
            }
        }
    }
}

/// Forge class 32: every multiple of r more, r itself and the largest word, in both entry points and natively.
#[test]
fn digests_that_are_not_less_than_the_order_are_refused() {
    for system in SYSTEMS {
        for size in SIZES {
            let (simulator, statement, proof) = made(system, size);
            let mut chain = Chain::new(&simulator.key);
            let good = Call::new(&statement, &proof);
            let words: Vec<Vec<u8>> = statement
                .words()
                .into_iter()
                .map(|word| scalar_to_bytes(word).to_vec())
                .collect();
            let n_packed = words.len() - size.1;
            for digest in 0..size.1 {
                let at = size.0 as usize + 32 * digest;
                let mut values = vec![R.to_vec(), vec![0xff; 32]];
                let mut value = words[n_packed + digest].clone();
                while let Some(sum) = add_modulus(&value, 0, &R) {
                    values.push(sum.clone());
                    value = sum;
                }
                assert!(values.len() > 2, "2r is less than 2^256");
                for value in values {
                    let mut call = good.clone();
                    call.tensors[at..at + 32].copy_from_slice(&value);
                    assert!(!call.holds(&simulator.key));
                    chain.refuses(&call.encode(), "InvalidWord()");
                    let mut changed = words.clone();
                    changed[n_packed + digest] = value;
                    chain.refuses(&encode_words(&changed, &good.proof), "InvalidWord()");
                }
            }
        }
    }
}

#[test]
fn packed_words_before_digests_keep_their_form() {
    for system in SYSTEMS {
        for size in SIZES {
            let (simulator, statement, _) = made(system, size);
            let (key, words) = (&simulator.key, statement.words());
            let mut chain = Chain::new(key);
            for (index, words) in non_canonical(&key.layout, &words) {
                // the equation holds for these words: only their form is wrong
                let proof = simulator.prove_words(&words, 3);
                let error: VerifyError = StatementError::NonCanonicalWord { index }.into();
                assert_eq!(verify_words(key, &words, &proof), Err(error));
                chain.refuses(&calldata_verify_proof(&words, &proof), "InvalidWord()");
            }
            // r − 1 is a digest
            let words = greatest(&key.layout);
            let proof = simulator.prove_words(&words, 4);
            assert_eq!(verify_words(key, &words, &proof), Ok(()));
            assert!(chain.accepts(&calldata_verify_proof(&words, &proof)));
            let statement = Statement::from_words(&key.layout, &words).unwrap();
            assert!(chain.accepts(&Call::new(&statement, &proof).encode()));
        }
    }
}

#[test]
fn digests_too_few_or_too_many_are_refused() {
    for system in SYSTEMS {
        for size in SIZES {
            let (simulator, statement, proof) = made(system, size);
            let mut chain = Chain::new(&simulator.key);
            let good = Call::new(&statement, &proof);
            let len = good.tensors.len();
            for wrong in [len - 32, len - 1, len + 1, len + 31, len + 32] {
                let mut call = good.clone();
                call.tensors.resize(wrong, 0);
                assert!(!call.holds(&simulator.key));
                chain.refuses(&call.encode(), "InvalidLength()");
            }
            let mut words = statement.words();
            words.push(words[0]);
            chain.refuses(&calldata_verify_proof(&words, &proof), "InvalidLength()");
            words.truncate(words.len() - 2);
            chain.refuses(&calldata_verify_proof(&words, &proof), "InvalidLength()");
        }
    }
}

#[test]
fn targets_that_do_not_read_digests_make_nothing() {
    for system in SYSTEMS {
        let (simulator, statement, proof) = made(system, (31, 2));
        let key = &simulator.key;
        assert_eq!(verify(key, &statement, &proof), Ok(()));
        let target = Substrate {
            allow_dev_key: true,
            example: Some(Example {
                statement: statement.clone(),
                proof: proof.clone(),
            }),
            ..Substrate::default()
        };
        let tensor = "x0".to_owned();
        let refusal = GenerateError::Hashed { tensor };
        assert_eq!(target.generate(key), Err(refusal.clone()));
        assert_eq!(target.encode(key, &statement, &proof), Err(refusal));
    }
}
