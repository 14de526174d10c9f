//! Digests of hashed tensors on the chain: the contracts of every system accept what the native verifier accepts, and refuse the rest. Those of
//! halo2-kzg are both asked: the reusable one from its embedded code, the specialised one as solc compiles it.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod halo2;
#[path = "../../verifier/tests/simulator/mod.rs"]
mod simulator;
mod solc;
mod vectors;

use halo2::{Halo2Simulator, Shape};
use simulator::{
    R, SYSTEMS, Simulator, add_modulus, each_byte_changed, greatest, hashed_layout, non_canonical,
};
use vectors::{Call, encode_words, selector, word};
use zkinfer_contracts::{
    Solidity, Target, creation_code,
    evm::{Deployed, Evm, EvmError},
    solidity::{DEVELOPMENT_CHAIN_ID, calldata_verify_proof},
};
use zkinfer_verifier::{
    Fr, Proof, ProofSystem, Setup, Statement, StatementError, VerifyError, VerifyingKey,
    curve::scalar_to_bytes, verify_words,
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

/// Who proves anything under a key.
enum Prover {
    Groth(Box<Simulator>),
    Halo2(Box<Halo2Simulator>),
}

impl Prover {
    fn key(&self) -> &VerifyingKey {
        match self {
            Self::Groth(simulator) => &simulator.key,
            Self::Halo2(simulator) => &simulator.key,
        }
    }

    fn statement(&self, seed: u64) -> Statement {
        match self {
            Self::Groth(simulator) => simulator.statement(seed),
            Self::Halo2(simulator) => simulator.statement(seed),
        }
    }

    fn prove_words(&self, words: &[Fr], seed: u64) -> Proof {
        match self {
            Self::Groth(simulator) => simulator.prove_words(words, seed),
            Self::Halo2(simulator) => simulator.prove_words(words, seed),
        }
    }

    fn prove(&self, statement: &Statement, seed: u64) -> Proof {
        self.prove_words(&statement.words(), seed)
    }
}

/// A prover, its contracts on a chain, a statement with `n_hashed` digests and its proof.
struct Case {
    name: String,
    public_bytes: usize,
    n_hashed: usize,
    prover: Prover,
    statement: Statement,
    proof: Proof,
    evm: Evm,
    contracts: Vec<Deployed>,
}

impl Case {
    fn new(prover: Prover, (public_bytes, n_hashed): (u32, usize)) -> Self {
        let statement = prover.statement(1);
        let proof = prover.prove(&statement, 2);
        let key = prover.key();
        let mut creations = vec![creation_code(key, true).unwrap()];
        if key.system == ProofSystem::Halo2Kzg {
            let target = Solidity {
                allow_dev_key: true,
            };
            let source = &target.generate(key).unwrap()["ZkinferVerifier.sol"];
            creations.push(solc::compile(source, solc::EMBEDDED)["ZkinferVerifier"].clone());
        }
        let mut evm = Evm::new(DEVELOPMENT_CHAIN_ID);
        let contracts = creations.iter().map(|code| evm.deploy(code).unwrap());
        Self {
            name: format!("{}, {public_bytes} bytes, {n_hashed} digests", key.system),
            public_bytes: public_bytes as usize,
            n_hashed,
            contracts: contracts.collect(),
            prover,
            statement,
            proof,
            evm,
        }
    }

    fn call(&self) -> Call {
        Call::new(&self.statement, &self.proof)
    }

    /// What every contract of the key says.
    fn accepts(&mut self, data: &[u8]) -> bool {
        let mut said = self
            .contracts
            .iter()
            .map(|contract| match self.evm.call(contract.address, data) {
                Ok(outcome) => {
                    assert_eq!(outcome.output, word(1));
                    true
                }
                Err(EvmError::Reverted { .. }) => false,
                Err(other) => panic!("a call neither accepts nor reverts: {other}"),
            })
            .collect::<Vec<_>>();
        said.dedup();
        assert_eq!(said.len(), 1, "{}: the contracts disagree", self.name);
        said[0]
    }

    fn refuses(&mut self, data: &[u8], error: &str) {
        for contract in &self.contracts {
            match self.evm.call(contract.address, data) {
                Err(EvmError::Reverted { output, .. }) => {
                    assert_eq!(output, selector(error), "{}: {error}", self.name);
                }
                other => panic!("{}: expected {error}, got {other:?}", self.name),
            }
        }
    }
}

/// Every system at every size; of halo2-kzg circuits with and without a permutation argument.
fn each_case(check: impl Fn(Case)) {
    for size in SIZES {
        let layout = || hashed_layout(size.0, size.1);
        for system in SYSTEMS {
            let simulator = Simulator::new(system, Setup::Development, layout(), 31);
            check(Case::new(Prover::Groth(Box::new(simulator)), size));
        }
        let shape = match size {
            (31 | 248, _) => Shape::Small,
            _ => Shape::Least,
        };
        let simulator = Halo2Simulator::of_layout(shape, Setup::Development, layout(), 31);
        check(Case::new(Prover::Halo2(Box::new(simulator)), size));
    }
}

#[test]
fn contracts_accept_digests_and_refuse_every_changed_byte() {
    each_case(|mut case| {
        let key = case.prover.key().clone();
        let good = case.call();
        assert!(good.holds(&key));
        let data = Solidity::default()
            .encode(&key, &case.statement, &case.proof)
            .unwrap();
        assert_eq!(data, good.encode(), "both encoders agree");
        assert!(case.accepts(&data), "{}", case.name);
        let words = calldata_verify_proof(&case.statement.words(), &case.proof);
        assert!(case.accepts(&words), "{}, words", case.name);
        let other = case.prover.statement(77);
        let other_proof = case.prover.prove(&other, 78);
        assert!(case.accepts(&Call::new(&other, &other_proof).encode()));
        assert!(!case.accepts(&Call::new(&other, &case.proof).encode()));
        // a few bytes of the longest, all of the others
        let stride = 1 + good.tensors.len() / 128;
        for (at, tensors) in each_byte_changed(&good.tensors, 2).step_by(stride) {
            let call = Call {
                tensors,
                ..good.clone()
            };
            assert!(!call.holds(&key));
            assert!(!case.accepts(&call.encode()), "{}, {at}", case.name);
        }
    });
}

/// A digest of another tensor: of another value, or two digests of one statement exchanged, in both entry points and natively.
#[test]
fn digests_of_other_tensors_are_refused() {
    each_case(|mut case| {
        let good = case.call();
        let start = case.public_bytes;
        let mut changed = vec![case.prover.statement(5).digests];
        if case.n_hashed > 1 {
            let mut digests = case.statement.digests.clone();
            digests.swap(0, case.n_hashed - 1);
            changed.push(digests);
        }
        for digests in changed {
            assert_ne!(digests, case.statement.digests);
            let mut call = good.clone();
            for (i, digest) in digests.iter().enumerate() {
                let at = start + 32 * i;
                call.tensors[at..at + 32].copy_from_slice(&scalar_to_bytes(*digest));
            }
            assert!(!call.holds(case.prover.key()));
            case.refuses(&call.encode(), "InvalidProof()");
            let mut words = case.statement.words();
            let n_packed = words.len() - case.n_hashed;
            words[n_packed..].copy_from_slice(&digests);
            case.refuses(
                &calldata_verify_proof(&words, &case.proof),
                "InvalidProof()",
            );
        }
    });
}

/// Forge class 32: every multiple of r more, r itself and the largest word, in both entry points and natively.
#[test]
fn digests_that_are_not_less_than_the_order_are_refused() {
    each_case(|mut case| {
        let good = case.call();
        let words: Vec<Vec<u8>> = case
            .statement
            .words()
            .into_iter()
            .map(|word| scalar_to_bytes(word).to_vec())
            .collect();
        let n_packed = words.len() - case.n_hashed;
        for digest in 0..case.n_hashed {
            let at = case.public_bytes + 32 * digest;
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
                assert!(!call.holds(case.prover.key()));
                case.refuses(&call.encode(), "InvalidWord()");
                let mut changed = words.clone();
                changed[n_packed + digest] = value;
                case.refuses(&encode_words(&changed, &good.proof), "InvalidWord()");
            }
        }
    });
}

#[test]
fn packed_words_before_digests_keep_their_form() {
    each_case(|mut case| {
        let key = case.prover.key().clone();
        let words = case.statement.words();
        for (index, words) in non_canonical(&key.layout, &words) {
            // the equation holds for these words: only their form is wrong
            let proof = case.prover.prove_words(&words, 3);
            let error: VerifyError = StatementError::NonCanonicalWord { index }.into();
            assert_eq!(verify_words(&key, &words, &proof), Err(error));
            case.refuses(&calldata_verify_proof(&words, &proof), "InvalidWord()");
        }
        // r − 1 is a digest
        let words = greatest(&key.layout);
        let proof = case.prover.prove_words(&words, 4);
        assert_eq!(verify_words(&key, &words, &proof), Ok(()));
        assert!(case.accepts(&calldata_verify_proof(&words, &proof)));
        let statement = Statement::from_words(&key.layout, &words).unwrap();
        assert!(case.accepts(&Call::new(&statement, &proof).encode()));
    });
}

#[test]
fn digests_too_few_or_too_many_are_refused() {
    each_case(|mut case| {
        let good = case.call();
        let len = good.tensors.len();
        for wrong in [0, len - 32, len - 1, len + 1, len + 31, len + 32] {
            let mut call = good.clone();
            call.tensors.resize(wrong, 0);
            assert!(!call.holds(case.prover.key()));
            case.refuses(&call.encode(), "InvalidLength()");
        }
        let mut words = case.statement.words();
        words.push(words[0]);
        case.refuses(
            &calldata_verify_proof(&words, &case.proof),
            "InvalidLength()",
        );
        words.truncate(words.len() - 2);
        case.refuses(
            &calldata_verify_proof(&words, &case.proof),
            "InvalidLength()",
        );
        // what pads the last word of the calldata
        if case.public_bytes % 32 > 0 {
            let mut dirty = good.encode();
            dirty[4 + 96 + 32 + len] = 1;
            case.refuses(&dirty, "InvalidLength()");
        }
    });
}
