//! x times a function of the sum or mean of its squares, when that function is spelled as 1/√(a·s + b), becomes a normalization, times a number for a sum.
//!
//! Keras' layers normalize as x·r − mean·r, with r the inverse root times a weight: that becomes (x − mean)·r first.

use super::super::graph::{FloatGraph, FloatOp};
use super::super::{Expression, Function};
use super::{combine, scaled};
use crate::onnx::Binary;

/// Applies both rewrites.
pub(super) fn normalize(graph: &mut FloatGraph) {
    let readers = graph.readers();
    for id in 0..graph.nodes.len() {
        if let Some(Centred {
            product,
            factors,
            affine,
        }) = centred(graph, &readers, id)
        {
            graph.nodes[product].inputs = factors.to_vec();
            graph.nodes[id].inputs = vec![product];
            graph.nodes[id].op = affine;
        }
    }
    let readers = graph.readers();
    for id in 0..graph.nodes.len() {
        let Some(Normalization {
            x,
            spread,
            n,
            epsilon,
            gain,
        }) = normalization(graph, id)
        else {
            continue;
        };
        let mut normal = id;
        if gain != 1.0 {
            if readers[spread].len() != 1 || x >= spread {
                continue;
            }
            // what spread the factor normalizes, and its only reader scales that
            normal = spread;
            graph.nodes[spread].shape = graph.nodes[x].shape.clone();
            graph.nodes[id].inputs = vec![spread];
            graph.nodes[id].op = FloatOp::Affine {
                inner: 1,
                factors: vec![gain],
                offsets: vec![0.0],
            };
        }
        graph.nodes[normal].op = FloatOp::Normalize { n, epsilon };
        graph.nodes[normal].inputs = vec![x];
    }
}

/// A sum that is weight·(x − mean)·r + bias.
struct Centred {
    /// The product in it, of x and weight·r; it becomes that of the factors.
    product: usize,
    /// x − mean, and r.
    factors: [usize; 2],
    /// What the sum makes of the product.
    affine: FloatOp,
}

/// Numbers of channels, of `inner` elements each.
type Channels = Option<(usize, Vec<f32>)>;

/// What node `id` is, when it is x·f − mean·f + bias with f = weight·r, and r an inverse root of the mean of (x − mean)².
fn centred(graph: &FloatGraph, readers: &[Vec<usize>], id: usize) -> Option<Centred> {
    let FloatOp::Add { signs } = graph.nodes[id].op else {
        return None;
    };
    let &[a, b] = &graph.nodes[id].inputs[..] else {
        return None;
    };
    let of = |product: usize, shift: usize, signs: [i8; 2]| {
        if readers[product].len() != 1 {
            return None;
        }
        let (taken, bias) = taken(graph, shift, signs)?;
        let (pairs, taken) = (factors(graph, product)?, factors(graph, taken)?);
        let mut pairs = pairs
            .iter()
            .flat_map(|p| taken.iter().map(move |t| (*p, *t)));
        pairs.find_map(|([x, f], [mean, g])| {
            if f != g {
                return None;
            }
            let (r, weight) = weighted(graph, f);
            let c = less_mean(graph, &readers[x], [x, mean])?;
            let in_place = c < product && graph.nodes[c].len() == graph.nodes[id].len();
            let affine = affine(weight, bias.clone())?;
            (in_place && inverse_root(graph, c, r).is_some()).then_some(Centred {
                product,
                factors: [c, r],
                affine,
            })
        })
    };
    of(a, b, signs).or_else(|| of(b, a, [signs[1], signs[0]]))
}

/// The factors of a product, in both orders.
fn factors(graph: &FloatGraph, id: usize) -> Option<[[usize; 2]; 2]> {
    match (&graph.nodes[id].op, &graph.nodes[id].inputs[..]) {
        (FloatOp::Mul, &[x, y]) => Some([[x, y], [y, x]]),
        _ => None,
    }
}

/// The product that a sum of these signs takes off by node `shift`, and the bias that comes with it.
fn taken(graph: &FloatGraph, shift: usize, signs: [i8; 2]) -> Option<(usize, Channels)> {
    match &graph.nodes[shift].op {
        FloatOp::Affine {
            inner,
            factors,
            offsets,
        } if signs == [1, 1] && factors.iter().all(|&f| f == -1.0) => {
            let bias = (*inner, offsets.clone());
            Some((graph.nodes[shift].inputs[0], Some(bias)))
        }
        FloatOp::Mul if signs == [1, -1] => Some((shift, None)),
        _ => None,
    }
}

/// What a node weights, and the weights.
fn weighted(graph: &FloatGraph, id: usize) -> (usize, Channels) {
    match &graph.nodes[id].op {
        FloatOp::Affine {
            inner,
            factors,
            offsets,
        } if offsets.iter().all(|&o| o == 0.0) => {
            (graph.nodes[id].inputs[0], Some((*inner, factors.clone())))
        }
        _ => (id, None),
    }
}

/// The reader of x that is x − mean.
fn less_mean(graph: &FloatGraph, readers: &[usize], [x, mean]: [usize; 2]) -> Option<usize> {
    let minus = FloatOp::Add { signs: [1, -1] };
    let is_it = |&c: &usize| {
        graph.nodes.get(c).is_some_and(|node| {
            node.op == minus && node.inputs[0] == x && alike(graph, node.inputs[1], mean, MAX_ALIKE)
        })
    };
    readers.iter().copied().find(is_it)
}

/// weight·x + bias, where they are for the same channels.
fn affine(weight: Channels, bias: Channels) -> Option<FloatOp> {
    let one = |(inner, values): (usize, Vec<f32>)| match values[..] {
        [_] => (0, values),
        _ => (inner, values),
    };
    let (weight, bias) = (weight.map(one), bias.map(one));
    let (per_weight, mut factors) = weight.unwrap_or((0, vec![1.0]));
    let (per_bias, mut offsets) = bias.unwrap_or((0, vec![0.0]));
    let n = factors.len().max(offsets.len());
    for values in [&mut factors, &mut offsets] {
        match values[..] {
            [only] => *values = vec![only; n],
            _ if values.len() != n => return None,
            _ => {}
        }
    }
    let fits = per_weight == 0 || per_bias == 0 || per_weight == per_bias;
    fits.then(|| FloatOp::Affine {
        inner: per_weight.max(per_bias).max(1),
        factors,
        offsets,
    })
}

/// gain·x / √(mean of x² + ε), row by row.
struct Normalization {
    x: usize,
    /// The node that spreads the factor of each row.
    spread: usize,
    n: usize,
    epsilon: f64,
    gain: f32,
}

/// The normalization that node `id` is, when it is x times an inverse root of the sum or mean of x².
fn normalization(graph: &FloatGraph, id: usize) -> Option<Normalization> {
    let node = &graph.nodes[id];
    if node.op != FloatOp::Mul {
        return None;
    }
    let &[a, b] = &node.inputs[..] else {
        return None;
    };
    [(a, b), (b, a)]
        .into_iter()
        .find_map(|(x, spread)| inverse_root(graph, x, spread))
}

/// The normalization of x by the factors that node `at_node` spreads over its rows.
fn inverse_root(graph: &FloatGraph, x: usize, at_node: usize) -> Option<Normalization> {
    let nodes = &graph.nodes;
    let spread = &nodes[at_node];
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
    let root = &nodes[reshaped(graph, spread.inputs[0])];
    let FloatOp::Unary(function) = &root.op else {
        return None;
    };
    let mut function = function.clone();
    let mut mean = reshaped(graph, root.inputs[0]);
    for _ in 0..MAX_ALIKE {
        let FloatOp::Affine {
            factors, offsets, ..
        } = &nodes[mean].op
        else {
            break;
        };
        let (&[factor], &[offset]) = (&factors[..], &offsets[..]) else {
            return None;
        };
        let product = scaled(factor.into(), Expression::Argument);
        let affine = combine(Binary::Add, product, Expression::Constant(offset.into()));
        function = function.compose(&affine);
        mean = reshaped(graph, nodes[mean].inputs[0]);
    }
    let FloatOp::SumPool {
        geometry,
        divisors,
        factor,
    } = &nodes[mean].op
    else {
        return None;
    };
    let rows = geometry.height == 1
        && geometry.width == n
        && geometry.kernel == [1, n]
        && geometry.pads == [0; 4];
    let whole = divisors == &[1];
    // of the mean of squares
    let weight = factor * n as f64;
    let squares = &nodes[reshaped(graph, nodes[mean].inputs[0])];
    let FloatOp::Unary(square) = &squares.op else {
        return None;
    };
    if !rows || !whole || !is_square(square) || !alike(graph, squares.inputs[0], x, MAX_ALIKE) {
        return None;
    }
    let root = Root::of(&function).filter(|root| root.power == -0.5)?;
    let (mut slope, term) = (root.slope * weight, root.term);
    if (slope - 1.0).abs() < 1e-6 {
        slope = 1.0;
    }
    (term >= 0.0 && slope > 1e-12 && slope < 1e12).then(|| Normalization {
        x,
        spread: at_node,
        n,
        epsilon: term / slope,
        gain: (1.0 / slope.sqrt()) as f32,
    })
}

/// Whether an expression is x².
fn is_square(e: &Expression) -> bool {
    let is_x = |e: &Expression| *e == Expression::Argument;
    match e {
        Expression::Apply(Function::Square, x) => is_x(x),
        Expression::Combine(Binary::Multiply, a, b) => is_x(a) && is_x(b),
        Expression::Combine(Binary::Power, x, two) => is_x(x) && **two == Expression::Constant(2.0),
        _ => false,
    }
}

/// (slope·s + term)^power of a sum of squares s, with a power of 1, −1, 1/2 or −1/2.
struct Root {
    slope: f64,
    term: f64,
    power: f64,
}

/// Largest bound from below of a sum of squares that counts as added to it: rows shorter than its root are as good as zero.
const LEAST_SQUARES: f64 = 1e-10;

impl Root {
    /// The form of an expression, if it has one; a bound from below that no s reaches is none.
    fn of(e: &Expression) -> Option<Self> {
        match e {
            Expression::Argument => Some(Self {
                slope: 1.0,
                term: 0.0,
                power: 1.0,
            }),
            Expression::Apply(Function::Sqrt, of) => Self::of(of)?.to(0.5),
            Expression::Apply(Function::Reciprocal, of) => Self::of(of)?.to(-1.0),
            Expression::Combine(f, a, b) => match (&**a, &**b) {
                (Expression::Constant(c), e) => Self::of(e)?.beside(*f, *c, true),
                (e, Expression::Constant(c)) => Self::of(e)?.beside(*f, *c, false),
                _ => None,
            },
            _ => None,
        }
    }

    fn to(self, exponent: f64) -> Option<Self> {
        let power = self.power * exponent;
        [1.0, -1.0, 0.5, -0.5]
            .contains(&power)
            .then_some(Self { power, ..self })
    }

    /// Times a positive number.
    fn times(self, c: f64) -> Option<Self> {
        let inside = c.powf(1.0 / self.power);
        (c > 0.0 && c.is_finite()).then_some(Self {
            slope: self.slope * inside,
            term: self.term * inside,
            ..self
        })
    }

    fn beside(self, f: Binary, c: f64, first: bool) -> Option<Self> {
        match f {
            Binary::Add if self.power == 1.0 => Some(Self {
                term: self.term + c,
                ..self
            }),
            Binary::Subtract if self.power == 1.0 && !first => Some(Self {
                term: self.term - c,
                ..self
            }),
            Binary::Multiply => self.times(c),
            Binary::Divide if first => self.to(-1.0)?.times(c),
            Binary::Divide => self.times(1.0 / c),
            Binary::Power if !first => self.to(c),
            Binary::Maximum if self.power > 0.0 => {
                let bound = if c > 0.0 {
                    c.powf(1.0 / self.power)
                } else {
                    0.0
                };
                let reached = self.term < bound;
                let little = self.term == 0.0 && bound <= LEAST_SQUARES * self.slope;
                match (self.slope > 0.0 && self.term >= 0.0, reached) {
                    (true, false) => Some(self),
                    (true, true) if little => Some(Self {
                        term: bound,
                        ..self
                    }),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

/// Nodes that [`alike`] looks back.
const MAX_ALIKE: usize = 4;

/// Whether two nodes hold the same elements in the same order, as far as a few nodes before them tell.
fn alike(graph: &FloatGraph, a: usize, b: usize, depth: usize) -> bool {
    let [a, b] = [a, b].map(|id| reshaped(graph, id));
    let [x, y] = [a, b].map(|id| &graph.nodes[id]);
    let inputs = || x.inputs.iter().zip(&y.inputs);
    let is_input = matches!(x.op, FloatOp::Input { .. });
    a == b
        || depth > 0
            && !is_input
            && x.op == y.op
            && x.inputs.len() == y.inputs.len()
            && inputs().all(|(&x, &y)| alike(graph, x, y, depth - 1))
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
