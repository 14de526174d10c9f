//! Multi-scalar multiplications in lanes and portable: `msm/G1/LOG/CLASS/DEVICE`, throughput in terms; `table` is lanes with a table.
//!
//! Sizes 2^10 … 2^22 (G2 to 2^18), scalars full, of 16 or 8 bits, or mixed as in a witness. Choose by a part of the name:
//! `cargo bench -p zkinfer-gpu --bench multiplications -- G1/18/full`.

#![allow(missing_docs, reason = "the macros of criterion make public items")]
#![forbid(unsafe_code)]

use std::cell::LazyCell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use ark_bn254::Fr;
use ark_ff::PrimeField;
use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use zkinfer_gpu::testing::{points, scalars};
use zkinfer_gpu::{
    Bases, Cpu, Curve, Device, DeviceError, FrSlice, G1, G2, PortableCpu, ScalarClass,
};

const DEVICES: [(&str, &dyn Device); 2] = [("lanes", &Cpu), ("portable", &PortableCpu)];

/// Largest bases that are tabulated: 300 MiB in G1.
const MAX_TABLE_LOG: u32 = 18;

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

type Tabulate<C> = dyn Fn(&Bases<C>, usize) -> Result<u64, DeviceError>;
type Multiply<C> = dyn Fn(&dyn Device, &Bases<C>, FrSlice<'_>);

/// What a filter leaves out is never made: points of large sizes take seconds.
fn measure<C: Curve>(c: &mut Criterion, log: u32, tabulate: &Tabulate<C>, msm: &Multiply<C>) {
    let n = 1usize << log;
    let bases = || Bases::<C>::from_points(points::<C>(n).0);
    let plain = LazyCell::new(bases);
    let tabulated = LazyCell::new(|| {
        let bases = bases();
        let begun = Instant::now();
        let bytes = tabulate(&bases, n).expect("sound bases");
        println!("table of {} MiB in {:?}", bytes >> 20, begun.elapsed());
        bases
    });
    let mut group = c.benchmark_group(format!("msm/{}/{log}", C::NAME));
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
                b.iter(|| msm(device, &plain, vector.as_slice()))
            });
        }
        if log <= MAX_TABLE_LOG {
            group.bench_function(BenchmarkId::new(class, "table"), |b| {
                b.iter(|| msm(&Cpu, &tabulated, vector.as_slice()))
            });
        }
    }
    group.finish();
}

fn multiplications(c: &mut Criterion) {
    for log in (10..=22).step_by(2) {
        let tabulate = |bases: &_, n_full| Cpu.tabulate_g1(bases, n_full, u64::MAX);
        measure::<G1>(c, log, &tabulate, &|device, bases, scalars| {
            let result = device.msm_g1(bases, scalars, ScalarClass::Full);
            let _ = black_box(result.expect("sound bases"));
        });
    }
    for log in (10..=18).step_by(2) {
        let tabulate = |bases: &_, n_full| Cpu.tabulate_g2(bases, n_full, u64::MAX);
        measure::<G2>(c, log, &tabulate, &|device, bases, scalars| {
            let result = device.msm_g2(bases, scalars, ScalarClass::Full);
            let _ = black_box(result.expect("sound bases"));
        });
    }
}

criterion_group!(benches, multiplications);
criterion_main!(benches);
