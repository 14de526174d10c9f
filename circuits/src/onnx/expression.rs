//! Real functions of one variable as expressions: what a chain of element-wise operators with constant operands computes.
//!
//! An expression has at most [`Expression::MAX_NODES`] nodes when made by the checked constructors or read from bytes, so that
//! evaluation, which recurses, is bounded. Values are the same on every machine, like those of [`Function`].

use serde::{Deserialize, Serialize};

use super::function::{Function, canonical, power};

mod postfix;

/// Why an expression is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExpressionError {
    /// More nodes than are evaluated.
    #[error("the expression has {got} nodes, at most {max} are allowed")]
    TooLarge {
        /// Its nodes.
        got: usize,
        /// Limit.
        max: usize,
    },
    /// The serialized form is not the postfix notation of one expression.
    #[error(
        "the serialized expression is malformed at symbol {at}: expected {expected} operands, got {got}"
    )]
    Malformed {
        /// Index of the symbol, or the number of symbols for the end.
        at: usize,
        /// Operands the symbol takes, or 1 at the end.
        expected: usize,
        /// Operands there are.
        got: usize,
    },
}

/// A function of two real numbers inside an expression. What is not a number makes arithmetic results not a number and
/// comparisons false; as a truth value, every number but 0 is true, and so is what is not a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Binary {
    /// a + b.
    Add,
    /// a − b.
    Subtract,
    /// a·b.
    Multiply,
    /// a/b.
    Divide,
    /// The lesser; −0 is less than 0.
    Minimum,
    /// The greater; 0 is greater than −0.
    Maximum,
    /// a^b with the special cases of IEEE 754: a^0 = 1 and 1^b = 1 even if the other is not a number, a negative base with a
    /// fractional exponent gives no number.
    Power,
    /// a − b·trunc(a/b) exactly, with the sign of a (C's `fmod`).
    Remainder,
    /// a − b·⌊a/b⌋, with the sign of b.
    Modulo,
    /// 1 if a < b, else 0.
    Less,
    /// 1 if a ≤ b, else 0.
    LessOrEqual,
    /// 1 if a = b, else 0.
    Equal,
    /// 1 if both are true, else 0.
    And,
    /// 1 if one is true, else 0.
    Or,
    /// 1 if exactly one is true, else 0.
    Xor,
}

impl Binary {
    /// All functions, in the order of their serialized indices.
    pub const ALL: [Self; 15] = [
        Self::Add,
        Self::Subtract,
        Self::Multiply,
        Self::Divide,
        Self::Minimum,
        Self::Maximum,
        Self::Power,
        Self::Remainder,
        Self::Modulo,
        Self::Less,
        Self::LessOrEqual,
        Self::Equal,
        Self::And,
        Self::Or,
        Self::Xor,
    ];

    /// The function's value.
    pub fn value(self, a: f64, b: f64) -> f64 {
        let truth = |condition: bool| if condition { 1.0 } else { 0.0 };
        let value = match self {
            Self::Add => a + b,
            Self::Subtract => a - b,
            Self::Multiply => a * b,
            Self::Divide => a / b,
            Self::Minimum => minimum(a, b),
            Self::Maximum => -minimum(-a, -b),
            Self::Power => power(a, b),
            // exact, so the same from every correct library
            Self::Remainder => a % b,
            Self::Modulo => modulo(a, b),
            Self::Less => truth(a < b),
            Self::LessOrEqual => truth(a <= b),
            Self::Equal => truth(a == b),
            Self::And => truth(a != 0.0 && b != 0.0),
            Self::Or => truth(a != 0.0 || b != 0.0),
            Self::Xor => truth((a != 0.0) != (b != 0.0)),
        };
        canonical(value)
    }
}

/// The lesser, whose sign bit is set if one of two zeros has it.
fn minimum(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a < b || (a == b && a.is_sign_negative()) {
        a
    } else {
        b
    }
}

fn modulo(a: f64, b: f64) -> f64 {
    let remainder = a % b;
    if remainder == 0.0 {
        0.0_f64.copysign(b)
    } else if (remainder < 0.0) != (b < 0.0) {
        remainder + b
    } else {
        remainder
    }
}

/// A real function of one variable as an expression over it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<postfix::Symbol>", into = "Vec<postfix::Symbol>")]
pub enum Expression {
    /// The variable.
    Argument,
    /// A number.
    Constant(f64),
    /// A primitive function of an expression.
    Apply(Function, Box<Expression>),
    /// A function of two expressions.
    Combine(Binary, Box<Expression>, Box<Expression>),
    /// The second where the first is not 0, else the third.
    Select(Box<Expression>, Box<Expression>, Box<Expression>),
}

impl Expression {
    /// The most nodes of an expression that the checked constructors make and deserialization accepts.
    pub const MAX_NODES: usize = 256;

    /// f of the variable.
    pub fn of(f: Function) -> Self {
        Self::Apply(f, Box::new(Self::Argument))
    }

    /// f of an expression, computed if that is constant.
    ///
    /// # Errors
    /// [`ExpressionError::TooLarge`].
    pub fn apply(f: Function, of: Self) -> Result<Self, ExpressionError> {
        Self::Apply(f, Box::new(of)).folded().bounded()
    }

    /// f of two expressions, computed if both are constant.
    ///
    /// # Errors
    /// [`ExpressionError::TooLarge`].
    pub fn combine(f: Binary, a: Self, b: Self) -> Result<Self, ExpressionError> {
        Self::Combine(f, Box::new(a), Box::new(b))
            .folded()
            .bounded()
    }

    /// `then` where `condition` is not 0, else `otherwise`; only the one taken if the condition is constant.
    ///
    /// # Errors
    /// [`ExpressionError::TooLarge`].
    pub fn select(condition: Self, then: Self, otherwise: Self) -> Result<Self, ExpressionError> {
        Self::Select(Box::new(condition), Box::new(then), Box::new(otherwise))
            .folded()
            .bounded()
    }

    /// The expression itself if it has at most [`Self::MAX_NODES`] nodes.
    ///
    /// # Errors
    /// [`ExpressionError::TooLarge`].
    pub fn bounded(self) -> Result<Self, ExpressionError> {
        match self.size() {
            got if got > Self::MAX_NODES => Err(ExpressionError::TooLarge {
                got,
                max: Self::MAX_NODES,
            }),
            _ => Ok(self),
        }
    }

    /// The value at x. Outside the domain it is infinite or [`f64::NAN`], the latter always with the same bits.
    pub fn value(&self, x: f64) -> f64 {
        match self {
            Self::Argument => canonical(x),
            Self::Constant(c) => canonical(*c),
            Self::Apply(f, of) => f.value(of.value(x)),
            Self::Combine(f, a, b) => f.value(a.value(x), b.value(x)),
            Self::Select(condition, then, otherwise) => {
                if condition.value(x) != 0.0 {
                    then.value(x)
                } else {
                    otherwise.value(x)
                }
            }
        }
    }

    /// x ↦ self(inner(x)), with what became constant computed. Of at most `self.size()·inner.size()` nodes, so twice bounded
    /// expressions need no more than 65,536; see [`Self::bounded`].
    pub fn compose(&self, inner: &Self) -> Self {
        let within = |e: &Self| Box::new(e.compose(inner));
        match self {
            Self::Argument => inner.clone(),
            Self::Constant(c) => Self::Constant(*c),
            Self::Apply(f, of) => Self::Apply(*f, within(of)).folded(),
            Self::Combine(f, a, b) => Self::Combine(*f, within(a), within(b)).folded(),
            Self::Select(condition, then, otherwise) => {
                Self::Select(within(condition), within(then), within(otherwise)).folded()
            }
        }
    }

    /// The node itself, or its value if its operands are constant.
    fn folded(self) -> Self {
        match self {
            Self::Apply(f, of) => match of.constant() {
                Some(x) => Self::Constant(f.value(x)),
                None => Self::Apply(f, of),
            },
            Self::Combine(f, a, b) => match (a.constant(), b.constant()) {
                (Some(x), Some(y)) => Self::Constant(f.value(x, y)),
                _ => Self::Combine(f, a, b),
            },
            Self::Select(condition, then, otherwise) => match condition.constant() {
                Some(0.0) => *otherwise,
                Some(_) => *then,
                None => Self::Select(condition, then, otherwise),
            },
            leaf => leaf,
        }
    }

    /// The number, if the expression is one.
    pub fn constant(&self) -> Option<f64> {
        match self {
            Self::Constant(c) => Some(*c),
            _ => None,
        }
    }

    /// Whether every value is a whole number, whatever the variable is: comparisons, roundings, and what is made of them.
    pub fn is_whole(&self) -> bool {
        match self {
            Self::Argument => false,
            Self::Constant(c) => c.fract() == 0.0,
            Self::Apply(f, of) => match f {
                Function::Floor | Function::Ceil | Function::Round | Function::Sign => true,
                Function::Abs | Function::Negate | Function::Square => of.is_whole(),
                _ => false,
            },
            Self::Combine(f, a, b) => match f {
                Binary::Less | Binary::LessOrEqual | Binary::Equal => true,
                Binary::And | Binary::Or | Binary::Xor => true,
                Binary::Divide | Binary::Power | Binary::Remainder | Binary::Modulo => false,
                _ => a.is_whole() && b.is_whole(),
            },
            Self::Select(_, then, otherwise) => then.is_whole() && otherwise.is_whole(),
        }
    }

    /// Whether the expression does not mention the variable.
    pub fn is_constant(&self) -> bool {
        !matches!(self, Self::Argument) && self.operands().all(Self::is_constant)
    }

    /// Whether the expression is the variable.
    pub fn is_identity(&self) -> bool {
        matches!(self, Self::Argument)
    }

    /// Nodes.
    pub fn size(&self) -> usize {
        1 + self.operands().map(Self::size).sum::<usize>()
    }

    /// Nodes on the longest path from the root to a leaf, at least 1.
    pub fn depth(&self) -> usize {
        1 + self.operands().map(Self::depth).max().unwrap_or(0)
    }

    /// The node's operands in order.
    fn operands(&self) -> impl Iterator<Item = &Self> {
        let operands = match self {
            Self::Argument | Self::Constant(_) => [None, None, None],
            Self::Apply(_, of) => [Some(of), None, None],
            Self::Combine(_, a, b) => [Some(a), Some(b), None],
            Self::Select(condition, then, otherwise) => {
                [Some(condition), Some(then), Some(otherwise)]
            }
        };
        operands.into_iter().flatten().map(|e| &**e)
    }
}

#[cfg(test)]
mod tests;
