//! What one case of every operator costs: `src/onnx/operators/costs.csv`.

use crate::case::Case;
use crate::verdict::{Outcome, Run, Verdict};
use rayon::prelude::*;
use std::cmp::Reverse;
use std::path::Path;
use std::sync::Arc;
use zkinfer_circuits::arithmetization::halo2::Halo2Circuit;
use zkinfer_circuits::arithmetization::r1cs::{Form, R1cs};
use zkinfer_circuits::model::{Model, Visibilities};
use zkinfer_circuits::onnx::operators::OPERATORS;
use zkinfer_circuits::quantize::input::from_npz;
use zkinfer_circuits::{onnx, quantize};

/// Claimed operators without a case of their own in the package, and a model of each: held against onnxruntime in `float_graph.rs` and `tabular.rs`.
pub const FIXTURES: [(&str, &str); 3] = [
    ("GlobalLpPool", "models/float/global_lp_pool"),
    (
        "ai.onnx.ml.TreeEnsembleClassifier",
        "models/tabular/random_forest",
    ),
    (
        "ai.onnx.ml.TreeEnsembleRegressor",
        "models/tabular/forest_regression",
    ),
];

/// Most elements, inputs and outputs together, of cases whose rows are counted.
const MAX_COUNTED: usize = 20_000;

/// The table. The case of an operator is the largest of those that pass and hold no other operator, of equals the first by name; what has no
/// such case is computed when a model is read.
pub fn table(cases: &[Case], verdicts: &[Verdict]) -> String {
    let of_cases = OPERATORS.par_iter().filter_map(|operator| {
        let candidates = cases.iter().zip(verdicts).filter_map(|(case, verdict)| {
            let Outcome::Pass { elements, .. } = verdict.outcome else {
                return None;
            };
            let counted = case.operator == operator.name && elements <= MAX_COUNTED;
            counted.then_some((Reverse(elements), &case.name, case, verdict))
        });
        let (.., case, verdict) = candidates.min_by_key(|(size, name, ..)| (*size, *name))?;
        let run = Run::new(case, verdict.constant_operands).ok()?;
        Some(line(operator.name, &case.name, &run.quantized.model))
    });
    let of_files = FIXTURES.par_iter();
    let of_files = of_files.map(|(operator, file)| line(operator, file, &read(file)));
    let mut lines: Vec<String> = of_cases.chain(of_files).collect();
    lines.sort();
    "operator,case,elements,groth16,ultragroth,halo2-kzg\n".to_owned() + &lines.concat()
}

fn read(file: &str) -> Model {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(file);
    let bytes = |extension| std::fs::read(path.with_extension(extension)).unwrap();
    let graph = onnx::import(&bytes("onnx")).unwrap();
    let inputs = graph.inputs.iter().map(|&id| &graph.nodes[id]);
    let inputs: Vec<_> = inputs.map(|n| (n.name.as_str(), &n.shape[..])).collect();
    let samples = from_npz(&bytes("npz")).unwrap().samples(&inputs).unwrap();
    let ranges = quantize::ranges(&graph, &samples).unwrap();
    let quantized = quantize::quantize(&graph, &ranges, Visibilities::default());
    quantized.unwrap().model
}

/// The rows that the nodes and outputs of a model have in each form.
fn line(operator: &str, case: &str, model: &Model) -> String {
    let program = Arc::new(model.synthesize().unwrap());
    let counted = |by_node: &[(String, usize)]| {
        let input = |name: &str| model.inputs().iter().any(|i| i.name == name);
        let rows = by_node.iter().filter(|(name, _)| !input(name));
        rows.map(|(_, rows)| rows).sum::<usize>()
    };
    let form = |form| Some(counted(&R1cs::lower(&program, form).ok()?.cost().by_node));
    let outputs = model.outputs().iter();
    let elements: usize = outputs.map(|o| model.facts()[o.tensor].len()).sum();
    let groth16 = form(Form::Plain).map_or(String::new(), |rows| rows.to_string());
    let ultragroth = form(Form::Committed).unwrap();
    let halo2 = counted(&Halo2Circuit::lower(&program).unwrap().cost().by_node);
    format!("{operator},{case},{elements},{groth16},{ultragroth},{halo2}\n")
}
