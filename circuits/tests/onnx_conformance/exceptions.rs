//! Cases of claimed operators that are not supported, and why. A case that fails has no excuse.

use crate::case::Case;
use crate::verdict::{Outcome, TOO_LARGE, Verdict};
use std::collections::BTreeSet;
use tract_onnx::pb::tensor_proto::DataType;

/// A reason, and the cases: by name, or with `*` at the end all that begin so.
const CASES: &[(&str, &[&str])] = &[
    (
        "a sum of computed tensors of different shapes",
        &[
            "pytorch-operator/operator_add_broadcast",
            "pytorch-operator/operator_add_size1_*",
        ],
    ),
    (
        "a double added to a float",
        &["pytorch-operator/operator_addconstant"],
    ),
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
    (
        "an output that does not depend on an input",
        &[
            "training_dropout_zero_ratio_mask",
            "dropout_default_mask*",
            "shape*",
        ],
    ),
    ("a model without inputs", &["constant"]),
    (
        "a tensor without elements",
        &[
            "reduce_max_empty_set",
            "reduce_sum_empty_set*",
            "reduce_sum_square_empty_set_expanded",
            "reshape_allowzero_reordered",
            "slice_start_out_of_bounds",
        ],
    ),
    (
        "inputs that are NaN or infinite",
        &["castlike_DOUBLE_to_FLOAT_expanded", "cast_DOUBLE_to_FLOAT"],
    ),
    (
        "double precision as output",
        &["cast_FLOAT_to_DOUBLE", "castlike_FLOAT_to_DOUBLE_expanded"],
    ),
    (
        "three spatial axes",
        &[
            "pytorch-converted/AvgPool3d*",
            "pytorch-converted/Conv3d*",
            "pytorch-converted/MaxPool3d*",
            "averagepool_3d_*",
            "maxpool_3d_*",
        ],
    ),
    (
        "the positions of maxima as second output",
        &["maxpool_with_argmax_2d_precomputed_*"],
    ),
    ("tract has no product of two vectors", &["matmul_1d_1d"]),
    (
        "a product of two computed tensors, or of weights that differ along a batch axis",
        &["matmul_3d", "matmul_4d", "matmul_bcast"],
    ),
    (
        "the square of a computed tensor",
        &[
            "reduce_sum_square_default_axes_*",
            "reduce_sum_square_do_not_keepdims_*",
            "reduce_sum_square_keepdims_*",
            "reduce_sum_square_negative_axes_*",
        ],
    ),
    (
        "maximum of computed tensors",
        &[
            "max_example",
            "max_float*",
            "max_two_inputs",
            "pytorch-operator/operator_max",
        ],
    ),
    (
        "minimum of computed tensors",
        &[
            "min_example",
            "min_float*",
            "min_two_inputs",
            "pytorch-operator/operator_min",
        ],
    ),
    ("Pad and Slice of a computed tensor", &["center_crop_pad_*"]),
    (
        "Pad of a computed tensor",
        &[
            "constant_pad*",
            "pytorch-converted/ConstantPad2d",
            "pytorch-converted/ReflectionPad2d",
            "pytorch-converted/ReplicationPad2d",
            "pytorch-converted/ZeroPad2d",
            "pytorch-operator/operator_pad",
        ],
    ),
    ("Slice of a computed tensor", &["slice*"]),
    (
        "Concat of computed tensors",
        &[
            "concat_*",
            "pytorch-operator/operator_concat2",
            "causal_conv_with_state_*",
        ],
    ),
    ("Gather from a computed tensor", &["gather_*"]),
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
            Outcome::Unsupported(reason) if reason == TOO_LARGE => {}
            Outcome::Unsupported(reason) if case.claimed => match named.or_else(|| typed(case)) {
                Some(exception) => _ = used.insert(exception),
                None => complaints.push(format!("{name} ({}): {reason}", case.operator)),
            },
            Outcome::Unsupported(_) => {}
        }
    }
    let names = CASES.iter().flat_map(|(_, patterns)| patterns.iter());
    let all = names.chain(TYPES.iter().map(|(reason, _, _)| reason));
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
