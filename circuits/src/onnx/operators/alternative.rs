//! What to use in place of an operator that is not supported.

use super::{OPERATORS, QUANTIZED, TABULAR};

/// Operators, and what exporters or hands can put in their place.
const ALTERNATIVES: &[(&[&str], &str)] = &[
    (
        &[
            "Attention",
            "RotaryEmbedding",
            "ai.onnx.preview.FlexAttention",
            "com.microsoft.Attention",
            "com.microsoft.MultiHeadAttention",
        ],
        "MatMul and Softmax (export with an operator set of at most 22, without fusing)",
    ),
    (
        &["AffineGrid", "GridSample", "MaxRoiPool", "RoiAlign"],
        "Resize, or Slice, at places fixed in the model",
    ),
    (
        &[
            "Bernoulli",
            "Multinomial",
            "RandomNormal",
            "RandomNormalLike",
            "RandomUniform",
            "RandomUniformLike",
        ],
        "random numbers as an input of the model, so that the statement holds them",
    ),
    (&["BitShift"], "Mul or Div by a power of two"),
    (
        &["BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor"],
        "And, Not, Or, Xor on truth values",
    ),
    (&["BitCast"], "Cast"),
    (
        &[
            "BlackmanWindow",
            "EyeLike",
            "HammingWindow",
            "HannWindow",
            "MelWeightMatrix",
        ],
        "an initializer with its values, which do not depend on the input",
    ),
    (&["CenterCropPad"], "Slice and Pad with fixed bounds"),
    (
        &["Col2Im", "MaxUnpool"],
        "ConvTranspose with fixed weights, or Resize",
    ),
    (
        &["CumProd"],
        "Slice and Mul, or Exp of a CumSum of Log where all factors are positive",
    ),
    (
        &["DFT", "STFT"],
        "MatMul with the matrix of the transform as an initializer",
    ),
    (&["DeformConv"], "Conv"),
    (
        &["Det"],
        "Mul, Sub and ReduceSum, spelled out for the fixed size",
    ),
    (
        &["If"],
        "a condition that follows from constants and fixed shapes, or Where on both branches",
    ),
    (
        &["Loop"],
        "a number of steps that follows from constants and fixed shapes, or Scan, LSTM or GRU",
    ),
    (&["IsInf", "IsNaN"], "nothing: tensors hold finite numbers"),
    (
        &[
            "NegativeLogLikelihoodLoss",
            "SoftmaxCrossEntropyLoss",
            "ai.onnx.preview.training.Adagrad",
            "ai.onnx.preview.training.Adam",
        ],
        "the model as exported for inference",
    ),
    (
        &["NonMaxSuppression", "NonZero", "Unique"],
        "TopK with a fixed k, or end the model before it: the size of its output would depend on the input",
    ),
    (&["Scatter"], "ScatterElements with fixed indices"),
    (
        &["LinearAttention", "TensorScatter", "CausalConvWithState"],
        "MatMul, Conv, Concat and Slice of fixed sizes",
    ),
    (
        &["ai.onnx.ml.SVMClassifier", "ai.onnx.ml.SVMRegressor"],
        "MatMul, Exp or Pow, and MatMul with the support vectors as initializers",
    ),
    (
        &["ai.onnx.ml.TreeEnsemble"],
        "TreeEnsembleClassifier or TreeEnsembleRegressor of ai.onnx.ml 3",
    ),
    (
        &[
            "com.microsoft.FastGelu",
            "com.microsoft.Gelu",
            "com.microsoft.BiasGelu",
        ],
        "Gelu, or Erf",
    ),
    (
        &[
            "com.microsoft.SkipLayerNormalization",
            "com.microsoft.EmbedLayerNormalization",
        ],
        "Add and LayerNormalization",
    ),
    (
        &[
            "com.microsoft.FusedConv",
            "com.microsoft.FusedMatMul",
            "com.microsoft.FusedGemm",
        ],
        "the model before onnxruntime's optimizations",
    ),
];

/// What takes the place of an operator: from the list above, or the supported operator with the most similar name.
#[must_use]
pub fn alternative(operator: &str) -> Option<String> {
    let listed = ALTERNATIVES
        .iter()
        .find(|(names, _)| names.contains(&operator));
    if let Some((_, instead)) = listed {
        return Some((*instead).to_owned());
    }
    let kinds = [
        (
            "Sequence",
            "tensors: sequences have no fixed shape; members of a SplitToSequence at fixed places are read as Slice",
        ),
        ("Optional", "the tensor itself, always given"),
        (
            "String",
            "numbers: turn texts into indices before the model",
        ),
        (
            "ai.onnx.ml.",
            "ONNX's own operators, or linear models and trees of ai.onnx.ml",
        ),
    ];
    if let Some((_, instead)) = kinds
        .iter()
        .find(|(prefix, _)| operator.starts_with(prefix))
    {
        return Some((*instead).to_owned());
    }
    let short = operator.rsplit('.').next().unwrap_or(operator);
    let supported = OPERATORS.iter().chain(QUANTIZED).chain(TABULAR);
    let nearest = supported
        .map(|o| (distance(short, o.id().1), o.name))
        .min()?;
    (3 * nearest.0 <= short.len()).then(|| nearest.1.to_owned())
}

/// Insertions, deletions and exchanges of a character that turn one name into the other, in whatever case (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let [a, b] = [a, b].map(|s| {
        s.bytes()
            .map(|c| c.to_ascii_lowercase())
            .collect::<Vec<u8>>()
    });
    // names are short; what is not is no name
    if a.len() > 64 {
        return usize::MAX / 4;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let exchanged = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = exchanged.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{ALTERNATIVES, alternative, distance};
    use crate::onnx::operators::{is_quantized, is_supported};

    #[test]
    fn distances_are_those_of_levenshtein() {
        let cases = [
            ("", "", 0),
            ("relu", "ReLU", 0),
            ("kitten", "sitting", 3),
            ("Gem", "Gemm", 1),
            ("abc", "", 3),
        ];
        for (a, b, expected) in cases {
            assert_eq!((distance(a, b), distance(b, a)), (expected, expected));
        }
    }

    #[test]
    fn nothing_supported_has_an_alternative_of_its_own() {
        for name in ALTERNATIVES.iter().flat_map(|(names, _)| *names) {
            let (domain, op_type) = name.rsplit_once('.').unwrap_or(("", name));
            assert!(
                !is_supported(domain, op_type) && !is_quantized(domain, op_type),
                "{name}"
            );
        }
    }

    #[test]
    fn misspelled_and_foreign_names_are_answered() {
        assert_eq!(
            alternative("LayerNormalisation").as_deref(),
            Some("LayerNormalization")
        );
        assert_eq!(alternative("ReLU6").as_deref(), Some("Relu"));
        assert_eq!(alternative("org.example.Gemm").as_deref(), Some("Gemm"));
        assert!(alternative("SequenceAt").is_some_and(|a| a.starts_with("tensors")));
        assert_eq!(alternative("Qqqqqqqqqqqq"), None);
        assert_eq!(alternative(&"x".repeat(1 << 20)), None);
    }
}
