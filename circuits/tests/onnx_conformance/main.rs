//! The cases of the `onnx` package, of single nodes and of PyTorch's exports, through the whole pipeline: import, calibration, quantization, integer evaluation, and for small cases
//! the program and its honest witness in both R1CS forms and Halo2.
//!
//! A case passes when
//! * the float graph, evaluated on the case's inputs, gives the case's outputs to 1e-4 of the largest of them, or the package's own 1e-3 of each
//!   (what the operator means), and
//! * every tensor of the integer model is what its node of the float graph gives on the integers it reads, to one step where it is requantized and
//!   exactly elsewhere ([`steps`]: what quantization may cost). What that adds up to on the outputs is in the table.
//!
//! `tests/golden/onnx_conformance.csv` counts by operator, `onnx_conformance_cases.csv` has every case. A case of a claimed operator that does not
//! pass is named in [`exceptions`], with the reason.

#![allow(clippy::unwrap_used)]

mod case;
mod costs;
mod exceptions;
mod steps;
mod verdict;
mod wire;

use case::Case;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use verdict::{Outcome, Run, Verdict};
use zkinfer_circuits::onnx::operators::{self, OPERATORS};

#[test]
fn cases_of_claimed_operators_pass() {
    let Some(folder) = data() else { return };
    let cases = cases(&folder);
    assert!(cases.len() > 1800, "{} cases in {folder:?}", cases.len());
    let mut verdicts: Vec<Verdict> = cases.par_iter().map(verdict::judge).collect();
    check_circuits(&cases, &mut verdicts);
    let mut complaints = exceptions::complaints(&cases, &verdicts);
    complaints.extend(unproved(&cases, &verdicts));
    let golden = |name: &str| format!("tests/golden/{name}");
    check_golden(
        &golden("onnx_conformance.csv"),
        &by_operator(&cases, &verdicts),
    );
    check_golden(
        &golden("onnx_conformance_cases.csv"),
        &by_case(&cases, &verdicts),
    );
    check_golden(
        "src/onnx/operators/costs.csv",
        &costs::table(&cases, &verdicts),
    );
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Most elements, inputs and outputs together, of cases whose circuits are checked.
const MAX_SOLVED: usize = 600;
/// The same for an operator without a smaller case.
const MAX_ONLY: usize = 20_000;
/// Cases of an operator whose circuits are checked: the smallest, of equals the first by name.
const SOLVED: usize = 4;

/// Checks the circuits of some passing cases of every operator.
fn check_circuits(cases: &[Case], verdicts: &mut [Verdict]) {
    let mut small: BTreeMap<&str, Vec<(usize, usize)>> = BTreeMap::new();
    for (index, (case, verdict)) in cases.iter().zip(verdicts.iter()).enumerate() {
        if let Outcome::Pass { elements, .. } = verdict.outcome
            && elements <= MAX_ONLY
        {
            let small = small.entry(&case.operator).or_default();
            small.push((elements, index));
        }
    }
    let chosen = small.values_mut().flat_map(|cases| {
        cases.sort_unstable();
        let small = cases.iter().filter(|(elements, _)| *elements <= MAX_SOLVED);
        let count = small.count().clamp(1, SOLVED);
        cases[..count].iter().map(|(_, index)| *index)
    });
    let chosen: Vec<usize> = chosen.collect();
    let judged = chosen.par_iter().map(|&index| {
        let constant = verdicts[index].constant_operands;
        (index, verdict::judge_circuit(&cases[index], constant))
    });
    let judged: Vec<(usize, Outcome)> = judged.collect();
    for (index, outcome) in judged {
        verdicts[index].outcome = outcome;
    }
}

/// Least number of operators that pass.
const LEAST_OPERATORS: usize = 75;

/// The claimed operators that are in no case that passes with its circuits checked; and whether there are enough of the others.
fn unproved(cases: &[Case], verdicts: &[Verdict]) -> Vec<String> {
    let mut proved = BTreeSet::new();
    let mut passing = 0;
    for (case, verdict) in cases.iter().zip(verdicts) {
        let Outcome::Pass { circuit, .. } = verdict.outcome else {
            continue;
        };
        passing += 1;
        if circuit {
            proved.extend(case.operators.iter().map(String::as_str));
        }
    }
    println!(
        "{passing} cases pass, of {} operators with circuits",
        proved.len()
    );
    let fixture = |op: &&str| costs::FIXTURES.iter().any(|(fixture, _)| fixture == op);
    let names = OPERATORS.iter().map(|operator| operator.name);
    let claimed = names.filter(|op| !proved.contains(op) && !fixture(op));
    let mut complaints: Vec<String> = claimed
        .map(|op| format!("{op} is claimed, but no case of it passes with its circuits"))
        .collect();
    if proved.len() < LEAST_OPERATORS {
        complaints.push(format!(
            "{} operators pass, of {LEAST_OPERATORS}",
            proved.len()
        ));
    }
    complaints
}

/// The page that `zkinfer ops` prints, too: the costs in it are those of the build, which [`cases_of_claimed_operators_pass`] compares.
#[test]
fn the_page_of_operators_is_current() {
    check_golden("OPERATORS.md", &operators::page());
}

/// The checks can fail: an output of the case, an integer, a verdict is changed.
#[test]
fn wrong_values_are_seen() {
    let Some(folder) = data() else { return };
    // by how much an integer must differ: one where values only move, more than a step elsewhere
    let changed = [
        ("test_transpose_default", 1),
        ("test_maxpool_2d_default", 1),
        ("test_relu", 2),
        ("test_sigmoid", 2),
        ("test_gemm_default_vector_bias", 2),
        ("test_averagepool_2d_ceil", 2),
    ];
    for (name, by) in changed {
        let case = Case::read(&folder.join("node"), name);
        let mut run = [false, true]
            .into_iter()
            .find_map(|constant| Run::new(&case, constant).ok())
            .unwrap();
        assert!(run.check_semantics().is_ok() && run.check_integers().is_ok());
        let values = &mut run.expected[0].data;
        let largest = values.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        values[0] += largest / 500.0;
        assert!(run.check_semantics().is_err(), "{name}");
        let tensor = run.quantized.model.outputs()[0].tensor;
        let value = &mut run.tensors[tensor].data[0];
        *value += if *value > 0 { -by } else { by };
        assert!(run.check_integers().is_err(), "{name}");
        let outcomes = [
            Outcome::Fail("wrong".to_owned()),
            Outcome::Unsupported("not yet".to_owned()),
        ];
        let cases = [case];
        for outcome in outcomes {
            let verdict = Verdict {
                outcome,
                constant_operands: false,
            };
            let complaints = exceptions::complaints(&cases, &[verdict]);
            let named = name.trim_start_matches("test_");
            assert!(complaints[0].starts_with(named), "{complaints:?}");
        }
    }
}

/// The folder of cases: named by the environment, or what `.ci/test` installs.
fn data() -> Option<PathBuf> {
    let found = env::var_os("ZKINFER_ONNX_DATA")
        .map(PathBuf::from)
        .or_else(installed)
        .filter(|folder| folder.join("node").is_dir());
    if found.is_none() {
        let how = "python3 -m venv .ci/.venv && .ci/.venv/bin/pip install -r .ci/requirements.txt";
        assert!(
            env::var("ZKINFER_REQUIRE_ONNX_DATA").as_deref() != Ok("1"),
            "the cases of the onnx package are not in .ci/.venv; run .ci/test, or: {how}"
        );
        println!("skipped: no conformance cases without the onnx package: {how}");
    }
    found
}

fn installed() -> Option<PathBuf> {
    let libraries = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/.venv/lib");
    let pythons = fs::read_dir(libraries).ok()?;
    let mut folders = pythons.filter_map(|python| {
        let folder = python.ok()?.path();
        Some(folder.join("site-packages/onnx/backend/test/data"))
    });
    folders.find(|folder| folder.join("node").is_dir())
}

/// All cases of the kinds with a graph of their own, by name.
fn cases(folder: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in ["node", "pytorch-converted", "pytorch-operator"] {
        let folder = folder.join(kind);
        let entries = fs::read_dir(&folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        cases.extend(names.iter().map(|name| Case::read(&folder, name)));
    }
    cases
}

fn by_operator(cases: &[Case], verdicts: &[Verdict]) -> String {
    let mut counts: BTreeMap<&str, [usize; 5]> = BTreeMap::new();
    for (case, verdict) in cases.iter().zip(verdicts) {
        let counts = counts.entry(&case.operator).or_default();
        counts[0] += 1;
        counts[match verdict.outcome {
            Outcome::Pass { .. } => 1,
            Outcome::Fail(_) => 2,
            Outcome::Unsupported(_) => 3,
        }] += 1;
        counts[4] += usize::from(case.claimed);
    }
    let mut table = "operator,cases,pass,fail,unsupported,claimed\n".to_owned();
    for (operator, [all, pass, fail, unsupported, claimed]) in counts {
        writeln!(
            table,
            "{operator},{all},{pass},{fail},{unsupported},{claimed}"
        )
        .unwrap();
    }
    table
}

fn by_case(cases: &[Case], verdicts: &[Verdict]) -> String {
    let mut table = "case,operator,status,operands,checked or reason,steps\n".to_owned();
    for (case, verdict) in cases.iter().zip(verdicts) {
        let operands = match (&verdict.outcome, verdict.constant_operands) {
            (Outcome::Unsupported(_), _) => "",
            (_, true) => "constant",
            (_, false) => "computed",
        };
        let (status, note, steps) = match &verdict.outcome {
            Outcome::Pass { circuit, steps, .. } => {
                let checked = if *circuit { "circuit" } else { "integers" };
                ("pass", checked.to_owned(), format!("{}", steps.ceil()))
            }
            Outcome::Fail(reason) => ("fail", short(reason), String::new()),
            Outcome::Unsupported(reason) => ("unsupported", short(reason), String::new()),
        };
        let (name, operator) = (&case.name, &case.operator);
        writeln!(
            table,
            "{name},{operator},{status},{operands},{note},{steps}"
        )
        .unwrap();
    }
    table
}

/// One line of at most 160 characters, without commas.
fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.replace(',', ";").chars().take(160).collect()
}

fn check_golden(file: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, actual).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    let changed = actual.lines().zip(golden.lines()).find(|(a, b)| a != b);
    assert!(
        golden == actual,
        "{file} changed, first {changed:?}: UPDATE_GOLDEN=1 rewrites it"
    );
}
