//! A whole plain Groth16 proof beside `ark-groth16`, on the same constraints and the same witness.
//!
//! The circuit is `digits-cnn` in a batch, up to the domain of 2^18. Ours is timed whole: solving, proof, own verification. arkworks is
//! given the finished assignment and matrices, and is not asked to verify.

use std::sync::Arc;

use ark_bn254::{Bn254, Fr};
use ark_ff::UniformRand;
use ark_groth16::Groth16;
use ark_groth16::r1cs_to_qap::LibsnarkReduction;
use ark_relations::gr1cs::{
    ConstraintSynthesizer, ConstraintSystem, ConstraintSystemRef, LinearCombination,
    R1CS_PREDICATE_LABEL, SynthesisError, Variable,
};
use rand::rngs::OsRng;
use zkinfer_benches::{Ready, WORKLOADS};
use zkinfer_circuits::Settings;
use zkinfer_circuits::arithmetization::r1cs::{Form, R1cs, Witness};
use zkinfer_circuits::constraint::solve;
use zkinfer_engine::quote;
use zkinfer_verifier::{Context, ProofSystem, verify};

use super::{compare, keep};

const LOG_DOMAIN: u32 = 18;

/// The rows of a circuit for arkworks, with or without an assignment.
struct Exported<'a> {
    r1cs: &'a R1cs,
    witness: &'a Witness,
}

impl ConstraintSynthesizer<Fr> for Exported<'_> {
    fn generate_constraints(self, cs: ConstraintSystemRef<Fr>) -> Result<(), SynthesisError> {
        let mut variables = vec![Variable::One];
        for value in &self.witness.instance[1..] {
            variables.push(cs.new_input_variable(|| Ok(*value))?);
        }
        for value in &self.witness.private {
            variables.push(cs.new_witness_variable(|| Ok(*value))?);
        }
        for row in 0..self.r1cs.n_rows() {
            let [a, b, c] = self.r1cs.row(row).map(|terms| {
                let terms = terms.into_iter().map(|(wire, c)| (c, variables[wire]));
                LinearCombination(terms.collect())
            });
            cs.enforce_r1cs_constraint(|| a, || b, || c)?;
        }
        Ok(())
    }
}

pub(crate) fn proofs(repeats: usize) {
    let workload = WORKLOADS
        .iter()
        .find(|workload| workload.name == "digits-cnn")
        .expect("a workload of the list");
    let mut batch = 1;
    let compiled = loop {
        let compiled = workload.compile_with(&Settings {
            batch,
            ..Settings::default()
        });
        let program = Arc::new(compiled.program.clone());
        let quoted = quote(&program, ProofSystem::Groth16).expect("a circuit");
        if quoted.domain.ilog2() >= LOG_DOMAIN {
            println!(
                "<!-- digits-cnn, batch {batch}: {} rows, domain 2^{} -->",
                quoted.rows,
                quoted.domain.ilog2()
            );
            break compiled;
        }
        batch *= 2;
    };
    let ready = Ready::of(workload, &compiled, ProofSystem::Groth16);
    let proven = ready.prove();
    verify(&ready.key, &proven.statement, &proven.proof).expect("an honest proof");

    let program = Arc::new(compiled.program);
    let r1cs = R1cs::lower(&program, Form::Plain).expect("a circuit");
    let solved = solve(&program, &ready.input.tensors).expect("a witness");
    let statement = solved
        .statement(&program, Context::ZERO)
        .expect("a statement");
    let witness = r1cs.assign_plain(&solved, &statement.words());
    let exported = || Exported {
        r1cs: &r1cs,
        witness: &witness,
    };
    let key = Groth16::<Bn254>::generate_random_parameters_with_reduction(exported(), &mut OsRng)
        .expect("keys of arkworks");
    let cs = ConstraintSystem::new_ref();
    exported()
        .generate_constraints(cs.clone())
        .expect("the same constraints");
    cs.finalize();
    let matrices = cs.to_matrices().expect("matrices")[R1CS_PREDICATE_LABEL].clone();
    let (n_instance, n_rows) = (cs.num_instance_variables(), cs.num_constraints());
    let assignment: Vec<Fr> = [&witness.instance[..], &witness.private[..]].concat();
    let ark = || {
        let [r, s] = [(); 2].map(|()| Fr::rand(&mut OsRng));
        let proof = Groth16::<Bn254, LibsnarkReduction>::create_proof_with_reduction_and_matrices(
            &key,
            r,
            s,
            &matrices,
            n_instance,
            n_rows,
            &assignment,
        );
        proof.expect("a proof of arkworks")
    };
    let prepared = ark_groth16::prepare_verifying_key(&key.vk);
    let accepted = Groth16::<Bn254>::verify_proof(&prepared, &ark(), &witness.instance[1..]);
    assert!(
        accepted.expect("well formed"),
        "arkworks accepts its own proof"
    );
    let what = format!("Groth16 prove, domain 2^{LOG_DOMAIN}");
    compare(
        &what,
        repeats,
        vec![
            (
                "zkinfer, solving and verifying too",
                Box::new(|| keep(ready.prove())),
            ),
            ("ark-groth16 0.6", Box::new(|| keep(ark()))),
        ],
    );
}
