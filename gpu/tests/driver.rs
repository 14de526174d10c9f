//! Everything that is asked of NVIDIA's driver, with a mock in its place: the device suite, in a process of its own that finds the mock where the
//! driver would be. What is queued runs there as late as the order of queues and events allows.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use std::env;
use std::process::Command;
use std::thread;

use ark_bn254::Fr;
use zkinfer_gpu::Device;
use zkinfer_gpu::cuda::{Cuda, detect};
use zkinfer_gpu::testing::{MockGpu, check_device, mock_driver};

/// Set in the process that uses the mock.
const INSIDE: &str = "ZKINFER_TEST_INSIDE";

fn inside(test: &str, gpu: MockGpu) {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", test, "--ignored", "--nocapture"]);
    child
        .envs(mock_driver(folder.path(), gpu).unwrap())
        .env(INSIDE, "1");
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(text.contains("1 passed"), "{text}\n{errors}");
}

#[test]
fn a_gpu_behind_its_driver_passes_the_suite() {
    let whole = MockGpu::default();
    inside("suite", whole);
    let has_pool = false;
    inside("suite", MockGpu { has_pool, ..whole });
    let bytes = 1_000_000;
    inside("suite", MockGpu { bytes, ..whole });
}

#[test]
fn many_threads_share_a_gpu() {
    inside("threads", MockGpu::default());
}

#[test]
#[ignore = "runs in a process with a mock driver"]
fn suite() {
    if env::var_os(INSIDE).is_none() {
        return;
    }
    let detected = detect();
    assert_eq!(detected.gpus.len(), 1, "{:?}", detected.unusable);
    assert_eq!(detected.gpus[0].facts.name, "Mock GPU");
    let gpu = Cuda::open(0).unwrap();
    check_device(&gpu).unwrap();
    assert!(!gpu.has_failed());
    assert!(Cuda::open(1).is_err());
}

#[test]
#[ignore = "runs in a process with a mock driver"]
fn threads() {
    if env::var_os(INSIDE).is_none() {
        return;
    }
    let gpu = Cuda::open(0).unwrap();
    let values =
        |seed: u64, n: u64| -> Vec<Fr> { (0..n).map(|i| Fr::from(seed * n + i)).collect() };
    // Sizes on both sides of what is copied in one piece.
    let turn = |seed: u64| {
        let long = if seed == 0 { 1_200_000 } else { 70_000 };
        for n in [1, 1000, 40_000, 300_000, long] {
            let (a, b) = (values(seed, n), values(seed + 1, n));
            let mut vector = gpu.upload(a.clone()).unwrap();
            let other = gpu.upload(b.clone()).unwrap();
            gpu.mul_pointwise(&mut vector, &other).unwrap();
            drop(other);
            let products: Vec<Fr> = a.iter().zip(&b).map(|(a, b)| *a * b).collect();
            assert!(gpu.download(vector).unwrap() == products, "{seed}, {n}");
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|seed| scope.spawn(move || turn(seed))).collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
    assert!(!gpu.has_failed());
}
