//! snarkjs, an independent implementation, sets up, proves and verifies our circuit on its own, and verifies our proof.

mod small;

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use ark_bn254::Fr;
use small::{Bundle, dense, input, rng};
use zkinfer_circuits::arithmetization::r1cs::export::{write_r1cs, write_wtns};
use zkinfer_circuits::arithmetization::r1cs::{Form, R1cs};
use zkinfer_circuits::constraint::solve;
use zkinfer_engine::{Silent, quote};
use zkinfer_verifier::{ProofSystem, snarkjs};

/// snarkjs in a folder of its own.
struct Snarkjs {
    script: PathBuf,
    dir: tempfile::TempDir,
}

impl Snarkjs {
    fn new() -> Self {
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.ci");
        let script = tools.join("node_modules/snarkjs/build/cli.cjs");
        assert!(
            script.is_file(),
            "this test needs node and snarkjs; install them with `npm ci --prefix .ci` in the repository's root"
        );
        Self {
            script: script.canonicalize().expect("the script is there"),
            dir: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs one command; whether it succeeded, and what it said.
    fn run(&self, arguments: &str) -> (bool, String) {
        let output = Command::new("node")
            .arg(&self.script)
            .args(arguments.split(' '))
            .current_dir(self.dir.path())
            .output()
            .expect("node runs; install Node.js 20 or newer");
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        (output.status.success() && !said.contains("ERROR"), said)
    }

    fn must(&self, arguments: &str) {
        let (succeeded, said) = self.run(arguments);
        assert!(succeeded, "snarkjs {arguments}: {said}");
    }
}

fn decimal(words: &[Fr]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

#[test]
fn snarkjs_sets_up_proves_and_verifies_an_exported_circuit_and_verifies_our_proof() {
    let snarkjs_cli = Snarkjs::new();
    let program = dense(5);
    let circuit = R1cs::lower(&program, Form::Plain).expect("a circuit");
    let input = input(&program, 1);
    let solved = solve(&program, &input.tensors).expect("a witness");
    let statement = solved
        .statement(&program, input.context)
        .expect("a statement");
    let words = statement.words();
    let witness = circuit.assign_plain(&solved, &words);
    let create = |name| BufWriter::new(File::create(snarkjs_cli.path(name)).expect("created"));
    write_r1cs(&circuit, &mut create("circuit.r1cs")).expect("written");
    write_wtns(&witness, &mut create("witness.wtns")).expect("written");

    let power = quote(&program, ProofSystem::Groth16)
        .expect("a quote")
        .domain
        .ilog2();
    snarkjs_cli.must("wtns check circuit.r1cs witness.wtns");
    snarkjs_cli.must(&format!("powersoftau new bn128 {power} 0.ptau"));
    snarkjs_cli.must("powersoftau contribute 0.ptau 1.ptau --name=test -e=test");
    snarkjs_cli.must("powersoftau prepare phase2 1.ptau final.ptau");
    snarkjs_cli.must("groth16 setup circuit.r1cs final.ptau circuit.zkey");
    snarkjs_cli.must("zkey export verificationkey circuit.zkey verification_key.json");
    snarkjs_cli.must("groth16 prove circuit.zkey witness.wtns proof.json public.json");
    snarkjs_cli.must("groth16 verify verification_key.json public.json proof.json");
    let public = fs::read_to_string(snarkjs_cli.path("public.json")).expect("written by snarkjs");
    let public: Vec<String> = serde_json::from_str(&public).expect("a list of numbers");
    assert_eq!(public, decimal(&words));

    let bundle = Bundle::new(program, ProofSystem::Groth16, 1);
    let proven = bundle
        .prover()
        .prove(&input, &mut rng(1), &Silent)
        .expect("a proof");
    let write = |name, text: String| fs::write(snarkjs_cli.path(name), text).expect("written");
    write(
        "our_key.json",
        snarkjs::verification_key_to_json(&bundle.vk).expect("plain groth16"),
    );
    write(
        "our_public.json",
        snarkjs::public_to_json(&proven.statement).expect("words"),
    );
    write(
        "our_proof.json",
        snarkjs::proof_to_json(&proven.proof).expect("plain groth16"),
    );
    snarkjs_cli.must("groth16 verify our_key.json our_public.json our_proof.json");

    let mut wrong = decimal(&words);
    wrong[0] = "8".into();
    write(
        "wrong_public.json",
        serde_json::to_string(&wrong).expect("a list of numbers"),
    );
    let (accepted, said) =
        snarkjs_cli.run("groth16 verify our_key.json wrong_public.json our_proof.json");
    assert!(!accepted && said.contains("Invalid proof"), "{said}");
}
