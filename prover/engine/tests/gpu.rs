//! Whole proofs on the CUDA device, its kernels emulated on the CPU: every system, with memory for everything, for parts, and for nothing.

mod small;

use std::sync::Arc;

use small::{Bundle, input, layers, rng};
use zkinfer_engine::{Silent, backend};
use zkinfer_gpu::dual::Dual;
use zkinfer_gpu::testing::emulated_gpu;
use zkinfer_gpu::{Cpu, Device};
use zkinfer_verifier::{ProofSystem, verify};

/// Proves one input of `bundle` on `device`, with tables of at most `table_bytes`, and returns their bytes.
fn prove(bundle: &Bundle, system: ProofSystem, device: Arc<dyn Device>, table_bytes: u64) -> u64 {
    let prover = backend(system, device)
        .prepare(bundle.program.clone(), bundle.key(), bundle.vk.clone())
        .expect("the parts belong together");
    let made = prover.tabulate(table_bytes).expect("sound points");
    let asked = input(&bundle.program, 3);
    let proven = prover.prove(&asked, &mut rng(5), &Silent).expect("a proof");
    assert!(verify(&bundle.vk, &proven.statement, &proven.proof).is_ok());
    // The same randomness gives the same proof on every device.
    let on_cpu = bundle.prover().prove(&asked, &mut rng(5), &Silent);
    let on_cpu = on_cpu.expect("a proof");
    assert_eq!(proven.statement, on_cpu.statement);
    assert_eq!(proven.proof, on_cpu.proof);
    made
}

#[test]
fn a_gpu_makes_the_proofs_of_the_cpu() {
    for system in [ProofSystem::Groth16, ProofSystem::UltraGroth] {
        let bundle = Bundle::new(layers(24, 2), system, 1);
        let gpu = |memory| Arc::new(emulated_gpu(memory).expect("a C++ compiler"));
        assert_eq!(prove(&bundle, system, gpu(None), 0), 0);
        assert!(prove(&bundle, system, gpu(None), u64::MAX) > 0);
        for memory in [0, 200 << 10, 2 << 20] {
            prove(&bundle, system, gpu(Some(memory)), u64::MAX);
        }
        let dual = Dual::new(emulated_gpu(None).expect("a C++ compiler"), Cpu);
        prove(&bundle, system, Arc::new(dual), 0);
    }
}

#[test]
fn a_gpu_makes_the_halo2_proofs_of_the_cpu() {
    let system = ProofSystem::Halo2Kzg;
    let bundle = Bundle::new(layers(8, 1), system, 1);
    let gpu = Arc::new(emulated_gpu(None).expect("a C++ compiler"));
    prove(&bundle, system, gpu, 0);
}
