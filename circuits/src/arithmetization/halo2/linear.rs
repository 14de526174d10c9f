//! # Convolutions and dense layers as products of polynomials
//! For every output channel o, with one variable z for the positions: `Σ_i X_i(z)·W_oi(z) = Y_o(z)`, where X_i carries the
//! (padded) input channel, W_oi the kernel back to front, and Y_o the outputs at their positions and, at all others,
//! coefficients that mean nothing. Channels are folded with powers of γ and η, z is set to δ:
//! `Σ_i X_i(δ)·Σ_o c_o·W_oi(δ) = Σ_o c_o·Y_o(δ)`, c_o = γ^t·η^j for o = t·width + j.
//! Cost: |x| + |y| + |W|/width rows, not the number of multiplications. Soundness: DESIGN.md#products. Sources: vCNN, eprint
//! 2020/584 (convolution as polynomial product); Freivalds 1979.

use super::lower::{Lowering, Scale};
use super::tape::{HomeFill, Mode, Operand, Target};
use super::values::fr;
use super::{Fr, Products};
use crate::arithmetization::LowerError;
use crate::constraint::{LinearMap, TensorId, bias_at};
use halo2curves::ff::Field;

/// Longest product of one channel, and most multiplications to find or compute the coefficients between the outputs: beyond, the map is
/// lowered term by term.
const MAX_SPAN: usize = 1 << 22;
const MAX_PAIRS: usize = 1 << 26;
const MAX_BETWEEN: usize = 1 << 32;

/// A linear map as products of polynomials.
#[derive(Clone, Debug)]
pub(super) struct Product {
    /// Program tensor x and the step that holds the weights.
    pub(super) x: TensorId,
    pub(super) step: usize,
    groups: usize,
    /// Input and output channels of a group.
    ic: usize,
    oc: usize,
    /// Exponent of every tap of the (reversed) kernel.
    taps: Vec<usize>,
    /// Exponent of every input position of one channel that is not padding, ascending.
    inputs: Vec<usize>,
    /// Exponent of every output position of one channel.
    outputs: Vec<usize>,
    /// Number of coefficients of the product.
    span: usize,
    dense: bool,
    /// (group, output channel, exponent) of every coefficient that is no output.
    pub(super) between: Vec<(u32, u32, u32)>,
}

impl Product {
    /// The product form of a map over an input of `n` elements, if it has one of a sensible size.
    pub(super) fn of(map: &LinearMap, x: TensorId, step: usize, n: usize) -> Option<Self> {
        match map {
            LinearMap::Dense { n_in, n_out, .. } => {
                let batch = n / n_in;
                Some(Self {
                    x,
                    step,
                    groups: 1,
                    ic: *n_in,
                    oc: *n_out,
                    taps: vec![0],
                    inputs: (0..batch).collect(),
                    outputs: (0..batch).collect(),
                    span: batch,
                    dense: true,
                    between: vec![],
                })
            }
            LinearMap::Conv { geometry: g, .. } => {
                let [top, left, bottom, right] = g.pads;
                let pitch = left.checked_add(g.width)?.checked_add(right)?;
                let height = top.checked_add(g.height)?.checked_add(bottom)?;
                let [dy, dx] = g.dilations;
                let offset = |u: usize, v: usize| {
                    (u.checked_mul(dy)?.checked_mul(pitch)?).checked_add(v.checked_mul(dx)?)
                };
                let reach = offset(g.kernel[0] - 1, g.kernel[1] - 1)?;
                let whole = height.checked_mul(pitch)?.checked_add(reach)?;
                let n_taps = g.kernel[0].checked_mul(g.kernel[1])?;
                let pairs = g.height.checked_mul(g.width)?.checked_mul(n_taps)?;
                let between = whole
                    .checked_mul(g.channels_out)?
                    .checked_mul(g.channels_in_per_group())?
                    .checked_mul(n_taps)?;
                if whole > MAX_SPAN || pairs > MAX_PAIRS || between > MAX_BETWEEN {
                    return None;
                }
                let mut taps = vec![];
                for u in 0..g.kernel[0] {
                    for v in 0..g.kernel[1] {
                        taps.push(reach - offset(u, v)?);
                    }
                }
                let at = |row: usize, column: usize| row * pitch + column;
                let mut inputs: Vec<usize> = (0..g.height)
                    .flat_map(|i| (0..g.width).map(move |j| at(top + i, left + j)))
                    .collect();
                let [rows, columns] = g.output_size();
                let [sy, sx] = g.strides;
                let mut outputs: Vec<usize> = (0..rows)
                    .flat_map(|i| (0..columns).map(move |j| at(i * sy, j * sx) + reach))
                    .collect();
                // leading padding is a power of z that both sides share
                let shared = inputs.iter().chain(&outputs).min().copied().unwrap_or(0);
                for e in inputs.iter_mut().chain(&mut outputs) {
                    *e -= shared;
                }
                let product = inputs.iter().max().map_or(0, |e| e + reach);
                let span = outputs.iter().max().map_or(product, |e| product.max(*e)) + 1;
                Some(Self {
                    x,
                    step,
                    groups: g.groups,
                    ic: g.channels_in_per_group(),
                    oc: g.channels_out_per_group(),
                    taps,
                    inputs,
                    outputs,
                    span,
                    dense: false,
                    between: vec![],
                })
            }
            LinearMap::Gather { .. } | LinearMap::Scale { .. } => None,
        }
    }

    /// Rows this form takes.
    pub(super) fn rows(&self, width: usize) -> usize {
        let kernels = self.ic * self.taps.len() * self.oc.div_ceil(width);
        let folds = if self.taps.len() > 1 {
            self.ic * self.taps.len()
        } else {
            0
        };
        let outputs = if self.span > 1 {
            self.oc * self.span
        } else {
            0
        };
        let inputs = self.ic * (self.inputs.last().map_or(0, |e| e + 1));
        self.groups * (kernels + folds + inputs + self.ic + outputs + self.oc)
    }

    fn x_index(&self, group: usize, channel: usize, position: usize) -> usize {
        if self.dense {
            position * self.ic + channel
        } else {
            (group * self.ic + channel) * self.inputs.len() + position
        }
    }

    fn y_index(&self, group: usize, channel: usize, position: usize) -> usize {
        if self.dense {
            position * self.oc + channel
        } else {
            (group * self.oc + channel) * self.outputs.len() + position
        }
    }

    fn weight(&self, weights: &[i64], group: usize, o: usize, i: usize, tap: usize) -> i64 {
        weights[((group * self.oc + o) * self.ic + i) * self.taps.len() + tap]
    }

    /// Exponents that some input and some tap make and that are no output, ascending.
    fn between_exponents(&self) -> Vec<usize> {
        let mut seen = vec![false; self.span];
        for e in &self.inputs {
            for t in &self.taps {
                seen[e + t] = true;
            }
        }
        for e in &self.outputs {
            seen[*e] = false;
        }
        (0..self.span).filter(|e| seen[*e]).collect()
    }

    /// The value of a coefficient that is no output.
    pub(super) fn between_value(&self, map: &LinearMap, index: usize, x: &[Fr]) -> Fr {
        let weights = match map {
            LinearMap::Conv { weights, .. } | LinearMap::Dense { weights, .. } => weights,
            LinearMap::Gather { .. } | LinearMap::Scale { .. } => return Fr::ZERO,
        };
        let (group, o, exponent) = self.between[index];
        let (group, o, exponent) = (group as usize, o as usize, exponent as usize);
        let mut sum = Fr::ZERO;
        for (tap, t) in self.taps.iter().enumerate() {
            let Some(e) = exponent.checked_sub(*t) else {
                continue;
            };
            let Ok(position) = self.inputs.binary_search(&e) else {
                continue;
            };
            for i in 0..self.ic {
                let w = self.weight(weights, group, o, i, tap);
                if w != 0 {
                    sum += fr(w) * x[self.x_index(group, i, position)];
                }
            }
        }
        sum
    }
}

/// One coefficient of Y_o: its home cell, that cell's scale and the output's bias; none where it is zero by construction.
type Coefficient = Option<(u32, Scale, i64)>;

impl Lowering<'_> {
    /// `homes = scale(W·x + bias)`: emits the cheaper of the two forms.
    pub(super) fn linear(
        &mut self,
        step: usize,
        map: &LinearMap,
        x: TensorId,
        bias: &[i64],
        homes: &[u32],
        scales: &[Scale],
    ) -> Result<(), LowerError> {
        let n = self.views[x.index()].len();
        let direct = homes.len().saturating_mul(map.row_terms() as usize);
        let product = Product::of(map, x, step, n).filter(|product| match self.plan.products {
            Products::Cheapest => product.rows(self.tape.width) < direct,
            Products::Always => true,
            Products::Never => false,
        });
        match product {
            Some(product) => {
                self.room(product.rows(self.tape.width))?;
                self.product_form(product, map, bias, homes, scales);
            }
            None => {
                self.room(direct)?;
                self.term_by_term(step, map, x, bias, homes, scales);
            }
        }
        Ok(())
    }

    fn term_by_term(
        &mut self,
        step: usize,
        map: &LinearMap,
        x: TensorId,
        bias: &[i64],
        homes: &[u32],
        scales: &[Scale],
    ) {
        for (out, (home, scale)) in homes.iter().zip(scales).enumerate() {
            let mut terms = vec![];
            map.row(out, |i, c| terms.push((fr(c), self.views[x.index()][i])));
            let constant = fr(bias_at(bias, out));
            self.sum_into(step, &terms, constant, *home, *scale);
        }
    }

    fn product_form(
        &mut self,
        mut product: Product,
        map: &LinearMap,
        bias: &[i64],
        homes: &[u32],
        scales: &[Scale],
    ) {
        let weights = match map {
            LinearMap::Conv { weights, .. } | LinearMap::Dense { weights, .. } => weights,
            // `Product::of` made no product of these
            LinearMap::Gather { .. } | LinearMap::Scale { .. } => return,
        };
        let between = product.between_exponents();
        let index = self.products.len() as u32;
        for group in 0..product.groups {
            let left = self.left_side(&product, weights, group);
            let mut right = vec![];
            for o in 0..product.oc {
                let out = |position| product.y_index(group, o, position);
                let mut coefficients: Vec<Coefficient> = vec![None; product.span];
                for (position, e) in product.outputs.iter().enumerate() {
                    let y = out(position);
                    coefficients[*e] = Some((homes[y], scales[y], bias_at(bias, y)));
                }
                for e in &between {
                    let at = product.between.len() as u32;
                    product.between.push((group as u32, o as u32, *e as u32));
                    let home = self.home(HomeFill::Between {
                        product: index,
                        index: at,
                    });
                    coefficients[*e] = Some((home, Scale::ONE, 0));
                }
                right.push(coefficients);
            }
            let right = self.right_side(product.step as u32, &right);
            self.tape.tie(left, Target::Result(right));
        }
        self.products.push(product);
    }

    /// Σ_i X_i(δ)·Σ_o c_o·W_oi(δ).
    fn left_side(&mut self, product: &Product, weights: &[i64], group: usize) -> u32 {
        let step = product.step as u32;
        let mut factors = vec![];
        for i in 0..product.ic {
            let mut folded = vec![];
            for tap in 0..product.taps.len() {
                folded.push(self.fold_channels(product, weights, group, i, tap));
            }
            let kernel = match folded[..] {
                [only] => only,
                _ => {
                    let mut mode = Mode::Start;
                    for (value, e) in folded.iter().zip(&product.taps) {
                        let pair = [Operand::Power(*e as u32), Operand::Result(*value)];
                        self.tape.product(step, mode, Fr::ONE, pair, &[]);
                        mode = Mode::Keep;
                    }
                    self.tape.last()
                }
            };
            factors.push((kernel, self.input_polynomial(product, group, i)));
        }
        let mut mode = Mode::Start;
        for (kernel, input) in factors {
            let pair = [Operand::Result(kernel), input];
            self.tape.product(step, mode, Fr::ONE, pair, &[]);
            mode = Mode::Keep;
        }
        self.tape.last()
    }

    /// Σ_o c_o·w_o of one tap: fixed addends only.
    fn fold_channels(
        &mut self,
        product: &Product,
        weights: &[i64],
        group: usize,
        i: usize,
        tap: usize,
    ) -> u32 {
        let width = self.tape.width;
        let mut mode = Mode::Start;
        for t in (0..product.oc.div_ceil(width)).rev() {
            let row: Vec<Fr> = (t * width..product.oc.min((t + 1) * width))
                .map(|o| fr(product.weight(weights, group, o, i, tap)))
                .collect();
            self.tape.addends(product.step as u32, mode, &row);
            mode = Mode::Gamma;
        }
        self.tape.last()
    }

    /// X_i(δ) by Horner's rule; a lone element that is a cell is taken as it is.
    fn input_polynomial(&mut self, product: &Product, group: usize, i: usize) -> Operand {
        let step = product.step as u32;
        let mut coefficients = vec![None; product.inputs.last().map_or(0, |e| e + 1)];
        for (position, e) in product.inputs.iter().enumerate() {
            let index = product.x_index(group, i, position);
            coefficients[*e] = Some(self.views[product.x.index()][index]);
        }
        if let [Some(view)] = coefficients[..]
            && let Some(home) = view.identity()
        {
            return Operand::Home(home);
        }
        let mut mode = Mode::Start;
        for view in coefficients.iter().rev() {
            match view {
                None => self.tape.constant(step, mode, Fr::ZERO),
                Some(view) => self.add_view(step, mode, Fr::ONE, *view),
            };
            mode = Mode::Delta;
        }
        Operand::Result(self.tape.last())
    }

    /// Σ_o c_o·Y_o(δ), every coefficient brought back from its home's scale and freed of its bias.
    fn right_side(&mut self, step: u32, channels: &[Vec<Coefficient>]) -> u32 {
        let width = self.tape.width;
        // y − bias = home/m − (offset/m + bias)
        let raw = |(home, scale, bias): (u32, Scale, i64)| {
            let inverse = scale.inverse();
            (
                Operand::Home(home),
                inverse,
                -(scale.offset * inverse + fr(bias)),
            )
        };
        let folded: Vec<(Operand, Fr, Fr)> = channels
            .iter()
            .map(|coefficients| match coefficients[..] {
                [Some(only)] => raw(only),
                _ => {
                    let mut mode = Mode::Start;
                    for c in coefficients.iter().rev() {
                        match c {
                            None => self.tape.constant(step, mode, Fr::ZERO),
                            Some(c) => {
                                let (b, f, constant) = raw(*c);
                                self.tape.term(step, mode, f, b, constant)
                            }
                        };
                        mode = Mode::Delta;
                    }
                    (Operand::Result(self.tape.last()), Fr::ONE, Fr::ZERO)
                }
            })
            .collect();
        let mut mode = Mode::Start;
        for t in (0..channels.len().div_ceil(width)).rev() {
            for (j, (b, f, constant)) in folded.iter().skip(t * width).take(width).enumerate() {
                let mut weights = vec![Fr::ZERO; width];
                weights[j] = *constant;
                let pair = [Operand::Eta(j as u32), *b];
                self.tape.product(step, mode, *f, pair, &weights);
                mode = Mode::Keep;
            }
            mode = Mode::Gamma;
        }
        self.tape.last()
    }
}
