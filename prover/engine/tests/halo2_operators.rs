//! Every operator case through the real prover of halo2-kzg: what the mock prover accepts has a proof that verifies.

#![allow(clippy::unwrap_used)]

mod small;

use small::{Bundle, context, rng};
use zkinfer_circuits::ops::Op;
use zkinfer_circuits::testing::{inputs_of, program_of};
use zkinfer_engine::{ProofInput, Silent};
use zkinfer_verifier::{ProofSystem, verify};

#[test]
fn every_operator_case_is_proved_and_verified() {
    for case in Op::cases() {
        let label = format!("{}: {}", case.op.name(), case.name);
        let program = program_of(&case).unwrap();
        let bundle = Bundle::new(program, ProofSystem::Halo2Kzg, 5);
        let prover = bundle.prover();
        let input = ProofInput {
            tensors: inputs_of(&case, &case.runs[0]),
            context: context(9),
        };
        let proven = prover
            .prove(&input, &mut rng(11), &Silent)
            .unwrap_or_else(|e| panic!("{label}: {e}"));
        verify(&bundle.vk, &proven.statement, &proven.proof)
            .unwrap_or_else(|e| panic!("{label}: {e}"));
        let expected = case
            .op
            .eval(&case.runs[0].iter().collect::<Vec<_>>())
            .unwrap();
        assert_eq!(proven.outputs[0].data, expected.data, "{label}");
    }
}
