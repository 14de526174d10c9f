//! The serialized form of an expression: its nodes, operands before operators. Reading it needs no recursion, so bytes from
//! elsewhere cannot exhaust the stack.

use serde::{Deserialize, Serialize};

use super::{Binary, Expression, ExpressionError, Function};

/// One node without its operands.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Symbol {
    /// The variable.
    Argument,
    /// A number.
    Constant(f64),
    /// Takes one operand.
    Apply(Function),
    /// Takes two operands.
    Combine(Binary),
    /// Takes the condition and the two cases.
    Select,
}

impl From<Expression> for Vec<Symbol> {
    fn from(expression: Expression) -> Self {
        let mut symbols = Vec::with_capacity(expression.size());
        write(&expression, &mut symbols);
        symbols
    }
}

fn write(expression: &Expression, symbols: &mut Vec<Symbol>) {
    for operand in expression.operands() {
        write(operand, symbols);
    }
    symbols.push(match expression {
        Expression::Argument => Symbol::Argument,
        Expression::Constant(c) => Symbol::Constant(*c),
        Expression::Apply(f, _) => Symbol::Apply(*f),
        Expression::Combine(f, ..) => Symbol::Combine(*f),
        Expression::Select(..) => Symbol::Select,
    });
}

impl TryFrom<Vec<Symbol>> for Expression {
    type Error = ExpressionError;

    fn try_from(symbols: Vec<Symbol>) -> Result<Self, ExpressionError> {
        if symbols.len() > Self::MAX_NODES {
            return Err(ExpressionError::TooLarge {
                got: symbols.len(),
                max: Self::MAX_NODES,
            });
        }
        let mut stack: Vec<Self> = Vec::new();
        for (at, symbol) in symbols.iter().enumerate() {
            let node = match symbol {
                Symbol::Argument => Self::Argument,
                Symbol::Constant(c) => Self::Constant(*c),
                Symbol::Apply(f) => {
                    let [of] = operands(&mut stack, at)?;
                    Self::Apply(*f, of)
                }
                Symbol::Combine(f) => {
                    let [a, b] = operands(&mut stack, at)?;
                    Self::Combine(*f, a, b)
                }
                Symbol::Select => {
                    let [condition, then, otherwise] = operands(&mut stack, at)?;
                    Self::Select(condition, then, otherwise)
                }
            };
            stack.push(node);
        }
        let [root] = operands(&mut stack, symbols.len())?;
        match stack.len() {
            0 => Ok(*root),
            unread => Err(ExpressionError::Malformed {
                at: symbols.len(),
                expected: 1,
                got: unread + 1,
            }),
        }
    }
}

/// Takes the last N expressions off the stack, in the order they were put there.
fn operands<const N: usize>(
    stack: &mut Vec<Expression>,
    at: usize,
) -> Result<[Box<Expression>; N], ExpressionError> {
    let malformed = ExpressionError::Malformed {
        at,
        expected: N,
        got: stack.len(),
    };
    let from = stack.len().checked_sub(N).ok_or(malformed.clone())?;
    let taken: Vec<_> = stack.drain(from..).map(Box::new).collect();
    taken.try_into().map_err(|_| malformed)
}
