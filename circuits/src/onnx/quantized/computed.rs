//! Constants that a file computes from constants: PyTorch's exporter leaves the scales and the integers of biases to the runtime.
//!
//! Arithmetic is onnxruntime's: float32, rounded once an operator; a cast to integers drops the fraction. Nodes stay in the graph for
//! whoever reads them as real numbers.

use super::constant::{Constant, Plain, floats, integers, range, real_of};
use super::{Rewrite, attribute};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{NodeProto, TensorProto};

/// Most elements that are read and made together: of scales, biases and sometimes weights.
const MAX_COMPUTED: usize = 1 << 24;

/// Whether quantization is computed with the operator.
fn is_computed(node: &NodeProto) -> bool {
    let operators = [
        "Cast",
        "CastLike",
        "Clip",
        "ConstantOfShape",
        "Div",
        "Identity",
        "Mul",
        "Shape",
    ];
    operators.contains(&node.op_type.as_str())
}

/// A constant's values.
enum Numbers {
    Real(Plain<f32>),
    Whole(Plain<i32>),
}

impl Numbers {
    fn constant(self, name: &str) -> Constant {
        match self {
            Self::Real(plain) => Constant::File(Box::new(floats(name, &plain.shape, plain.values))),
            Self::Whole(plain) => Constant::Integers(plain),
        }
    }
}

/// The values of a tensor whose length was checked; doubles are rounded.
fn numbers(constant: &Constant) -> Option<Numbers> {
    let tensor = match constant {
        Constant::Integers(plain) => return Some(Numbers::Whole(plain.clone())),
        Constant::File(tensor) => tensor,
    };
    let dtype = DataType::try_from(tensor.data_type).ok()?;
    let shape = tensor.dims.clone();
    Some(match dtype {
        DataType::Float | DataType::Double => Numbers::Real(Plain {
            shape,
            values: real_of(tensor),
            dtype,
        }),
        DataType::Int64 => Numbers::Whole(Plain {
            shape,
            values: long(tensor)?,
            dtype,
        }),
        _ => Numbers::Whole(Plain {
            shape,
            values: integers(tensor)?,
            dtype,
        }),
    })
}

/// The values of an int64 tensor that fit 32 bits.
fn long(tensor: &TensorProto) -> Option<Vec<i32>> {
    let values: Vec<i64> = if tensor.raw_data.is_empty() {
        tensor.int64_data.clone()
    } else {
        let word = |b: &[u8]| i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
        tensor.raw_data.chunks_exact(8).map(word).collect()
    };
    values.into_iter().map(|v| i32::try_from(v).ok()).collect()
}

/// The dimensions of a constant.
fn shape(constant: &Constant) -> Vec<i64> {
    match constant {
        Constant::File(tensor) => tensor.dims.clone(),
        Constant::Integers(plain) => plain.shape.clone(),
    }
}

/// Elements of a shape; too many where a dimension is negative.
fn elements(shape: &[i64]) -> usize {
    let product = shape
        .iter()
        .try_fold(1usize, |n, &d| n.checked_mul(usize::try_from(d).ok()?));
    product.unwrap_or(usize::MAX)
}

/// Elements of a shape, if there may be as many.
fn len(shape: &[i64]) -> Option<usize> {
    Some(elements(shape)).filter(|&n| n <= MAX_COMPUTED)
}

/// The shape of an element-wise result.
fn broadcast(a: &[i64], b: &[i64]) -> Option<Vec<i64>> {
    let rank = a.len().max(b.len());
    let at = |shape: &[i64], i: usize| (i + shape.len()).checked_sub(rank).map_or(1, |j| shape[j]);
    let one = |i: usize| match (at(a, i), at(b, i)) {
        (x, y) if x == y || y == 1 => Some(x),
        (1, y) => Some(y),
        _ => None,
    };
    (0..rank).map(one).collect()
}

/// The element of `from` that stands at index `i` of a tensor of `shape`.
fn source(from: &[i64], shape: &[i64], mut i: usize) -> usize {
    let (mut index, mut step) = (0, 1);
    for (position, &size) in shape.iter().enumerate().rev() {
        let size = size as usize; // `len` accepted the shape
        let behind = shape.len() - position;
        if let Some(own) = from.len().checked_sub(behind).map(|at| from[at] as usize) {
            index += if own == 1 { 0 } else { i % size * step };
            step *= own;
        }
        i /= size;
    }
    index
}

fn elementwise(a: &Plain<f32>, b: &Plain<f32>, op: fn(f32, f32) -> f32) -> Option<Plain<f32>> {
    let shape = broadcast(&a.shape, &b.shape)?;
    let value = |i| {
        op(
            a.values[source(&a.shape, &shape, i)],
            b.values[source(&b.shape, &shape, i)],
        )
    };
    Some(Plain {
        values: (0..len(&shape)?).map(value).collect(),
        shape,
        dtype: DataType::Float,
    })
}

/// Cast; `None` where a value is none of the type.
fn cast(x: Numbers, to: DataType) -> Option<Numbers> {
    let whole = |shape, values: Vec<f64>| {
        let (lo, hi) = match to {
            DataType::Int64 => (i32::MIN, i32::MAX),
            _ => range(to)?,
        };
        let fits = |v: f64| {
            (f64::from(lo)..=f64::from(hi))
                .contains(&v)
                .then_some(v as i32)
        };
        let values = values.into_iter().map(fits).collect::<Option<_>>()?;
        Some(Numbers::Whole(Plain {
            shape,
            values,
            dtype: to,
        }))
    };
    match (x, to) {
        (Numbers::Real(plain), DataType::Float) => {
            Some(Numbers::Real(Plain { dtype: to, ..plain }))
        }
        (Numbers::Whole(plain), DataType::Float) => Some(Numbers::Real(Plain {
            values: plain.values.iter().map(|&v| v as f32).collect(),
            shape: plain.shape,
            dtype: to,
        })),
        (Numbers::Real(plain), _) => {
            let values = plain.values.iter().map(|&v| f64::from(v).trunc());
            whole(plain.shape, values.collect())
        }
        (Numbers::Whole(plain), _) => {
            let values = plain.values.iter().map(|&v| v.into());
            whole(plain.shape, values.collect())
        }
    }
}

impl Rewrite {
    /// Remembers the value of a node whose operands are constants, where quantization is computed with its operator.
    pub(super) fn compute(&mut self, node: &NodeProto) {
        let Some(output) = node.output.first().filter(|_| is_computed(node)) else {
            return;
        };
        if node.op_type != "Shape" {
            let operands = node.input.iter().filter_map(|x| self.constants.get(x));
            let read = operands.map(|constant| elements(&shape(constant)));
            self.computed = read.fold(self.computed, usize::saturating_add);
        }
        if self.computed > MAX_COMPUTED {
            return;
        }
        let Some(value) = self.value(node) else {
            return;
        };
        let constant = value.constant(output);
        self.computed = self.computed.saturating_add(elements(&shape(&constant)));
        if self.computed <= MAX_COMPUTED {
            self.constants.insert(output.clone(), constant);
        }
    }

    fn value(&self, node: &NodeProto) -> Option<Numbers> {
        let operand = |i: usize| numbers(self.constants.get(node.input.get(i)?)?);
        let real = |i: usize| match operand(i)? {
            Numbers::Real(plain) if plain.dtype == DataType::Float => Some(plain),
            _ => None,
        };
        let to = || DataType::try_from(i32::try_from(attribute(node, "to")?).ok()?).ok();
        match node.op_type.as_str() {
            "Identity" => operand(0),
            "Cast" => cast(operand(0)?, to()?),
            "CastLike" => match operand(1)? {
                Numbers::Real(like) => cast(operand(0)?, like.dtype),
                Numbers::Whole(like) => cast(operand(0)?, like.dtype),
            },
            "Mul" => elementwise(&real(0)?, &real(1)?, |a, b| a * b).map(Numbers::Real),
            "Div" => elementwise(&real(0)?, &real(1)?, |a, b| a / b).map(Numbers::Real),
            "Shape" if node.attribute.is_empty() => {
                let dims = shape(self.constants.get(node.input.first()?)?);
                let sizes = dims.iter().map(|&d| i32::try_from(d).ok());
                let values = sizes.collect::<Option<Vec<_>>>()?;
                Some(Numbers::Whole(Plain {
                    shape: vec![values.len() as i64],
                    values,
                    dtype: DataType::Int64,
                }))
            }
            "ConstantOfShape" => {
                let Numbers::Whole(sizes) = operand(0)? else {
                    return None;
                };
                let value = node
                    .attribute
                    .iter()
                    .find(|a| a.name == "value")?
                    .t
                    .as_ref()?;
                let value = numbers(&Constant::File(Box::new(value.clone())))?;
                let Numbers::Whole(value) = value else {
                    return None;
                };
                let shape: Vec<i64> = sizes.values.iter().map(|&d| d.into()).collect();
                let n = len(&shape)?;
                Some(Numbers::Whole(Plain {
                    values: vec![*value.values.first()?; n],
                    shape,
                    dtype: value.dtype,
                }))
            }
            "Clip" => {
                let Numbers::Whole(mut x) = operand(0)? else {
                    return None;
                };
                let bound = |i: usize, end: i32| {
                    if node.input.get(i).is_none_or(|name| name.is_empty()) {
                        return Some(end);
                    }
                    match operand(i)? {
                        Numbers::Whole(bound) => bound.values.first().copied(),
                        Numbers::Real(_) => None,
                    }
                };
                let (lo, hi) = (bound(1, i32::MIN)?, bound(2, i32::MAX)?);
                for v in &mut x.values {
                    *v = (*v).max(lo).min(hi);
                }
                Some(Numbers::Whole(x))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::pb::AttributeProto;

    fn real(rewrite: &mut Rewrite, name: &str, shape: &[i64], values: &[f32]) {
        let tensor = floats(name, shape, values.to_vec());
        let constant = Constant::File(Box::new(tensor));
        rewrite.constants.insert(name.to_owned(), constant);
    }

    fn compute(
        rewrite: &mut Rewrite,
        op: &str,
        inputs: &[&str],
        attribute: Option<AttributeProto>,
    ) {
        rewrite.compute(&NodeProto {
            op_type: op.to_owned(),
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![format!("{op}({})", inputs.join(", "))],
            attribute: attribute.into_iter().collect(),
            ..NodeProto::default()
        });
    }

    fn whole(rewrite: &Rewrite, name: &str) -> Option<Vec<i32>> {
        match numbers(rewrite.constants.get(name)?)? {
            Numbers::Whole(plain) => Some(plain.values),
            Numbers::Real(_) => None,
        }
    }

    #[test]
    fn biases_are_divided_by_their_scales_and_cut() {
        let mut rewrite = Rewrite::default();
        real(&mut rewrite, "bias", &[2], &[0.7, -0.7]);
        real(&mut rewrite, "weights", &[2], &[0.5, 0.25]);
        real(&mut rewrite, "x", &[], &[0.5]);
        compute(&mut rewrite, "Mul", &["weights", "x"], None);
        compute(&mut rewrite, "Div", &["bias", "Mul(weights, x)"], None);
        let to = |dtype: DataType| AttributeProto {
            name: "to".to_owned(),
            i: dtype as i64,
            ..AttributeProto::default()
        };
        let quotient = "Div(bias, Mul(weights, x))";
        compute(&mut rewrite, "Cast", &[quotient], Some(to(DataType::Int32)));
        let integers = whole(&rewrite, "Cast(Div(bias, Mul(weights, x)))");
        assert_eq!(integers, Some(vec![2, -5]));
        // a number below 0 is no uint8
        rewrite.constants.remove("Cast(Div(bias, Mul(weights, x)))");
        compute(&mut rewrite, "Cast", &[quotient], Some(to(DataType::Uint8)));
        assert_eq!(whole(&rewrite, "Cast(Div(bias, Mul(weights, x)))"), None);
    }

    #[test]
    fn factors_spread_over_channels() {
        let mut rewrite = Rewrite::default();
        real(&mut rewrite, "a", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        real(&mut rewrite, "b", &[2, 1], &[10.0, 100.0]);
        real(&mut rewrite, "c", &[2], &[1.0, 1.0]);
        compute(&mut rewrite, "Mul", &["a", "b"], None);
        compute(&mut rewrite, "Mul", &["a", "c"], None);
        let product = rewrite.constants.get("Mul(a, b)").and_then(numbers);
        let Some(Numbers::Real(product)) = product else {
            panic!("not computed");
        };
        assert_eq!(product.values, [10.0, 20.0, 30.0, 400.0, 500.0, 600.0]);
        assert!(!rewrite.constants.contains_key("Mul(a, c)"));
    }

    #[test]
    fn large_constants_are_not_computed() {
        let mut rewrite = Rewrite::default();
        let zeros = AttributeProto {
            name: "value".to_owned(),
            t: Some(TensorProto {
                dims: vec![1],
                data_type: DataType::Int32 as i32,
                int32_data: vec![0],
                ..TensorProto::default()
            }),
            ..AttributeProto::default()
        };
        for (name, size, made) in [
            ("most", (1 << 24) - 1, true),
            ("more", 1 << 30, false),
            ("one", 1, false),
        ] {
            let shape = Plain {
                shape: vec![1],
                values: vec![size],
                dtype: DataType::Int64,
            };
            rewrite
                .constants
                .insert(name.to_owned(), Constant::Integers(shape));
            compute(
                &mut rewrite,
                "ConstantOfShape",
                &[name],
                Some(zeros.clone()),
            );
            let output = format!("ConstantOfShape({name})");
            assert_eq!(rewrite.constants.contains_key(&output), made, "{name}");
        }
    }
}
