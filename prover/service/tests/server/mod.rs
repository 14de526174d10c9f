//! The real binary as a server, for tests that kill it, and the models that tests use.
#![allow(dead_code)]

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

/// A `zkinfer serve` that is killed when the test ends.
pub struct Server {
    child: Child,
    pub endpoint: String,
}

impl Server {
    /// Serves `data` on a free port.
    pub fn start(data: &Path) -> Self {
        let log =
            std::env::var_os("ZKINFER_TEST_LOG").map_or_else(Stdio::null, |_| Stdio::inherit());
        Self::spawn(zkinfer().arg("serve").stderr(log), data)
    }

    /// Serves `data` with more arguments.
    pub fn start_with(data: &Path, more: &[&str]) -> Self {
        Self::spawn(
            zkinfer().arg("serve").args(more).stderr(Stdio::null()),
            data,
        )
    }

    /// Serves `data` and writes everything it logs to `log`.
    pub fn start_logged(data: &Path, log: &Path) -> Self {
        let file = std::fs::File::create(log).unwrap();
        let mut command = zkinfer();
        command
            .env("ZKINFER_LOG", "debug")
            .arg("serve")
            .stderr(file);
        Self::spawn(&mut command, data)
    }

    /// Serves `data` with variables of the environment, and writes what it logs to `log`.
    pub fn start_in(data: &Path, variables: &[(&str, std::ffi::OsString)], log: &Path) -> Self {
        let file = std::fs::File::create(log).unwrap();
        let variables = variables.iter().map(|(name, value)| (name, value));
        let mut command = zkinfer();
        command.envs(variables).env("ZKINFER_LOG", "info");
        Self::spawn(command.arg("serve").stderr(file), data)
    }

    fn spawn(command: &mut Command, data: &Path) -> Self {
        let mut child = command
            .args(["--json", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready: serde_json::Value =
            serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line:?}: {e}"));
        Self {
            child,
            endpoint: format!("http://{}", ready["listening"].as_str().unwrap()),
        }
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn zkinfer() -> Command {
    Command::new(env!("CARGO_BIN_EXE_zkinfer"))
}

pub fn model(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../circuits/tests/models")
        .join(file)
}

#[track_caller]
pub fn passes(command: &mut Command) -> serde_json::Value {
    let output = command.arg("--json").output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// Runs a command that must fail with `code`, with an error that says `words`.
#[track_caller]
pub fn fails(command: &mut Command, code: i32, words: &str) -> Output {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{command:?}: {error}");
    assert!(
        error.contains(words),
        "{command:?}: expected {words:?} in: {error}"
    );
    assert!(
        !error.contains("panicked") && !error.contains("internal error"),
        "{command:?}: {error}"
    );
    output
}

/// A READY digits-mlp circuit on a server.
pub fn digits_circuit(endpoint: &str) -> String {
    let created = passes(
        zkinfer()
            .args([
                "circuit",
                "create",
                "--wait",
                "--endpoint",
                endpoint,
                "--calibration",
            ])
            .arg(model("digits-mlp.calibration.npz"))
            .arg(model("digits-mlp.onnx")),
    );
    created["name"].as_str().unwrap().to_owned()
}
