//! Groth16 proofs can be re-randomized by anyone, so their bytes identify nothing; the statement digest does. A commitment cannot be moved.

mod simulator;

use std::collections::BTreeSet;

use ark_bn254::Fr;
use ark_ec::CurveGroup;
use ark_ff::Field;
use simulator::{SYSTEMS, g1, valid};
use zkinfer_verifier::{Context, Proof, ProofSystem, Statement, VerifyError, keccak256, verify};

#[test]
fn anyone_can_rerandomize_a_proof_and_the_statement_digest_stays() {
    for system in SYSTEMS {
        let (simulator, statement, proof) = valid(system, 40);
        let t = Fr::from(12_345_u64);
        let inverse = t.inverse().expect("not zero");
        for (t, inverse) in [(t, inverse), (-Fr::from(1_u64), -Fr::from(1_u64))] {
            let other = match proof {
                Proof::Groth16 { a, b, c } => Proof::Groth16 {
                    a: (a * t).into_affine(),
                    b: (b * inverse).into_affine(),
                    c,
                },
                Proof::UltraGroth { a, b, c1, c2 } => Proof::UltraGroth {
                    a: (a * t).into_affine(),
                    b: (b * inverse).into_affine(),
                    c1,
                    c2,
                },
                Proof::Halo2Kzg { .. } => panic!("a groth16 system"),
            };
            assert_ne!(keccak256(&other.to_bytes()), keccak256(&proof.to_bytes()));
            assert_eq!(verify(&simulator.key, &statement, &other), Ok(()));
        }
    }
}

#[test]
fn a_commitment_cannot_be_moved_without_new_challenges() {
    let (simulator, statement, proof) = valid(ProofSystem::UltraGroth, 40);
    let Proof::UltraGroth { a, b, c1, c2 } = proof else {
        panic!("an ultragroth proof")
    };
    let moved = Proof::UltraGroth {
        a,
        b,
        c1: (c1 + g1(Fr::from(3_u64))).into_affine(),
        c2,
    };
    assert_eq!(
        verify(&simulator.key, &statement, &moved),
        Err(VerifyError::Rejected)
    );
    let negated = Proof::UltraGroth { a, b, c1: -c1, c2 };
    assert_eq!(
        verify(&simulator.key, &statement, &negated),
        Err(VerifyError::Rejected)
    );
}

#[test]
fn statement_digests_differ_in_key_context_and_every_byte() {
    let (simulator, statement, _) = valid(ProofSystem::UltraGroth, 40);
    let digest = simulator.key.digest();
    let mut seen = BTreeSet::from([statement.digest(&digest), statement.digest(&[0; 32])]);
    let other = Statement {
        context: Context::ZERO,
        ..statement.clone()
    };
    assert!(seen.insert(other.digest(&digest)));
    for i in 0..statement.public_bytes.len() {
        let mut changed = statement.clone();
        changed.public_bytes[i] ^= 1;
        assert!(seen.insert(changed.digest(&digest)), "byte {i}");
    }
}
