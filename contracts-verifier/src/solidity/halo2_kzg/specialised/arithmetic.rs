//! # Arithmetic of the specialised contract
//! Nodes of the graph as Yul expressions. A node that is read twice, is a result, or would make an expression too deep is stored; all others
//! are written where they are read.

use std::{
    collections::BTreeMap,
    fmt::{Result, Write},
};

use ark_bn254::Fr;
use ark_ff::{AdditiveGroup, BigInteger, PrimeField};

use super::{
    super::graph::{Graph, Id, Input, Node},
    Writer, at, literal,
};

/// Stack items that an expression may take.
const MAX_DEPTH: usize = 7;
/// Values that are kept on the stack instead of in memory.
const N_LOCALS: usize = 3;
/// Multiples of r that fit 256 bits.
const MAX_BOUND: u8 = 5;

/// An expression, the stack items it takes, and the multiple of r it is below.
#[derive(Clone, Debug)]
pub(super) struct Expression {
    text: String,
    depth: usize,
    bound: u8,
}

impl Writer<'_> {
    /// Computes and keeps what is wanted and not kept yet: values read twice, results, and parts of expressions that are too deep.
    pub(super) fn arithmetic(&mut self, out: &mut String, wanted: &[usize]) -> Result {
        let graph = &self.plan.graph;
        let outputs = self.plan.outputs();
        let is_wanted = |id: &Id| wanted.get(id.index()).is_some_and(|n| *n > 0);
        let ids: Vec<Id> = graph.ids().filter(is_wanted).collect();

        // The inputs read most often go to the stack.
        let mut inputs: Vec<(usize, Input)> = ids
            .iter()
            .filter_map(|id| match graph.node(*id) {
                Node::Input(input) => Some((wanted.get(id.index()).copied()?, input)),
                _ => None,
            })
            .filter(|(n, _)| *n > 3)
            .collect();
        inputs.sort_unstable_by(|a, b| b.cmp(a));
        inputs.truncate(N_LOCALS);
        writeln!(out, "            {{")?;
        for (i, (_, input)) in inputs.into_iter().enumerate() {
            let load = self.load(input);
            writeln!(out, "                let c{i} := {load}")?;
            self.locals.insert(input, format!("c{i}"));
        }
        let mut open: BTreeMap<Id, Expression> = BTreeMap::new();
        for id in ids {
            if self.kept.contains_key(&id) {
                continue;
            }
            let expression = self.expression(graph, &mut open, id);
            let leaf = matches!(graph.node(id), Node::Input(_) | Node::Const(_));
            let named = outputs.contains(&id);
            if !leaf && (self.n_uses(id) > 1 || named || expression.depth >= MAX_DEPTH) {
                let offset = self.total;
                self.total += 32;
                writeln!(
                    out,
                    "                mstore({}, {})",
                    kept_at(offset),
                    expression.text
                )?;
                self.kept.insert(id, (offset, expression.bound));
            } else {
                open.insert(id, expression);
            }
        }
        self.locals.clear();
        writeln!(out, "            }}")
    }

    pub(super) fn load(&self, input: Input) -> String {
        let offset = match input {
            Input::Eval(i) => self.evals() + 32 * i,
            Input::Challenge(i) => self.challenges + 32 * i,
            Input::Context => 96,
            Input::PowerOfX => self.runtime,
            Input::InstanceNumerator => self.runtime + 32,
            Input::InstanceDenominator => self.runtime + 64,
            Input::Inverse => self.runtime + 96,
        };
        format!("mload({})", at(offset))
    }

    /// An operand: kept in memory, or an expression that is written here and nowhere else.
    fn operand(&self, open: &mut BTreeMap<Id, Expression>, id: Id) -> Expression {
        if let Some((offset, bound)) = self.kept.get(&id) {
            return Expression {
                text: format!("mload({})", kept_at(*offset)),
                depth: 2,
                bound: *bound,
            };
        }
        let leaf = matches!(self.plan.graph.node(id), Node::Input(_) | Node::Const(_));
        let known = if leaf {
            open.get(&id).cloned()
        } else {
            open.remove(&id)
        };
        known.unwrap_or(Expression {
            text: "0".to_owned(),
            depth: 1,
            bound: 1,
        })
    }

    fn expression(&self, graph: &Graph, open: &mut BTreeMap<Id, Expression>, id: Id) -> Expression {
        // Arguments are evaluated from the right: the deeper one goes there.
        let order = |a: Expression, b: Expression| if a.depth > b.depth { (b, a) } else { (a, b) };
        match graph.node(id) {
            Node::Input(input) => match self.locals.get(&input) {
                Some(name) => Expression {
                    text: name.clone(),
                    depth: 1,
                    bound: 1,
                },
                None => Expression {
                    text: self.load(input),
                    depth: 2,
                    bound: 1,
                },
            },
            Node::Const(value) => Expression {
                text: literal(value),
                depth: 1,
                bound: 1,
            },
            Node::Mul(a, b) => {
                let (a, b) = (self.operand(open, a), self.operand(open, b));
                let (a, b) = order(a, b);
                Expression {
                    text: format!("mulmod({}, {}, r)", a.text, b.text),
                    depth: (1 + b.depth).max(2 + a.depth),
                    bound: 1,
                }
            }
            Node::Add(a, b) => {
                let (a, b) = (self.operand(open, a), self.operand(open, b));
                sum(order(a, b))
            }
            Node::Sub(a, b) => {
                let zero = graph.node(a) == Node::Const(Fr::ZERO);
                let (a, b) = (self.operand(open, a), self.operand(open, b));
                let multiple = match b.bound {
                    1 => "r".to_owned(),
                    n => multiple_of_r(n),
                };
                let negative = Expression {
                    text: format!("sub({multiple}, {})", b.text),
                    depth: 1 + b.depth,
                    bound: b.bound,
                };
                if zero {
                    // Up to the multiple itself, for b = 0: one more is needed to stay below.
                    return match negative.bound + 1 {
                        bound if bound <= MAX_BOUND => Expression { bound, ..negative },
                        _ => Expression {
                            text: format!("mod({}, r)", negative.text),
                            depth: 1 + negative.depth,
                            bound: 1,
                        },
                    };
                }
                sum(order(a, negative))
            }
        }
    }

    /// Where a node is kept, and its bound.
    pub(super) fn kept_of(&self, id: Id) -> (usize, u8) {
        self.kept.get(&id).copied().unwrap_or_default()
    }

    /// A node that is a leaf or kept.
    pub(super) fn scalar(&self, id: Id) -> String {
        match (self.plan.graph.node(id), self.kept.get(&id)) {
            (Node::Input(input), _) => self.load(input),
            (Node::Const(value), _) => literal(value),
            (_, Some((offset, _))) => format!("mload({})", kept_at(*offset)),
            (_, None) => "0".to_owned(),
        }
    }
}

fn sum((a, b): (Expression, Expression)) -> Expression {
    if a.bound + b.bound <= MAX_BOUND {
        Expression {
            text: format!("add({}, {})", a.text, b.text),
            depth: b.depth.max(1 + a.depth),
            bound: a.bound + b.bound,
        }
    } else {
        Expression {
            text: format!("addmod({}, {}, r)", a.text, b.text),
            depth: (1 + b.depth).max(2 + a.depth),
            bound: 1,
        }
    }
}

/// The address of a value that is kept, by m or by k in turns: an optimizer that cannot tell whether a store by one changes what stands
/// at the other loads values again, as meant, instead of computing them again.
pub(super) fn kept_at(offset: usize) -> String {
    if (offset / 32).is_multiple_of(2) {
        at(offset)
    } else {
        format!("add(k, {offset:#x})")
    }
}

/// n·r as a literal, n up to 5.
fn multiple_of_r(n: u8) -> String {
    let mut sum = Fr::MODULUS;
    for _ in 1..n {
        sum.add_with_carry(&Fr::MODULUS);
    }
    format!("0x{}", hex::encode(sum.to_bytes_be()))
}
