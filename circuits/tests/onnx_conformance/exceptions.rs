//! Cases of claimed operators that are not supported, and why. A case that fails has no excuse.

use crate::case::Case;
use crate::verdict::{Outcome, Verdict};
use tract_onnx::pb::tensor_proto::DataType;

/// A case, or with `*` at the end all cases that begin so; and the reason.
const CASES: &[(&str, &str)] = &[
    (
        "batchnorm_epsilon_training_mode",
        "training: a proof is about inference",
    ),
    (
        "batchnorm_example_training_mode",
        "training: a proof is about inference",
    ),
    ("training_dropout", "training: a proof is about inference"),
    (
        "training_dropout_default*",
        "training: a proof is about inference",
    ),
    (
        "training_dropout_mask",
        "training: a proof is about inference",
    ),
    (
        "training_dropout_zero_ratio_mask",
        "an output that does not depend on an input",
    ),
    (
        "dropout_default_mask*",
        "an output that does not depend on an input",
    ),
    ("shape*", "an output that does not depend on an input"),
    ("constant", "a model without inputs"),
    ("constantofshape_*", "a model without inputs"),
    ("reduce_max_empty_set", "a tensor without elements"),
    ("reduce_sum_empty_set*", "a tensor without elements"),
    (
        "reduce_sum_square_empty_set_expanded",
        "a tensor without elements",
    ),
    ("reshape_allowzero_reordered", "a tensor without elements"),
    ("slice_start_out_of_bounds", "a tensor without elements"),
    (
        "castlike_DOUBLE_to_FLOAT_expanded",
        "inputs that are NaN or infinite",
    ),
    ("cast_FLOAT_to_DOUBLE", "double precision as output"),
    (
        "castlike_FLOAT_to_DOUBLE_expanded",
        "double precision as output",
    ),
    ("cast_DOUBLE_to_FLOAT", "inputs that are NaN or infinite"),
    ("averagepool_3d_*", "three spatial axes"),
    ("maxpool_3d_*", "three spatial axes"),
    (
        "maxpool_with_argmax_2d_precomputed_*",
        "the positions of maxima as second output",
    ),
    ("matmul_1d_1d", "tract has no product of two vectors"),
    (
        "matmul_3d",
        "a product of two computed tensors, or of weights that differ along a batch axis",
    ),
    (
        "matmul_4d",
        "a product of two computed tensors, or of weights that differ along a batch axis",
    ),
    (
        "matmul_bcast",
        "a product of two computed tensors, or of weights that differ along a batch axis",
    ),
    (
        "reduce_sum_square_default_axes_*",
        "the square of a computed tensor",
    ),
    (
        "reduce_sum_square_do_not_keepdims_*",
        "the square of a computed tensor",
    ),
    (
        "reduce_sum_square_keepdims_*",
        "the square of a computed tensor",
    ),
    (
        "reduce_sum_square_negative_axes_*",
        "the square of a computed tensor",
    ),
    ("max_example", "maximum of computed tensors"),
    ("max_float*", "maximum of computed tensors"),
    ("max_two_inputs", "maximum of computed tensors"),
    ("min_example", "minimum of computed tensors"),
    ("min_float*", "minimum of computed tensors"),
    ("min_two_inputs", "minimum of computed tensors"),
    ("center_crop_pad_*", "Pad and Slice of a computed tensor"),
    ("constant_pad*", "Pad of a computed tensor"),
    ("slice*", "Slice of a computed tensor"),
    ("concat_*", "Concat of computed tensors"),
    ("causal_conv_with_state_*", "Concat of computed tensors"),
    ("gather_*", "Gather from a computed tensor"),
];

/// Element types of inputs or outputs that are not read, and the reason; `None` is what is not a tensor of a type that tract knows.
const TYPES: &[(&[Option<DataType>], &str)] = &[
    (
        &[None],
        "a sequence, an optional value, or a type that tract does not know",
    ),
    (
        &[Some(DataType::Float16), Some(DataType::Bfloat16)],
        "half precision; models are exported in float32 as well",
    ),
    (
        &[
            Some(DataType::Float8e4m3fn),
            Some(DataType::Float8e4m3fnuz),
            Some(DataType::Float8e5m2),
            Some(DataType::Float8e5m2fnuz),
            Some(DataType::Float4e2m1),
            Some(DataType::Int4),
            Some(DataType::Uint4),
        ],
        "types that tract does not compute with",
    ),
    (
        &[
            Some(DataType::Bool),
            Some(DataType::Int8),
            Some(DataType::Int16),
            Some(DataType::Int32),
            Some(DataType::Int64),
            Some(DataType::Uint8),
            Some(DataType::Uint16),
            Some(DataType::Uint32),
            Some(DataType::Uint64),
        ],
        "integers as input or output",
    ),
];

/// What is wrong with the verdicts: failures, claimed cases that are unsupported and not excepted, and exceptions for nothing.
pub fn complaints(cases: &[Case], verdicts: &[Verdict]) -> Vec<String> {
    let mut used = vec![false; CASES.len() + TYPES.len()];
    let mut complaints = Vec::new();
    for (case, verdict) in cases.iter().zip(verdicts) {
        let name = case.name.trim_start_matches("test_");
        match &verdict.outcome {
            Outcome::Fail(reason) => {
                complaints.push(format!("{name} ({}) fails: {reason}", case.operator));
            }
            Outcome::Unsupported(reason) if case.claimed => match excuse(case, name) {
                Some(index) => used[index] = true,
                None => complaints.push(format!("{name} ({}): {reason}", case.operator)),
            },
            Outcome::Pass { .. } => {
                let excepted = CASES.iter().find(|(pattern, _)| matches(pattern, name));
                complaints.extend(excepted.map(|_| format!("{name} passes, but is excepted")));
            }
            Outcome::Unsupported(_) => {}
        }
    }
    let names = CASES.iter().map(|(pattern, _)| *pattern);
    let reasons = names.chain(TYPES.iter().map(|(_, reason)| *reason));
    for (reason, _) in reasons.zip(used).filter(|(_, used)| !used) {
        complaints.push(format!(
            "excepted, but nothing there is unsupported: {reason}"
        ));
    }
    complaints
}

/// The exception that names a case.
fn excuse(case: &Case, name: &str) -> Option<usize> {
    let named = CASES.iter().position(|(pattern, _)| matches(pattern, name));
    let of_type = |types: &[Option<DataType>]| case.types().any(|t| types.contains(&t));
    let typed = || TYPES.iter().position(|(types, _)| of_type(types));
    named.or_else(|| typed().map(|index| CASES.len() + index))
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    }
}
