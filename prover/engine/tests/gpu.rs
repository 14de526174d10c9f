//! Whole proofs on the CUDA device, its kernels emulated on the CPU: every system, with memory for everything, for parts, and for nothing.

mod small;

use std::sync::Arc;

use small::{Bundle, input, layers, rng};
use zkinfer_engine::{ProveError, Silent, backend};
use zkinfer_gpu::dual::Dual;
use zkinfer_gpu::testing::{emulated_gpu, failing_gpu};
use zkinfer_gpu::{Cpu, Device, DeviceError};
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

/// Whatever the GPU was at when it broke, the CPU makes the proofs from then on: at most one attempt is lost.
#[test]
fn a_gpu_that_breaks_is_left_for_the_cpu() {
    for (system, program, calls) in [
        (ProofSystem::UltraGroth, layers(24, 2), [3, 20, 40, 90]),
        (ProofSystem::Halo2Kzg, layers(8, 1), [30, 200, 400, 600]),
    ] {
        let bundle = Bundle::new(program, system, 1);
        let mut broke = 0;
        for calls in calls {
            let gpu = Arc::new(failing_gpu(calls).expect("a C++ compiler"));
            let device = Arc::clone(&gpu) as Arc<dyn Device>;
            let prover = backend(system, device)
                .prepare(bundle.program.clone(), bundle.key(), bundle.vk.clone())
                .expect("a key without the GPU");
            let asked = input(&bundle.program, 3);
            let broken_before = gpu.has_failed();
            let first = prover.prove(&asked, &mut rng(5), &Silent);
            println!(
                "{system:?} {calls} calls: broken before {broken_before}, after {}",
                gpu.has_failed()
            );
            broke += usize::from(!broken_before && gpu.has_failed());
            match first {
                Ok(proven) => assert!(verify(&bundle.vk, &proven.statement, &proven.proof).is_ok()),
                Err(error) => assert!(
                    system != ProofSystem::Halo2Kzg
                        && matches!(error, ProveError::Device(DeviceError::Gpu(_))),
                    "{error}"
                ),
            }
            if gpu.has_failed() {
                let second = prover.prove(&asked, &mut rng(5), &Silent).expect("a proof");
                let on_cpu = bundle.prover().prove(&asked, &mut rng(5), &Silent);
                assert!(second.proof == on_cpu.expect("a proof").proof);
            }
        }
        assert!(broke > 0, "{system:?}: never in a proof");
    }
}

#[test]
fn a_gpu_makes_the_halo2_proofs_of_the_cpu() {
    let system = ProofSystem::Halo2Kzg;
    let bundle = Bundle::new(layers(8, 1), system, 1);
    let gpu = Arc::new(emulated_gpu(None).expect("a C++ compiler"));
    prove(&bundle, system, gpu, 0);
    // Little memory: columns that lie with the host among those that do not.
    let short = Arc::new(emulated_gpu(Some(400 << 10)).expect("a C++ compiler"));
    prove(&bundle, system, short, 0);
    let dual = Dual::new(emulated_gpu(None).expect("a C++ compiler"), Cpu);
    prove(&bundle, system, Arc::new(dual), 0);
}
