//! `compile/onnx/*`: from the bytes of an ONNX file and calibration samples to the integer model and its constraint program.
//! `compile/lower/*`: from the program to R1CS, in the form with a committed round.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use zkinfer_benches::chosen;
use zkinfer_circuits::arithmetization::r1cs::{Form, R1cs};

fn compile(c: &mut Criterion) {
    let mut group = c.benchmark_group("compile");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(5));
    for workload in chosen() {
        let compiled = workload.compile();
        group.bench_function(format!("onnx/{}", workload.name), |b| {
            b.iter(|| workload.compile())
        });
        let program = Arc::new(compiled.program);
        let rows = R1cs::lower(&program, Form::Committed)
            .expect("the workload lowers")
            .n_rows();
        group.throughput(Throughput::Elements(rows as u64));
        group.bench_function(format!("lower/{}", workload.name), |b| {
            b.iter(|| R1cs::lower(&program, Form::Committed).expect("lowered before"));
        });
    }
    group.finish();
}

criterion_group!(benches, compile);
criterion_main!(benches);
