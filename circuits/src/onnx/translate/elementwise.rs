//! Element-wise operators: functions of one tensor, arithmetic with constants and between tensors, comparisons and choices.

use super::{Translation, Value};
use crate::onnx::graph::{FloatOp, Relation};
use crate::onnx::{Binary, Expression, Function, ImportError};
use std::collections::BTreeMap;
use tract_onnx::prelude::{DatumType, Tensor, TypedNode};
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::element_wise::ElementWiseMiniOp;
use tract_onnx::tract_core::ops::math::PowConst;
use tract_onnx::tract_core::ops::nn::{GeluApproximate, LeakyRelu};

/// √(2/π).
const GELU_SCALE: f64 = 0.797_884_560_802_865_4;

fn constant(value: f64) -> Expression {
    Expression::Constant(value)
}

fn apply(f: Function, x: Expression) -> Expression {
    Expression::Apply(f, Box::new(x))
}

fn combine(f: Binary, a: Expression, b: Expression) -> Expression {
    Expression::Combine(f, Box::new(a), Box::new(b))
}

/// x·f(x).
fn gated(f: Expression) -> Expression {
    combine(Binary::Multiply, Expression::Argument, f)
}

/// The function of an element-wise tract operator.
fn function(op: &dyn ElementWiseMiniOp) -> Option<Expression> {
    let x = || Expression::Argument;
    if let Some(op) = op.downcast_ref::<LeakyRelu>() {
        let below = combine(Binary::Multiply, constant(op.alpha.into()), x());
        let negative = combine(Binary::Less, x(), constant(0.0));
        return Some(Expression::Select(
            Box::new(negative),
            Box::new(below),
            Box::new(x()),
        ));
    }
    if let Some(op) = op.downcast_ref::<PowConst>() {
        return Some(combine(Binary::Power, x(), constant(op.exponent.into())));
    }
    if op.downcast_ref::<GeluApproximate>().is_some() {
        let cube = combine(Binary::Power, x(), constant(3.0));
        let inner = combine(
            Binary::Add,
            x(),
            combine(Binary::Multiply, constant(0.044_715), cube),
        );
        let tanh = apply(
            Function::Tanh,
            combine(Binary::Multiply, constant(GELU_SCALE), inner),
        );
        let half = combine(
            Binary::Multiply,
            constant(0.5),
            combine(Binary::Add, constant(1.0), tanh),
        );
        return Some(gated(half));
    }
    let named = match op.name().as_str() {
        "Abs" => Function::Abs,
        "Exp" => Function::Exp,
        "Ln" => Function::Ln,
        "Square" => Function::Square,
        "Sqrt" => Function::Sqrt,
        "Recip" => Function::Reciprocal,
        "Ceil" => Function::Ceil,
        "Floor" => Function::Floor,
        "RoundHalfToEven" => Function::Round,
        "Cos" => Function::Cos,
        "Sin" => Function::Sin,
        "Tan" => Function::Tan,
        "Acos" => Function::Acos,
        "Asin" => Function::Asin,
        "Atan" => Function::Atan,
        "Cosh" => Function::Cosh,
        "Sinh" => Function::Sinh,
        "Tanh" => Function::Tanh,
        "Acosh" => Function::Acosh,
        "Asinh" => Function::Asinh,
        "Atanh" => Function::Atanh,
        "Erf" => Function::Erf,
        "Neg" => Function::Negate,
        "Sign" => Function::Sign,
        "Sigmoid" => Function::Sigmoid,
        "Silu" => return Some(gated(Expression::of(Function::Sigmoid))),
        "Rsqrt" => {
            let root = Expression::of(Function::Sqrt);
            return Some(apply(Function::Reciprocal, root));
        }
        "GeluExact" => {
            let scaled = combine(
                Binary::Multiply,
                x(),
                constant(std::f64::consts::FRAC_1_SQRT_2),
            );
            let erf = combine(Binary::Add, constant(1.0), apply(Function::Erf, scaled));
            return Some(gated(combine(Binary::Multiply, constant(0.5), erf)));
        }
        "HardSwish" => {
            let shifted = combine(Binary::Add, x(), constant(3.0));
            let low = combine(Binary::Maximum, shifted, constant(0.0));
            let high = combine(Binary::Minimum, low, constant(6.0));
            return Some(gated(combine(Binary::Divide, high, constant(6.0))));
        }
        "Not" => return Some(combine(Binary::Subtract, constant(1.0), x())),
        "IsNan" | "IsInf" => return Some(constant(0.0)),
        _ => return None,
    };
    Some(Expression::of(named))
}

/// The function of two numbers that a binary tract operator computes, and whether its operands are exchanged.
fn binary_function(name: &str, integers: bool) -> Option<(Binary, bool)> {
    Some(match name {
        "Add" => (Binary::Add, false),
        "Sub" => (Binary::Subtract, false),
        "SubF" => (Binary::Subtract, true),
        "Mul" => (Binary::Multiply, false),
        // whole numbers divide towards zero
        "Div" if !integers => (Binary::Divide, false),
        "DivF" if !integers => (Binary::Divide, true),
        "Rem" => (Binary::Remainder, false),
        "Min" => (Binary::Minimum, false),
        "Max" => (Binary::Maximum, false),
        "Pow" => (Binary::Power, false),
        "And" => (Binary::And, false),
        "Or" => (Binary::Or, false),
        "Xor" => (Binary::Xor, false),
        "CompLT" | "LT" => (Binary::Less, false),
        "CompLTE" | "LTE" => (Binary::LessOrEqual, false),
        "CompGT" | "GT" => (Binary::Less, true),
        "CompGTE" | "GTE" => (Binary::LessOrEqual, true),
        "CompEq" | "Eq" => (Binary::Equal, false),
        _ => return None,
    })
}

/// Most different constants, and so functions, of one operator.
const MAX_CONSTANTS: usize = 64;

/// 1 − x.
fn negation() -> Expression {
    combine(Binary::Subtract, constant(1.0), Expression::Argument)
}

impl Translation<'_> {
    /// A function of one tensor.
    pub(super) fn element_wise(
        &mut self,
        node: &TypedNode,
        op: &dyn ElementWiseMiniOp,
        x: usize,
        shape: Vec<usize>,
    ) -> Result<usize, ImportError> {
        let Some(function) = function(op) else {
            let name = op.name();
            return Err(self.unsupported(node, format!("the function {name} is not supported")));
        };
        Ok(self.push(node, FloatOp::Unary(function), vec![x], shape))
    }

    /// A change of type: to whole numbers the fraction is cut off, to booleans everything but 0 is 1.
    pub(super) fn cast(
        &mut self,
        node: &TypedNode,
        op: &Cast,
        x: usize,
        shape: Vec<usize>,
    ) -> Result<usize, ImportError> {
        let from = self.datum_type(node.inputs.first());
        let argument = || Expression::Argument;
        let converted = if op.to.is_float() || from == Some(op.to) {
            None
        } else if op.to == DatumType::Bool {
            let zero = combine(Binary::Equal, argument(), constant(0.0));
            Some(combine(Binary::Subtract, constant(1.0), zero))
        } else if op.to.is_integer() || op.to == DatumType::TDim {
            // what tract makes of int64 where it may become a size
            let whole = [DatumType::Bool, DatumType::TDim];
            let whole = from.is_some_and(|t| t.is_integer() || whole.contains(&t));
            let negative = combine(Binary::Less, argument(), constant(0.0));
            let cut = Expression::Select(
                Box::new(negative),
                Box::new(Expression::of(Function::Ceil)),
                Box::new(Expression::of(Function::Floor)),
            );
            (!whole).then_some(cut)
        } else {
            let reason = format!(
                "a cast to {:?}; expected floats, integers or booleans",
                op.to
            );
            return Err(self.unsupported(node, reason));
        };
        Ok(match converted {
            None => self.reshape(node, x, shape),
            Some(function) => self.push(node, FloatOp::Unary(function), vec![x], shape),
        })
    }

    /// A binary operator with one constant operand that is one number, as a function of the other.
    pub(super) fn with_number(
        &mut self,
        node: &TypedNode,
        name: &str,
        x: usize,
        number: f32,
        x_first: bool,
        shape: Vec<usize>,
    ) -> Result<usize, ImportError> {
        let integers = self.is_integer(node);
        let number = constant(number.into());
        let quotient = matches!(name, "Div") && integers;
        let function = if quotient && x_first {
            let exact = combine(Binary::Divide, Expression::Argument, number);
            let negative = combine(Binary::Less, exact.clone(), constant(0.0));
            Expression::Select(
                Box::new(negative),
                Box::new(apply(Function::Ceil, exact.clone())),
                Box::new(apply(Function::Floor, exact)),
            )
        } else {
            let Some((f, exchanged)) = binary_function(name, integers) else {
                let reason = format!("{name} with a constant is not supported");
                return Err(self.unsupported(node, reason));
            };
            if x_first != exchanged {
                combine(f, Expression::Argument, number)
            } else {
                combine(f, number, Expression::Argument)
            }
        };
        let x = self.expand(node, x, &shape)?;
        Ok(self.push(node, FloatOp::Unary(function), vec![x], shape))
    }

    /// A binary operator whose constant operand differs by element: a function of the elements of every number that occurs.
    pub(super) fn by_constant(
        &mut self,
        node: &TypedNode,
        name: &str,
        x: usize,
        (constant, x_first): (&Tensor, bool),
        shape: Vec<usize>,
    ) -> Result<usize, ImportError> {
        let values = self.broadcast_values(node, constant, &shape)?;
        let mut places: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (place, value) in values.iter().enumerate() {
            places.entry(value.to_bits()).or_default().push(place);
        }
        if places.len() > MAX_CONSTANTS {
            let got = places.len();
            let reason =
                format!("{name} with {got} different constants; expected at most {MAX_CONSTANTS}");
            return Err(self.unsupported(node, reason));
        }
        let (mut parts, mut index, mut start) = (vec![], vec![0; values.len()], 0);
        for (number, places) in places {
            let len = places.len();
            for (i, &place) in places.iter().enumerate() {
                index[place] = start + i;
            }
            start += len;
            let number = f32::from_bits(number);
            let part = self.gather(node, vec![x], places, vec![], vec![len])?;
            parts.push(self.with_number(node, name, part, number, x_first, vec![len])?);
        }
        self.gather(node, parts, index, vec![], shape)
    }

    /// A binary operator on two computed tensors, or on one and a constant that differs by element.
    pub(super) fn pairwise(
        &mut self,
        node: &TypedNode,
        name: &str,
        x: [usize; 2],
        shape: Vec<usize>,
    ) -> Result<usize, ImportError> {
        if matches!(name, "Div" | "DivF") && self.is_integer(node) {
            let reason = "a quotient of two computed integer tensors; expected one constant";
            return Err(self.unsupported(node, reason));
        }
        // an inverse is taken before it is spread
        let (x, name) = match name {
            "Div" => ([x[0], self.inverse(node, x[1])], "Mul"),
            "DivF" => ([x[1], self.inverse(node, x[0])], "Mul"),
            _ => (x, name),
        };
        let [a, b] = [
            self.expand(node, x[0], &shape)?,
            self.expand(node, x[1], &shape)?,
        ];
        let mut push = |op, inputs| self.push(node, op, inputs, shape.clone());
        let relation = |r| FloatOp::Compare(r);
        Ok(match name {
            "Add" => push(FloatOp::Add { signs: [1, 1] }, vec![a, b]),
            "Sub" => push(FloatOp::Add { signs: [1, -1] }, vec![a, b]),
            "SubF" => push(FloatOp::Add { signs: [-1, 1] }, vec![a, b]),
            "Mul" => push(FloatOp::Mul, vec![a, b]),
            "Max" | "Or" => push(FloatOp::Extremum { largest: true }, vec![a, b]),
            "Min" | "And" => push(FloatOp::Extremum { largest: false }, vec![a, b]),
            "CompLT" | "LT" => push(relation(Relation::Less), vec![a, b]),
            "CompGT" | "GT" => push(relation(Relation::Less), vec![b, a]),
            "CompLTE" | "LTE" => push(relation(Relation::LessOrEqual), vec![a, b]),
            "CompGTE" | "GTE" => push(relation(Relation::LessOrEqual), vec![b, a]),
            "CompEq" | "Eq" => push(relation(Relation::Equal), vec![a, b]),
            "Xor" => {
                let equal = push(relation(Relation::Equal), vec![a, b]);
                push(FloatOp::Unary(negation()), vec![equal])
            }
            _ => {
                let reason = format!(
                    "{name} of two computed tensors is not supported; with a constant it is where {name} is a function"
                );
                return Err(self.unsupported(node, reason));
            }
        })
    }

    fn inverse(&mut self, node: &TypedNode, x: usize) -> usize {
        let shape = self.graph.nodes[x].shape.clone();
        let reciprocal = FloatOp::Unary(Expression::of(Function::Reciprocal));
        self.push(node, reciprocal, vec![x], shape)
    }

    /// One of two tensors by a condition; constants become tensors.
    pub(super) fn choose(
        &mut self,
        node: &TypedNode,
        inputs: [&Value; 3],
        shape: Vec<usize>,
    ) -> Result<usize, ImportError> {
        let anchor = inputs.iter().find_map(|v| match v {
            Value::Node(x) => Some(*x),
            Value::Const(_) => None,
        });
        let anchor = anchor.ok_or_else(|| self.unsupported(node, "it has only constants"))?;
        if let Value::Const(condition) = inputs[0] {
            return self.choose_fixed(node, condition, [inputs[1], inputs[2]], shape);
        }
        let mut operands = Vec::with_capacity(3);
        for input in inputs {
            operands.push(match input {
                Value::Node(x) => self.expand(node, *x, &shape)?,
                Value::Const(values) => self.constant_tensor(node, anchor, values, &shape)?,
            });
        }
        Ok(self.push(node, FloatOp::Select, operands, shape))
    }

    /// A choice that is known at import only moves elements.
    fn choose_fixed(
        &mut self,
        node: &TypedNode,
        condition: &Tensor,
        branches: [&Value; 2],
        shape: Vec<usize>,
    ) -> Result<usize, ImportError> {
        let condition = self.broadcast_values(node, condition, &shape)?;
        let (mut inputs, mut constants, mut sources) = (vec![], vec![], vec![]);
        for branch in branches {
            match branch {
                Value::Node(x) => {
                    inputs.push(self.expand(node, *x, &shape)?);
                    sources.push(None);
                }
                Value::Const(values) => {
                    sources.push(Some(constants.len()));
                    constants.extend(self.broadcast_values(node, values, &shape)?);
                }
            }
        }
        let len = condition.len();
        let mut tensors = 0;
        let starts: Vec<usize> = sources
            .iter()
            .map(|source| match source {
                None => {
                    tensors += 1;
                    (tensors - 1) * len
                }
                Some(at) => inputs.len() * len + at,
            })
            .collect();
        let index = condition.iter().enumerate();
        let index = index.map(|(i, c)| starts[usize::from(*c == 0.0)] + i);
        self.gather(node, inputs, index.collect(), constants, shape)
    }
}
