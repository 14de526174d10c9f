//! Multi-scalar multiplications in lanes and portable: `msm/G1/LOG/CLASS/DEVICE`, throughput in terms.
//!
//! Sizes 2^10 … 2^22 (G2 to 2^18), scalars full, of 16 or 8 bits, or mixed as in a witness. Choose by a part of the name:
//! `cargo bench -p zkinfer-gpu --bench multiplications -- G1/18/full`.

#![allow(missing_docs, reason = "the macros of criterion make public items")]
#![forbid(unsafe_code)]

use std::cell::LazyCell;
use std::hint::black_box;
use std::time::Duration;

use ark_bn254::Fr;
use ark_ff::PrimeField;
use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use zkinfer_gpu::testing::{points, scalars};
use zkinfer_gpu::{Bases, Cpu, Device, FrSlice, G1, G2, PortableCpu, ScalarClass};

const DEVICES: [(&str, &dyn Device); 2] = [("lanes", &Cpu), ("portable", &PortableCpu)];

/// Kinds of scalars.
const CLASSES: [&str; 4] = ["full", "16 bits", "8 bits", "mixed"];

fn scalars_of(class: &str, n: usize) -> Vec<Fr> {
    let low = |s: Fr, bits: u32| Fr::from(s.into_bigint().0[0] & ((1 << bits) - 1));
    let of_class = |(k, s): (usize, Fr)| match class {
        "full" => s,
        "16 bits" => low(s, 16),
        "8 bits" => low(s, 8),
        // As in a proof: a tenth full, bytes, bits, zeros.
        _ => match k % 10 {
            0 => s,
            1..=4 => low(s, 8),
            5..=7 => low(s, 1),
            _ => Fr::from(0u64),
        },
    };
    scalars(3, n)
        .into_iter()
        .enumerate()
        .map(of_class)
        .collect()
}

/// What a filter leaves out is never made: points of large sizes take seconds.
fn measure(c: &mut Criterion, curve: &str, log: u32, msm: &dyn Fn(&dyn Device, FrSlice<'_>)) {
    let n = 1usize << log;
    let mut group = c.benchmark_group(format!("msm/{curve}/{log}"));
    group
        .sample_size(10)
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_millis(300))
        .throughput(Throughput::Elements(n as u64));
    for class in CLASSES {
        let vector = LazyCell::new(|| {
            let values = scalars_of(class, n);
            Cpu.upload(values).expect("the host's memory")
        });
        for (name, device) in DEVICES {
            group.bench_function(BenchmarkId::new(class, name), |b| {
                b.iter(|| msm(device, vector.as_slice()))
            });
        }
    }
    group.finish();
}

fn multiplications(c: &mut Criterion) {
    for log in (10..=22).step_by(2) {
        let bases = LazyCell::new(|| Bases::<G1>::from_points(points::<G1>(1 << log).0));
        measure(c, "G1", log, &|device, scalars| {
            let result = device.msm_g1(&bases, scalars, ScalarClass::Full);
            let _ = black_box(result.expect("sound bases"));
        });
    }
    for log in (10..=18).step_by(2) {
        let bases = LazyCell::new(|| Bases::<G2>::from_points(points::<G2>(1 << log).0));
        measure(c, "G2", log, &|device, scalars| {
            let result = device.msm_g2(&bases, scalars, ScalarClass::Full);
            let _ = black_box(result.expect("sound bases"));
        });
    }
}

criterion_group!(benches, multiplications);
criterion_main!(benches);
