//! # Structural linear maps
//! y = W·x with W fixed integers, never materialised as a matrix: a convolution is its kernel and its geometry. One visitor
//! (`row`) defines the map; application, intervals and the transposed walk of key generation all go through it.

use super::BuildError;
use crate::tensor::ConvGeometry;
use serde::{Deserialize, Serialize};

/// A fixed integer matrix, stored by its structure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinearMap {
    /// `y[b][o] = Σ_i weights[o][i]·x[b][i]` for every row b of x [batch, n_in].
    Dense {
        /// Inputs of one row.
        n_in: usize,
        /// Outputs of one row.
        n_out: usize,
        /// `[n_out][n_in]`, row-major.
        weights: Vec<i64>,
    },
    /// Grouped convolution of x [C, H, W] → y [O, H', W']; padding contributes zero.
    Conv {
        /// Window geometry.
        geometry: ConvGeometry,
        /// `[O][C/groups][kernel₀][kernel₁]`, row-major.
        weights: Vec<i64>,
    },
    /// `y[i] = x[index[i]]`, or 0 where the index is [`LinearMap::NOTHING`].
    Gather {
        /// Source of every output element.
        index: Vec<u32>,
    },
    /// `y[i] = factors[i]·x[i]`; a single factor applies to all.
    Scale {
        /// One factor, or one per element.
        factors: Vec<i64>,
    },
}

/// Largest |coefficient| of a map.
const MAX_COEFFICIENT: u64 = 1 << 40;

impl LinearMap {
    /// The index of a gathered element that has no source.
    pub const NOTHING: u32 = u32::MAX;

    /// Checks the map against an input of `n` elements and returns the number of outputs.
    pub(super) fn output_len(&self, n: usize, node: &str) -> Result<usize, BuildError> {
        let fail = |reason| BuildError::Map {
            node: node.to_owned(),
            reason,
        };
        let small = |c: &[i64]| c.iter().all(|c| c.unsigned_abs() <= MAX_COEFFICIENT);
        match self {
            Self::Dense {
                n_in,
                n_out,
                weights,
            } => {
                if *n_in == 0 || *n_out == 0 || n == 0 || !n.is_multiple_of(*n_in) {
                    return Err(fail("input length is not a positive multiple of n_in"));
                }
                if n_in.checked_mul(*n_out) != Some(weights.len()) || !small(weights) {
                    return Err(fail("weights do not have n_in·n_out small values"));
                }
                (n / n_in)
                    .checked_mul(*n_out)
                    .ok_or_else(|| fail("too many outputs"))
            }
            Self::Conv { geometry, weights } => {
                geometry
                    .check()
                    .map_err(|_| fail("impossible window geometry"))?;
                if n != geometry.input_len() {
                    return Err(fail("input length differs from the geometry"));
                }
                if weights.len() != geometry.weights_len() || !small(weights) {
                    return Err(fail("weights do not fit the geometry"));
                }
                Ok(geometry.output_len())
            }
            Self::Gather { index } => {
                let outside = |&i: &u32| i != Self::NOTHING && i as usize >= n;
                if index.is_empty() || index.iter().any(outside) {
                    return Err(fail("gather index out of range"));
                }
                Ok(index.len())
            }
            Self::Scale { factors } => {
                if (factors.len() != 1 && factors.len() != n) || !small(factors) {
                    return Err(fail("expected one small factor, or one per element"));
                }
                Ok(n)
            }
        }
    }

    /// Most terms of one row.
    pub(crate) fn row_terms(&self) -> u64 {
        match self {
            Self::Dense { n_in, .. } => *n_in as u64,
            Self::Conv { geometry, .. } => {
                geometry.channels_in_per_group() as u64 * geometry.n_taps() as u64
            }
            Self::Gather { .. } | Self::Scale { .. } => 1,
        }
    }

    /// Largest |coefficient|.
    pub(crate) fn max_coefficient(&self) -> u64 {
        let coefficients = match self {
            Self::Dense { weights, .. } | Self::Conv { weights, .. } => weights,
            Self::Scale { factors } => factors,
            Self::Gather { .. } => return 1,
        };
        let magnitudes = coefficients.iter().map(|c| c.unsigned_abs());
        magnitudes.max().unwrap_or(0)
    }

    /// Visits the non-zero terms of output `out` as (input index, coefficient), in a fixed order.
    pub fn row(&self, out: usize, mut visit: impl FnMut(usize, i64)) {
        match self {
            Self::Dense {
                n_in,
                n_out,
                weights,
            } => {
                let (batch, o) = (out / n_out, out % n_out);
                for (i, &w) in weights[o * n_in..(o + 1) * n_in].iter().enumerate() {
                    if w != 0 {
                        visit(batch * n_in + i, w);
                    }
                }
            }
            Self::Conv {
                geometry: g,
                weights,
            } => {
                let [rows, columns] = g.output_size();
                let plane = rows * columns;
                let (o, position) = (out / plane, out % plane);
                let at = [position / columns, position % columns];
                let per_group = g.channels_in_per_group();
                let first = o / g.channels_out_per_group() * per_group;
                let area = g.height * g.width;
                for u in 0..g.kernel[0] {
                    for v in 0..g.kernel[1] {
                        let Some(source) = g.source(at, [u, v]) else {
                            continue;
                        };
                        for c in 0..per_group {
                            let w =
                                weights[((o * per_group + c) * g.kernel[0] + u) * g.kernel[1] + v];
                            if w != 0 {
                                visit((first + c) * area + source, w);
                            }
                        }
                    }
                }
            }
            Self::Gather { index } => {
                if index[out] != Self::NOTHING {
                    visit(index[out] as usize, 1);
                }
            }
            Self::Scale { factors } => {
                let w = factors[if factors.len() == 1 { 0 } else { out }];
                if w != 0 {
                    visit(out, w);
                }
            }
        }
    }
}

/// The bias of output `out`: none, one for all, or one per output.
pub(crate) fn bias_at(bias: &[i64], out: usize) -> i64 {
    match bias.len() {
        0 => 0,
        1 => bias[0],
        _ => bias[out],
    }
}
