//! Rewrites that make one operator of many.
//!
//! * Element-wise operators that all start from one tensor become one function of it, and so one table, whatever their spelling: x·sigmoid(x),
//!   the exponential branches of ELU, hard swish. Chains of nothing but affine functions and clamps stay: they need no table.
//! * A sum with a negation becomes a difference.
//! * x times a function of the sum or mean of its squares becomes a normalization (`normalization`).

mod normalization;

use super::graph::{FloatGraph, FloatNode, FloatOp, Relation};
use super::{Binary, Expression, Function, MASK};

/// What a node computes: a function of an earlier one.
#[derive(Clone, Debug)]
struct View {
    root: usize,
    function: Expression,
    /// Whether it is more than affine functions and clamps.
    curved: bool,
}

impl View {
    fn itself(id: usize) -> Self {
        Self {
            root: id,
            function: Expression::Argument,
            curved: false,
        }
    }
}

/// Applies all rewrites. Nodes that nothing reads any more stay.
pub(super) fn collapse(graph: &mut FloatGraph) {
    let mut views: Vec<View> = Vec::with_capacity(graph.nodes.len());
    for id in 0..graph.nodes.len() {
        let view = view(graph, &views, id).filter(|v| v.function.size() <= Expression::MAX_NODES);
        views.push(view.unwrap_or_else(|| View::itself(id)));
    }
    for (id, view) in views.into_iter().enumerate() {
        if view.root != id && view.curved {
            graph.nodes[id].op = FloatOp::Unary(view.function);
            graph.nodes[id].inputs = vec![view.root];
        }
    }
    subtract_what_is_negated(graph);
    normalization::normalize(graph);
}

/// What is negated and then added is subtracted, without a table.
fn subtract_what_is_negated(graph: &mut FloatGraph) {
    let negated = |node: &FloatNode| match &node.op {
        FloatOp::Unary(Expression::Apply(Function::Negate, of)) if **of == Expression::Argument => {
            Some(node.inputs[0])
        }
        _ => None,
    };
    for id in 0..graph.nodes.len() {
        let FloatOp::Add { mut signs } = graph.nodes[id].op else {
            continue;
        };
        let mut inputs = graph.nodes[id].inputs.clone();
        for (sign, input) in signs.iter_mut().zip(&mut inputs) {
            if let Some(of) = negated(&graph.nodes[*input]) {
                (*sign, *input) = (-*sign, of);
            }
        }
        if signs != [-1, -1] {
            graph.nodes[id].op = FloatOp::Add { signs };
            graph.nodes[id].inputs = inputs;
        }
    }
}

/// The only value of a tensor of equal constants.
fn number(graph: &FloatGraph, id: usize) -> Option<f64> {
    let node = &graph.nodes[id];
    let FloatOp::Gather { index, constants } = &node.op else {
        return None;
    };
    let before: usize = node.inputs.iter().map(|&i| graph.nodes[i].len()).sum();
    let fixed = index.iter().all(|&i| i as usize >= before);
    let first = *constants.first()?;
    let equal = constants.iter().all(|&c| c == first && c > MASK);
    (fixed && equal).then_some(first.into())
}

fn combine(f: Binary, a: Expression, b: Expression) -> Expression {
    Expression::Combine(f, Box::new(a), Box::new(b))
}

fn scaled(c: f64, x: Expression) -> Expression {
    if c == 1.0 {
        return x;
    }
    combine(Binary::Multiply, Expression::Constant(c), x)
}

fn view(graph: &FloatGraph, views: &[View], id: usize) -> Option<View> {
    let node = &graph.nodes[id];
    let (mut root, mut curved) = (None, false);
    let mut operands = Vec::with_capacity(node.inputs.len());
    if matches!(node.op, FloatOp::Gather { .. } | FloatOp::Layout { .. }) {
        return None;
    }
    for &input in &node.inputs {
        if let Some(value) = number(graph, input) {
            operands.push(Expression::Constant(value));
            continue;
        }
        let view = views.get(input)?;
        if root.is_some_and(|root| root != view.root) {
            return None;
        }
        root = Some(view.root);
        curved |= view.curved;
        operands.push(view.function.clone());
    }
    let root =
        root.filter(|&root| graph.nodes[root].shape == node.shape || same_len(graph, root, node))?;
    let mut operands = operands.into_iter();
    let mut next = || operands.next();
    let function = match &node.op {
        FloatOp::Affine {
            factors, offsets, ..
        } => {
            let (&[factor], &[offset]) = (&factors[..], &offsets[..]) else {
                return None;
            };
            let product = scaled(factor.into(), next()?);
            let function = combine(Binary::Add, product, Expression::Constant(offset.into()));
            return Some(View {
                root,
                function,
                curved,
            });
        }
        FloatOp::Clamp { lo, hi } => {
            let mut function = next()?;
            if lo.is_finite() {
                function = combine(
                    Binary::Maximum,
                    function,
                    Expression::Constant((*lo).into()),
                );
            }
            if hi.is_finite() {
                function = combine(
                    Binary::Minimum,
                    function,
                    Expression::Constant((*hi).into()),
                );
            }
            return Some(View {
                root,
                function,
                curved,
            });
        }
        FloatOp::Unary(function) => function.compose(&next()?),
        FloatOp::Add { signs } => {
            let (a, b) = (next()?, next()?);
            combine(
                Binary::Add,
                scaled(signs[0].into(), a),
                scaled(signs[1].into(), b),
            )
        }
        FloatOp::Mul => combine(Binary::Multiply, next()?, next()?),
        FloatOp::Extremum { largest } => {
            let f = if *largest {
                Binary::Maximum
            } else {
                Binary::Minimum
            };
            let first = next()?;
            operands.fold(first, |y, x| combine(f, y, x))
        }
        FloatOp::Compare(relation) => {
            let f = match relation {
                Relation::Less => Binary::Less,
                Relation::LessOrEqual => Binary::LessOrEqual,
                Relation::Equal => Binary::Equal,
            };
            combine(f, next()?, next()?)
        }
        FloatOp::Select => {
            let (condition, yes, no) = (next()?, next()?, next()?);
            Expression::Select(Box::new(condition), Box::new(yes), Box::new(no))
        }
        _ => return None,
    };
    Some(View {
        root,
        function,
        curved: true,
    })
}

fn same_len(graph: &FloatGraph, root: usize, node: &FloatNode) -> bool {
    graph.nodes[root].len() == node.len()
}
