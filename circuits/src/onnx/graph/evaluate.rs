//! The float operators on real numbers, in f64 and in a fixed order.

use super::{FloatOp, Relation};
use crate::onnx::Function;
use crate::tensor::ConvGeometry;

impl FloatOp {
    /// The output, of `len` elements; an operator reads as many inputs as it has.
    pub fn evaluate(&self, inputs: &[&[f64]], len: usize) -> Vec<f64> {
        let input = |i: usize| inputs.get(i).copied().unwrap_or_default();
        let (x, x1) = (input(0), input(1));
        match self {
            Self::Input { .. } => x.to_vec(),
            Self::Conv {
                geometry,
                weights,
                bias,
            } => convolve(geometry, weights, bias, x),
            Self::MatMul {
                n_in,
                weights,
                bias,
            } => x
                .chunks_exact(*n_in)
                .flat_map(|row| {
                    weights.chunks_exact(*n_in).zip(bias).map(|(w, &b)| {
                        row.iter()
                            .zip(w)
                            .fold(f64::from(b), |sum, (x, &w)| sum + x * f64::from(w))
                    })
                })
                .collect(),
            Self::Affine {
                inner,
                factors,
                offsets,
            } => x
                .iter()
                .enumerate()
                .map(|(i, x)| {
                    let c = i / inner % factors.len();
                    x * f64::from(factors[c]) + f64::from(offsets[c])
                })
                .collect(),
            Self::Add { signs } => x
                .iter()
                .zip(x1)
                .map(|(a, b)| a * f64::from(signs[0]) + b * f64::from(signs[1]))
                .collect(),
            Self::Clamp { lo, hi } => x
                .iter()
                .map(|x| x.max(f64::from(*lo)).min(f64::from(*hi)))
                .collect(),
            Self::Unary(function) => x.iter().map(|&x| function.value(x)).collect(),
            Self::Mul => x.iter().zip(x1).map(|(a, b)| a * b).collect(),
            Self::Extremum { largest } => {
                let better = |a: f64, b: f64| if *largest { a.max(b) } else { a.min(b) };
                let element = |i: usize| inputs.iter().map(|x| x[i]).reduce(better);
                (0..len).filter_map(element).collect()
            }
            Self::Compare(relation) => {
                let holds = |(a, b): (&f64, &f64)| match relation {
                    Relation::Less => a < b,
                    Relation::LessOrEqual => a <= b,
                    Relation::Equal => a == b,
                };
                x.iter()
                    .zip(x1)
                    .map(|pair| f64::from(u8::from(holds(pair))))
                    .collect()
            }
            Self::Select => {
                let choose = |i: usize| if x[i] != 0.0 { x1[i] } else { input(2)[i] };
                (0..len).map(choose).collect()
            }
            Self::Gather { index, constants } => {
                let mut joined = inputs.concat();
                joined.extend(constants.iter().copied().map(f64::from));
                index.iter().map(|&i| joined[i as usize]).collect()
            }
            Self::Contract {
                sizes: [batch, rows, inner, columns],
                factor,
            } => {
                let mut y = contract([*batch, *rows, *inner, *columns], x, x1);
                y.iter_mut().for_each(|y| *y *= factor);
                y
            }
            Self::Softmax { n } => x.chunks_exact(*n).flat_map(softmax).collect(),
            Self::Normalize { n, epsilon } => x
                .chunks_exact(*n)
                .flat_map(|row| {
                    let squares: f64 = row.iter().fold(0.0, |sum, x| sum + x * x);
                    let root = (squares / *n as f64 + epsilon).sqrt();
                    // a row of zeros without ε stays zero
                    row.iter()
                        .map(move |x| if root > 0.0 { x / root } else { 0.0 })
                })
                .collect(),
            Self::ArgExtremum { n, largest, last } => x
                .chunks_exact(*n)
                .map(|row| {
                    let best = ranked(row, *largest)[0];
                    let equals = row.iter().rposition(|v| *v == row[best]);
                    let chosen = if *last { equals.unwrap_or(best) } else { best };
                    chosen as f64
                })
                .collect(),
            Self::TopK {
                n,
                k,
                largest,
                indices,
            } => x
                .chunks_exact(*n)
                .flat_map(|row| {
                    let chosen = ranked(row, *largest).into_iter().take(*k);
                    chosen.map(|i| if *indices { i as f64 } else { row[i] })
                })
                .collect(),
            Self::Lookup { width, values } => {
                let last = (values.len() / width).saturating_sub(1) as f64;
                x.iter()
                    .flat_map(|i| {
                        // between 0 and the last row
                        let row = i.round().clamp(0.0, last) as usize;
                        values[row * width..][..*width]
                            .iter()
                            .copied()
                            .map(f64::from)
                    })
                    .collect()
            }
            Self::MaxPool { geometry } => {
                let pooled = pool(geometry, x, f64::NEG_INFINITY, f64::max);
                pooled.into_iter().flatten().collect()
            }
            Self::SumPool {
                geometry,
                divisors,
                factor,
            } => {
                let divisor =
                    |p: usize| f64::from(divisors[if divisors.len() == 1 { 0 } else { p }]);
                let planes = pool(geometry, x, 0.0, |a, b| a + b).into_iter();
                planes
                    .flat_map(|plane| plane.into_iter().enumerate())
                    .map(|(p, sum)| sum * factor / divisor(p))
                    .collect()
            }
            Self::Quantize {
                scale,
                zero_point,
                lo,
                hi,
            } => {
                let zero = *zero_point as f64;
                let (lo, hi) = (*lo as f64 - zero, *hi as f64 - zero);
                let steps = |x: &f64| f64::from((x / scale) as f32).round_ties_even();
                x.iter().map(|x| steps(x).clamp(lo, hi) * scale).collect()
            }
            Self::Layout { view, axes } => {
                let shape = axes.iter().map(|&a| view[a]).collect();
                let layout = crate::ops::Layout {
                    view: view.clone(),
                    axes: axes.clone(),
                    shape,
                };
                layout.index().into_iter().map(|i| x[i]).collect()
            }
        }
    }
}

fn convolve(g: &ConvGeometry, weights: &[f32], bias: &[f32], x: &[f64]) -> Vec<f64> {
    let [rows, columns] = g.output_size();
    let area = g.height * g.width;
    let (per_group, n_taps) = (g.channels_in_per_group(), g.n_taps());
    let taps: Vec<_> = g
        .taps()
        .filter_map(|t| Some((t.output, t.tap, t.input?)))
        .collect();
    let mut y = Vec::with_capacity(g.output_len());
    for (o, &bias) in bias.iter().enumerate() {
        let mut sums = vec![f64::from(bias); rows * columns];
        let first = o / g.channels_out_per_group() * per_group;
        for c in 0..per_group {
            let input = &x[(first + c) * area..][..area];
            let kernel = &weights[(o * per_group + c) * n_taps..][..n_taps];
            for &(output, tap, source) in &taps {
                sums[output] += f64::from(kernel[tap]) * input[source];
            }
        }
        y.extend(sums);
    }
    y
}

/// Folds every window of every plane.
fn pool(g: &ConvGeometry, x: &[f64], start: f64, fold: impl Fn(f64, f64) -> f64) -> Vec<Vec<f64>> {
    let [rows, columns] = g.output_size();
    let taps: Vec<_> = g
        .taps()
        .filter_map(|t| Some((t.output, t.input?)))
        .collect();
    x.chunks_exact(g.height * g.width)
        .map(|plane| {
            let mut folded = vec![start; rows * columns];
            for &(output, source) in &taps {
                folded[output] = fold(folded[output], plane[source]);
            }
            folded
        })
        .collect()
}

/// Batched product of rows of a and rows of b.
fn contract([batch, rows, inner, columns]: [usize; 4], a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut y = Vec::with_capacity(batch * rows * columns);
    for t in 0..batch {
        for left in a[t * rows * inner..][..rows * inner].chunks_exact(inner) {
            for right in b[t * columns * inner..][..columns * inner].chunks_exact(inner) {
                y.push(left.iter().zip(right).fold(0.0, |sum, (x, y)| sum + x * y));
            }
        }
    }
    y
}

fn softmax(row: &[f64]) -> Vec<f64> {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = row
        .iter()
        .map(|x| Function::Exp.value(x - largest))
        .collect();
    let sum = powers.iter().fold(0.0, |sum, x| sum + x);
    powers.iter().map(|x| x / sum).collect()
}

/// Indices of a row from the best value to the worst, of equals the first in front.
fn ranked(row: &[f64], largest: bool) -> Vec<usize> {
    let mut order: Vec<usize> = (0..row.len()).collect();
    // a stable sort
    order.sort_by(|&a, &b| {
        let (a, b) = if largest { (b, a) } else { (a, b) };
        row[a].total_cmp(&row[b])
    });
    order
}
