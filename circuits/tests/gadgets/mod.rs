//! Gadgets at parameters small enough to try everything, over Bool inputs.

#![allow(dead_code, reason = "each user takes a part")]

use std::sync::Arc;
use zkinfer_circuits::constraint::{
    Assignment, BuildError, Builder, HintKind, Program, TableFunction, WireTensor, solve_unchecked,
};
use zkinfer_circuits::gadgets::max::max;
use zkinfer_circuits::gadgets::requantize::requantize;
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

/// All gadgets.
pub const GADGETS: [(&str, Gadget); 9] = [
    ("requantize", requantize_tiny),
    ("requantize, clamp of odd width", requantize_odd_clamp),
    ("requantize, function", requantize_function),
    ("table of a bound key", table_of_bound_key),
    ("max", max_tiny),
    ("product", product_tiny),
    ("hinted range", hinted_range),
    ("split and range", split_range),
    ("linear only", three_bits),
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
pub const HALO2_GADGETS: [(&str, Gadget); 5] = [
    ("scaled table value", scaled_table_value),
    ("requantize, several limbs", requantize_limbs),
    ("wide hinted range", wide_hinted_range),
    ("wide sign", wide_sign),
    ("max of equals", max_of_equals),
];
