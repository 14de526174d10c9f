//! The invariants of the architecture that a script can see, checked on every file that git tracks.

use std::fs;
use std::process::Command;

use crate::floors;
use crate::metadata::{self, Package};
use crate::source::{Blank, blank, lines_with};

/// A tracked text file: its path from the repository's root, and its text.
struct File {
    path: String,
    text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    fn is_code(&self) -> bool {
        [".rs", ".sol", ".proto"]
            .iter()
            .any(|end| self.path.ends_with(end))
    }

    fn is_script(&self) -> bool {
        [".sh", ".py", ".js", ".toml"]
            .iter()
            .any(|end| self.path.ends_with(end))
            || self.text.starts_with("#!")
    }

    /// The folder of the crate's tests and fixtures, or the benches, where names of operators are labels.
    fn is_fixture(&self) -> bool {
        self.path.contains("/tests/") || self.path.starts_with("benches/")
    }
}

/// Checks the repository.
///
/// # Errors
/// One line per violation: path, line, rule.
pub(crate) fn run() -> Result<String, String> {
    let files = tracked()?;
    let packages = metadata::packages()?;
    let mut complaints = floors::check(&packages);
    complaints.extend(check_layout(&files, &packages));
    complaints.extend(files.iter().flat_map(check_file));
    complaints.extend(check_roots(&files, &packages));
    for file in files
        .iter()
        .filter(|file| file.is_code() && file.text.lines().count() > 600)
    {
        println!(
            "tidy: {} has {} lines: one thought, or several?",
            file.path,
            file.text.lines().count()
        );
    }
    if complaints.is_empty() {
        Ok(format!("{} files", files.len()))
    } else {
        Err(complaints.join("\n"))
    }
}

fn tracked() -> Result<Vec<File>, String> {
    let root = metadata::repository();
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(&root)
        .output()
        .map_err(|error| format!("git ls-files: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "git ls-files: {}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    // A binary file, or one that is listed and gone, has no lines to check.
    let read = |path: &str| {
        Some(File {
            path: path.to_owned(),
            text: fs::read_to_string(root.join(path)).ok()?,
        })
    };
    Ok(names
        .split('\0')
        .filter(|path| !path.is_empty())
        .filter_map(read)
        .collect())
}

/// Complaints about one file, with their lines.
type Rule = fn(&File) -> Vec<(usize, String)>;

fn check_file(file: &File) -> Vec<String> {
    const RULES: &[Rule] = &[
        operator_names,
        unsafe_code,
        protobuf_types,
        development_setup,
        outside_paths,
        banners,
        unfinished,
        file_names,
    ];
    RULES
        .iter()
        .flat_map(|rule| rule(file))
        .map(|(line, complaint)| format!("{}:{line}: {complaint}", file.path))
        .collect()
}

/// Names of ONNX operators, and the snake_case spelling a module or a match arm would use. Left out because Rust or linear algebra
/// owns the word: Add, Clip, Flatten, Max, Mul, Reshape, Split, Sub, Sum, Transpose.
const OPERATORS: &[&str] = &[
    "AveragePool",
    "BatchNormalization",
    "Conv",
    "Gemm",
    "GlobalAveragePool",
    "LayerNormalization",
    "MatMul",
    "MaxPool",
    "Relu",
    "Sigmoid",
    "Softmax",
    "Squeeze",
    "Tanh",
    "Unsqueeze",
    "average_pool",
    "batch_norm",
    "conv",
    "conv2d",
    "gemm",
    "global_average_pool",
    "layer_norm",
    "matmul",
    "max_pool",
    "relu",
    "sigmoid",
    "softmax",
];

/// Invariant 1. Comments may name an operator; code and string literals may not, since `op == "…"` is how one leaks.
fn operator_names(file: &File) -> Vec<(usize, String)> {
    let exempt = file.path.starts_with("circuits/")
        || file.path.starts_with(".ci/xtask/")
        || file.is_fixture();
    if exempt || !file.is_code() {
        return Vec::new();
    }
    lines_with(&blank(&file.text, Blank::Comments), OPERATORS)
        .into_iter()
        .map(|(line, word)| (line, format!("only circuits/ knows the operator {word}")))
        .collect()
}

/// Where `unsafe` may stand.
const UNSAFE_FILES: &[&str] = &[
    "circuits/tests/import_fuzz.rs",
    "gpu/src/bases.rs",
    "gpu/src/cpu/ifma/adder.rs",
    "gpu/src/cpu/ifma/ntt.rs",
    "gpu/src/cpu/ifma/ntt/grid.rs",
    "gpu/src/cpu/ifma/ntt/permute.rs",
    "gpu/src/cpu/ifma/rows.rs",
    "gpu/src/cpu/ifma/signed.rs",
    "gpu/src/cpu/ifma/tests.rs",
    "gpu/src/cpu/ifma/vectors.rs",
    "gpu/src/cuda/emulator.rs",
    "gpu/src/cuda/module.rs",
    "gpu/src/cuda/module/context.rs",
    "gpu/src/cuda/module/event.rs",
    "gpu/src/cuda/module/kernels.rs",
    "gpu/src/cuda/module/memory.rs",
    "gpu/src/cuda/module/nvrtc.rs",
    "gpu/src/cuda/module/probe.rs",
    "gpu/src/cuda/module/staging.rs",
    "gpu/src/cuda/memory.rs",
    "contracts-verifier/substrate/standalone/src/exports.rs",
];

/// Invariant 2: `unsafe` in the named files only, each with a SAFETY line in the comment above it.
fn unsafe_code(file: &File) -> Vec<(usize, String)> {
    if !file.is_rust() {
        return Vec::new();
    }
    let lines: Vec<&str> = file.text.lines().collect();
    let argued = |line: usize| {
        let above = lines[..line - 1]
            .iter()
            .rev()
            .take_while(|l| l.trim_start().starts_with("//") || l.trim_start().starts_with("#["));
        lines[line - 1].contains("// SAFETY:")
            || above
                .into_iter()
                .any(|l| l.contains("SAFETY:") || l.contains("# Safety"))
    };
    lines_with(&blank(&file.text, Blank::CommentsAndStrings), &["unsafe"])
        .into_iter()
        .filter_map(|(line, _)| {
            if !UNSAFE_FILES.contains(&file.path.as_str()) {
                Some((line, "unsafe outside the files that may hold it".to_owned()))
            } else {
                (!argued(line)).then(|| {
                    (
                        line,
                        "unsafe without a `// SAFETY:` line above it".to_owned(),
                    )
                })
            }
        })
        .collect()
}

/// Invariant 3: messages generated from the protobuf files stay in the API, in its clients (the command line's, a node's), and with gRPC's own
/// types in what stands before the handlers.
fn protobuf_types(file: &File) -> Vec<(usize, String)> {
    const SERVICE: &str = "prover/service/";
    const ALLOWED: &[&str] = &[
        "src/api.rs",
        "src/api/",
        "src/cli.rs",
        "src/cli/",
        "src/auth/door.rs",
        "src/auth/guard.rs",
        "src/auth/methods.rs",
        "src/auth/peer.rs",
        "src/node/join.rs",
        "src/node/remote.rs",
        "src/node/remote/",
        "build.rs",
        "tests/",
    ];
    let words: &[&str] = match file.path.strip_prefix(SERVICE) {
        Some(path) if ALLOWED.iter().any(|allowed| path.starts_with(allowed)) => &[],
        Some(_) => &["prost", "prost_types", "proto", "tonic"],
        None => &["prost", "prost_types", "tonic"],
    };
    if !file.is_rust() || file.path.starts_with(".ci/") {
        return Vec::new();
    }
    lines_with(&blank(&file.text, Blank::CommentsAndStrings), words)
        .into_iter()
        .map(|(line, word)| (line, format!("{word} outside the API")))
        .collect()
}

/// Where keys may come from a trapdoor that one party knows: the module itself, the engine's setup, the verb that says so.
const DEVELOPMENT_SETUP: &[&str] = &[
    "params/",
    "prover/engine/",
    "prover/service/src/",
    "benches/",
];

/// Invariant 5.
fn development_setup(file: &File) -> Vec<(usize, String)> {
    let allowed = DEVELOPMENT_SETUP
        .iter()
        .any(|prefix| file.path.starts_with(prefix))
        || file.is_fixture();
    if allowed || !file.is_rust() {
        return Vec::new();
    }
    lines_with(
        &blank(&file.text, Blank::CommentsAndStrings),
        &["dev_setup"],
    )
    .into_iter()
    .map(|(line, _)| {
        (
            line,
            "dev_setup is called from a file that is not on the list".to_owned(),
        )
    })
    .collect()
}

/// Invariant 8: nothing names a path outside the repository.
fn outside_paths(file: &File) -> Vec<(usize, String)> {
    let shared = concat!("../", "shared");
    let work = concat!("/", "work/");
    let names_it = |line: &str| {
        let absolute = line.match_indices(work).any(|(at, _)| {
            !line[..at].ends_with(|c: char| {
                c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '}' | ')' | '>' | '$')
            })
        });
        absolute || line.contains(shared)
    };
    file.text
        .lines()
        .enumerate()
        .filter(|(_, line)| names_it(line))
        .map(|(index, _)| (index + 1, "a path outside the repository".to_owned()))
        .collect()
}

/// No banner comments: a row of four or more of the same mark, or a comment that begins with a drawn line.
fn banners(file: &File) -> Vec<(usize, String)> {
    let marker = if file.is_code() { "//" } else { "#" };
    if !file.is_code() && !file.is_script() {
        return Vec::new();
    }
    let is_banner = |line: &str| {
        let Some(comment) = line.trim_start().strip_prefix(marker) else {
            return false;
        };
        let row = ["----", "====", "****", "####", "////", "~~~~"];
        let drawn = ["──", "══"];
        row.iter().any(|row| comment.contains(row))
            || drawn
                .iter()
                .any(|line| comment.trim_start().starts_with(line))
    };
    file.text
        .lines()
        .enumerate()
        .filter(|(_, line)| is_banner(line))
        .map(|(index, _)| (index + 1, "a banner comment".to_owned()))
        .collect()
}

/// Nothing unfinished is committed.
fn unfinished(file: &File) -> Vec<(usize, String)> {
    if !file.is_rust() {
        return Vec::new();
    }
    let code = blank(&file.text, Blank::CommentsAndStrings);
    code.lines()
        .enumerate()
        .flat_map(|(index, line)| {
            let found = ["todo!", "unimplemented!", "dbg!"]
                .into_iter()
                .filter(|word| line.contains(word));
            found.map(move |word| (index + 1, format!("{word} is not finished code")))
        })
        .collect()
}

/// No file whose name says nothing about what is inside.
fn file_names(file: &File) -> Vec<(usize, String)> {
    let vague = |part: &str| {
        matches!(
            part.split('.').next(),
            Some("utils" | "util" | "helpers" | "helper" | "common" | "misc" | "manager")
        )
    };
    let code = file.is_code() || file.is_script();
    if code && file.path.split('/').any(vague) {
        vec![(1, "a name that says nothing".to_owned())]
    } else {
        Vec::new()
    }
}

/// Every crate root forbids `unsafe`; `gpu` denies it, so that only the named files can allow it.
fn check_roots(files: &[File], packages: &[Package]) -> Vec<String> {
    let mut complaints = Vec::new();
    for package in packages.iter().filter(|package| package.member) {
        let wanted: &[&str] = match package.name.as_str() {
            "zkinfer-gpu" => &["#![deny(unsafe_code)]", "#![forbid(unsafe_code)]"],
            _ => &["#![forbid(unsafe_code)]"],
        };
        for root in &package.roots {
            let text = files
                .iter()
                .find(|file| file.path == *root)
                .map_or("", |file| &file.text);
            if !text.lines().any(|line| wanted.contains(&line.trim_end())) {
                complaints.push(format!("{root}:1: a crate root says {}", wanted[0]));
            }
        }
    }
    complaints
}

/// What stands at the top level, and nothing else.
const TOP_LEVEL: &[&str] = &[
    ".cargo",
    ".ci",
    ".config",
    ".gitignore",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "benches",
    "circuits",
    "contracts-verifier",
    "gpu",
    "params",
    "prover",
    "rust-toolchain.toml",
    "verifier",
];

/// The commands that the README promises.
const README_COMMANDS: &[&str] = &["cargo run --release --bin zkinfer -- demo", ".ci/test"];

fn check_layout(files: &[File], packages: &[Package]) -> Vec<String> {
    let text_of = |path: &str| {
        files
            .iter()
            .find(|file| file.path == path)
            .map(|file| file.text.as_str())
    };
    let top = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    let mut complaints = Vec::new();
    for wanted in TOP_LEVEL
        .iter()
        .filter(|wanted| !files.iter().any(|file| top(&file.path) == **wanted))
    {
        complaints.push(format!("{wanted}: missing at the top level"));
    }
    for file in files
        .iter()
        .filter(|file| !TOP_LEVEL.contains(&top(&file.path).as_str()))
    {
        complaints.push(format!("{}: the top level is full", file.path));
    }
    if text_of("rust-toolchain.toml") != Some("[toolchain]\nchannel = \"stable\"\n") {
        complaints.push("rust-toolchain.toml: exactly channel = \"stable\"".to_owned());
    }
    for command in README_COMMANDS {
        if !text_of("README.md").unwrap_or_default().contains(command) {
            complaints.push(format!("README.md: names the command `{command}`"));
        }
    }
    for package in packages
        .iter()
        .filter(|p| p.member && p.name != "xtask" && p.name != "zkinfer-benches")
    {
        if text_of(&format!("{}/DESIGN.md", package.folder)).is_none() {
            complaints.push(format!("{}/DESIGN.md: missing", package.folder));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(path: &str, text: &str) -> Vec<String> {
        check_file(&File {
            path: path.to_owned(),
            text: text.to_owned(),
        })
    }

    #[track_caller]
    fn caught(path: &str, text: &str) {
        assert_eq!(complaints(path, text).len(), 1, "{path}: {text}");
    }

    #[track_caller]
    fn passes(path: &str, text: &str) {
        assert_eq!(
            complaints(path, text),
            Vec::<String>::new(),
            "{path}: {text}"
        );
    }

    #[test]
    fn an_operator_name_outside_circuits_is_caught() {
        caught("prover/engine/src/quote.rs", "match op { Op::Conv => 1 }");
        caught("prover/service/src/report.rs", "if op == \"MaxPool\" {}");
        caught("contracts-verifier/contracts/A.sol", "function relu() {}");
        passes(
            "prover/engine/src/quote.rs",
            "// like a Conv\nlet converted = x.convert();",
        );
        passes("circuits/src/ops/conv.rs", "struct Conv;");
        passes("prover/service/tests/matrix.rs", "let name = \"Conv_0\";");
    }

    #[test]
    fn unsafe_elsewhere_or_without_an_argument_is_caught() {
        caught("circuits/src/lib.rs", "fn f() { unsafe { g() } }");
        caught("gpu/src/bases.rs", "fn f() { unsafe { g() } }");
        passes(
            "gpu/src/bases.rs",
            "fn f() {\n    // SAFETY: g has no precondition.\n    unsafe { g() }\n}",
        );
        passes(
            "circuits/src/lib.rs",
            "#![forbid(unsafe_code)]\n// unsafe is a word\nlet s = \"unsafe\";",
        );
    }

    #[test]
    fn protobuf_outside_the_service_is_caught() {
        caught("prover/engine/src/backend.rs", "use prost::Message;");
        caught("prover/service/src/farm/job.rs", "fn f(job: proto::Job) {}");
        passes(
            "prover/service/src/api/convert.rs",
            "use prost::Message;\nuse super::proto;",
        );
    }

    #[test]
    fn development_keys_elsewhere_are_caught() {
        caught(
            "contracts-verifier/src/source.rs",
            "use zkinfer_params::dev_setup;",
        );
        passes(
            "prover/service/src/cli/setup.rs",
            "use zkinfer_params::dev_setup;",
        );
    }

    #[test]
    fn a_path_outside_the_repository_is_caught() {
        caught("benches/README.md", concat!("see ..", "/shared/models"));
        caught(
            "circuits/tests/models.rs",
            concat!("open(\"/wo", "rk/main\")"),
        );
        passes("benches/README.md", "frame/work/x and network/work");
    }

    #[test]
    fn banners_stubs_and_vague_names_are_caught() {
        caught("gpu/src/lib.rs", concat!("// --", "-- MSM --", "--"));
        caught("gpu/src/lib.rs", "// ── MSM ──");
        passes("gpu/src/lib.rs", "//! keys ──► proof");
        caught(".ci/test", concat!("#!/bin/sh\n# ==", "==="));
        caught("gpu/src/lib.rs", "fn f() { todo!() }");
        caught("gpu/src/utils.rs", "fn f() {}");
        caught("gpu/src/helpers/msm.rs", "fn f() {}");
        passes("gpu/src/lib.rs", "//! | a | b |\n//! |---|---|\n");
    }

    #[test]
    fn a_crate_root_that_allows_unsafe_is_caught() {
        let package = |name: &str| Package {
            name: name.to_owned(),
            member: true,
            roots: vec!["a/lib.rs".to_owned()],
            ..Package::default()
        };
        let file = |text: &str| {
            [File {
                path: "a/lib.rs".to_owned(),
                text: text.to_owned(),
            }]
        };
        assert!(check_roots(&file("//! a\n#![forbid(unsafe_code)]\n"), &[package("a")]).is_empty());
        assert_eq!(
            check_roots(&file("#![deny(unsafe_code)]\n"), &[package("a")]).len(),
            1
        );
        assert!(
            check_roots(&file("#![deny(unsafe_code)]\n"), &[package("zkinfer-gpu")]).is_empty()
        );
        assert_eq!(
            check_roots(&file("// #![forbid(unsafe_code)]\n"), &[package("a")]).len(),
            1
        );
    }

    #[test]
    fn a_missing_or_a_surplus_top_level_file_is_caught() {
        let file = |path: &str, text: &str| File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let mut files: Vec<File> = TOP_LEVEL
            .iter()
            .map(|path| file(path, &README_COMMANDS.join("\n")))
            .collect();
        files.retain(|file| file.path != "rust-toolchain.toml");
        files.push(file(
            "rust-toolchain.toml",
            "[toolchain]\nchannel = \"stable\"\n",
        ));
        assert_eq!(check_layout(&files, &[]), Vec::<String>::new());
        files.push(file("docs/notes.md", ""));
        assert_eq!(check_layout(&files, &[]).len(), 1);
        files.retain(|file| file.path != "docs/notes.md" && file.path != "LICENSE-MIT");
        assert_eq!(check_layout(&files, &[]).len(), 1);
        let package = Package {
            name: "zkinfer-gpu".to_owned(),
            member: true,
            folder: "gpu".to_owned(),
            ..Package::default()
        };
        assert_eq!(check_layout(&files, &[package]).len(), 2);
        files.retain(|file| file.path != "rust-toolchain.toml");
        files.push(file(
            "rust-toolchain.toml",
            "[toolchain]\nchannel = \"nightly\"\n",
        ));
        assert_eq!(check_layout(&files, &[]).len(), 2);
    }
}
