//! scikit-learn's operators (domain `ai.onnx.ml`), rewritten on the protobuf to ONNX's own.
//!
//! * Linear models are a Gemm and what follows it; labels are the position of the largest score, looked up in the list of labels. Labels that are
//!   texts become their positions.
//! * Trees become comparisons and choices of leaves: see [`trees`].
//! * ZipMap is the tensor that it would make a dictionary of.
//!
//! Source: ONNX operator specification, ai.onnx.ml 1 to 3; where it leaves a case open, onnxruntime.

mod trees;

use super::ImportError;
use super::quantized::refuse;
use std::collections::BTreeSet;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// The domain.
pub(super) const DOMAIN: &str = "ai.onnx.ml";

/// Rewrites a graph of this operator set, if it has any of the operators.
pub(super) fn rewrite(graph: &mut GraphProto, operator_set: i64) -> Result<(), ImportError> {
    if graph.node.iter().all(|node| node.domain != DOMAIN) {
        return Ok(());
    }
    let vectors = graph.initializer.iter().filter(|t| t.dims.len() == 1);
    let mut rewrite = Rewrite {
        operator_set,
        vectors: vectors.map(|t| t.name.clone()).collect(),
        ..Rewrite::default()
    };
    for node in std::mem::take(&mut graph.node) {
        if node.domain == DOMAIN {
            rewrite.expand(&node)?;
        } else {
            rewrite.nodes.push(node);
        }
    }
    graph.node = rewrite.nodes;
    graph.initializer.append(&mut rewrite.initializers);
    for output in &mut graph.output {
        // it was a sequence of dictionaries
        if rewrite.unzipped.contains(&output.name) {
            output.r#type = None;
        }
    }
    Ok(())
}

/// The attributes of trees that are read, or say what cannot matter here: how often a branch is taken, where a missing value goes.
const TREES: &[&str] = &[
    "base_values",
    "nodes_falsenodeids",
    "nodes_featureids",
    "nodes_hitrates",
    "nodes_missing_value_tracks_true",
    "nodes_modes",
    "nodes_nodeids",
    "nodes_treeids",
    "nodes_truenodeids",
    "nodes_values",
    "post_transform",
];

/// The attributes of an operator that are read, those of trees apart; `None` for an operator that is not rewritten.
fn attributes_of(op_type: &str) -> Option<&'static [&'static str]> {
    Some(match op_type {
        "ArrayFeatureExtractor" => &[],
        "Binarizer" => &["threshold"],
        "LinearClassifier" => &[
            "classlabels_ints",
            "classlabels_strings",
            "coefficients",
            "intercepts",
            "multi_class",
            "post_transform",
        ],
        "LinearRegressor" => &["coefficients", "intercepts", "post_transform", "targets"],
        "Normalizer" => &["norm"],
        "Scaler" => &["offset", "scale"],
        "TreeEnsembleClassifier" => &[
            "class_ids",
            "class_nodeids",
            "class_treeids",
            "class_weights",
            "classlabels_int64s",
            "classlabels_strings",
        ],
        "TreeEnsembleRegressor" => &[
            "aggregate_function",
            "n_targets",
            "target_ids",
            "target_nodeids",
            "target_treeids",
            "target_weights",
        ],
        "ZipMap" => &["classlabels_int64s", "classlabels_strings"],
        _ => return None,
    })
}

/// What scores become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PostTransform {
    None,
    Softmax,
    Logistic,
}

impl PostTransform {
    fn of(node: &NodeProto) -> Result<Self, ImportError> {
        match text(node, "post_transform") {
            None | Some(b"NONE") => Ok(Self::None),
            Some(b"SOFTMAX") => Ok(Self::Softmax),
            Some(b"LOGISTIC") => Ok(Self::Logistic),
            Some(other) => {
                let other = String::from_utf8_lossy(other);
                let reason =
                    format!("post_transform {other:.40}; expected NONE, SOFTMAX or LOGISTIC");
                Err(refuse(node, reason))
            }
        }
    }
}

/// The rewriting under way.
#[derive(Default)]
struct Rewrite {
    /// Weights of all trees so far.
    weights: usize,
    /// Version of ONNX's own operators in the file.
    operator_set: i64,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    /// Constants of one axis.
    vectors: BTreeSet<String>,
    /// Tensors whose rows add up to 1 and have no negative element.
    shares: BTreeSet<String>,
    /// Outputs of ZipMap.
    unzipped: BTreeSet<String>,
}

impl Rewrite {
    fn expand(&mut self, node: &NodeProto) -> Result<(), ImportError> {
        let Some(own) = attributes_of(&node.op_type) else {
            // refused with the rest of what is not in the list
            self.nodes.push(node.clone());
            return Ok(());
        };
        let trees = if node.op_type.starts_with("Tree") {
            TREES
        } else {
            &[]
        };
        let is_read = |name: &str| own.contains(&name) || trees.contains(&name);
        if let Some(other) = node.attribute.iter().find(|a| !is_read(&a.name)) {
            let read = [own, trees].concat().join(", ");
            let reason = format!("the attribute {:.40}; expected none but {read}", other.name);
            return Err(refuse(node, reason));
        }
        match node.op_type.as_str() {
            "ArrayFeatureExtractor" => self.array_feature_extractor(node),
            "Binarizer" => self.binarizer(node),
            "LinearClassifier" => self.linear_classifier(node),
            "LinearRegressor" => self.linear_regressor(node),
            "Normalizer" => self.normalizer(node),
            "Scaler" => self.scaler(node),
            "TreeEnsembleClassifier" => self.tree_classifier(node),
            "TreeEnsembleRegressor" => self.tree_regressor(node),
            _ => self.zip_map(node),
        }
    }

    /// A node of ONNX's own domain, named after the one it is for. The output that is given, or one of its own.
    fn push(
        &mut self,
        of: &NodeProto,
        (op_type, part): (&str, &str),
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
        output: Option<String>,
    ) -> String {
        let name = part_of(of, part);
        let output = output.unwrap_or_else(|| name.clone());
        self.nodes.push(NodeProto {
            name,
            op_type: op_type.to_owned(),
            input: inputs.iter().map(|&i| i.to_owned()).collect(),
            output: vec![output.clone()],
            attribute: attributes,
            ..NodeProto::default()
        });
        output
    }

    fn floats(&mut self, of: &NodeProto, part: &str, dims: &[usize], values: Vec<f32>) -> String {
        let tensor = TensorProto {
            data_type: DataType::Float as i32,
            float_data: values,
            ..constant(of, part, dims)
        };
        self.keep(tensor)
    }

    fn integers(&mut self, of: &NodeProto, part: &str, dims: &[usize], values: Vec<i64>) -> String {
        let tensor = TensorProto {
            data_type: DataType::Int64 as i32,
            int64_data: values,
            ..constant(of, part, dims)
        };
        self.keep(tensor)
    }

    fn keep(&mut self, tensor: TensorProto) -> String {
        let name = tensor.name.clone();
        self.initializers.push(tensor);
        name
    }

    fn scaler(&mut self, node: &NodeProto) -> Result<(), ImportError> {
        let (x, y) = (input(node, 0)?, output(node, 0)?);
        let [offset, scale] = ["offset", "scale"].map(|name| floats(node, name).to_vec());
        if offset.is_empty() || scale.is_empty() {
            return Err(refuse(node, "no offset or no scale; expected both"));
        }
        let offset = self.floats(node, "offset", &[offset.len()], offset);
        let moved = self.push(node, ("Sub", "moved"), &[x, &offset], vec![], None);
        let scale = self.floats(node, "scale", &[scale.len()], scale);
        self.push(node, ("Mul", "scaled"), &[&moved, &scale], vec![], Some(y));
        Ok(())
    }

    fn normalizer(&mut self, node: &NodeProto) -> Result<(), ImportError> {
        let (x, y) = (input(node, 0)?, output(node, 0)?);
        let p = match text(node, "norm") {
            Some(b"L1") => 1,
            Some(b"L2") => 2,
            _ => return Err(refuse(node, "norm MAX; expected L1 or L2")),
        };
        if p == 1 && self.shares.contains(x) {
            self.shares.insert(y.clone());
            self.push(node, ("Identity", "shares"), &[x], vec![], Some(y));
            return Ok(());
        }
        let attributes = vec![integer("axis", -1), integer("p", p)];
        self.push(node, ("LpNormalization", "norm"), &[x], attributes, Some(y));
        Ok(())
    }

    fn binarizer(&mut self, node: &NodeProto) -> Result<(), ImportError> {
        let (x, y) = (input(node, 0)?, output(node, 0)?);
        let threshold = node.attribute.iter().find(|a| a.name == "threshold");
        let threshold = threshold.map_or(0.0, |a| a.f);
        let threshold = self.floats(node, "threshold", &[1], vec![threshold]);
        let above = self.push(node, ("Greater", "above"), &[x, &threshold], vec![], None);
        let to = vec![integer("to", DataType::Float as i64)];
        self.push(node, ("Cast", "number"), &[&above], to, Some(y));
        Ok(())
    }

    fn array_feature_extractor(&mut self, node: &NodeProto) -> Result<(), ImportError> {
        let (x, index, y) = (input(node, 0)?, input(node, 1)?, output(node, 0)?);
        let flat = self.integers(node, "flat", &[1], vec![-1]);
        let index = self.push(node, ("Reshape", "index"), &[index, &flat], vec![], None);
        if !self.vectors.contains(x) {
            let axis = vec![integer("axis", -1)];
            self.push(node, ("Gather", "features"), &[x, &index], axis, Some(y));
            return Ok(());
        }
        // of a vector, a row
        let chosen = self.push(node, ("Gather", "chosen"), &[x, &index], vec![], None);
        let row = self.integers(node, "row", &[2], vec![1, -1]);
        self.push(
            node,
            ("Reshape", "features"),
            &[&chosen, &row],
            vec![],
            Some(y),
        );
        Ok(())
    }

    fn zip_map(&mut self, node: &NodeProto) -> Result<(), ImportError> {
        let (x, y) = (input(node, 0)?, output(node, 0)?);
        self.unzipped.insert(y.clone());
        self.push(node, ("Identity", "scores"), &[x], vec![], Some(y));
        Ok(())
    }

    /// Coefficients of so many rows times x, plus intercepts.
    fn scores(&mut self, node: &NodeProto, rows: usize) -> Result<String, ImportError> {
        let x = input(node, 0)?;
        let mut coefficients = floats(node, "coefficients").to_vec();
        let columns = coefficients.len().checked_div(rows).unwrap_or(0);
        if columns == 0 || columns.checked_mul(rows) != Some(coefficients.len()) {
            let got = coefficients.len();
            let reason = format!(
                "{got} coefficients; expected as many for each of {rows} classes or targets"
            );
            return Err(refuse(node, reason));
        }
        let mut intercepts = floats(node, "intercepts").to_vec();
        if intercepts.is_empty() {
            intercepts = vec![0.0; rows];
        }
        if intercepts.len() != rows {
            let got = intercepts.len();
            let reason =
                format!("{got} intercepts; expected one for each of {rows} classes or targets");
            return Err(refuse(node, reason));
        }
        let units = units(&mut coefficients, columns);
        let x = match units {
            None => x.to_owned(),
            Some(units) => {
                let units = self.floats(node, "units", &[columns], units);
                self.push(node, ("Mul", "alike"), &[x, &units], vec![], None)
            }
        };
        let coefficients = self.floats(node, "coefficients", &[rows, columns], coefficients);
        let intercepts = self.floats(node, "intercepts", &[rows], intercepts);
        let inputs = [&*x, &coefficients, &intercepts];
        Ok(self.push(
            node,
            ("Gemm", "sums"),
            &inputs,
            vec![integer("transB", 1)],
            None,
        ))
    }

    fn linear_regressor(&mut self, node: &NodeProto) -> Result<(), ImportError> {
        let targets = node.attribute.iter().find(|a| a.name == "targets");
        let targets = usize::try_from(targets.map_or(1, |a| a.i));
        let targets = targets.map_err(|_| refuse(node, "a negative number of targets"))?;
        let sums = self.scores(node, targets)?;
        self.predicted(node, &sums)
    }

    /// The output of a regressor.
    fn predicted(&mut self, node: &NodeProto, sums: &str) -> Result<(), ImportError> {
        // what it would be of one target is not agreed on
        if PostTransform::of(node)? != PostTransform::None {
            return Err(refuse(
                node,
                "a post_transform of predictions; expected NONE",
            ));
        }
        self.transformed(node, sums, output(node, 0)?)
    }

    fn linear_classifier(&mut self, node: &NodeProto) -> Result<(), ImportError> {
        let labels = Labels::of(node, "classlabels_ints")?;
        let sums = self.scores(node, labels.len())?;
        self.classified(node, &labels, &sums, &sums)
    }

    /// The outputs of a classifier: the label of the largest element of `decided`, and the transformed scores.
    fn classified(
        &mut self,
        node: &NodeProto,
        labels: &Labels,
        decided: &str,
        scores: &str,
    ) -> Result<(), ImportError> {
        if let Ok(label) = output(node, 0) {
            let attributes = vec![integer("axis", 1), integer("keepdims", 0)];
            match labels {
                Labels::Numbers(numbers) if !(0..).zip(numbers).all(|(i, n)| i == *n) => {
                    let index = self.push(node, ("ArgMax", "index"), &[decided], attributes, None);
                    let numbers = self.integers(node, "labels", &[numbers.len()], numbers.clone());
                    self.push(
                        node,
                        ("Gather", "label"),
                        &[&numbers, &index],
                        vec![],
                        Some(label),
                    );
                }
                _ => {
                    self.push(
                        node,
                        ("ArgMax", "label"),
                        &[decided],
                        attributes,
                        Some(label),
                    );
                }
            }
        }
        match output(node, 1) {
            Ok(y) => self.transformed(node, scores, y),
            Err(_) => Ok(()),
        }
    }

    fn transformed(&mut self, node: &NodeProto, x: &str, y: String) -> Result<(), ImportError> {
        let (op_type, attributes) = match PostTransform::of(node)? {
            PostTransform::None => ("Identity", vec![]),
            PostTransform::Logistic => ("Sigmoid", vec![]),
            PostTransform::Softmax => {
                self.shares.insert(y.clone());
                ("Softmax", vec![integer("axis", -1)])
            }
        };
        self.push(node, (op_type, "scores"), &[x], attributes, Some(y));
        Ok(())
    }
}

/// Sizes of factors that are further apart tell features of different units from channels of one image.
const UNITS: f32 = 16.0;

/// Whether factors of features are so far apart that the features have units of their own; zeros say nothing.
pub(crate) fn differ_in_units(factors: impl Iterator<Item = f32>) -> bool {
    let sizes = factors.map(f32::abs).filter(|size| *size > 0.0);
    let (least, most) = sizes.fold((f32::MAX, 0.0f32), |(least, most), size| {
        (least.min(size), most.max(size))
    });
    most / UNITS > least && most.is_finite()
}

/// Powers of two that take the units out of coefficients, so that eight bits are enough for those of every feature; `None` where they are
/// alike. The products with the features stay what they are.
fn units(coefficients: &mut [f32], columns: usize) -> Option<Vec<f32>> {
    let mut sizes = vec![0.0f32; columns];
    for (i, c) in coefficients.iter().enumerate() {
        sizes[i % columns] = sizes[i % columns].max(c.abs());
    }
    if !differ_in_units(sizes.iter().copied()) {
        return None;
    }
    // the power of two below, by its bits: no library function, so the same everywhere; far from the ends of float32
    let power = |s: f32| f32::from_bits(s.clamp(1e-18, 1e18).to_bits() & 0x7f80_0000);
    let units: Vec<f32> = sizes
        .iter()
        .map(|s| if *s > 0.0 { power(*s) } else { 1.0 })
        .collect();
    for (i, c) in coefficients.iter_mut().enumerate() {
        *c /= units[i % columns];
    }
    Some(units)
}

/// The labels of a classifier.
enum Labels {
    Numbers(Vec<i64>),
    Texts(usize),
}

impl Labels {
    fn of(node: &NodeProto, numbers: &str) -> Result<Self, ImportError> {
        let texts = node
            .attribute
            .iter()
            .find(|a| a.name == "classlabels_strings");
        let labels = match (
            integers(node, numbers),
            texts.map_or(0, |a| a.strings.len()),
        ) {
            ([], n) => Self::Texts(n),
            (numbers, _) => Self::Numbers(numbers.to_vec()),
        };
        if let Self::Numbers(numbers) = &labels
            && numbers.iter().any(|n| n.unsigned_abs() >= 1 << 24)
        {
            let reason = "labels of 2^24 and more; expected smaller ones, such as their positions";
            return Err(refuse(node, reason));
        }
        if labels.len() < 2 {
            let reason = "fewer than two labels; expected one for each class";
            return Err(refuse(node, reason));
        }
        Ok(labels)
    }

    fn len(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.len(),
            Self::Texts(n) => *n,
        }
    }
}

/// The name of a part of a node.
fn part_of(node: &NodeProto, part: &str) -> String {
    format!("{}.{part}", super::proto::node_name(node))
}

fn constant(of: &NodeProto, part: &str, dims: &[usize]) -> TensorProto {
    TensorProto {
        // not the name of a node
        name: part_of(of, &format!("{part}.value")),
        // lengths of lists that are in memory
        dims: dims.iter().map(|&d| d as i64).collect(),
        ..TensorProto::default()
    }
}

fn input(node: &NodeProto, i: usize) -> Result<&str, ImportError> {
    let name = node.input.get(i).filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| refuse(node, format!("it has no input {i}")))?;
    Ok(name)
}

fn output(node: &NodeProto, i: usize) -> Result<String, ImportError> {
    let name = node.output.get(i).filter(|name| !name.is_empty());
    name.cloned()
        .ok_or_else(|| refuse(node, format!("it has no output {i}")))
}

fn text<'a>(node: &'a NodeProto, name: &str) -> Option<&'a [u8]> {
    let attribute = node.attribute.iter().find(|a| a.name == name)?;
    Some(&attribute.s)
}

fn floats<'a>(node: &'a NodeProto, name: &str) -> &'a [f32] {
    let attribute = node.attribute.iter().find(|a| a.name == name);
    attribute.map_or(&[], |a| &a.floats)
}

fn integers<'a>(node: &'a NodeProto, name: &str) -> &'a [i64] {
    let attribute = node.attribute.iter().find(|a| a.name == name);
    attribute.map_or(&[], |a| &a.ints)
}

fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Int.into(),
        i: value,
        ..AttributeProto::default()
    }
}
