//! The physical limits: how long the multiplications of words that an operation needs take at least.
//!
//! A multiprocessor makes 32 products of 32-bit words in a clock (IMAD.WIDE); an operation is counted in them: a product of the field in 132 (64
//! for the product, 68 for its reduction), a square in 104, the addition of an affine point in XYZZ coordinates (8 products, 2 squares, one
//! reduction merged) in 1196, of two sums (12 products, 2 squares) in 1724; in G2 a product is 328, a square 264. Additions of words, sorting and
//! memory cost nothing here, but for transforms, whose passes over memory may take longer than their products.

/// IMAD.WIDE of one multiprocessor in a clock.
const WIDE_PER_CLOCK: f64 = 32.0;
/// Of a product of the field.
pub(crate) const PRODUCT: f64 = 132.0;

/// What limits an operation: the clock it ran at, and the memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) multiprocessors: usize,
    pub(crate) clock_hz: f64,
    /// Bytes that memory gives and takes in a second, at best.
    pub(crate) bytes_per_second: f64,
}

/// The cost of additions in a group, in IMAD.WIDE.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Additions {
    /// Of an affine point to a sum.
    point: f64,
    /// Of two sums.
    sum: f64,
}

impl Additions {
    pub(crate) const G1: Self = Self {
        point: 1196.0,
        sum: 1724.0,
    };
    pub(crate) const G2: Self = Self {
        point: 3016.0,
        sum: 4328.0,
    };
}

impl Limits {
    fn seconds(self, wide: f64) -> f64 {
        wide / (self.multiprocessors as f64 * self.clock_hz * WIDE_PER_CLOCK)
    }

    /// Products of the field in a second.
    pub(crate) fn products_per_second(self) -> f64 {
        1.0 / self.seconds(PRODUCT)
    }

    /// Seconds of a multiplication by `terms`, each a number of scalars and their bits: k = ⌈bits/c⌉ additions of a point a scalar, less those
    /// whose digit is zero, and two additions of sums a bucket, for the best width c of windows. With a table all windows share their buckets.
    pub(crate) fn msm(self, cost: Additions, terms: &[(f64, u32)], table: bool) -> f64 {
        let widest = terms.iter().map(|(_, bits)| *bits).max().unwrap_or(0);
        let work = |c: u32| {
            let windows = |bits: u32| f64::from(bits.div_ceil(c));
            let share = 1.0 - 0.5f64.powi(c as i32);
            let of_class = terms.iter().map(|(n, bits)| match bits {
                1 => *n,
                _ => n * windows(*bits) * share,
            });
            let sets = if table { 1.0 } else { windows(widest) };
            let buckets = sets * 2f64.powi(c as i32 - 1);
            of_class.sum::<f64>() * cost.point + 2.0 * buckets * cost.sum
        };
        let best = (1..=26).map(work).min_by(f64::total_cmp);
        self.seconds(best.unwrap_or(0.0))
    }

    /// Seconds of a transform of 2^log_n elements: n/2·log_n products, or two passes over memory, three above 2^20.
    pub(crate) fn ntt(self, log_n: u32) -> f64 {
        let n = 2f64.powi(log_n as i32);
        let passes = if log_n <= 20 { 2.0 } else { 3.0 };
        let arithmetic = self.seconds(n / 2.0 * f64::from(log_n) * PRODUCT);
        arithmetic.max(64.0 * n * passes / self.bytes_per_second)
    }

    /// Seconds of the device part of a Groth16 proof whose scalars are all full: three times two transforms, four multiplications in G1, one
    /// in G2.
    pub(crate) fn groth16(self, log_n: u32, table: bool) -> f64 {
        let terms = [(2f64.powi(log_n as i32), crate::inputs::FULL_BITS)];
        6.0 * self.ntt(log_n)
            + 4.0 * self.msm(Additions::G1, &terms, table)
            + self.msm(Additions::G2, &terms, table)
    }
}

/// The formulas give what was computed by hand for an H100 at 1.98 GHz, in milliseconds.
pub(crate) fn assert_known_values() {
    let h100 = Limits {
        multiprocessors: 132,
        clock_hz: 1.98e9,
        bytes_per_second: 3.0e12,
    };
    let full = |log_n: i32| [(2f64.powi(log_n), crate::inputs::FULL_BITS)];
    let known = [
        (h100.msm(Additions::G1, &full(20), true), 2.17),
        (h100.msm(Additions::G1, &full(20), false), 2.62),
        (h100.msm(Additions::G1, &full(22), true), 8.01),
        (h100.msm(Additions::G2, &full(22), true), 20.2),
        (h100.msm(Additions::G2, &full(22), false), 23.7),
        (h100.ntt(20), 0.165),
        (h100.ntt(24), 3.18),
    ];
    for (seconds, expected) in known {
        let error = (seconds * 1e3 / expected - 1.0).abs();
        assert!(error < 0.01, "{} ms instead of {expected}", seconds * 1e3);
    }
}
