//! A hashed input in every system: from program to a proof that binds one digest.

mod small;

use ark_bn254::Fr;
use small::{Bundle, input, rng};
use zkinfer_circuits::testing::tiny_dense;
use zkinfer_engine::Silent;
use zkinfer_verifier::{ProofSystem, Visibility, verify, verify_words};

#[test]
fn proofs_bind_the_digest_of_a_hashed_input_in_every_system() {
    let weights = vec![3, -5, 7, 2, -1, 8, 0, 4, -9, 6, 1, -2];
    let program = tiny_dense(weights, vec![5, -5, 10], 4, Visibility::Hashed);
    let program = program.expect("a valid program");
    for system in ProofSystem::ALL {
        let bundle = Bundle::new(program.clone(), system, 1);
        let prover = bundle.prover();
        let (one, two) = (input(&program, 1), input(&program, 2));
        let proven = prover.prove(&one, &mut rng(1), &Silent).expect("a proof");
        let statement = &proven.statement;
        verify(&bundle.vk, statement, &proven.proof).expect("accepted");
        verify_words(&bundle.vk, &statement.words(), &proven.proof).expect("accepted");

        // one digest, and it is that of this input
        assert_eq!(statement.digests.len(), 1);
        let layout = &bundle.vk.layout;
        let values = |input: &zkinfer_engine::ProofInput| input.tensors[0].data.clone();
        assert_eq!(statement.check_revealed(layout, 0, &values(&one)), Ok(()));
        assert!(statement.check_revealed(layout, 0, &values(&two)).is_err());

        let mut other = statement.clone();
        other.digests[0] = layout.digest_of(0, &values(&two)).expect("of the layout");
        assert!(
            verify(&bundle.vk, &other, &proven.proof).is_err(),
            "{system}"
        );
        other.digests[0] = statement.digests[0] + Fr::from(1);
        assert!(
            verify(&bundle.vk, &other, &proven.proof).is_err(),
            "{system}"
        );
        other.digests.clear();
        assert!(
            verify(&bundle.vk, &other, &proven.proof).is_err(),
            "{system}"
        );
    }
}
