//! What the command line says to bad input: a clear error and its exit code, nothing lost, no panic.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod server;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use server::{Server, fails, model, passes, zkinfer};

/// A bundle with keys and a proof, made once.
struct Made {
    folder: tempfile::TempDir,
}

impl Made {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let made = Made {
            folder: tempfile::tempdir().unwrap(),
        };
        passes(
            compile(&model("digits-mlp.onnx"), &made.path("bundle"))
                .args(["--system", "ultragroth"]),
        );
        passes(zkinfer().arg("setup").arg(made.path("bundle")));
        passes(prove(&made.path("bundle"), &made.path("proof.json")).args(["--context", "0x2a"]));
        made
    })
}

fn compile(onnx: &Path, to: &Path) -> Command {
    let mut command = zkinfer();
    command
        .arg("compile")
        .arg(onnx)
        .arg("-o")
        .arg(to)
        .arg("--calibration")
        .arg(model("digits-mlp.calibration.npz"));
    command
}

fn prove(bundle: &Path, to: &Path) -> Command {
    let mut command = zkinfer();
    command
        .arg("prove")
        .arg(bundle)
        .arg("--input")
        .arg(model("digits-mlp.json"))
        .arg("-o")
        .arg(to);
    command
}

fn verify(bundle: &Path, proof: &Path) -> Command {
    let mut command = zkinfer();
    command.arg("verify").arg(bundle).arg(proof);
    command
}

fn copy_bundle(to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(made().path("bundle")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = at % bytes.len();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

#[test]
fn verify_says_what_was_proved_and_its_exit_code_tells_valid_from_not() {
    let (bundle, proof) = (made().path("bundle"), made().path("proof.json"));
    let shown = passes(&mut verify(&bundle, &proof));
    assert_eq!(
        shown["context"].as_str().unwrap(),
        format!("0x{:064x}", 0x2a)
    );
    assert!(
        shown["warnings"][0].as_str().unwrap().contains("context"),
        "an unexpected context is a warning"
    );
    assert_eq!(shown["outputs"][0]["real"].as_array().unwrap().len(), 10);
    assert_eq!(
        shown["inputs"][0]["quantized"].as_array().unwrap().len(),
        64
    );
    passes(verify(&bundle, &proof).args([
        "--context",
        "2a",
        "--model-id",
        shown["model_id"].as_str().unwrap(),
    ]));
    fails(
        verify(&bundle, &proof).args(["--context", "2b"]),
        1,
        "context",
    );
    fails(
        verify(&bundle, &proof).args(["--model-id", &"00".repeat(32)]),
        1,
        "model",
    );
    fails(
        verify(&bundle, &proof).args(["--model-id", "xyz"]),
        2,
        "--model-id",
    );
    fails(
        verify(&bundle, &proof).args(["--context", &"f".repeat(64)]),
        2,
        "2^253",
    );
    fails(zkinfer().arg("verify"), 2, "Usage");
    fails(
        &mut verify(&made().path("nowhere"), &proof),
        2,
        "not a bundle",
    );
    fails(
        &mut verify(&bundle, &made().path("nothing.json")),
        2,
        "proof",
    );
    let key = bundle.join("verifying.key");
    passes(
        zkinfer()
            .arg("verify")
            .arg("--key")
            .arg(&key)
            .arg(&proof)
            .arg("--input")
            .arg(model("digits-mlp.json")),
    );
    let inferred = made().path("inferred.json");
    let output = passes(
        zkinfer()
            .arg("infer")
            .arg(&bundle)
            .arg("--input")
            .arg(model("digits-mlp.json")),
    );
    fs::write(&inferred, serde_json::to_vec(&output).unwrap()).unwrap();
    passes(
        zkinfer()
            .arg("verify")
            .arg("--key")
            .arg(&key)
            .arg(&proof)
            .arg("--output")
            .arg(&inferred),
    );
    let mut other = output;
    other["outputs"][0]["quantized"][3] = serde_json::json!(-128);
    fs::write(&inferred, serde_json::to_vec(&other).unwrap()).unwrap();
    fails(
        verify(&bundle, &proof).arg("--output").arg(&inferred),
        1,
        "element 3",
    );
}

#[test]
fn a_changed_proof_file_is_refused_with_a_reason() {
    let bundle = made().path("bundle");
    let text = fs::read_to_string(made().path("proof.json")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let lie = folder.path().join("lie.json");
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let proof = json["proof"].as_str().unwrap();
    let cases = [
        (String::new(), "proof.json"),
        (text[..text.len() / 2].to_owned(), "proof.json"),
        (text.replacen('{', "{\"extra\": 1,", 1), "extra"),
        (text.replacen("ultragroth", "groth16", 1), "groth16"),
        (text.replacen("ultragroth", "plonk", 1), "plonk"),
        (text.replacen(proof, &proof[..proof.len() - 2], 1), "320"),
        (text.replacen(proof, &format!("{proof}00"), 1), "320"),
        (
            text.replacen(proof, &proof.to_uppercase(), 1),
            "hexadecimal",
        ),
        (
            text.replacen(proof, &format!("0x{}", "0".repeat(640)), 1),
            "proof",
        ),
        (text.replacen("002a\"", "002b\"", 1), ""),
        (
            text.replacen(json["publics"].as_str().unwrap(), "0x00", 1),
            "publics",
        ),
        (
            text.replacen(&json["vk_digest"].as_str().unwrap()[..10], "0x00000000", 1),
            "another",
        ),
    ];
    for (changed, words) in cases {
        assert_ne!(changed, text);
        fs::write(&lie, changed).unwrap();
        fails(&mut verify(&bundle, &lie), 1, words);
    }
    fs::write(&lie, text).unwrap();
    passes(&mut verify(&bundle, &lie));
}

#[test]
fn a_damaged_bundle_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    for (n, file) in ["model", "program", "proving.key", "verifying.key"]
        .into_iter()
        .enumerate()
    {
        let bundle = folder.path().join(format!("flipped-{n}"));
        copy_bundle(&bundle);
        flip(&bundle.join(file), 1000 + 777 * n);
        let out = folder.path().join("never.json");
        let error = prove(&bundle, &out).output().unwrap();
        let text = String::from_utf8_lossy(&error.stderr);
        assert!(
            !error.status.success() && text.contains(file),
            "{file}: {text}"
        );
        assert!(!out.exists());
        let bundle = folder.path().join(format!("truncated-{n}"));
        copy_bundle(&bundle);
        let bytes = fs::read(bundle.join(file)).unwrap();
        fs::write(bundle.join(file), &bytes[..bytes.len() / 2]).unwrap();
        let error = prove(&bundle, &out).output().unwrap();
        let text = String::from_utf8_lossy(&error.stderr);
        assert!(
            !error.status.success() && text.contains(file),
            "{file}: {text}"
        );
    }
    let bundle = folder.path().join("manifest");
    copy_bundle(&bundle);
    let manifest = fs::read_to_string(bundle.join("manifest.json")).unwrap();
    fs::write(
        bundle.join("manifest.json"),
        manifest.replacen("\"format\": 1", "\"format\": 2, \"new\": {}", 1),
    )
    .unwrap();
    fails(
        &mut verify(&bundle, &made().path("proof.json")),
        2,
        "newer zkinfer",
    );
    fs::write(bundle.join("manifest.json"), &manifest[..100]).unwrap();
    fails(
        &mut verify(&bundle, &made().path("proof.json")),
        2,
        "damaged",
    );
}

#[test]
fn a_proof_of_another_setup_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("bundle");
    passes(&mut compile(&model("digits-mlp.onnx"), &other));
    fails(
        &mut verify(&other, &made().path("proof.json")),
        2,
        "zkinfer setup",
    );
    fails(
        &mut prove(&other, &folder.path().join("p.json")),
        2,
        "zkinfer setup",
    );
    passes(zkinfer().arg("setup").arg(&other));
    fails(zkinfer().arg("setup").arg(&other), 2, "--force");
    fails(
        &mut verify(&other, &made().path("proof.json")),
        1,
        "another",
    );
    fails(&mut compile(&model("digits-mlp.onnx"), &other), 2, "exists");
    fails(
        compile(&model("digits-mlp.onnx"), folder.path()).arg("--force"),
        2,
        "not a bundle",
    );
    let contract = folder.path().join("contract");
    let mut verifier = zkinfer();
    verifier
        .arg("verifier")
        .arg(&other)
        .args(["--target", "solidity", "-o"])
        .arg(&contract);
    fails(&mut verifier, 1, "--allow-dev-key");
    passes(verifier.arg("--allow-dev-key"));
    assert!(contract.join("ZkinferVerifier.sol").is_file());
}

/// SHA-256 in hexadecimal.
fn sha256(path: &Path) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(fs::read(path).unwrap()))
}

fn params(verb: &str, folder: &Path) -> Command {
    let mut command = zkinfer();
    command
        .args(["params", verb, "--params"])
        .arg(folder.join("params"));
    command
}

#[test]
fn reference_strings_come_in_checked_and_make_keys_that_say_where_they_come_from() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let list = |n: usize| {
        let shown = passes(&mut params("ls", folder.path()));
        assert_eq!(shown["reference_strings"].as_array().unwrap().len(), n);
        shown
    };
    list(0);
    let bundle = at("bundle");
    passes(compile(&model("digits-mlp.onnx"), &bundle).args(["--system", "halo2-kzg"]));
    let quoted = passes(zkinfer().arg("quote").arg(&bundle).arg("--no-calibration"));
    let k = quoted["domain"].as_u64().unwrap().ilog2();
    assert_eq!(quoted["rates"]["calibrated"], false);
    let limbs = |at: usize| quoted["systems"][at]["limb_bits"].as_u64();
    assert_eq!(limbs(0), None, "groth16 has bits");
    assert!(limbs(1).is_some() && limbs(2).is_some());
    assert_eq!(quoted["systems"].as_array().unwrap().len(), 3);
    assert!(quoted["recommended"]["reason"].as_str().unwrap().len() > 40);
    let text = zkinfer().arg("quote").arg(&bundle).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    for word in [
        "halo2-kzg *",
        "ultragroth",
        "universal",
        "recommended: ",
        "measured here on",
        "limbs of",
    ] {
        assert!(text.contains(word), "{text}");
    }

    // A ceremony's file, as far as anybody can tell who trusts its digest.
    let dev = passes(params("dev", folder.path()).args(["--k", &k.to_string()]));
    assert_eq!(dev["setup"], "development");
    let (id, raw) = (dev["id"].as_str().unwrap(), at("raw"));
    passes(
        params("export", folder.path())
            .arg(&id[..16])
            .arg("-o")
            .arg(&raw),
    );
    fails(
        params("import", folder.path()).arg(&raw),
        1,
        "no known ceremony",
    );
    list(1);
    let digest = sha256(&raw);
    let imported = passes(
        params("import", folder.path())
            .arg(&raw)
            .args(["--digest", &digest, "--name", "mine"]),
    );
    assert_eq!(
        (&imported["setup"], &imported["ceremony"]),
        (&serde_json::json!("ceremony"), &serde_json::json!("mine"))
    );
    list(2);
    let trusted = at("list.json");
    fs::write(
        &trusted,
        format!(r#"[{{"name":"theirs","sha256":"{digest}"}}]"#),
    )
    .unwrap();
    let small = at("small.srs");
    passes(
        params("import", folder.path())
            .arg(&raw)
            .arg("--ceremonies")
            .arg(&trusted)
            .args(["--max-k", "4", "-o"])
            .arg(&small),
    );
    passes(params("verify", folder.path()).arg(&small));
    let id = imported["id"].as_str().unwrap();
    passes(params("verify", folder.path()).arg(id));

    // Keys.
    let setup = |bundle: &Path, srs: &str| {
        let mut command = zkinfer();
        command
            .arg("setup")
            .arg(bundle)
            .args(["--srs", srs, "--params"])
            .arg(folder.path().join("params"));
        command
    };
    fails(&mut setup(&bundle, small.to_str().unwrap()), 1, "too small");
    fails(
        &mut setup(&bundle, raw.to_str().unwrap()),
        2,
        "no zkinfer reference string",
    );
    fails(&mut setup(&bundle, "0123abcd"), 2, "no reference string");
    fails(&mut setup(&made().path("bundle"), id), 2, "halo2-kzg");
    let made = passes(&mut setup(&bundle, &id[..12]));
    assert_eq!(
        (&made["setup"], &made["srs"]),
        (
            &serde_json::json!("ceremony"),
            &serde_json::json!("ceremony mine")
        )
    );
    let proof = at("proof.json");
    passes(&mut prove(&bundle, &proof));
    let shown = passes(&mut verify(&bundle, &proof));
    assert_eq!(
        (&shown["setup"], &shown["system"]),
        (
            &serde_json::json!("ceremony"),
            &serde_json::json!("halo2-kzg")
        )
    );
    let text = fs::read_to_string(&proof).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let hex = json["proof"].as_str().unwrap();
    for (lie, words) in [
        (hex[..hex.len() - 2].to_owned(), ""),
        (hex[..hex.len() - 64].to_owned(), "bytes"),
        (format!("{hex}{}", "00".repeat(32)), "bytes"),
        (hex.replacen(&hex[66..130], &hex[2..66], 1), "curve"),
        (format!("{}{}", &hex[..hex.len() - 64], "f".repeat(64)), ""),
        ("0x".to_owned(), ""),
    ] {
        fs::write(&proof, text.replacen(hex, &lie, 1)).unwrap();
        fails(&mut verify(&bundle, &proof), 1, words);
    }
}

#[test]
fn damaged_reference_strings_are_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.srs");
    passes(
        params("dev", folder.path())
            .args(["--k", "6", "-o"])
            .arg(&path),
    );
    let bytes = fs::read(&path).unwrap();
    let with = |change: &dyn Fn(&mut Vec<u8>), words: &str, code: i32| {
        let mut bytes = bytes.clone();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        fails(params("verify", folder.path()).arg(&path), code, words);
    };
    with(&|b| b.truncate(10), "should have", 2);
    with(&|b| b.truncate(5000), "should have", 2);
    with(&|b| b.push(0), "should have", 2);
    with(&|b| b[12] ^= 1, "damaged", 2);
    with(&|b| b[8] = 9, "version", 2);
    with(&|b| b[4096 + 64 * 5] ^= 1, "curve", 1);
    with(
        &|b| {
            let (left, right) = b[4096 + 64 * 5..4096 + 64 * 7].split_at_mut(64);
            left.swap_with_slice(right);
        },
        "damaged",
        1,
    );
    with(&|b| b.clear(), "no zkinfer reference string", 2);
    fs::write(&path, b"ptau\x01\0\0\0\x02\0\0\0").unwrap();
    fails(
        params("verify", folder.path()).arg(&path),
        2,
        "params import",
    );
    fails(params("import", folder.path()).arg(&path), 1, "truncated");
    fails(params("import", folder.path()).arg(folder.path()), 2, "");
    fails(params("dev", folder.path()).args(["--k", "40"]), 1, "2^28");
    fails(
        params("import", folder.path())
            .arg(&path)
            .args(["--digest", "xyz"]),
        2,
        "hexadecimal",
    );
}

#[test]
fn bad_models_are_refused_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let onnx = fs::read(model("digits-mlp.onnx")).unwrap();
    // A field of 1 GB in a file of 20 bytes.
    let claim: &[u8] = &[
        0x08, 0x08, 0x3a, 0x80, 0x80, 0x80, 0x80, 0x04, 0x0a, 0x80, 0x80, 0x80, 0x80, 0x04, 0, 0,
        0, 0, 0, 0,
    ];
    let cases: [(&str, &[u8]); 5] = [
        ("empty", b""),
        ("text", b"this is not a model"),
        ("truncated", &onnx[..onnx.len() / 2]),
        ("short", &onnx[..100]),
        ("claims", claim),
    ];
    for (name, bytes) in cases {
        let file = folder.path().join(format!("{name}.onnx"));
        fs::write(&file, bytes).unwrap();
        let to = folder.path().join(format!("{name}-bundle"));
        fails(&mut compile(&file, &to), 1, "");
        assert!(!to.exists(), "{name} left a bundle");
    }
    let to = folder.path().join("bundle");
    fails(
        compile(&model("digits-mlp.onnx"), &to).args(["--compile-memory-mib", "32"]),
        1,
        "MiB",
    );
    fails(
        &mut compile(&folder.path().join("nothing.onnx"), &to),
        2,
        "not a file",
    );
    let samples = folder.path().join("samples.json");
    for bad in [
        "{}",
        "{\"input_data\": [[1, 2, 3]]}",
        "{\"input_data\": [[\"x\"]]}",
        "PK",
        "",
    ] {
        fs::write(&samples, bad).unwrap();
        let mut command = zkinfer();
        command
            .arg("compile")
            .arg(model("digits-mlp.onnx"))
            .arg("-o")
            .arg(&to)
            .arg("--calibration")
            .arg(&samples);
        fails(&mut command, 1, "");
    }
    assert!(!to.exists());
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert!(
        left.iter()
            .all(|name| !name.to_string_lossy().contains("zkinfer-")),
        "{left:?}"
    );
}

#[test]
fn precisions_are_chosen_by_name_recorded_and_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("bundle");
    let chosen = |precisions: &[&str]| {
        let mut command = compile(&model("digits-mlp.onnx"), &to);
        for precision in precisions {
            command.args(["--precision", precision]);
        }
        command
    };
    let refused: [(&[&str], i32, &str); 7] = [
        (&["n2"], 2, "expected NODE=int8 or NODE=int16, got `n2`"),
        (
            &["=int8"],
            2,
            "expected NODE=int8 or NODE=int16, got `=int8`",
        ),
        (
            &["n2=int4"],
            2,
            "expected the precision int8 or int16, got `int4`",
        ),
        (&["n2=int8", "n2=int16"], 2, "--precision names `n2` twice"),
        (&["n22=int16"], 1, "the nearest is `n2`"),
        (&["a=b=int16"], 1, "precision of `a=b`"),
        (&["n1=int16"], 1, "choose the precision of `n2`"),
    ];
    for (precisions, code, words) in refused {
        fails(&mut chosen(precisions), code, words);
        assert!(!to.exists(), "{precisions:?} left a bundle");
    }

    let usual = passes(&mut chosen(&[]));
    let manifest = || fs::read_to_string(to.join("manifest.json")).unwrap();
    assert!(!manifest().contains("precisions"), "none is not written");
    let wide = passes(chosen(&["n2=int16", "n3=int8"]).arg("--force"));
    assert_ne!(usual["model_id"], wide["model_id"]);
    let settings: serde_json::Value = serde_json::from_str(&manifest()).unwrap();
    let recorded = serde_json::json!({"n2": "int16", "n3": "int8"});
    assert_eq!(settings["settings"]["precisions"], recorded);
    let layers = wide["report"]["layers"].as_array().unwrap();
    let relu = layers.iter().find(|layer| layer["name"] == "n2").unwrap();
    let integers = serde_json::json!({"least": 0, "largest": 32767, "reason": "chosen"});
    assert_eq!(relu["integers"], integers);

    let shown = chosen(&["n2=int16"]).arg("--force").output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.contains("n2: int16") && shown.contains("chosen"),
        "{shown}"
    );
    let page = folder.path().join("report.html");
    passes(zkinfer().arg("report").arg(&to).arg("-o").arg(&page));
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("n2: int16") && page.contains("int16: chosen"));
    // a key, a proof and its verification
    passes(zkinfer().arg("setup").arg(&to));
    let proof = folder.path().join("proof.json");
    passes(&mut prove(&to, &proof));
    passes(&mut verify(&to, &proof));
}

/// A decision tree of scikit-learn: public features, a public label, and shares that the proof does not show.
#[test]
fn every_tensor_may_have_a_visibility_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("bundle");
    let samples = model("tabular/decision_tree.npz");
    let compile = |visibilities: &[&str]| {
        let mut command = zkinfer();
        let onnx = model("tabular/decision_tree.onnx");
        command.arg("compile").arg(onnx).arg("-o").arg(&to);
        command.arg("--calibration").arg(&samples);
        for visibility in visibilities {
            command.args(["--visibility", visibility]);
        }
        command
    };
    for (visibilities, code, words) in [
        (&["X"][..], 2, "expected TENSOR=public, private or hashed"),
        (&["X=secret"], 2, "invalid variant"),
        (&["X=public", "X=private"], 2, "names `X` twice"),
        (
            &["Y=private"],
            1,
            "expected the name of an input or an output: X, label, probabilities",
        ),
    ] {
        fails(&mut compile(visibilities), code, words);
        assert!(!to.exists(), "{visibilities:?} left a bundle");
    }
    passes(&mut compile(&["probabilities=private"]));
    let settings = fs::read_to_string(to.join("manifest.json")).unwrap();
    let settings: serde_json::Value = serde_json::from_str(&settings).unwrap();
    let recorded = serde_json::json!({"probabilities": "private"});
    assert_eq!(settings["settings"]["visibilities"], recorded);
    passes(zkinfer().arg("setup").arg(&to));
    let proof = folder.path().join("proof.json");
    let mut prove = zkinfer();
    prove.arg("prove").arg(&to).arg("--input").arg(&samples);
    passes(prove.args(["--sample", "3", "-o"]).arg(&proof));
    let shown = passes(&mut verify(&to, &proof));
    let outputs = shown["outputs"].as_array().unwrap();
    assert_eq!(outputs.len(), 1);
    assert_eq!(outputs[0]["name"], "label");
    assert!(
        outputs[0]["real"][0]
            .as_f64()
            .is_some_and(|label| [0.0, 1.0, 2.0].contains(&label))
    );
    assert_eq!(
        shown["inputs"][0]["quantized"].as_array().unwrap().len(),
        13
    );
}

#[test]
fn bad_inputs_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input.json");
    let bundle = made().path("bundle");
    let numbers = |n: usize, first: &str| {
        let rest = vec!["0.5"; n - 1].join(",");
        format!("{{\"input_data\": [[{first},{rest}]]}}")
    };
    let cases = [
        String::new(),
        "{}".to_owned(),
        "[1, 2".to_owned(),
        numbers(63, "1"),
        numbers(65, "1"),
        numbers(64, "\"one\""),
        numbers(64, "NaN"),
        numbers(64, "1e999"),
        numbers(64, "1e300"),
    ];
    for bad in cases {
        fs::write(&input, &bad).unwrap();
        for verb in ["infer", "prove"] {
            let to = folder.path().join("proof.json");
            let mut command = zkinfer();
            command.arg(verb).arg(&bundle).arg("--input").arg(&input);
            if verb == "prove" {
                command.arg("-o").arg(&to);
            }
            fails(&mut command, 2, "input.json");
            assert!(!to.exists());
        }
    }
    let mut many = zkinfer();
    many.arg("infer")
        .arg(&bundle)
        .arg("--input")
        .arg(model("digits-mlp.heldout.npz"));
    fails(&mut many, 2, "--sample");
    passes(many.args(["--sample", "3"]));
}

#[test]
fn a_second_server_on_the_same_data_or_port_is_told_why() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let serve = |listen: &str, data: &Path| {
        let mut command = zkinfer();
        command
            .args(["serve", "--listen", listen, "--data"])
            .arg(data);
        command
    };
    fails(
        &mut serve("127.0.0.1:0", data.path()),
        2,
        "another zkinfer serves the data folder",
    );
    let other = tempfile::tempdir().unwrap();
    fails(
        &mut serve(server.endpoint.trim_start_matches("http://"), other.path()),
        2,
        "in use",
    );
    fails(&mut serve("0.0.0.0:0", other.path()), 2, "--tls-cert");
    fails(&mut serve("nonsense", other.path()), 2, "--listen");

    let job = |verb: &str, name: &str| {
        let mut command = zkinfer();
        command.args(["job", verb, name, "--endpoint", &server.endpoint]);
        command
    };
    let unknown = "jobs/0190a5b4-7d6e-7000-8000-000000000000";
    for verb in ["get", "wait", "cancel", "proof", "watch"] {
        fails(&mut job(verb, unknown), 1, "does not exist");
        fails(&mut job(verb, "nonsense"), 1, "jobs/{uuid}");
    }
    let endpoint = server.endpoint.clone();
    server.kill();
    let mut gone = zkinfer();
    gone.args(["job", "ls", "--endpoint", &endpoint]);
    fails(&mut gone, 1, "zkinfer serve");
    // The lock of a killed server is free.
    drop(Server::start(data.path()));
}

#[test]
fn a_private_input_appears_neither_in_the_log_nor_on_disk() {
    const CANARY: &str = "0.123456789";
    let folder = tempfile::tempdir().unwrap();
    let (data, log) = (folder.path().join("data"), folder.path().join("log"));
    let server = Server::start_logged(&data, &log);
    let created = passes(
        zkinfer()
            .args([
                "circuit",
                "create",
                "--wait",
                "--input",
                "private",
                "--endpoint",
            ])
            .arg(&server.endpoint)
            .arg("--calibration")
            .arg(model("digits-mlp.calibration.npz"))
            .arg(model("digits-mlp.onnx")),
    );
    let input = folder.path().join("input.json");
    let submit = |values: String, words: Option<&str>| {
        fs::write(&input, format!("{{\"input_data\": [[{values}]]}}")).unwrap();
        let mut command = zkinfer();
        command
            .args([
                "job",
                "submit",
                created["name"].as_str().unwrap(),
                "--wait",
                "-o",
            ])
            .arg(folder.path().join("proof.json"))
            .arg("--input")
            .arg(&input)
            .args(["--endpoint", &server.endpoint]);
        match words {
            None => drop(passes(&mut command)),
            Some(words) => drop(fails(&mut command, 1, words)),
        }
    };
    submit(vec![CANARY; 64].join(","), None);
    submit(vec![CANARY; 63].join(","), Some("input"));
    submit(
        format!("{},1e300", vec![CANARY; 63].join(",")),
        Some("input"),
    );
    let blobs = || -> usize {
        let folders = fs::read_dir(data.join("blobs")).unwrap().flatten();
        folders
            .map(|f| fs::read_dir(f.path()).unwrap().count())
            .sum()
    };
    for _ in 0..100 {
        if blobs() == 3 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(blobs(), 3, "model, calibration and settings are left");
    server.kill();
    let mut folders = vec![data];
    let mut files = vec![log];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    for file in files {
        let bytes = fs::read(&file).unwrap();
        let found = bytes.windows(CANARY.len()).any(|w| w == CANARY.as_bytes());
        assert!(!found, "{} holds the input", file.display());
    }
}

#[test]
fn a_server_that_is_asked_to_stop_stops() {
    let data = tempfile::tempdir().unwrap();
    let mut child = zkinfer()
        .args(["serve", "--json", "--listen", "127.0.0.1:0", "--data"])
        .arg(data.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(child.stdout.take().unwrap()),
        &mut line,
    )
    .unwrap();
    let status = Command::new("kill")
        .arg("-TERM")
        .arg(child.id().to_string())
        .status()
        .unwrap();
    assert!(status.success());
    assert!(child.wait().unwrap().success());
}

#[test]
fn snarkjs_files_are_written_for_plain_groth16_only() {
    let folder = tempfile::tempdir().unwrap();
    let proof = folder.path().join("proof.json");
    fails(
        prove(&made().path("bundle"), &proof).args(["--format", "snarkjs"]),
        2,
        "--system groth16",
    );
    assert!(!proof.exists());
}

#[test]
fn ops_lists_operators_with_costs_and_says_what_to_take_instead() {
    let text = |arguments: &[&str]| {
        let output = zkinfer().args(arguments).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let all = text(&["ops"]);
    assert!(all.contains("ConvTranspose") && all.contains("com.microsoft.QGemm"));
    let json = passes(zkinfer().args(["ops", "conv"]));
    let operators = json["operators"].as_array().unwrap();
    let names: Vec<_> = operators
        .iter()
        .filter_map(|o| o["name"].as_str())
        .collect();
    assert_eq!(
        names,
        ["Conv", "ConvTranspose", "ConvInteger", "QLinearConv"]
    );
    for system in ["groth16", "ultragroth", "halo2_kzg"] {
        assert!(
            operators[0]["rows"][system].as_u64().unwrap() > 0,
            "{system}"
        );
    }
    fails(
        zkinfer().args(["ops", "BitShift"]),
        1,
        "in its place: Mul or Div",
    );
    let page = text(&["ops", "--markdown"]);
    assert_eq!(page, include_str!("../../../circuits/OPERATORS.md"));
}

/// A GPU that no machine has.
const NOWHERE: &str = "4096";

#[test]
fn a_gpu_that_was_named_and_is_not_there_is_an_error_and_auto_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let proof = folder.path().join("proof.json");
    let bundle = made().path("bundle");
    let expected = format!("expected a GPU {NOWHERE}; this machine has ");
    fails(
        prove(&bundle, &proof).args(["--gpu", NOWHERE]),
        2,
        &expected,
    );
    fails(
        prove(&bundle, &proof).env("ZKINFER_GPU", NOWHERE),
        2,
        &expected,
    );
    let data = folder.path().join("data");
    fails(
        zkinfer()
            .args(["serve", "--listen", "127.0.0.1:0", "--gpu", NOWHERE])
            .arg("--data")
            .arg(&data),
        2,
        &expected,
    );
    let join = ["--gateway", "https://localhost:1", "--token", "t"];
    fails(
        zkinfer()
            .args(["node", "join", "--gpu", NOWHERE])
            .args(join)
            .arg("--data")
            .arg(&data),
        2,
        &expected,
    );
    assert!(!proof.exists() && !data.exists());
    for bad in ["all", "0,0", ""] {
        fails(
            prove(&bundle, &proof).args(["--gpu", bad]),
            2,
            "expected auto, none, or numbers",
        );
    }
    fails(
        prove(&bundle, &proof).env("ZKINFER_GPU", "all"),
        2,
        "ZKINFER_GPU: expected auto",
    );
    let on_cpu = passes(prove(&bundle, &proof).args(["--gpu", "none"]));
    assert_eq!(on_cpu["proved_on"], "the CPU (no GPU shall be used)");
    passes(prove(&bundle, &proof).args(["--gpu", "auto"]));
    passes(&mut verify(&bundle, &proof));
}

#[test]
fn doctor_says_which_gpus_prove() {
    let gpu = |arguments: &[&str]| {
        let mut doctor = zkinfer();
        doctor.args(["doctor", "--listen", "127.0.0.1:0", "--json", "--data"]);
        let folder = tempfile::tempdir().unwrap();
        let output = doctor.arg(folder.path()).args(arguments).output().unwrap();
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let checks = told["checks"].as_array().unwrap();
        checks.iter().find(|c| c["check"] == "gpu").unwrap().clone()
    };
    let none = gpu(&["--gpu", "none"]);
    assert_eq!(none["health"], "ok");
    assert_eq!(
        none["seen"],
        "no GPU: proofs run on the CPU (no GPU shall be used)"
    );
    let auto = gpu(&[]);
    let seen = auto["seen"].as_str().unwrap();
    match seen.starts_with("no GPU: proofs run on the CPU (") {
        true => assert_eq!(auto["health"], "ok"),
        false => assert!(seen.starts_with("GPU 0 ("), "{seen}"),
    }
    let missing = gpu(&["--gpu", NOWHERE]);
    assert_eq!(missing["health"], "bad");
    assert!(missing["seen"].as_str().unwrap().contains("expected a GPU"));
}
