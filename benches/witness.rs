//! `witness/eval/*`: integer inference. `witness/solve/*`: every wire of the constraint program, for one input.

#![forbid(unsafe_code)]

use criterion::{Criterion, criterion_group, criterion_main};
use zkinfer_benches::chosen;
use zkinfer_circuits::constraint::solve;

fn witness(c: &mut Criterion) {
    let mut group = c.benchmark_group("witness");
    group.sample_size(20);
    for workload in chosen() {
        let compiled = workload.compile();
        let input = workload.input(&compiled);
        let expected = compiled
            .model
            .eval(&input)
            .expect("the input fits its model");
        let assignment = solve(&compiled.program, &input).expect("the input fits its model");
        assert_eq!(
            assignment.outputs(&compiled.program),
            expected,
            "{}: solver and integer model disagree",
            workload.name
        );
        group.bench_function(format!("eval/{}", workload.name), |b| {
            b.iter(|| compiled.model.eval(&input).expect("evaluated before"));
        });
        group.bench_function(format!("solve/{}", workload.name), |b| {
            b.iter(|| solve(&compiled.program, &input).expect("solved before"));
        });
    }
    group.finish();
}

criterion_group!(benches, witness);
criterion_main!(benches);
