//! `verify/SYSTEM/*`: the native verifier on one proof, key already decoded.

#![forbid(unsafe_code)]

use criterion::{Criterion, criterion_group, criterion_main};
use zkinfer_benches::{Ready, chosen, systems};

fn verify(c: &mut Criterion) {
    let mut group = c.benchmark_group("verify");
    for workload in chosen() {
        for system in systems(&workload) {
            let ready = Ready::new(&workload, system);
            let proven = ready.prove();
            let check = || zkinfer_verifier::verify(&ready.key, &proven.statement, &proven.proof);
            check().expect("a proof of an honest prover");
            group.bench_function(format!("{}/{}", system.name(), workload.name), |b| {
                b.iter(check)
            });
        }
    }
    group.finish();
}

criterion_group!(benches, verify);
criterion_main!(benches);
