//! A case folder: a model of one or several nodes, inputs, expected outputs.

use crate::wire;
use std::fs;
use std::path::{Path, PathBuf};
use tract_onnx::pb::{GraphProto, ModelProto, tensor_proto::DataType, type_proto};
use tract_onnx::prelude::{Framework, Tensor};
use zkinfer_circuits::onnx::operators;

/// Numbers of the fields of ONNX's messages that are changed.
const MODEL_GRAPH: u8 = 7;
const GRAPH_INITIALIZER: u8 = 5;
const GRAPH_INPUT: u8 = 11;
const VALUE_TYPE: u8 = 2;
const TYPE_TENSOR: u8 = 1;
const TENSOR_ELEMENT: u8 = 1;
const TENSOR_NAME: u8 = 8;

/// A case of the `onnx` package.
#[derive(Debug)]
pub struct Case {
    /// Name of its folder without `test_`, after the kind of case unless that is `node`.
    pub name: String,
    /// Operator it is about; `Op (expanded)` where the operator is spelled with others.
    pub operator: String,
    /// All operators of the graph, of the standard domain.
    pub operators: Vec<String>,
    /// Whether every operator in it is claimed.
    pub claimed: bool,
    folder: PathBuf,
    /// Without those that are initializers.
    inputs: Vec<Input>,
    /// Element types of the outputs.
    outputs: Vec<Option<DataType>>,
}

#[derive(Debug)]
struct Input {
    name: String,
    /// Its number among the graph's inputs, initializers included.
    index: usize,
    /// `None` for what is not a tensor of a known type.
    element: Option<DataType>,
    /// Says how to compute rather than what: a shape, axes, indices, bounds.
    structure: bool,
}

/// Values of a tensor, whatever its element type.
#[derive(Debug, Clone, PartialEq)]
pub struct Values {
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
}

/// Inputs of `op` that are constants in the models exporters write, and decide shapes or which values are read: always initializers here.
fn structure(op: &str) -> &'static [usize] {
    match op {
        "Range" => &[0, 1, 2],
        "ConstantOfShape" => &[0],
        "Slice" => &[1, 2, 3, 4],
        "Clip" | "Dropout" | "OneHot" => &[1, 2],
        "Pad" | "Resize" => &[1, 2, 3],
        // lengths of sequences; the weights are operands
        "LSTM" | "GRU" | "RNN" => &[4],
        // of the second input of CastLike only the type is read
        "CastLike" | "CenterCropPad" | "Compress" | "CumProd" | "CumSum" | "Expand" | "Gather"
        | "GatherElements" | "GatherND" | "ReduceL1" | "ReduceL2" | "ReduceLogSum"
        | "ReduceLogSumExp" | "ReduceMax" | "ReduceMean" | "ReduceMin" | "ReduceProd"
        | "ReduceSum" | "ReduceSumSquare" | "Reshape" | "ReverseSequence" | "Scatter"
        | "ScatterElements" | "ScatterND" | "Split" | "Squeeze" | "Tile" | "TopK" | "Trilu"
        | "Unsqueeze" | "Upsample" => &[1],
        _ => &[],
    }
}

impl Case {
    /// Reads what the model of `folder/name` declares.
    pub fn read(folder: &Path, name: &str) -> Self {
        let proto = parse(&fs::read(folder.join(name).join("model.onnx")).unwrap());
        let graph = proto.graph.unwrap();
        let reads = |node: &tract_onnx::pb::NodeProto, input: &str| {
            let read = node.input.iter().enumerate().filter(|(_, n)| *n == input);
            read.map(|(position, _)| position).collect::<Vec<_>>()
        };
        // an input of a function's body is structure where the operator that the function spells reads it so
        let spelled = unexpanded(folder, name);
        let nodes = spelled.as_ref().map_or(&graph.node, |g| &g.node);
        let declared = graph.input.iter().enumerate();
        let open = declared.filter(|(_, i)| graph.initializer.iter().all(|t| t.name != i.name));
        let inputs = open.map(|(index, input)| {
            let of = |node: &tract_onnx::pb::NodeProto| {
                let positions = reads(node, &input.name);
                !positions.is_empty()
                    && positions
                        .iter()
                        .all(|p| structure(&node.op_type).contains(p))
            };
            let all = nodes.iter().filter(|n| n.input.contains(&input.name));
            Input {
                name: input.name.clone(),
                index,
                element: element(input),
                structure: all.clone().count() > 0 && all.clone().all(of),
            }
        });
        let mut inputs: Vec<Input> = inputs.collect();
        // an index into constants is what is computed with
        if inputs.iter().all(|input| input.structure) {
            inputs.iter_mut().for_each(|input| input.structure = false);
        }
        let claimed = graph.node.iter().all(|node| {
            let quantized = operators::QUANTIZED.iter();
            let listed = operators::find(&node.domain, &node.op_type);
            listed.is_some_and(|o| !quantized.clone().any(|q| q == o))
        });
        let short = name.trim_start_matches("test_");
        let kind = folder.file_name().unwrap().to_str().unwrap();
        Self {
            name: match kind {
                "node" => short.to_owned(),
                _ => format!("{kind}/{short}"),
            },
            operator: operator(&graph, spelled.as_ref()),
            operators: graph.node.iter().map(|n| n.op_type.clone()).collect(),
            claimed,
            folder: folder.join(name),
            inputs,
            outputs: graph.output.iter().map(element).collect(),
        }
    }

    /// Whether all inputs that are not structure are real numbers.
    pub fn real(&self) -> bool {
        let real = [Some(DataType::Float), Some(DataType::Double)];
        self.input_types().all(|element| real.contains(&element))
    }

    /// Element types of the inputs that are not structure; `None` for what is not a tensor of a known type.
    pub fn input_types(&self) -> impl Iterator<Item = Option<DataType>> {
        let data = self.inputs.iter().filter(|input| !input.structure);
        data.map(|input| input.element)
    }

    /// Element types of the outputs.
    pub fn output_types(&self) -> impl Iterator<Item = Option<DataType>> {
        self.outputs.iter().copied()
    }

    /// The model with its structural inputs as initializers, and with `constant_operands` all inputs but the first of the others too; inputs of
    /// double precision become float32. Alike in everything else.
    pub fn model(&self, constant_operands: bool) -> Vec<u8> {
        let mut model = fs::read(self.folder.join("model.onnx")).unwrap();
        let mut initializers = Vec::new();
        let mut first = true;
        for (number, input) in self.inputs.iter().enumerate() {
            let constant = input.structure || constant_operands && !first;
            first &= input.structure;
            if constant && input.element.is_some() {
                let name = wire::bytes(TENSOR_NAME, input.name.as_bytes());
                let tensor = [self.file("input", number).unwrap_or_default(), name].concat();
                initializers.extend(wire::bytes(GRAPH_INITIALIZER, &tensor));
            } else if input.element == Some(DataType::Double) {
                let float = wire::number(TENSOR_ELEMENT, DataType::Float as u8);
                let kind = wire::bytes(VALUE_TYPE, &wire::bytes(TYPE_TENSOR, &float));
                model = wire::change(&model, MODEL_GRAPH, 0, |graph| {
                    wire::change(graph, GRAPH_INPUT, input.index, |value| {
                        [value, &kind].concat()
                    })
                });
            }
        }
        model.extend(wire::bytes(MODEL_GRAPH, &initializers));
        model
    }

    /// The values of an input of the model, by name.
    pub fn input(&self, name: &str) -> Option<Values> {
        let number = self.inputs.iter().position(|input| input.name == name)?;
        self.values("input", number)
    }

    /// The expected outputs; `None` where one is not a tensor of numbers.
    pub fn outputs(&self) -> Option<Vec<Values>> {
        let numbers = 0..self.outputs.len();
        numbers
            .map(|number| self.values("output", number))
            .collect()
    }

    fn file(&self, kind: &str, number: usize) -> Option<Vec<u8>> {
        let name = format!("test_data_set_0/{kind}_{number}.pb");
        fs::read(self.folder.join(name)).ok()
    }

    fn values(&self, kind: &str, number: usize) -> Option<Values> {
        let bytes = self.file(kind, number)?;
        let proto = tract_onnx::tensor::proto_from_reader(&bytes[..]).ok()?;
        let resolver = tract_onnx::data_resolver::default();
        let tensor: Tensor = tract_onnx::tensor::load_tensor(&*resolver, &proto, None).ok()?;
        let wide = tensor.cast_to::<f64>().ok()?;
        let view = wide.to_plain_array_view::<f64>().ok()?;
        Some(Values {
            shape: tensor.shape().to_vec(),
            data: view.iter().copied().collect(),
        })
    }
}

fn parse(model: &[u8]) -> ModelProto {
    let mut reader = model;
    tract_onnx::onnx()
        .proto_model_for_read(&mut reader)
        .unwrap()
}

fn element(input: &tract_onnx::pb::ValueInfoProto) -> Option<DataType> {
    let type_proto::Value::TensorType(tensor) = input.r#type.as_ref()?.value.as_ref()?;
    DataType::try_from(tensor.elem_type).ok()
}

/// The graph of the case that an expanded case spells with other operators.
fn unexpanded(folder: &Path, name: &str) -> Option<GraphProto> {
    let (base, _) = name.split_once("_expanded")?;
    let model = fs::read(folder.join(base).join("model.onnx")).ok()?;
    parse(&model).graph
}

fn operator(graph: &GraphProto, spelled: Option<&GraphProto>) -> String {
    if let Some(spelled) = spelled {
        return format!("{} (expanded)", operator(spelled, None));
    }
    let mut operators: Vec<&str> = graph.node.iter().map(|n| n.op_type.as_str()).collect();
    operators.sort_unstable();
    operators.dedup();
    operators.join("+")
}
