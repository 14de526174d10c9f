//! The program on a machine with a GPU: a mock of its driver, over an emulation of the kernels.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod server;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use server::{Server, digits_circuit, model, passes, zkinfer};
use tempfile::TempDir;
use zkinfer_gpu::testing::{MockGpu, mock_driver};

/// A driver, and the variables to start programs with.
struct Driver {
    _folder: TempDir,
    breaks: bool,
    variables: Vec<(&'static str, OsString)>,
}

impl Driver {
    fn of(gpu: MockGpu) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            breaks: gpu.launches < u64::MAX,
            variables: mock_driver(folder.path(), gpu).unwrap(),
            _folder: folder,
        }
    }

    /// Breaks at work: the test of the kernels when it is opened takes fewer launches, that and a proof more.
    fn that_breaks() -> Self {
        Self::of(MockGpu {
            launches: 200,
            ..MockGpu::default()
        })
    }

    fn with<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.envs(self.variables.iter().map(|(name, value)| (name, value)))
    }
}

fn bundle(folder: &Path, system: &str) -> PathBuf {
    let to = folder.join(system);
    let mut compile = zkinfer();
    compile.arg("compile").arg(model("digits-mlp.onnx"));
    compile
        .arg("--calibration")
        .arg(model("digits-mlp.calibration.npz"));
    passes(compile.args(["--system", system, "-o"]).arg(&to));
    passes(zkinfer().arg("setup").arg(&to));
    to
}

#[test]
fn doctor_names_the_gpu_that_proves() {
    let driver = Driver::of(MockGpu::default());
    let folder = tempfile::tempdir().unwrap();
    let mut doctor = zkinfer();
    doctor.args(["doctor", "--listen", "127.0.0.1:0", "--json", "--data"]);
    let output = driver.with(doctor.arg(folder.path())).output().unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = told["checks"].as_array().unwrap();
    let gpu = checks.iter().find(|check| check["check"] == "gpu").unwrap();
    assert_eq!(gpu["health"], "ok", "{gpu}");
    let seen = gpu["seen"].as_str().unwrap();
    assert!(
        seen.starts_with("GPU 0 (Mock GPU, architecture 9.0, "),
        "{seen}"
    );
}

/// Every system, on a GPU that works, on one with little memory, and on one that breaks at work.
#[test]
fn proofs_of_a_gpu_hold_and_one_that_breaks_costs_none() {
    let folder = tempfile::tempdir().unwrap();
    let short = MockGpu {
        bytes: 3_000_000,
        ..MockGpu::default()
    };
    let drivers = [
        Driver::of(MockGpu::default()),
        Driver::of(short),
        Driver::that_breaks(),
    ];
    for system in ["groth16", "ultragroth", "halo2-kzg"] {
        let bundle = bundle(folder.path(), system);
        for driver in &drivers {
            let proof = folder.path().join("proof.json");
            let mut prove = zkinfer();
            prove.arg("prove").arg(&bundle).args(["--gpu", "0", "-o"]);
            prove
                .arg(&proof)
                .arg("--input")
                .arg(model("digits-mlp.json"));
            prove.args(["--json"]).env("ZKINFER_LOG", "info");
            let output = driver.with(&mut prove).output().unwrap();
            let log = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{system}: {log}");
            let told: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(told["proved_on"], "GPU 0 (Mock GPU)", "{system}");
            let left = log.contains("GPU 0 (Mock GPU) failed; the CPU goes on");
            assert_eq!(left, driver.breaks, "{system}: {log}");
            passes(zkinfer().arg("verify").arg(&bundle).arg(&proof));
        }
    }
}

/// A server proves on the GPU; on one whose GPU breaks the jobs succeed all the same, and the log says why the CPU proves from then on.
#[test]
fn a_server_proves_on_its_gpu_and_goes_on_without_it() {
    let works = Driver::of(MockGpu::default());
    for (driver, words) in [
        (works, "the slot proves on GPU 0 (Mock GPU)"),
        (Driver::that_breaks(), "GPU 0 (Mock GPU) failed"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let data = folder.path().join("data");
        let server = Server::start_in(&data, &driver.variables, &log);
        let circuit = digits_circuit(&server.endpoint);
        for input in 0..2 {
            let mut submit = zkinfer();
            submit.args(["job", "submit", &circuit, "--wait", "--no-cache"]);
            submit.args(["--endpoint", &server.endpoint, "-o"]);
            submit.arg(folder.path().join(format!("{input}.json")));
            passes(submit.arg("--input").arg(model("digits-mlp.json")));
        }
        server.kill();
        let log = std::fs::read_to_string(&log).unwrap();
        assert!(log.contains(words), "no {words:?} in {log}");
    }
}
