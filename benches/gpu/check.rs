//! Results only: every operation at every size beside the CPU's, each as one line, then the suite.

use std::time::Instant;

use ark_ff::Field;
use zkinfer_gpu::kernels;
use zkinfer_gpu::testing::{check_agreement, check_device};
use zkinfer_gpu::{Bases, Cpu, Device, Domain, G1, G2};

use crate::inputs::{Class, Progression, full};
use crate::kernels::{Group, Transform, check_sum, check_transform};
use crate::machine::Machine;
use crate::options::Options;

/// Sizes of G2 beyond which the CPU takes longer than it teaches.
const MAX_G2_LOG: u32 = 16;
/// Sizes up to which everything is compared once more, with infinite and repeated points.
const MAX_AGREEMENT_LOG: u32 = 14;

/// # Panics
/// At the first result that is wrong.
pub(crate) fn run(machine: &Machine, options: &Options) {
    let (device, last) = (machine.device(), options.max_log_n());
    for log_n in 1..=last {
        step(machine, &format!("transforms of 2^{log_n}"), || {
            transforms(device, log_n);
        });
    }
    let sizes = |last: u32| (1..=last).filter(move |log_n| log_n % 2 == last % 2);
    for log_n in sizes(last) {
        step(
            machine,
            &format!("multiplications in G1, about 2^{log_n}"),
            || {
                multiplications::<G1>(device, log_n);
            },
        );
    }
    for log_n in sizes(last.min(MAX_G2_LOG)) {
        step(
            machine,
            &format!("multiplications in G2, about 2^{log_n}"),
            || {
                multiplications::<G2>(device, log_n);
            },
        );
    }
    for log_n in sizes(last.min(MAX_AGREEMENT_LOG)) {
        step(
            machine,
            &format!("mixed points and scalars, 2^{log_n}"),
            || {
                let agreed = check_agreement(device, &Cpu, 1 << log_n);
                agreed.unwrap_or_else(|mismatch| panic!("2^{log_n}: {mismatch}"));
            },
        );
    }
    if !options.quick {
        step(machine, "the suite of devices", || {
            check_device(device).unwrap_or_else(|mismatch| panic!("{mismatch}"));
        });
    }
    let made = kernels::sample_programs().map(|lines| device.compile_lines(&lines));
    let made = made.collect::<Result<Vec<_>, _>>();
    println!(
        "check: programs over rows are {}",
        match made.expect("a device that works").contains(&false) {
            true => "interpreted: there is no NVRTC, or the driver does not load what it makes",
            false => "kernels of their own",
        }
    );
    println!("check: every result is right");
}

/// Says what was checked when it is; a run that is ended early shows how far it came.
fn step(machine: &Machine, what: &str, check: impl FnOnce()) {
    let begun = Instant::now();
    check();
    machine.assert_works();
    println!(
        "check: {what}: right, {:.2} s",
        begun.elapsed().as_secs_f64()
    );
}

fn transforms(device: &dyn Device, log_n: u32) {
    let n = 1 << log_n;
    let standard = Domain::new(n).expect("a small domain");
    let other = Domain::with_root(log_n, standard.root().pow([5]));
    for domain in [Some(standard), other].into_iter().flatten() {
        for transform in Transform::ALL {
            check_transform(device, transform, &domain);
        }
    }
    let element_wise = |device: &dyn Device| {
        let upload = |seed| device.upload(full(seed, n)).expect("the device's memory");
        let (mut a, b, c) = (upload(5), upload(6), upload(7));
        let scale = full(8, 1)[0];
        let done = device.mul_sub_scale(&mut a, &b, &c, scale);
        done.and_then(|()| device.mul_pointwise(&mut a, &c))
            .and_then(|()| device.download(a))
            .expect("vectors of one length")
    };
    assert!(
        element_wise(device) == element_wise(&Cpu),
        "products of 2^{log_n}"
    );
}

/// Sizes beside a power of two, every class, without a table and with one.
fn multiplications<C: Group>(device: &dyn Device, log_n: u32) {
    let n = (1usize << log_n) + 1;
    let bases = Bases::<C>::from_points(Progression::new().points::<C>(n));
    for tabulated in [false, true] {
        if tabulated && C::tabulate(device, &bases) == 0 {
            println!("check: no room for a table of {n}");
            return;
        }
        for class in Class::ALL {
            let scalars = class.scalars(n);
            let vector = device.upload(scalars.clone()).expect("the device's memory");
            let sum = C::msm(device, &bases, vector.as_slice(), class.promise());
            check_sum(&bases, scalars, class, !tabulated, sum);
        }
    }
}
