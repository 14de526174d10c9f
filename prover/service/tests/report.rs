//! `zkinfer report`: what the page holds, what it says is missing, and how it looks to a browser.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod server;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use serde_json::{Value, json};
use server::{fails, model, passes, zkinfer};

/// What a hostile model calls its nodes.
const HOSTILE: &str =
    "\"><script>document.title='taken'</script><img src=x onerror=alert(1)></svg></style>";

/// Bundles of digits-cnn, made once: as it is, for halo2-kzg, and with hostile names.
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
        let onnx = fs::read(model("digits-cnn.onnx")).unwrap();
        fs::write(made.path("hostile.onnx"), with_node_names(&onnx, HOSTILE)).unwrap();
        for (onnx, bundle, system) in [
            (model("digits-cnn.onnx"), "digits", "ultragroth"),
            (model("digits-cnn.onnx"), "halo2", "halo2-kzg"),
            (made.path("hostile.onnx"), "hostile", "ultragroth"),
        ] {
            passes(
                zkinfer()
                    .arg("compile")
                    .arg(onnx)
                    .arg("-o")
                    .arg(made.path(bundle))
                    .args(["--system", system, "--calibration"])
                    .arg(model("digits-cnn.calibration.npz")),
            );
        }
        made
    })
}

/// An ONNX file with other names of its nodes: `name` and a number.
fn with_node_names(onnx: &[u8], name: &str) -> Vec<u8> {
    let mut number = 0;
    // ModelProto.graph is field 7, GraphProto.node field 1, NodeProto.name field 3
    rewritten(onnx, &mut |field, graph| {
        (field == 7).then(|| {
            rewritten(graph, &mut |field, node| {
                (field == 1).then(|| {
                    number += 1;
                    let unnamed = |field, _: &[u8]| (field == 3).then(Vec::new);
                    let mut node = rewritten(node, &mut { unnamed });
                    // the last value of a field counts
                    put(&mut node, 3, format!("{name}{number}").as_bytes());
                    node
                })
            })
        })
    })
}

/// The new value of a field that is replaced, by its number and value.
type Replace<'a> = dyn FnMut(u64, &[u8]) -> Option<Vec<u8>> + 'a;

/// A protobuf message with some of its length-delimited fields replaced.
fn rewritten(message: &[u8], replace: &mut Replace<'_>) -> Vec<u8> {
    let mut rest = message;
    let mut out = Vec::new();
    while !rest.is_empty() {
        let whole = rest;
        let key = varint(&mut rest);
        match key & 7 {
            0 => drop(varint(&mut rest)),
            1 => rest = &rest[8..],
            5 => rest = &rest[4..],
            2 => {
                let len = varint(&mut rest) as usize;
                let (value, after) = rest.split_at(len);
                rest = after;
                if let Some(new) = replace(key >> 3, value) {
                    put(&mut out, key >> 3, &new);
                    continue;
                }
            }
            other => panic!("wire type {other}"),
        }
        out.extend(&whole[..whole.len() - rest.len()]);
    }
    out
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

fn put(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    for mut number in [field << 3 | 2, value.len() as u64] {
        while number >= 0x80 {
            out.push(number as u8 | 0x80);
            number >>= 7;
        }
        out.push(number as u8);
    }
    out.extend(value);
}

fn report(bundle: &str, page: &str) -> Command {
    let mut command = zkinfer();
    command
        .arg("report")
        .arg(made().path(bundle))
        .arg("-o")
        .arg(made().path(page));
    command
}

fn with_samples(command: &mut Command, onnx: &Path) {
    command
        .arg("--samples")
        .arg(model("digits-cnn.heldout.npz"))
        .arg("--model")
        .arg(onnx);
}

#[test]
fn a_bundle_alone_gives_a_page_that_names_what_it_lacks() {
    let told = passes(&mut report("digits", "alone.html"));
    assert_eq!(told["constraints"], 11_560);
    let missing = told["missing"].as_array().unwrap();
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert!(missing[0].as_str().unwrap().contains("--samples"));
    let html = fs::read_to_string(made().path("alone.html")).unwrap();
    assert_eq!(html.len() as u64, told["bytes"].as_u64().unwrap());
    assert!(html.contains("11,560") && html.contains("Not on this page"));
    assert_eq!(html.matches("<svg class=\"histogram\"").count(), 0);
}

#[test]
fn samples_alone_give_histograms_and_accuracy_of_the_integer_model() {
    let mut command = report("digits", "samples.html");
    command
        .arg("--samples")
        .arg(model("digits-cnn.heldout.npz"));
    let told = passes(&mut command);
    assert_eq!(
        (&told["samples"], &told["outputs"][0]["agreement"]),
        (&json!(360), &Value::Null)
    );
    let right = told["outputs"][0]["accuracy"]["quantized"]["top_1"]
        .as_u64()
        .unwrap();
    assert!(right > 340, "{told}");
    let missing = told["missing"].to_string();
    assert!(missing.contains("--model"), "{missing}");
    let html = fs::read_to_string(made().path("samples.html")).unwrap();
    assert_eq!(html.matches("<svg class=\"histogram\"").count(), 8);
    assert_eq!(html.matches("<svg class=\"plot\"").count(), 0);
}

#[test]
fn rows_of_halo2_add_up() {
    let told = passes(&mut report("halo2", "rows.html"));
    let quoted = passes(
        zkinfer()
            .arg("quote")
            .arg(made().path("halo2"))
            .arg("--no-calibration"),
    );
    let number = |field: &str| quoted[field].as_u64().unwrap();
    assert_eq!(
        told["rows"].as_u64().unwrap(),
        number("tape_rows") + number("lookup_rows")
    );
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let heldout = model("digits-cnn.heldout.npz");
    let with = |arguments: &[&Path]| {
        let mut command = report("digits", "refused.html");
        command.args(arguments);
        command
    };
    let [samples, onnx, labels] = ["--samples", "--model", "--labels"].map(Path::new);
    let other = model("digits-mlp.onnx");
    fails(
        &mut with(&[samples, &heldout, onnx, &other]),
        1,
        "another model",
    );
    fails(&mut with(&[onnx, &other]), 2, "--samples");
    fails(
        &mut with(&[samples, Path::new("nowhere.npz")]),
        2,
        "nowhere.npz",
    );
    fails(
        &mut with(&[samples, &heldout, labels, Path::new("truth")]),
        1,
        "truth",
    );
    fails(
        &mut with(&[samples, &heldout, labels, Path::new("y")]),
        1,
        "y",
    );
    fails(&mut with(&[samples, &other]), 2, "digits-mlp.onnx");
    let of_mlp = model("digits-mlp.heldout.npz");
    fails(&mut with(&[samples, &of_mlp]), 1, "expected shape");
    let damaged = made().path("damaged.onnx");
    let bytes = fs::read(model("digits-cnn.onnx")).unwrap();
    fs::write(&damaged, &bytes[..bytes.len() / 2]).unwrap();
    let with_damaged = &mut with(&[samples, &heldout, onnx, &damaged]);
    fails(with_damaged, 1, "truncated");
    assert!(!made().path("refused.html").exists(), "nothing is written");
}

#[test]
fn a_browser_shows_the_pages() {
    let full = {
        let mut command = report("digits", "full.html");
        with_samples(&mut command, &model("digits-cnn.onnx"));
        let told = passes(&mut command);
        assert_eq!(told["missing"], json!([]));
        let accuracy = &told["outputs"][0]["accuracy"];
        let gained = accuracy["gained"].as_u64().unwrap();
        let lost = accuracy["lost"].as_u64().unwrap();
        let top = |model: &str| accuracy[model]["top_1"].as_u64().unwrap();
        assert_eq!(top("quantized") + lost, top("float") + gained);
        top("quantized")
    };
    let mut command = report("hostile", "names.html");
    with_samples(&mut command, &made().path("hostile.onnx"));
    passes(&mut command);
    passes(&mut report("halo2", "system.html"));
    let page = |file: &str, bundle: &str, charts: [u64; 2], texts: Value| {
        json!({
            "file": made().path(file), "title": format!("{bundle}: zkinfer report"), "texts": texts,
            "counts": { "svg.histogram": charts[0], "svg.plot": charts[1], "svg.graph": 1, "a.box": 5, "tr[id^=layer-]": 5 },
        })
    };
    let expected = json!([
        page(
            "full.html",
            "digits",
            [8, 2],
            json!({ "h1": "digits", ".layers tfoot": "11,560", ".accuracy": full.to_string() })
        ),
        page(
            "names.html",
            "hostile",
            [8, 2],
            json!({ "tr[id^=layer-]": HOSTILE })
        ),
        page(
            "system.html",
            "halo2",
            [0, 0],
            json!({ ".missing": "--samples", ".facts": "halo2-kzg" })
        ),
    ]);
    let Some(package) = browser() else { return };
    let list = made().path("expected.json");
    fs::write(&list, expected.to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/report_page.mjs");
    let mut command = Command::new("node");
    command
        .arg(script)
        .arg(package)
        .arg(ci_tools().join(".cache"))
        .arg(list);
    if let Some(folder) = env::var_os("ZKINFER_SCREENSHOTS") {
        command.arg(folder);
    }
    let output = command.output().unwrap();
    let told = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy);
    assert!(output.status.success(), "{}{}", told[0], told[1]);
    println!("{}", told[0]);
}

/// Where `.ci/test` installs what comes from npm.
fn ci_tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.ci/node_modules")
}

/// The browser, where it is installed. Without it the pages are not looked at, unless the environment asks for that.
fn browser() -> Option<PathBuf> {
    let package = ci_tools().join("@sparticuz/chromium");
    let usable = package.join("bin/chromium.br").exists()
        && cfg!(all(target_os = "linux", target_arch = "x86_64"));
    if usable {
        return Some(package);
    }
    let how = "npm ci --prefix .ci (Linux on x86-64)";
    assert!(
        env::var("ZKINFER_REQUIRE_CHROMIUM").as_deref() != Ok("1"),
        "Chromium is not in .ci/node_modules; run .ci/test, or: {how}"
    );
    println!("skipped: no browser looks at the pages without Chromium: {how}");
    None
}
