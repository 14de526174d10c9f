//! Few numbers that follow from constants and fixed shapes, computed as onnxruntime does.

use crate::onnx::operators::standard;
use crate::onnx::proto::tensor_type;
use std::collections::{HashMap, HashSet};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto, ValueInfoProto, tensor_shape_proto};

/// Most elements of what is known.
const MAX_ELEMENTS: usize = 64;

/// A tensor without axes, or of one.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::onnx) struct Known {
    is_vector: bool,
    values: Values,
}

/// Elements in order.
#[derive(Clone, Debug, PartialEq)]
enum Values {
    /// Of a signed integer type.
    Integers(Vec<i64>),
    /// Of float32.
    Floats(Vec<f32>),
    /// Truth values.
    Truths(Vec<bool>),
}

impl Values {
    fn len(&self) -> usize {
        match self {
            Self::Integers(values) => values.len(),
            Self::Floats(values) => values.len(),
            Self::Truths(values) => values.len(),
        }
    }
}

impl Known {
    /// The only element, a truth value.
    pub(super) fn truth(&self) -> Option<bool> {
        match &self.values {
            Values::Truths(values) if values.len() == 1 => Some(values[0]),
            _ => None,
        }
    }

    /// The only element, an integer.
    pub(super) fn number(&self) -> Option<i64> {
        match &self.values {
            Values::Integers(values) if values.len() == 1 => Some(values[0]),
            _ => None,
        }
    }

    /// All elements, integers.
    pub(in crate::onnx) fn integers(self) -> Option<Vec<i64>> {
        match self.values {
            Values::Integers(values) => Some(values),
            _ => None,
        }
    }

    fn vector(values: Values) -> Self {
        Self {
            is_vector: true,
            values,
        }
    }

    fn scalar(values: Values) -> Self {
        Self {
            is_vector: false,
            values,
        }
    }

    /// A tensor of at most `max` elements.
    pub(in crate::onnx) fn of(tensor: &TensorProto, max: usize) -> Option<Self> {
        let raw = &tensor.raw_data;
        let typed = [
            tensor.int64_data.len(),
            tensor.int32_data.len(),
            tensor.float_data.len(),
        ];
        if typed.iter().any(|&n| n > max) || raw.len() > 8 * max {
            return None;
        }
        let len = match tensor.dims[..] {
            [] => 1,
            [n] => usize::try_from(n).ok()?,
            _ => return None,
        };
        let typed = |values: &[i32]| values.iter().map(|&v| i64::from(v)).collect::<Vec<_>>();
        let values = match DataType::try_from(tensor.data_type).ok()? {
            DataType::Int64 if raw.is_empty() => Values::Integers(tensor.int64_data.clone()),
            DataType::Int64 => Values::Integers(chunks(raw, i64::from_le_bytes)),
            DataType::Int32 if raw.is_empty() => Values::Integers(typed(&tensor.int32_data)),
            DataType::Int32 => Values::Integers(chunks(raw, |b| i32::from_le_bytes(b).into())),
            DataType::Float if raw.is_empty() => Values::Floats(tensor.float_data.clone()),
            DataType::Float => Values::Floats(chunks(raw, f32::from_le_bytes)),
            DataType::Bool if raw.is_empty() => {
                Values::Truths(tensor.int32_data.iter().map(|&v| v != 0).collect())
            }
            DataType::Bool => Values::Truths(raw.iter().map(|&v| v != 0).collect()),
            _ => return None,
        };
        (values.len() == len && len <= max).then_some(Self {
            is_vector: !tensor.dims.is_empty(),
            values,
        })
    }

    /// What a Constant makes, of at most `max` elements.
    pub(in crate::onnx) fn constant(node: &NodeProto, max: usize) -> Option<Self> {
        let value = node.attribute.first()?;
        match value.name.as_str() {
            "value" => Self::of(value.t.as_ref()?, max),
            "value_int" => Some(Self::scalar(Values::Integers(vec![value.i]))),
            "value_float" => Some(Self::scalar(Values::Floats(vec![value.f]))),
            "value_ints" if value.ints.len() <= max => {
                Some(Self::vector(Values::Integers(value.ints.clone())))
            }
            _ => None,
        }
    }
}

/// The numbers of raw bytes.
fn chunks<const N: usize, T>(raw: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, _) = raw.as_chunks::<N>();
    chunks.iter().map(|&bytes| number(bytes)).collect()
}

/// What is known of a file's tensors.
#[derive(Debug, Default)]
pub(super) struct Knowledge {
    values: HashMap<String, Known>,
    /// Of inputs that have fixed shapes.
    shapes: HashMap<String, Vec<i64>>,
}

impl Knowledge {
    pub(super) fn of(graph: &GraphProto) -> Self {
        let mut knowledge = Self::default();
        let fixed: HashSet<&String> = graph.initializer.iter().map(|t| &t.name).collect();
        for input in graph.input.iter().filter(|i| !fixed.contains(&i.name)) {
            if let Some(shape) = shape(input) {
                knowledge.shapes.insert(input.name.clone(), shape);
            }
        }
        graph
            .initializer
            .iter()
            .for_each(|t| knowledge.learn_tensor(t));
        knowledge
    }

    pub(super) fn get(&self, name: &str) -> Option<&Known> {
        self.values.get(name)
    }

    pub(super) fn learn_tensor(&mut self, tensor: &TensorProto) {
        if let Some(known) = Known::of(tensor, MAX_ELEMENTS) {
            self.values.insert(tensor.name.clone(), known);
        }
    }

    /// Learns what a node makes, where that follows.
    pub(super) fn learn(&mut self, node: &NodeProto) {
        if let ([output], Some(known)) = (&node.output[..], self.result(node)) {
            self.values.insert(output.clone(), known);
        }
    }

    fn result(&self, node: &NodeProto) -> Option<Known> {
        if !standard(&node.domain).is_empty() {
            return None;
        }
        let op = node.op_type.as_str();
        match op {
            "Constant" => return Known::constant(node, MAX_ELEMENTS),
            "Shape" if node.attribute.is_empty() => {
                let shape = self.shapes.get(node.input.first()?)?;
                return Some(Known::vector(Values::Integers(shape.clone())));
            }
            _ => {}
        }
        let attribute = |name: &str| node.attribute.iter().find(|a| a.name == name).map(|a| a.i);
        let first = self.get(node.input.first()?)?;
        let single = first.values.len() == 1;
        match op {
            "Identity" => return Some(first.clone()),
            "Squeeze" if first.is_vector && single => {
                return Some(Known::scalar(first.values.clone()));
            }
            "Unsqueeze" if !first.is_vector => return Some(Known::vector(first.values.clone())),
            "Cast" => {
                return Some(Known {
                    values: cast(&first.values, attribute("to")?)?,
                    ..*first
                });
            }
            "Not" => {
                let Values::Truths(truths) = &first.values else {
                    return None;
                };
                return Some(Known {
                    values: Values::Truths(truths.iter().map(|t| !t).collect()),
                    ..*first
                });
            }
            _ => {}
        }
        let second = self.get(node.input.get(1)?)?;
        if node.input.len() > 2 {
            return None;
        }
        match (op, &first.values, &second.values) {
            ("Reshape", values, Values::Integers(shape)) if second.is_vector => {
                let len = i64::try_from(values.len()).ok()?;
                match shape[..] {
                    [] if single => Some(Known::scalar(values.clone())),
                    [n] if n == -1 || n == len => Some(Known::vector(values.clone())),
                    _ => None,
                }
            }
            ("Gather", Values::Integers(values), Values::Integers(index))
                if first.is_vector && attribute("axis").unwrap_or(0) == 0 =>
            {
                let at = |&i: &i64| {
                    let n = i64::try_from(values.len()).ok()?;
                    let i = if i < 0 { i.checked_add(n)? } else { i };
                    values.get(usize::try_from(i).ok()?).copied()
                };
                Some(Known {
                    is_vector: second.is_vector,
                    values: Values::Integers(index.iter().map(at).collect::<Option<_>>()?),
                })
            }
            (_, a, b) => Some(Known {
                is_vector: first.is_vector || second.is_vector,
                values: combined(op, a, b)?,
            }),
        }
    }
}

fn cast(x: &Values, to: i64) -> Option<Values> {
    let to = DataType::try_from(i32::try_from(to).ok()?).ok()?;
    // within 2^24 all of these are exact
    let small = |v: f64| v.abs() <= f64::from(1 << 24);
    let values: Vec<f64> = match x {
        Values::Integers(values) => values.iter().map(|&v| v as f64).collect(),
        Values::Floats(values) => values.iter().map(|&v| v.into()).collect(),
        Values::Truths(values) => values.iter().map(|&v| v.into()).collect(),
    };
    if !values.iter().all(|&v| small(v)) {
        return None;
    }
    Some(match to {
        DataType::Int32 | DataType::Int64 => {
            Values::Integers(values.iter().map(|&v| v.trunc() as i64).collect())
        }
        DataType::Float => Values::Floats(values.iter().map(|&v| v as f32).collect()),
        DataType::Bool => Values::Truths(values.iter().map(|&v| v != 0.0).collect()),
        _ => return None,
    })
}

/// Pairs of elements, one operand repeated where it has a single one.
fn pairs<T: Copy>(a: &[T], b: &[T]) -> Option<Vec<(T, T)>> {
    let n = a.len().max(b.len());
    let fits = |x: &[T]| x.len() == n || x.len() == 1;
    let repeated = |x: &[T], i: usize| x.get(i).or(x.first()).copied();
    (fits(a) && fits(b))
        .then(|| (0..n).map(|i| Some((repeated(a, i)?, repeated(b, i)?))))?
        .collect()
}

fn combined(op: &str, a: &Values, b: &Values) -> Option<Values> {
    match (a, b) {
        (Values::Integers(a), Values::Integers(b)) => {
            let pairs = pairs(a, b)?;
            if let Some(holds) = comparison(op) {
                return Some(Values::Truths(
                    pairs.iter().map(|(a, b)| holds(a.cmp(b))).collect(),
                ));
            }
            let value = |(a, b): (i64, i64)| {
                let value = match op {
                    "Add" => a.checked_add(b)?,
                    "Sub" => a.checked_sub(b)?,
                    "Mul" => a.checked_mul(b)?,
                    "Div" => a.checked_div(b)?,
                    "Max" => a.max(b),
                    "Min" => a.min(b),
                    _ => return None,
                };
                // what a narrower type holds too
                i32::try_from(value).ok().map(i64::from)
            };
            let values = pairs.into_iter().map(value).collect::<Option<_>>();
            values.map(Values::Integers)
        }
        (Values::Floats(a), Values::Floats(b)) => {
            let holds = comparison(op)?;
            let compared = pairs(a, b)?.into_iter();
            let truths = compared.map(|(a, b)| a.partial_cmp(&b).map(holds));
            truths.collect::<Option<_>>().map(Values::Truths)
        }
        (Values::Truths(a), Values::Truths(b)) => {
            let pairs = pairs(a, b)?.into_iter();
            let truths = match op {
                "And" => pairs.map(|(a, b)| a && b).collect(),
                "Or" => pairs.map(|(a, b)| a || b).collect(),
                "Xor" => pairs.map(|(a, b)| a != b).collect(),
                "Equal" => pairs.map(|(a, b)| a == b).collect(),
                _ => return None,
            };
            Some(Values::Truths(truths))
        }
        _ => None,
    }
}

fn comparison(op: &str) -> Option<fn(std::cmp::Ordering) -> bool> {
    use std::cmp::Ordering;
    Some(match op {
        "Less" => Ordering::is_lt,
        "LessOrEqual" => Ordering::is_le,
        "Greater" => Ordering::is_gt,
        "GreaterOrEqual" => Ordering::is_ge,
        "Equal" => Ordering::is_eq,
        _ => return None,
    })
}

/// The shape of an input, where all of it is fixed.
fn shape(input: &ValueInfoProto) -> Option<Vec<i64>> {
    use tensor_shape_proto::dimension::Value;
    let dim = |d: &tensor_shape_proto::Dimension| match d.value {
        Some(Value::DimValue(v)) if (1..1 << 31).contains(&v) => Some(v),
        _ => None,
    };
    let dims = &tensor_type(input)?.shape.as_ref()?.dim;
    let few = dims.len() <= MAX_ELEMENTS;
    few.then(|| dims.iter().map(dim).collect())?
}
