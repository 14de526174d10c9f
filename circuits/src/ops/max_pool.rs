//! # MaxPool: maximum over windows
//! ONNX: MaxPool-12 without indices. Shapes: x [N,C,H,W] → y [N,C,H',W']; scale and zero point unchanged.
//! Semantics: y[c,p] = max over the taps of window p that lie on the input; padding never wins.
//! Constraints: the maximum gadget over the taps; a tap on padding repeats one that is not.
//! Soundness: DESIGN.md#max. Source: ONNX operator specification, MaxPool.

use super::{ARITY, Case, EvalError, InferError, Operator, length, one, one_tensor, volume};
use crate::constraint::{BuildError, Builder, WireTensor};
use crate::gadgets::max::max;
use crate::quantize::{SchemeError, Site};
use crate::tensor::{ConvGeometry, Fact, Interval, Quantization, Tensor};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaxPool {
    /// Depthwise: channels in, channels out and groups are equal.
    pub geometry: ConvGeometry,
    /// Output shape.
    pub shape: Vec<usize>,
}

impl MaxPool {
    /// For every tap, the input index of every output element; padding replaced by the window's first real tap.
    /// `None` when a window lies on padding alone.
    fn sources(&self) -> Option<Vec<Vec<usize>>> {
        let g = &self.geometry;
        let n_taps = g.n_taps();
        let taps: Vec<_> = g.taps().collect();
        let windows = taps.chunks_exact(n_taps).map(|window| {
            let first = window.iter().find_map(|tap| tap.input)?;
            Some(
                window
                    .iter()
                    .map(|tap| tap.input.unwrap_or(first))
                    .collect::<Vec<_>>(),
            )
        });
        let windows = windows.collect::<Option<Vec<_>>>()?;
        let area = g.height * g.width;
        let source = |tap: usize| {
            let planes = (0..g.channels_in).map(|c| c * area);
            planes
                .flat_map(|base| windows.iter().map(move |window| base + window[tap]))
                .collect()
        };
        Some((0..n_taps).map(source).collect())
    }
}

/// Checks that a pooling geometry is depthwise and fits the input.
pub(super) fn check_pool(g: &ConvGeometry, shape: &[usize], x: &Fact) -> Result<(), InferError> {
    g.check()?;
    if g.channels_in != g.channels_out || g.channels_in != g.groups {
        return Err(InferError::Attribute(
            "a pooling geometry must be depthwise",
        ));
    }
    length("input", g.input_len(), x.len())?;
    length("output shape", g.output_len(), volume(shape)?)
}

impl Operator for MaxPool {
    const NAME: &'static str = "MaxPool";

    fn import(site: &Site<'_>) -> Result<Self, SchemeError> {
        Ok(Self {
            geometry: site.window()?,
            shape: site.shape().to_vec(),
        })
    }

    fn infer(&self, x: &[&Fact]) -> Result<Fact, InferError> {
        let x = one(x)?;
        check_pool(&self.geometry, &self.shape, x)?;
        let quantization = Some(x.quantization.ok_or(InferError::Accumulator)?);
        let [rows, columns] = self.geometry.output_size();
        if (rows * columns).saturating_mul(self.geometry.n_taps()) > crate::tensor::MAX_ELEMENTS {
            return Err(InferError::Attribute(
                "the windows have more than 2^28 taps",
            ));
        }
        if self.geometry.has_empty_window() {
            return Err(InferError::Attribute("a window lies on padding alone"));
        }
        Ok(Fact {
            shape: self.shape.clone(),
            interval: x.interval,
            quantization,
        })
    }

    fn eval(&self, x: &[&Tensor]) -> Result<Tensor, EvalError> {
        let x = one_tensor(x, self.geometry.input_len())?;
        let sources = self.sources().ok_or(EvalError::Overflow)?;
        let data = (0..self.geometry.output_len())
            .map(|i| sources.iter().map(|source| x.data[source[i]]).max())
            .collect::<Option<_>>()
            .ok_or(EvalError::Overflow)?;
        Ok(Tensor {
            shape: self.shape.clone(),
            data,
        })
    }

    fn constrain(&self, b: &mut Builder, x: &[&WireTensor]) -> Result<WireTensor, BuildError> {
        let [x] = x else { return Err(ARITY) };
        let sources = self.sources().unwrap_or_default();
        let candidates = sources
            .into_iter()
            .map(|source| {
                // `infer` bounds a tensor to 2^28 elements
                let index = source.into_iter().map(|i| i as u32).collect();
                b.gather(x, index)
            })
            .collect::<Result<Vec<_>, _>>()?;
        max(b, &candidates.iter().collect::<Vec<_>>())
    }

    fn cases() -> Vec<Case<Self>> {
        let geometry = ConvGeometry {
            channels_in: 2,
            height: 4,
            width: 4,
            channels_out: 2,
            kernel: [2, 2],
            strides: [2, 2],
            pads: [0; 4],
            dilations: [1, 1],
            groups: 2,
        };
        let padded = ConvGeometry {
            kernel: [3, 3],
            pads: [1, 1, 1, 1],
            ..geometry.clone()
        };
        [("halves", geometry), ("padding never wins", padded)]
            .into_iter()
            .map(|(name, geometry)| Case {
                name,
                op: Self {
                    geometry,
                    shape: vec![1, 2, 2, 2],
                },
                facts: vec![Fact {
                    shape: vec![1, 2, 4, 4],
                    interval: Interval { lo: -128, hi: 127 },
                    quantization: Some(Quantization {
                        scale: 1.0,
                        zero_point: 5,
                    }),
                }],
                runs: [0, 7, 255]
                    .into_iter()
                    .map(|step| {
                        let data = (0..32).map(|i| (i * step) % 256 - 128).collect();
                        vec![Tensor {
                            shape: vec![1, 2, 4, 4],
                            data,
                        }]
                    })
                    .collect(),
            })
            .collect()
    }
}
