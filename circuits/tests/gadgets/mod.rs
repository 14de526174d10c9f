//! Gadgets at parameters small enough to try everything, over Bool inputs.

#![allow(dead_code, reason = "each user takes a part")]

use std::sync::Arc;
use zkinfer_circuits::constraint::{
    Assignment, BuildError, Builder, HintKind, Instr, LinearMap, Program, TableFunction,
    WireTensor, solve, solve_bent, solve_unchecked,
};
use zkinfer_circuits::gadgets::arg_max::{Ties, arg_max, arg_min};
use zkinfer_circuits::gadgets::divide::{divide, divide_rounded};
use zkinfer_circuits::gadgets::exp::{Exponential, exp};
use zkinfer_circuits::gadgets::logic::{and, not, or, select, xor};
use zkinfer_circuits::gadgets::max::{max, row_max};
use zkinfer_circuits::gadgets::normalize::normalize;
use zkinfer_circuits::gadgets::requantize::requantize;
use zkinfer_circuits::gadgets::rescale::{rescale, shift_right};
use zkinfer_circuits::gadgets::saturate::{at_least, at_most, saturate};
use zkinfer_circuits::gadgets::select_rows::{select_fixed_rows, select_rows};
use zkinfer_circuits::gadgets::sign::{abs, equal, is_negative, is_zero, less};
use zkinfer_circuits::gadgets::softmax::softmax;
use zkinfer_circuits::gadgets::square_root::{reciprocal_square_root, square_root};
use zkinfer_circuits::gadgets::top_k::{bottom_k, sort, top_k};
use zkinfer_circuits::tensor::Tensor;
use zkinfer_circuits::testing::spec;
use zkinfer_verifier::{Dtype, Role, Visibility};

/// Makes one gadget over the given inputs.
pub type Gadget = fn(&mut Builder, &[WireTensor]) -> Result<WireTensor, BuildError>;

/// A program of one gadget over `n` private Bool inputs of one element each.
pub fn tiny(n: usize, gadget: Gadget) -> Arc<Program> {
    let mut b = Builder::new();
    b.node("feed");
    let xs: Vec<WireTensor> = (0..n)
        .map(|i| {
            let name = format!("x{i}");
            b.input(spec(
                &name,
                Role::Input,
                Visibility::Private,
                &[1],
                Dtype::Bool,
            ))
            .unwrap()
        })
        .collect();
    b.node("gadget");
    let y = gadget(&mut b, &xs).unwrap();
    b.output(
        &y,
        spec("y", Role::Output, Visibility::Public, &[1], Dtype::Int8),
    )
    .unwrap();
    Arc::new(b.finish().unwrap())
}

/// `x0 + 2·x1 − 4·x2`: every integer from −4 to 3.
pub fn three_bits(b: &mut Builder, xs: &[WireTensor]) -> Result<WireTensor, BuildError> {
    b.combine(&[(1, &xs[0]), (2, &xs[1]), (-4, &xs[2])], 0)
}

pub fn requantize_tiny(b: &mut Builder, xs: &[WireTensor]) -> Result<WireTensor, BuildError> {
    let acc = three_bits(b, xs)?;
    requantize(b, &acc, vec![3], 2, 1, &TableFunction::clamp(-1, 2))
}

pub fn requantize_odd_clamp(b: &mut Builder, xs: &[WireTensor]) -> Result<WireTensor, BuildError> {
    let acc = three_bits(b, xs)?;
    requantize(b, &acc, vec![3], 1, 0, &TableFunction::clamp(-1, 1))
}

pub fn requantize_function(b: &mut Builder, xs: &[WireTensor]) -> Result<WireTensor, BuildError> {
    let acc = three_bits(b, xs)?;
    requantize(
        b,
        &acc,
        vec![2],
        2,
        0,
        &TableFunction::map(-1, vec![7, -3, 7]),
    )
}

fn table_of_bound_key(b: &mut Builder, xs: &[WireTensor]) -> Result<WireTensor, BuildError> {
    let key = three_bits(b, xs)?;
    b.lookup(&TableFunction::map(-4, vec![5, 1, 4, 1, 5, 9, 2, 6]), &key)
}

fn max_tiny(b: &mut Builder, xs: &[WireTensor]) -> Result<WireTensor, BuildError> {
    let two = b.combine(&[(3, &xs[1])], -1)?;
    max(b, &[&xs[0], &two, &xs[2]])
}

fn product_tiny(b: &mut Builder, xs: &[WireTensor]) -> Result<WireTensor, BuildError> {
    let p = b.mul(&xs[0], &xs[1])?;
    b.combine(&[(5, &p), (1, &xs[2])], 0)
}

/// A hinted value bound by an exact range and an equation.
fn hinted_range(b: &mut Builder, xs: &[WireTensor]) -> Result<WireTensor, BuildError> {
    let x = b.combine(&[(1, &xs[0]), (2, &xs[1]), (4, &xs[2])], 0)?;
    let h = b.hint(HintKind::Max, &[&x])?;
    let h = b.range_hinted(h, 3)?;
    let zero = b.combine(&[(1, &h), (-1, &x)], 0)?;
    b.assert_zero(&zero)?;
    Ok(h)
}

/// The quotient of a split bound by a range: x = 2q + ρ, q in 0..2^3.
fn split_range(b: &mut Builder, xs: &[WireTensor]) -> Result<WireTensor, BuildError> {
    let x = b.combine(&[(1, &xs[0]), (2, &xs[1]), (8, &xs[2])], 0)?;
    let q = b.split(&x, 1)?;
    b.range_unbound(q, 3)
}

/// `x0·w0 + x1·w1 + x2·w2`, as many elements as weights in each.
fn spread(
    b: &mut Builder,
    xs: &[WireTensor],
    weights: [&[i64]; 3],
) -> Result<WireTensor, BuildError> {
    let mut terms = vec![];
    for (x, weights) in xs.iter().zip(weights) {
        let x = b.gather(x, vec![0; weights.len()])?;
        let factors = weights.to_vec();
        terms.push(b.linear(LinearMap::Scale { factors }, &x, vec![])?);
    }
    let terms: Vec<_> = terms.iter().map(|x| (1, x)).collect();
    b.combine(&terms, 0)
}

/// The elements of `y`, every other one negated.
fn alternating_sum(b: &mut Builder, y: &WireTensor) -> Result<WireTensor, BuildError> {
    let weights = (0..y.len() as i64).map(|i| 1 - 2 * (i % 2)).collect();
    let map = LinearMap::Dense {
        n_in: y.len(),
        n_out: 1,
        weights,
    };
    b.linear(map, y, vec![])
}

/// Two matrices of 2 × 2 of values of two or three bits: a row for every term.
fn contract_terms(b: &mut Builder, xs: &[WireTensor]) -> Result<WireTensor, BuildError> {
    let p = spread(b, xs, [&[1, 0, 0, 1], &[0, 2, 0, -1], &[-4, 0, 1, 0]])?;
    let q = spread(b, xs, [&[0, 1, 1, 0], &[1, 0, 0, 2], &[0, 0, 2, 1]])?;
    let y = b.contract(&p, &q, [1, 2, 2, 2])?;
    alternating_sum(b, &y)
}

/// 2 × 2 by 2 × 3: a row for every pair of terms.
fn contract_pairs(b: &mut Builder, xs: &[WireTensor]) -> Result<WireTensor, BuildError> {
    let p = spread(b, xs, [&[1, 0, 0, 1], &[0, 2, 0, -1], &[-4, 0, 1, 0]])?;
    let weights: [&[i64]; 3] = [
        &[0, 1, 1, 0, -1, 0],
        &[1, 0, 0, 2, 0, 1],
        &[0, 0, 2, 1, 1, 0],
    ];
    let q = spread(b, xs, weights)?;
    let y = b.contract(&p, &q, [1, 2, 2, 3])?;
    alternating_sum(b, &y)
}

/// 3 × 3 by 3 × 3: in the committed form at the challenge, in the plain form pairs and a term over. The first matrix is the identity for
/// x = (1, 0, 0).
fn contract_at_the_challenge(b: &mut Builder, xs: &[WireTensor]) -> Result<WireTensor, BuildError> {
    let weights: [&[i64]; 3] = [
        &[1, 0, 0, 0, 1, 0, 0, 0, 1],
        &[0, -1, 0, 1, 0, 0, 0, 1, 0],
        &[0, 0, 1, 0, -1, 1, 1, 0, 0],
    ];
    let p = spread(b, xs, weights)?;
    let weights: [&[i64]; 3] = [
        &[1, 0, 1, 0, 0, 1, 0, 0, 0],
        &[0, 1, 0, 0, 1, 0, -1, 0, 1],
        &[0, 0, 0, 1, 0, 0, 1, 1, 0],
    ];
    let q = spread(b, xs, weights)?;
    let y = b.contract(&p, &q, [1, 3, 3, 3])?;
    alternating_sum(b, &y)
}

/// All gadgets.
pub const GADGETS: [(&str, Gadget); 12] = [
    ("requantize", requantize_tiny),
    ("requantize, clamp of odd width", requantize_odd_clamp),
    ("requantize, function", requantize_function),
    ("table of a bound key", table_of_bound_key),
    ("max", max_tiny),
    ("product", product_tiny),
    ("hinted range", hinted_range),
    ("split and range", split_range),
    ("linear only", three_bits),
    ("contraction, terms", contract_terms),
    ("contraction, pairs", contract_pairs),
    ("contraction at the challenge", contract_at_the_challenge),
];

/// Every assignment of `n` Bool inputs.
pub fn inputs(n: usize) -> impl Iterator<Item = Vec<Tensor>> {
    (0..1i64 << n).map(move |x| (0..n).map(|i| Tensor::flat(vec![x >> i & 1])).collect())
}

/// 7, 9: inputs that are no Bool, with everything else computed honestly from them.
#[allow(dead_code, reason = "the batch tests do not need it")]
pub fn outside_their_type(program: &Program) -> Vec<Assignment> {
    let mut all = vec![];
    for position in 0..3 {
        for honest in inputs(3) {
            for value in [-1, 2, 3] {
                let mut lie = honest.clone();
                lie[position] = Tensor::flat(vec![value]);
                all.extend(solve_unchecked(program, &lie));
            }
        }
    }
    all
}

/// A table's value scaled, split and ranged: its cell is bound by the table as it is.
fn scaled_table_value(b: &mut Builder, xs: &[WireTensor]) -> Result<WireTensor, BuildError> {
    let key = three_bits(b, xs)?;
    let y = b.lookup(&TableFunction::map(-4, vec![5, 1, 4, 1, 5, 9, 2, 6]), &key)?;
    let scaled = b.combine(&[(5, &y)], 8)?;
    let q = b.split(&scaled, 2)?;
    b.range_unbound(q, 6)
}

/// A split of several limbs, the last one short.
fn requantize_limbs(b: &mut Builder, xs: &[WireTensor]) -> Result<WireTensor, BuildError> {
    let acc = three_bits(b, xs)?;
    requantize(b, &acc, vec![37], 7, 0, &TableFunction::clamp(-1, 1))
}

/// A quotient that no identity table is wide enough for: it and the remainder have cells of their own.
fn wide_quotient(b: &mut Builder, xs: &[WireTensor]) -> Result<WireTensor, BuildError> {
    let terms = [(200_003, &xs[0]), (150_001, &xs[1]), (99_999, &xs[2])];
    let x = b.combine(&terms, 0)?;
    let q = b.split(&x, 3)?;
    b.range_unbound(q, 17)?;
    b.combine(&[(1, &xs[0])], 0)
}

/// An exact range of several limbs.
fn wide_hinted_range(b: &mut Builder, xs: &[WireTensor]) -> Result<WireTensor, BuildError> {
    let x = b.combine(&[(73, &xs[0]), (146, &xs[1]), (292, &xs[2])], 0)?;
    let h = b.hint(HintKind::Max, &[&x])?;
    let h = b.range_hinted(h, 9)?;
    let zero = b.combine(&[(1, &h), (-1, &x)], 0)?;
    b.assert_zero(&zero)?;
    b.combine(&[(1, &xs[0])], 0)
}

/// The sign of a value whose upper end is proved: a range that may be rounded up to whole limbs.
fn wide_sign(b: &mut Builder, xs: &[WireTensor]) -> Result<WireTensor, BuildError> {
    let x = b.combine(&[(73, &xs[0]), (146, &xs[1]), (292, &xs[2])], 0)?;
    b.range(&x, 9)?;
    b.combine(&[(1, &xs[1])], 0)
}

/// Equal candidates, so that two differences of the maximum are the same.
fn max_of_equals(b: &mut Builder, xs: &[WireTensor]) -> Result<WireTensor, BuildError> {
    max(b, &[&xs[0], &xs[1], &xs[0], &xs[2]])
}

/// Gadgets whose Halo2 form has parts that those of [`GADGETS`] have not.
#[allow(dead_code, reason = "the R1CS tests do not need them")]
pub const HALO2_GADGETS: [(&str, Gadget); 6] = [
    ("scaled table value", scaled_table_value),
    ("requantize, several limbs", requantize_limbs),
    ("wide quotient", wide_quotient),
    ("wide hinted range", wide_hinted_range),
    ("wide sign", wide_sign),
    ("max of equals", max_of_equals),
];

type Built = Result<WireTensor, BuildError>;

/// `x0 + 2·x1 + 4·x2`: every integer from 0 to 7.
fn natural(b: &mut Builder, xs: &[WireTensor]) -> Built {
    b.combine(&[(1, &xs[0]), (2, &xs[1]), (4, &xs[2])], 0)
}

/// One tensor of the elements of tensors of one element.
fn row_of(b: &mut Builder, xs: &[&WireTensor]) -> Built {
    let mut parts = vec![];
    for (i, x) in xs.iter().enumerate() {
        let weights = (0..xs.len()).map(|j| i64::from(i == j)).collect();
        let map = LinearMap::Dense {
            n_in: 1,
            n_out: xs.len(),
            weights,
        };
        parts.push(b.linear(map, x, vec![])?);
    }
    let terms: Vec<(i64, &WireTensor)> = parts.iter().map(|p| (1, p)).collect();
    b.combine(&terms, 0)
}

/// The digits of a tensor in a base, as one number.
fn number_of(b: &mut Builder, x: &WireTensor, base: i64) -> Built {
    let weights = (0..x.len() as u32).map(|j| base.pow(j)).collect();
    let map = LinearMap::Dense {
        n_in: x.len(),
        n_out: 1,
        weights,
    };
    b.linear(map, x, vec![])
}

fn rescale_tiny(b: &mut Builder, xs: &[WireTensor]) -> Built {
    let x = three_bits(b, xs)?;
    rescale(b, &x, vec![3], 2)
}

fn shift_tiny(b: &mut Builder, xs: &[WireTensor]) -> Built {
    let x = b.combine(&[(1, &xs[0]), (2, &xs[1]), (4, &xs[2])], 5)?;
    shift_right(b, &x, 1)
}

/// A quotient too wide for a table.
fn rescale_wide(b: &mut Builder, xs: &[WireTensor]) -> Built {
    let x = three_bits(b, xs)?;
    let y = rescale(b, &x, vec![29_001], 1)?;
    let back = b.combine(&[(2, &y), (-29_001, &x)], 0)?;
    b.range(&back, 1)
}

fn sign_tiny(b: &mut Builder, xs: &[WireTensor]) -> Built {
    let x = three_bits(b, xs)?;
    is_negative(b, &x)
}

/// Zero is not less than zero, in either order.
fn less_tiny(b: &mut Builder, xs: &[WireTensor]) -> Built {
    let x = b.combine(&[(1, &xs[0]), (1, &xs[1])], 0)?;
    let y = b.combine(&[(2, &xs[2])], 0)?;
    let (xy, yx) = (less(b, &x, &y)?, less(b, &y, &x)?);
    b.combine(&[(1, &xy), (2, &yx)], 0)
}

fn zero_tiny(b: &mut Builder, xs: &[WireTensor]) -> Built {
    let x = three_bits(b, xs)?;
    is_zero(b, &x)
}

/// Many elements: a table.
fn equal_tiny(b: &mut Builder, xs: &[WireTensor]) -> Built {
    let x = b.gather(&xs[0], vec![0; 4])?;
    let y = row_of(b, &[&xs[1], &xs[2], &xs[0], &xs[1]])?;
    let e = equal(b, &x, &y)?;
    number_of(b, &e, 2)
}

fn abs_tiny(b: &mut Builder, xs: &[WireTensor]) -> Built {
    let x = three_bits(b, xs)?;
    abs(b, &x)
}

fn logic_tiny(b: &mut Builder, xs: &[WireTensor]) -> Built {
    let (x, y) = (&xs[0], &xs[1]);
    let (p, q, r) = (and(b, x, y)?, or(b, x, y)?, xor(b, x, y)?);
    let n = not(b, &r)?;
    let chosen = select(b, &xs[2], &p, &q)?;
    b.combine(&[(1, &p), (2, &q), (4, &r), (8, &n), (16, &chosen)], 0)
}

fn square_root_tiny(b: &mut Builder, xs: &[WireTensor]) -> Built {
    let x = natural(b, xs)?;
    square_root(b, &x)
}

fn reciprocal_tiny(b: &mut Builder, xs: &[WireTensor]) -> Built {
    let x = natural(b, xs)?;
    let x = b.combine(&[(1, &x)], 1)?;
    reciprocal_square_root(b, &x, 3)
}

fn normalize_tiny(b: &mut Builder, xs: &[WireTensor]) -> Built {
    let x = b.combine(&[(1, &xs[0]), (5, &xs[1]), (11, &xs[2])], 1)?;
    let z = normalize(b, &x, 2)?;
    let e = z.table(b, |e| 10 * e)?;
    b.combine(&[(1, &z.value), (1, &e)], 0)
}

fn divide_tiny(b: &mut Builder, xs: &[WireTensor]) -> Built {
    let a = three_bits(b, xs)?;
    let a = b.combine(&[(2, &a)], 1)?;
    let d = b.combine(&[(1, &xs[0]), (1, &xs[1])], 1)?;
    divide(b, &a, &d)
}

fn divide_rounded_tiny(b: &mut Builder, xs: &[WireTensor]) -> Built {
    let a = three_bits(b, xs)?;
    let d = b.combine(&[(1, &xs[0])], 1)?;
    divide_rounded(b, &a, &d)
}

fn exp_tiny(b: &mut Builder, xs: &[WireTensor]) -> Built {
    let u = b.combine(&[(1, &xs[0]), (3, &xs[1]), (7, &xs[2])], 0)?;
    let format = Exponential {
        argument_bits: 1,
        result_bits: 3,
    };
    exp(b, &u, format)
}

fn softmax_tiny(b: &mut Builder, xs: &[WireTensor]) -> Built {
    let x = b.combine(&[(1, &xs[0]), (2, &xs[1])], 0)?;
    let row = row_of(b, &[&x, &xs[2]])?;
    let format = Exponential {
        argument_bits: 1,
        result_bits: 2,
    };
    let y = softmax(b, &row, 2, format, 3)?;
    number_of(b, &y, 4)
}

fn row_max_tiny(b: &mut Builder, xs: &[WireTensor]) -> Built {
    let row = row_of(b, &[&xs[0], &xs[1], &xs[2], &xs[0]])?;
    let max = row_max(b, &row, 2)?;
    number_of(b, &max.value, 2)
}

fn arg_max_first(b: &mut Builder, xs: &[WireTensor]) -> Built {
    let row = row_of(b, &[&xs[0], &xs[1], &xs[2]])?;
    arg_max(b, &row, 3, Ties::First)
}

fn arg_max_last(b: &mut Builder, xs: &[WireTensor]) -> Built {
    let row = row_of(b, &[&xs[0], &xs[1], &xs[2]])?;
    arg_max(b, &row, 3, Ties::Last)
}

fn arg_min_first(b: &mut Builder, xs: &[WireTensor]) -> Built {
    let row = row_of(b, &[&xs[0], &xs[1]])?;
    arg_min(b, &row, 2, Ties::First)
}

fn saturate_tiny(b: &mut Builder, xs: &[WireTensor]) -> Built {
    let x = three_bits(b, xs)?;
    saturate(b, &x, -2, 1)
}

fn saturate_odd(b: &mut Builder, xs: &[WireTensor]) -> Built {
    let x = three_bits(b, xs)?;
    saturate(b, &x, -3, 1)
}

fn one_sided(b: &mut Builder, xs: &[WireTensor]) -> Built {
    let x = three_bits(b, xs)?;
    let (low, high) = (at_least(b, &x, -1)?, at_most(b, &x, 1)?);
    b.combine(&[(1, &low), (8, &high)], 0)
}

fn fixed_rows(b: &mut Builder, xs: &[WireTensor]) -> Built {
    let index = b.combine(&[(1, &xs[0]), (1, &xs[1])], 0)?;
    let y = select_fixed_rows(b, &index, &[1, 0, 1, 2, 0, 1], 2)?;
    number_of(b, &y, 3)
}

fn computed_rows(b: &mut Builder, xs: &[WireTensor]) -> Built {
    let matrix = row_of(b, &[&xs[1], &xs[2], &xs[0], &xs[1]])?;
    let y = select_rows(b, &xs[0], &matrix, 2)?;
    number_of(b, &y, 4)
}

fn top_two(b: &mut Builder, xs: &[WireTensor]) -> Built {
    let row = row_of(b, &[&xs[0], &xs[1], &xs[2]])?;
    let y = top_k(b, &row, 3, 2)?;
    let (value, index) = (number_of(b, &y.value, 2)?, number_of(b, &y.index, 4)?);
    b.combine(&[(1, &index), (16, &value)], 0)
}

fn bottom_one(b: &mut Builder, xs: &[WireTensor]) -> Built {
    let row = row_of(b, &[&xs[0], &xs[1], &xs[2]])?;
    let y = bottom_k(b, &row, 3, 1)?;
    b.combine(&[(1, &y.index), (4, &y.value)], 0)
}

fn sort_tiny(b: &mut Builder, xs: &[WireTensor]) -> Built {
    let row = row_of(b, &[&xs[0], &xs[1], &xs[2]])?;
    let y = sort(b, &row, 3)?;
    number_of(b, &y.index, 4)
}

/// The library's gadgets that operators are made of.
#[allow(dead_code, reason = "the batch tests do not need it")]
pub const LIBRARY: [(&str, Gadget); 29] = [
    ("rescale", rescale_tiny),
    ("shift right", shift_tiny),
    ("rescale, wide", rescale_wide),
    ("sign", sign_tiny),
    ("less", less_tiny),
    ("zero", zero_tiny),
    ("equal", equal_tiny),
    ("abs", abs_tiny),
    ("logic", logic_tiny),
    ("square root", square_root_tiny),
    ("reciprocal square root", reciprocal_tiny),
    ("normalize", normalize_tiny),
    ("divide", divide_tiny),
    ("divide, rounded", divide_rounded_tiny),
    ("exp", exp_tiny),
    ("softmax", softmax_tiny),
    ("row maximum", row_max_tiny),
    ("arg max, first", arg_max_first),
    ("arg max, last", arg_max_last),
    ("arg min", arg_min_first),
    ("saturate", saturate_tiny),
    ("saturate, odd width", saturate_odd),
    ("saturate, one side", one_sided),
    ("fixed rows", fixed_rows),
    ("computed rows", computed_rows),
    ("top 2 of 3", top_two),
    ("bottom 1 of 3", bottom_one),
    ("sort", sort_tiny),
    ("requantize, saturated", requantize_saturated),
];

/// Keys beyond the rows of a table.
fn requantize_saturated(b: &mut Builder, xs: &[WireTensor]) -> Built {
    let acc = three_bits(b, xs)?;
    requantize(
        b,
        &acc,
        vec![1_000_001],
        1,
        0,
        &TableFunction::map(-1, vec![7, -3, 7, 2]),
    )
}

/// A prover who lies about one hint or table value and is consistent afterwards. Where a form computes table values, a lie about one
/// may be no other witness: callers compare.
#[allow(dead_code, reason = "the batch tests do not need it")]
pub fn bent(program: &Program, input: &[Tensor], deltas: &[i64]) -> Vec<Assignment> {
    let honest = solve(program, input).unwrap();
    let chosen = |step: &&zkinfer_circuits::constraint::Step| {
        matches!(step.instr, Instr::Hint { .. } | Instr::Lookup { .. })
    };
    let mut all = vec![];
    for step in program.steps().iter().filter(chosen) {
        let y = step.y.unwrap();
        for i in 0..honest.tensor(y).len() {
            for delta in deltas {
                let bend = |id: zkinfer_circuits::constraint::TensorId, v: &mut [i64]| {
                    if id == y {
                        v[i] += delta;
                    }
                };
                let lie = solve_bent(program, input, &bend).unwrap();
                let context = zkinfer_verifier::Context::from_bytes([0; 32]).unwrap();
                if lie.statement(program, context).is_ok() {
                    all.push(lie);
                }
            }
        }
    }
    all
}
