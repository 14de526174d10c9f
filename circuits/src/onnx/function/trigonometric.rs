//! Sine, cosine, tangent and their inverses.
//!
//! Arguments are reduced by enough bits of 2/π for every double (Payne and Hanek), so nothing is lost near the multiples of π/2,
//! however large.

use super::double_double::{DoubleDouble, HALF_PI, ONE};
use super::exponential::TINY;

/// 2/π in binary, most significant word first, after one word of zeros: bit i of the rest (from 1) weighs 2^-i.
const TWO_OVER_PI: [u64; 21] = [
    0,
    0xa2f9_836e_4e44_1529,
    0xfc27_57d1_f534_ddc0,
    0xdb62_9599_3c43_9041,
    0xfe51_63ab_debb_c561,
    0xb724_6e3a_424d_d2e0,
    0x0649_2eea_09d1_921c,
    0xfe1d_eb1c_b129_a73e,
    0xe882_35f5_2ebb_4484,
    0xe99c_7026_b45f_7e41,
    0x3991_d639_8353_39f4,
    0x9c84_5f8b_bdf9_283b,
    0x1ff8_97ff_de05_980f,
    0xef2f_118b_5a0a_6d1f,
    0x6d36_7ecf_27cb_09b7,
    0x4f46_3f66_9e5f_ea2d,
    0x7527_bac7_ebe5_f17b,
    0x3d07_39f7_8a52_92ea,
    0x6bfb_5fb1_1f8d_5d08,
    0x5603_3046_fc7b_6bab,
    0xf0cf_bc20_9af4_361d,
];

/// q modulo 4 and r with x = q·π/2 + r and |r| ≤ π/4, for finite x ≥ 0; r to 2^-102 of itself.
fn reduce(x: f64) -> (u64, DoubleDouble) {
    if x < std::f64::consts::FRAC_PI_4 {
        return (0, DoubleDouble::exact(x));
    }
    // x = m·2^e with an integer m < 2^53 and −53 ≤ e ≤ 971
    let bits = x.to_bits();
    let m = (bits & ((1 << 52) - 1)) | (1 << 52);
    let e = ((bits >> 52) & 0x7ff) as i32 - 1075;
    // the bits of 2/π above 2^(2−e) only add multiples of 4; the next 256 bits of it times m are x·2/π·2^254 modulo 2^256,
    // short of it by less than 2^53
    let product = times(window((e + 62) as usize), m);
    // to the nearest multiple of 2^254, so that the rest is at most half of it in size
    let quarter = add_small(product, 0, 1 << 61);
    let q = quarter[0] >> 62;
    let rest = [
        quarter[0] & ((1 << 62) - 1),
        quarter[1],
        quarter[2],
        quarter[3],
    ];
    (q, fraction(rest).multiply(HALF_PI))
}

/// 256 bits of [`TWO_OVER_PI`] from bit `skip` on, most significant word first.
fn window(skip: usize) -> [u64; 4] {
    let (word, shift) = (skip / 64, skip % 64);
    std::array::from_fn(|i| {
        let pair = u128::from(TWO_OVER_PI[word + i]) << 64 | u128::from(TWO_OVER_PI[word + i + 1]);
        (pair << shift >> 64) as u64
    })
}

/// a·m modulo 2^256.
fn times(a: [u64; 4], m: u64) -> [u64; 4] {
    let (mut product, mut carry) = ([0; 4], 0);
    for i in (0..4).rev() {
        let sum = u128::from(a[i]) * u128::from(m) + carry;
        product[i] = sum as u64;
        carry = sum >> 64;
    }
    product
}

/// a with `small` added to word `at`, modulo 2^256.
fn add_small(mut a: [u64; 4], at: usize, small: u64) -> [u64; 4] {
    let mut carry = small;
    for word in a[..=at].iter_mut().rev() {
        let (sum, overflow) = word.overflowing_add(carry);
        *word = sum;
        carry = u64::from(overflow);
    }
    a
}

/// (a − 2^253)/2^254 for 0 ≤ a < 2^254.
fn fraction(a: [u64; 4]) -> DoubleDouble {
    // a ≥ 2^253: the difference; otherwise its two's complement
    let difference = [a[0].wrapping_sub(1 << 61), a[1], a[2], a[3]];
    let negative = difference[0] >> 63 == 1;
    let magnitude = if negative {
        add_small(difference.map(|word| !word), 3, 1)
    } else {
        difference
    };
    let mut sum = DoubleDouble::exact(0.0);
    for (i, word) in magnitude.into_iter().enumerate() {
        let weight = f64::from_bits((1023 + 192 - 254 - 64 * i as u64) << 52);
        for half in [word >> 32 << 32, word & 0xffff_ffff] {
            sum = sum.add(DoubleDouble::exact(half as f64 * weight));
        }
    }
    if negative { sum.negate() } else { sum }
}

/// r − r³/3! + … for |r| ≤ π/4, where r^29/29! is below 2^-112.
fn sin_reduced(r: DoubleDouble) -> DoubleDouble {
    let square = r.multiply(r).negate();
    let mut sum = ONE;
    for n in (1..=14).rev() {
        let factor = square.divide(DoubleDouble::exact(f64::from(2 * n * (2 * n + 1))));
        sum = ONE.add(factor.multiply(sum));
    }
    r.multiply(sum)
}

/// 1 − r²/2! + … for |r| ≤ π/4, where r^30/30! is below 2^-117.
fn cos_reduced(r: DoubleDouble) -> DoubleDouble {
    let square = r.multiply(r).negate();
    let mut sum = ONE;
    for n in (1..=14).rev() {
        let factor = square.divide(DoubleDouble::exact(f64::from((2 * n - 1) * 2 * n)));
        sum = ONE.add(factor.multiply(sum));
    }
    sum
}

/// sin(q·π/2 + r).
fn sin_of_parts(q: u64, r: DoubleDouble) -> DoubleDouble {
    match q % 4 {
        0 => sin_reduced(r),
        1 => cos_reduced(r),
        2 => sin_reduced(r).negate(),
        _ => cos_reduced(r).negate(),
    }
}

/// sin x; not a number at ±∞.
pub(super) fn sin(x: f64) -> f64 {
    if !x.is_finite() {
        return f64::NAN;
    }
    if x.abs() < TINY {
        return x;
    }
    let (q, r) = reduce(x.abs());
    let value = sin_of_parts(q, r).hi;
    if x < 0.0 { -value } else { value }
}

/// cos x; not a number at ±∞.
pub(super) fn cos(x: f64) -> f64 {
    if !x.is_finite() {
        return f64::NAN;
    }
    if x.abs() < TINY {
        return 1.0;
    }
    let (q, r) = reduce(x.abs());
    sin_of_parts(q + 1, r).hi
}

/// tan x; not a number at ±∞.
pub(super) fn tan(x: f64) -> f64 {
    if !x.is_finite() {
        return f64::NAN;
    }
    if x.abs() < TINY {
        return x;
    }
    let (q, r) = reduce(x.abs());
    let value = sin_of_parts(q, r).divide(sin_of_parts(q + 1, r)).hi;
    if x < 0.0 { -value } else { value }
}

/// Halvings of the angle before the series of the arc tangent.
const HALVINGS: i32 = 3;

/// atan a for 0 ≤ a ≤ 2^900, relative to itself.
fn atan_positive(a: DoubleDouble) -> DoubleDouble {
    if a.hi > 1.0 {
        return HALF_PI.subtract(atan_to_one(ONE.divide(a)));
    }
    atan_to_one(a)
}

/// atan a for 0 ≤ a ≤ 1 by tan(φ/2) = tan φ/(1 + √(1 + tan² φ)), then the series, where 0.099^34 is below 2^-113.
fn atan_to_one(mut a: DoubleDouble) -> DoubleDouble {
    for _ in 0..HALVINGS {
        a = a.divide(ONE.add(ONE.add(a.multiply(a)).sqrt()));
    }
    let square = a.multiply(a).negate();
    let mut sum = DoubleDouble::exact(0.0);
    for n in (0..17).rev() {
        let coefficient = ONE.divide(DoubleDouble::exact(f64::from(2 * n + 1)));
        sum = coefficient.add(square.multiply(sum));
    }
    a.multiply(sum).scale(HALVINGS)
}

/// atan x.
pub(super) fn atan(x: f64) -> f64 {
    let a = x.abs();
    if a < TINY || x.is_nan() {
        return x;
    }
    let value = if a > 1e18 {
        // π/2 − 1/a rounds to π/2
        HALF_PI.hi
    } else {
        atan_positive(DoubleDouble::exact(a)).hi
    };
    value.copysign(x)
}

/// asin x = atan(a/√((1 − a)·(1 + a))) with the sign of x, a = |x|.
pub(super) fn asin(x: f64) -> f64 {
    let a = x.abs();
    if a > 1.0 || x.is_nan() {
        return f64::NAN;
    }
    if a < TINY {
        return x;
    }
    let value = if a == 1.0 {
        HALF_PI.hi
    } else {
        let cos = DoubleDouble::sum(1.0, -a)
            .multiply(DoubleDouble::sum(1.0, a))
            .sqrt();
        atan_positive(DoubleDouble::exact(a).divide(cos)).hi
    };
    value.copysign(x)
}

/// acos x = 2·atan(√((1 − x)/(1 + x))).
pub(super) fn acos(x: f64) -> f64 {
    if x.abs() > 1.0 || x.is_nan() {
        return f64::NAN;
    }
    if x == -1.0 {
        return std::f64::consts::PI;
    }
    let square = DoubleDouble::sum(1.0, -x).divide(DoubleDouble::sum(1.0, x));
    atan_positive(square.sqrt()).scale(1).hi
}
