//! Field products and transforms, in lanes and portable (arkworks): `cargo bench --bench transforms -- ntt/20`.
//!
//! Names: `product/{lanes,portable}`, `ntt/<log n>/<what>/{lanes,portable}`. Threads: `RAYON_NUM_THREADS`.

use std::hint::black_box;
use std::time::Duration;

use ark_bn254::Fr;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use zkinfer_gpu::testing::{multiply_repeatedly, scalars};
use zkinfer_gpu::{Cpu, Device, Direction, Domain, FrVec, Points, PortableCpu};

/// Products of one measurement: 64 values, 1000 times.
const N_VALUES: usize = 64;
const N_PRODUCTS: usize = 1000;

/// A transform in place.
type Run<'a> = &'a dyn Fn(&mut FrVec);

fn product(c: &mut Criterion) {
    let mut group = c.benchmark_group("product");
    group.throughput(Throughput::Elements((N_VALUES * N_PRODUCTS) as u64));
    let factor = Fr::from(7u64);
    let (mut a, mut b) = (scalars(1, N_VALUES), scalars(1, N_VALUES));
    multiply_repeatedly(&mut a, factor, 3, true);
    multiply_repeatedly(&mut b, factor, 3, false);
    assert!(a == b, "the two products differ");
    for (name, lanes) in [("lanes", true), ("portable", false)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| multiply_repeatedly(black_box(&mut a), factor, N_PRODUCTS, lanes));
        });
    }
    group.finish();
}

fn transforms(c: &mut Criterion) {
    for log_n in (10..=24).step_by(2) {
        let n = 1usize << log_n;
        let mut group = c.benchmark_group(format!("ntt/{log_n}"));
        group.throughput(Throughput::Elements(n as u64));
        group.sample_size(10);
        for (name, device) in [("lanes", &Cpu as &dyn Device), ("portable", &PortableCpu)] {
            let domain = Domain::new(n).expect("a domain of this size");
            // Made in the measurement's first call only: large sizes that the filter leaves out cost nothing.
            let start = || {
                let mut values = scalars(1, n.min(1 << 16));
                while values.len() < n {
                    values.extend_from_within(..);
                }
                device.upload(values).expect("host memory")
            };
            let cases: [(&str, Run<'_>); 3] = [
                ("forward", &|vector| {
                    let (direction, points) = (Direction::Forward, Points::Subgroup);
                    device
                        .ntt(vector, &domain, direction, points)
                        .expect("one length");
                }),
                ("coset inverse", &|vector| {
                    let (direction, points) = (Direction::Inverse, Points::Coset);
                    device
                        .ntt(vector, &domain, direction, points)
                        .expect("one length");
                }),
                ("to coset", &|vector| {
                    device.to_coset(vector, &domain).expect("one length");
                }),
            ];
            for (what, run) in cases {
                group.bench_function(BenchmarkId::new(what, name), |bencher| {
                    let mut vector = start();
                    bencher.iter(|| run(black_box(&mut vector)));
                });
            }
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    targets = product, transforms
}
criterion_main!(benches);
