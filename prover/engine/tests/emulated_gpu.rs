//! Proofs made on a GPU whose kernels run on the CPU.

mod small;

use std::sync::Arc;

use zkinfer_engine::{Silent, backend};
use zkinfer_gpu::testing::emulated_gpu;
use zkinfer_verifier::{ProofSystem, verify};

fn proves(system: ProofSystem) {
    let device = Arc::new(emulated_gpu().expect("a C++ compiler"));
    let bundle = small::Bundle::new(small::dense(3), system, 5);
    let prover = backend(system, device.clone())
        .prepare(bundle.program.clone(), bundle.key(), bundle.vk.clone())
        .expect("the parts belong together");
    // Twice: what a prover keeps on the device is there for the second proof.
    for seed in 1..3 {
        let input = small::input(&bundle.program, seed);
        let proven = prover
            .prove(&input, &mut small::rng(2), &Silent)
            .expect("a proof");
        verify(&bundle.vk, &proven.statement, &proven.proof).expect("an honest proof");
    }
    assert!(!device.has_failed());
}

#[test]
fn a_gpu_makes_halo2_kzg_proofs() {
    proves(ProofSystem::Halo2Kzg);
}

#[test]
fn a_gpu_makes_groth16_proofs() {
    proves(ProofSystem::Groth16);
}

#[test]
fn a_gpu_makes_ultragroth_proofs() {
    proves(ProofSystem::UltraGroth);
}
