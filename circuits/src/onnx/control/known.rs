//! Few numbers that follow from constants and fixed shapes, computed as onnxruntime does.

use crate::onnx::operators::standard;
use std::collections::{HashMap, HashSet};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{
    GraphProto, NodeProto, TensorProto, ValueInfoProto, tensor_shape_proto, type_proto,
};

/// Most elements of what is known.
const MAX_ELEMENTS: usize = 64;

/// The elements of a tensor, in order.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Known {
    /// Of a signed integer type.
    Integers(Vec<i64>),
    /// Of float32.
    Floats(Vec<f32>),
    /// Truth values.
    Truths(Vec<bool>),
}

impl Known {
    pub(super) fn truths(&self) -> Option<&[bool]> {
        match self {
            Self::Truths(values) => Some(values),
            _ => None,
        }
    }

    fn integers(&self) -> Option<&[i64]> {
        match self {
            Self::Integers(values) => Some(values),
            _ => None,
        }
    }

    fn of(tensor: &TensorProto) -> Option<Self> {
        let raw = &tensor.raw_data;
        let typed = [
            tensor.int64_data.len(),
            tensor.int32_data.len(),
            tensor.float_data.len(),
        ];
        if typed.iter().any(|&n| n > MAX_ELEMENTS) || raw.len() > 8 * MAX_ELEMENTS {
            return None;
        }
        let len = tensor
            .dims
            .iter()
            .try_fold(1usize, |n, &d| n.checked_mul(usize::try_from(d).ok()?))
            .filter(|&n| n <= MAX_ELEMENTS)?;
        let typed = |values: &[i32]| values.iter().map(|&v| i64::from(v)).collect::<Vec<_>>();
        let known = match DataType::try_from(tensor.data_type).ok()? {
            DataType::Int64 if raw.is_empty() => Self::Integers(tensor.int64_data.clone()),
            DataType::Int64 => Self::Integers(chunks(raw, i64::from_le_bytes)),
            DataType::Int32 if raw.is_empty() => Self::Integers(typed(&tensor.int32_data)),
            DataType::Int32 => Self::Integers(chunks(raw, |b| i32::from_le_bytes(b).into())),
            DataType::Float if raw.is_empty() => Self::Floats(tensor.float_data.clone()),
            DataType::Float => Self::Floats(chunks(raw, f32::from_le_bytes)),
            DataType::Bool if raw.is_empty() => {
                Self::Truths(tensor.int32_data.iter().map(|&v| v != 0).collect())
            }
            DataType::Bool => Self::Truths(raw.iter().map(|&v| v != 0).collect()),
            _ => return None,
        };
        (known.len() == len).then_some(known)
    }

    fn len(&self) -> usize {
        match self {
            Self::Integers(values) => values.len(),
            Self::Floats(values) => values.len(),
            Self::Truths(values) => values.len(),
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
        if let Some(known) = Known::of(tensor) {
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
            "Constant" => return constant(node),
            "Shape" if node.attribute.is_empty() => {
                let shape = self.shapes.get(node.input.first()?)?;
                return Some(Known::Integers(shape.clone()));
            }
            _ => {}
        }
        let attribute = |name: &str| node.attribute.iter().find(|a| a.name == name).map(|a| a.i);
        let first = self.get(node.input.first()?)?;
        match op {
            "Identity" | "Reshape" | "Squeeze" | "Unsqueeze" => return Some(first.clone()),
            "Cast" => return cast(first, attribute("to")?),
            "Not" => {
                let truths = first.truths()?.iter();
                return Some(Known::Truths(truths.map(|t| !t).collect()));
            }
            _ => {}
        }
        let second = self.get(node.input.get(1)?)?;
        if node.input.len() > 2 {
            return None;
        }
        if op == "Gather" {
            let (values, index) = (first.integers()?, second.integers()?);
            let zero = attribute("axis").unwrap_or(0) == 0;
            let at = |&i: &i64| {
                let n = i64::try_from(values.len()).ok()?;
                let i = if i < 0 { i.checked_add(n)? } else { i };
                values.get(usize::try_from(i).ok()?).copied()
            };
            let chosen = index.iter().map(at).collect::<Option<_>>();
            return chosen.filter(|_| zero).map(Known::Integers);
        }
        combined(op, first, second)
    }
}

fn constant(node: &NodeProto) -> Option<Known> {
    let value = node.attribute.first()?;
    match value.name.as_str() {
        "value" => Known::of(value.t.as_ref()?),
        "value_int" => Some(Known::Integers(vec![value.i])),
        "value_float" => Some(Known::Floats(vec![value.f])),
        "value_ints" if value.ints.len() <= MAX_ELEMENTS => {
            Some(Known::Integers(value.ints.clone()))
        }
        _ => None,
    }
}

fn cast(x: &Known, to: i64) -> Option<Known> {
    let to = DataType::try_from(i32::try_from(to).ok()?).ok()?;
    // within 2^24 all of these are exact
    let small = |v: f64| v.abs() <= f64::from(1 << 24);
    let values: Vec<f64> = match x {
        Known::Integers(values) => values.iter().map(|&v| v as f64).collect(),
        Known::Floats(values) => values.iter().map(|&v| v.into()).collect(),
        Known::Truths(values) => values.iter().map(|&v| v.into()).collect(),
    };
    if !values.iter().all(|&v| small(v)) {
        return None;
    }
    Some(match to {
        DataType::Int32 | DataType::Int64 => {
            Known::Integers(values.iter().map(|&v| v.trunc() as i64).collect())
        }
        DataType::Float => Known::Floats(values.iter().map(|&v| v as f32).collect()),
        DataType::Bool => Known::Truths(values.iter().map(|&v| v != 0.0).collect()),
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

fn combined(op: &str, a: &Known, b: &Known) -> Option<Known> {
    match (a, b) {
        (Known::Integers(a), Known::Integers(b)) => {
            let pairs = pairs(a, b)?;
            if let Some(holds) = comparison(op) {
                return Some(Known::Truths(
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
            values.map(Known::Integers)
        }
        (Known::Floats(a), Known::Floats(b)) => {
            let holds = comparison(op)?;
            let compared = pairs(a, b)?.into_iter();
            let truths = compared.map(|(a, b)| a.partial_cmp(&b).map(holds));
            truths.collect::<Option<_>>().map(Known::Truths)
        }
        (Known::Truths(a), Known::Truths(b)) => {
            let pairs = pairs(a, b)?.into_iter();
            let truths = match op {
                "And" => pairs.map(|(a, b)| a && b).collect(),
                "Or" => pairs.map(|(a, b)| a || b).collect(),
                "Xor" => pairs.map(|(a, b)| a != b).collect(),
                "Equal" => pairs.map(|(a, b)| a == b).collect(),
                _ => return None,
            };
            Some(Known::Truths(truths))
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
    let Some(type_proto::Value::TensorType(tensor)) = &input.r#type.as_ref()?.value else {
        return None;
    };
    let dim = |d: &tensor_shape_proto::Dimension| match d.value {
        Some(Value::DimValue(v)) if (1..1 << 31).contains(&v) => Some(v),
        _ => None,
    };
    let dims = &tensor.shape.as_ref()?.dim;
    let few = dims.len() <= MAX_ELEMENTS;
    few.then(|| dims.iter().map(dim).collect())?
}
