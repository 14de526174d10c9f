//! `prove/SYSTEM/*`: one proof with the key loaded: witness, commitment, proof, and the prover's own verification.

#![forbid(unsafe_code)]

use std::time::Duration;

use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use zkinfer_benches::{Ready, chosen, systems};
use zkinfer_verifier::verify;

fn prove(c: &mut Criterion) {
    let mut group = c.benchmark_group("prove");
    group
        .sample_size(10)
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_secs(1));
    for workload in chosen() {
        for system in systems(&workload) {
            let ready = Ready::new(&workload, system);
            let proven = ready.prove();
            verify(&ready.key, &proven.statement, &proven.proof)
                .expect("a proof of an honest prover");
            group.bench_function(format!("{}/{}", system.name(), workload.name), |b| {
                b.iter(|| ready.prove())
            });
        }
    }
    group.finish();
}

criterion_group!(benches, prove);
criterion_main!(benches);
