//! Cases of claimed operators that are not supported, and why. A case that fails has no excuse.

use crate::case::Case;
use crate::verdict::{Outcome, VALUES, Verdict};
use std::collections::BTreeSet;
use tract_onnx::pb::tensor_proto::DataType;

/// A reason, and the cases: by name, or with `*` at the end all that begin so.
const CASES: &[(&str, &[&str])] = &[
    (
        "training: a proof is about inference",
        &[
            "batchnorm_epsilon_training_mode",
            "batchnorm_example_training_mode",
            "training_dropout",
            "training_dropout_default*",
            "training_dropout_mask",
        ],
    ),
    ("a model without inputs", &["constant"]),
    (
        "a pad whose size is computed",
        &["attention_4d_diff_heads_mask4d_padded_kv_expanded"],
    ),
    (
        "a convolution with computed weights",
        &["causal_conv_with_state_kernel_size_one_expanded"],
    ),
    (
        "a Scan of opset 8, whose state has a batch axis",
        &["scan_sum"],
    ),
    (
        "a Scan whose body's inputs have no type; exporters write one",
        &["linear_attention_*"],
    ),
    ("strings", &["equal_string*"]),
    (
        "a power with more than 64 different exponents",
        &["pow", "pytorch-operator/operator_pow"],
    ),
];

/// Reason, part of the message, operators; none for all.
const MESSAGES: &[(&str, &str, &[&str])] = &[
    (
        "an output that does not depend on an input",
        "does not depend on any input",
        &[],
    ),
    ("a tensor without elements", "the dynamic shape", &[]),
    ("a tensor without elements", "elements or none", &[]),
    (
        "a mask of minus infinity that is no constant",
        "holds -inf",
        &["Attention (expanded)", "FlexAttention (expanded)"],
    ),
    (
        "a shape that is computed",
        "its output shape depends on the values of an input",
        &[
            "BlackmanWindow (expanded)",
            "HammingWindow (expanded)",
            "HannWindow (expanded)",
            "Range",
            "Range (expanded)",
        ],
    ),
    (
        "a shape that is computed",
        "shape input is variable",
        &["ConstantOfShape"],
    ),
    (
        "a reduction while scattering",
        "it is not supported with these inputs",
        &["ScatterElements", "ScatterND"],
    ),
    (
        "interpolation, or sizes in place of scales",
        "it is not supported with these inputs",
        &["Resize"],
    ),
    (
        "the positions of maxima as second output",
        "an output beside the first is used",
        &["MaxPool"],
    ),
    (
        "one slope for every channel of a tensor whose shape tract does not know how to match",
        "Prelu ToTypedTranslator",
        &["PRelu"],
    ),
];

/// Element types that are not read, and the reason. `None` is what is not a tensor of a type that tract knows.
const TYPES: &[(&str, Side, &[Option<DataType>])] = &[
    (
        "a sequence, an optional value, or a type that tract does not know",
        Side::Any,
        &[None],
    ),
    (
        "half precision; models are exported in float32 as well",
        Side::Any,
        &[Some(DataType::Float16), Some(DataType::Bfloat16)],
    ),
    (
        "types that tract does not compute with",
        Side::Any,
        &[
            Some(DataType::Float8e4m3fn),
            Some(DataType::Float8e4m3fnuz),
            Some(DataType::Float8e5m2),
            Some(DataType::Float8e5m2fnuz),
            Some(DataType::Float4e2m1),
            Some(DataType::Int4),
            Some(DataType::Uint4),
        ],
    ),
    (
        "unsigned integers beyond sixteen bits",
        Side::Input,
        &[
            Some(DataType::Uint16),
            Some(DataType::Uint32),
            Some(DataType::Uint64),
        ],
    ),
];

/// Where a type is not read.
#[derive(PartialEq)]
enum Side {
    Input,
    /// As an output, too.
    Any,
}

/// What is wrong with the verdicts: failures, claimed cases that are unsupported and not excepted, cases that are excepted and pass, and exceptions
/// for nothing.
pub fn complaints(cases: &[Case], verdicts: &[Verdict]) -> Vec<String> {
    let mut used = BTreeSet::new();
    let mut complaints = Vec::new();
    for (case, verdict) in cases.iter().zip(verdicts) {
        let name = &case.name;
        let named = named(name);
        match &verdict.outcome {
            Outcome::Fail(reason) => {
                complaints.push(format!("{name} ({}) fails: {reason}", case.operator));
            }
            Outcome::Pass { .. } => {
                complaints.extend(named.map(|_| format!("{name} passes, but is excepted")));
            }
            Outcome::Unsupported(reason) if VALUES.contains(&&reason[..]) => {}
            Outcome::Unsupported(reason) if case.claimed => match named
                .or_else(|| typed(case))
                .or_else(|| messaged(case, reason))
            {
                Some(exception) => _ = used.insert(exception),
                None => complaints.push(format!("{name} ({}): {reason}", case.operator)),
            },
            Outcome::Unsupported(_) => {}
        }
    }
    let names = CASES.iter().flat_map(|(_, patterns)| patterns.iter());
    let types = TYPES.iter().map(|(reason, _, _)| reason);
    let messages = MESSAGES.iter().map(|(_, message, _)| message);
    let all = names.chain(types).chain(messages);
    let unused = all.filter(|exception| !used.contains(*exception));
    complaints.extend(unused.map(|e| format!("excepted, but nothing there is unsupported: {e}")));
    complaints
}

/// The pattern that names a case.
fn named(name: &str) -> Option<&'static str> {
    let mut patterns = CASES.iter().flat_map(|(_, patterns)| patterns.iter());
    let found = patterns.find(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == **pattern,
    });
    found.copied()
}

/// The reason for which a case with such inputs or outputs is not read.
fn typed(case: &Case) -> Option<&'static str> {
    let found = TYPES.iter().find(|(_, side, types)| {
        let input = case.input_types().any(|t| types.contains(&t));
        input || *side == Side::Any && case.output_types().any(|t| types.contains(&t))
    });
    found.map(|(reason, _, _)| *reason)
}

/// The part of its message for which a case is not supported.
fn messaged(case: &Case, message: &str) -> Option<&'static str> {
    let found = MESSAGES.iter().find(|(_, part, operators)| {
        let operator = operators.is_empty() || operators.contains(&&case.operator[..]);
        operator && message.contains(part)
    });
    found.map(|(_, part, _)| *part)
}
