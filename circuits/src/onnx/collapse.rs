//! Rewrites that make one operator of many.
//!
//! * Element-wise operators that all start from one tensor become one function of it, and so one table, whatever their spelling: x·sigmoid(x),
//!   the exponential branches of ELU, hard swish. Chains of nothing but affine functions and clamps stay: they need no table.
//! * x times a function of the mean of its squares, when that function is 1/√(m + ε), becomes a normalization.

use super::graph::{FloatGraph, FloatNode, FloatOp, Relation};
use super::{Binary, Expression, MASK};

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

/// Applies both rewrites. Nodes that nothing reads any more stay.
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
    for id in 0..graph.nodes.len() {
        if let Some((x, op)) = normalization(graph, id) {
            graph.nodes[id].op = op;
            graph.nodes[id].inputs = vec![x];
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

/// x and its normalization, when node `id` is x times the inverse root of the mean of x² plus ε, row by row.
fn normalization(graph: &FloatGraph, id: usize) -> Option<(usize, FloatOp)> {
    let node = &graph.nodes[id];
    if node.op != FloatOp::Mul {
        return None;
    }
    let &[a, b] = &node.inputs[..] else {
        return None;
    };
    [(a, b), (b, a)]
        .into_iter()
        .find_map(|(x, factor)| Some((x, inverse_root(graph, x, factor)?)))
}

/// The rows and ε, when `factor` is the inverse root of the mean of x², spread over the rows of x.
fn inverse_root(graph: &FloatGraph, x: usize, factor: usize) -> Option<FloatOp> {
    let nodes = &graph.nodes;
    let spread = &nodes[factor];
    let n = match &spread.op {
        FloatOp::Gather { index, constants }
            if constants.is_empty() && spread.inputs.len() == 1 =>
        {
            let rows = nodes[spread.inputs[0]].len();
            let n = spread.len().checked_div(rows).filter(|&n| n > 0)?;
            let in_rows = index
                .iter()
                .enumerate()
                .all(|(i, &from)| from as usize == i / n);
            in_rows.then_some(n)?
        }
        _ => return None,
    };
    let root = &nodes[spread.inputs[0]];
    let FloatOp::Unary(function) = &root.op else {
        return None;
    };
    let mean = reshaped(graph, root.inputs[0]);
    let FloatOp::SumPool {
        geometry,
        divisors,
        factor,
    } = &nodes[mean].op
    else {
        return None;
    };
    let rows = geometry.height == 1 && geometry.width == n && geometry.kernel == [1, n];
    let is_mean = divisors == &[1] && (factor * n as f64 - 1.0).abs() < 1e-6;
    let squares = &nodes[reshaped(graph, nodes[mean].inputs[0])];
    let FloatOp::Unary(square) = &squares.op else {
        return None;
    };
    let is_square = [-2.5, 0.0, 0.5, 3.0]
        .iter()
        .all(|&v: &f64| square.value(v) == v * v);
    if !rows || !is_mean || !is_square || reshaped(graph, squares.inputs[0]) != reshaped(graph, x) {
        return None;
    }
    // f(m) = 1/√(m + ε) for some ε
    let at_zero = function.value(0.0);
    let epsilon = if at_zero.is_finite() {
        1.0 / (at_zero * at_zero)
    } else {
        0.0
    };
    let fits = [1e-6, 0.01, 0.5, 1.0, 10.0, 1e4].iter().all(|&m: &f64| {
        let expected = 1.0 / (m + epsilon).sqrt();
        (function.value(m) - expected).abs() <= 1e-6 * expected
    });
    (fits && epsilon >= 0.0).then_some(FloatOp::Normalize { n, epsilon })
}

/// The node behind reshapes that move nothing.
fn reshaped(graph: &FloatGraph, mut id: usize) -> usize {
    while let FloatOp::Layout { axes, view } = &graph.nodes[id].op
        && axes.iter().filter(|&&a| view[a] != 1).is_sorted()
    {
        id = graph.nodes[id].inputs[0];
    }
    id
}
