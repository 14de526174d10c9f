//! # Windows: where a convolution or pooling window reads its input
//! ONNX: the geometry shared by Conv-11, MaxPool-12 and AveragePool-11. Two spatial axes; one axis is height 1.
//! Semantics: output (i, j), tap (u, v) reads row `i·stride₀ + u·dilation₀ − pad_top` and column
//! `j·stride₁ + v·dilation₁ − pad_left`; a tap outside the input is padding.

use serde::{Deserialize, Serialize};

/// Most elements a tensor of a convolution may have: sizes are bounded before anything is allocated.
pub const MAX_ELEMENTS: usize = 1 << 28;

/// Geometry of a grouped two-dimensional convolution of one sample, x [C, H, W] → y [O, H', W'].
///
/// The kernel is [O, C/groups, kernel₀, kernel₁], row-major. Pooling is the case O = C = groups.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConvGeometry {
    /// C.
    pub channels_in: usize,
    /// H; 1 for a one-dimensional convolution.
    pub height: usize,
    /// W.
    pub width: usize,
    /// O.
    pub channels_out: usize,
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Steps between outputs, vertical and horizontal.
    pub strides: [usize; 2],
    /// Rows and columns of padding: top, left, bottom, right (ONNX order).
    pub pads: [usize; 4],
    /// Steps between kernel taps, vertical and horizontal.
    pub dilations: [usize; 2],
    /// Channel groups; divides C and O.
    pub groups: usize,
}

/// A window geometry that has no output or is too large.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("window geometry is not possible: {reason} ({geometry:?})")]
pub struct GeometryError {
    /// Which rule is broken.
    pub reason: &'static str,
    /// The geometry.
    pub geometry: Box<ConvGeometry>,
}

/// One kernel tap of one output position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tap {
    /// Row-major index of the output position in [H', W'].
    pub output: usize,
    /// Row-major index of the tap in the kernel [kernel₀, kernel₁].
    pub tap: usize,
    /// Row-major index of the input position in [H, W], or `None` for padding.
    pub input: Option<usize>,
}

impl ConvGeometry {
    /// Checks that every size is positive and bounded, that groups divide the channels, and that there is an output.
    ///
    /// # Errors
    /// Names the broken rule. All other methods assume a geometry that passed.
    pub fn check(&self) -> Result<(), GeometryError> {
        let fail = |reason| {
            Err(GeometryError {
                reason,
                geometry: Box::new(self.clone()),
            })
        };
        let sizes = [
            self.channels_in,
            self.height,
            self.width,
            self.channels_out,
            self.groups,
        ]
        .into_iter()
        .chain(self.kernel)
        .chain(self.strides)
        .chain(self.dilations);
        if sizes.into_iter().any(|n| n == 0 || n > MAX_ELEMENTS) {
            return fail("a size is zero or above 2^28");
        }
        if self.pads.iter().any(|&n| n > MAX_ELEMENTS) {
            return fail("a pad is above 2^28");
        }
        if !self.channels_in.is_multiple_of(self.groups)
            || !self.channels_out.is_multiple_of(self.groups)
        {
            return fail("groups do not divide the channels");
        }
        let extent = |axis: usize| {
            let input = if axis == 0 { self.height } else { self.width };
            let padded = input as u128 + self.pads[axis] as u128 + self.pads[axis + 2] as u128;
            let reach = (self.kernel[axis] as u128 - 1) * self.dilations[axis] as u128 + 1;
            (padded, reach)
        };
        for axis in 0..2 {
            let (padded, reach) = extent(axis);
            if reach > padded {
                return fail("the kernel is larger than the padded input");
            }
        }
        let [rows, columns] = self.output_size();
        let product = |sizes: &[usize]| sizes.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let bounded = |sizes: &[usize]| product(sizes).is_some_and(|n| n <= MAX_ELEMENTS);
        if !bounded(&[self.channels_in, self.height, self.width])
            || !bounded(&[self.channels_out, rows, columns])
            || !bounded(&[
                self.channels_out,
                self.channels_in / self.groups,
                self.taps_or_max(),
            ])
        {
            return fail("a tensor has more than 2^28 elements");
        }
        // the work of one walk over all windows
        let windows = [self.channels_out, rows, columns, self.taps_or_max()];
        if !bounded(&windows) {
            return fail("the windows have more than 2^28 taps");
        }
        let per_group = (self.channels_in / self.groups) as u128;
        if windows.iter().map(|&n| n as u128).product::<u128>() * per_group > 1 << 34 {
            return fail("more than 2^34 multiply-accumulates");
        }
        Ok(())
    }

    fn taps_or_max(&self) -> usize {
        self.kernel[0].saturating_mul(self.kernel[1])
    }

    /// [H', W'].
    pub fn output_size(&self) -> [usize; 2] {
        let size = |axis: usize, input: usize| {
            let padded = input + self.pads[axis] + self.pads[axis + 2];
            let reach = (self.kernel[axis] - 1) * self.dilations[axis] + 1;
            (padded - reach) / self.strides[axis] + 1
        };
        [size(0, self.height), size(1, self.width)]
    }

    /// C·H·W.
    pub fn input_len(&self) -> usize {
        self.channels_in * self.height * self.width
    }

    /// O·H'·W'.
    pub fn output_len(&self) -> usize {
        let [rows, columns] = self.output_size();
        self.channels_out * rows * columns
    }

    /// Number of taps of one kernel plane.
    pub fn n_taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// O·(C/groups)·kernel₀·kernel₁.
    pub fn weights_len(&self) -> usize {
        self.channels_out * self.channels_in_per_group() * self.n_taps()
    }

    /// C/groups.
    pub fn channels_in_per_group(&self) -> usize {
        self.channels_in / self.groups
    }

    /// O/groups.
    pub fn channels_out_per_group(&self) -> usize {
        self.channels_out / self.groups
    }

    /// Index in [H, W] that tap (u, v) of output (i, j) reads, or `None` for padding.
    pub fn source(&self, output: [usize; 2], tap: [usize; 2]) -> Option<usize> {
        let at = |axis: usize, size: usize| {
            (output[axis] * self.strides[axis] + tap[axis] * self.dilations[axis])
                .checked_sub(self.pads[axis])
                .filter(|&at| at < size)
        };
        Some(at(0, self.height)? * self.width + at(1, self.width)?)
    }

    /// Whether some window reads padding alone.
    pub fn has_empty_window(&self) -> bool {
        let empty = |axis: usize, size: usize, outputs: usize| {
            let reads = |at: usize, tap: usize| {
                (at * self.strides[axis] + tap * self.dilations[axis])
                    .checked_sub(self.pads[axis])
                    .is_some_and(|at| at < size)
            };
            (0..outputs).any(|at| !(0..self.kernel[axis]).any(|tap| reads(at, tap)))
        };
        let [rows, columns] = self.output_size();
        empty(0, self.height, rows) || empty(1, self.width, columns)
    }

    /// Every (output position, kernel tap) of one channel plane, padding included, output-major.
    pub fn taps(&self) -> impl Iterator<Item = Tap> + '_ {
        let [rows, columns] = self.output_size();
        let [kh, kw] = self.kernel;
        (0..rows * columns).flat_map(move |output| {
            (0..kh * kw).map(move |tap| Tap {
                output,
                tap,
                input: self.source([output / columns, output % columns], [tap / kw, tap % kw]),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry() -> ConvGeometry {
        ConvGeometry {
            channels_in: 1,
            height: 4,
            width: 5,
            channels_out: 1,
            kernel: [3, 2],
            strides: [2, 1],
            pads: [1, 0, 0, 1],
            dilations: [1, 2],
            groups: 1,
        }
    }

    #[test]
    fn output_size_follows_onnx() {
        assert_eq!(geometry().output_size(), [2, 4]);
    }

    #[test]
    fn taps_outside_the_input_are_padding() {
        let taps: Vec<_> = geometry().taps().collect();
        assert_eq!(taps.len(), 2 * 4 * 6);
        assert_eq!(
            taps[0],
            Tap {
                output: 0,
                tap: 0,
                input: None
            }
        );
        assert_eq!(
            taps[2],
            Tap {
                output: 0,
                tap: 2,
                input: Some(0)
            }
        );
        assert_eq!(
            taps[3],
            Tap {
                output: 0,
                tap: 3,
                input: Some(2)
            }
        );
        assert_eq!(taps[3 * 6 + 3].input, None); // column 3 + 2 = 5 lies right of the input
    }

    #[test]
    fn impossible_geometries_are_refused() {
        let zero = ConvGeometry {
            strides: [0, 1],
            ..geometry()
        };
        let large = ConvGeometry {
            kernel: [9, 2],
            ..geometry()
        };
        let groups = ConvGeometry {
            groups: 2,
            ..geometry()
        };
        let huge = ConvGeometry {
            height: usize::MAX,
            ..geometry()
        };
        let wide = ConvGeometry {
            height: 1 << 27,
            width: 1 << 27,
            ..geometry()
        };
        for bad in [zero, large, groups, huge, wide] {
            assert!(bad.check().is_err());
        }
        assert!(geometry().check().is_ok());
    }
}
