//! # SHPLONK: every opening in two points
//!
//! Set s has polynomials P_j opened at the same points, Z_s vanishes on them, and R_s of least degree goes through Σ_j y^j·P_j there.
//! F_s = Σ_j y^j·P_j; H = Σ_s v^s·(F_s − R_s)/Z_s is committed to; at the challenge u the polynomial
//! Σ_s v^s·z_s·(F_s − R_s(u)) − Z(u)·H, z_s = Π (u − p) over the points that s lacks, Z(u) the product over all, vanishes: its quotient by
//! X − u over z_0 is the second point. Sets and their order: `Protocol::openings`. Source: eprint 2020/081, section 4.

use ark_bn254::Fr;
use ark_ff::{AdditiveGroup, Field};
use zeroize::Zeroizing;
use zkinfer_gpu::{Device, DeviceError, FrVec};

use super::polynomial::{horner, interpolate};

/// The polynomials opened at one set of points.
pub(super) struct Set<'a> {
    /// The points, all different.
    pub(super) points: Vec<Fr>,
    /// Each polynomial with its values at the points.
    pub(super) polys: Vec<(&'a FrVec, Vec<Fr>)>,
}

/// The sets with the polynomials of each folded.
pub(super) struct Folded {
    sets: Vec<FoldedSet>,
    v: Fr,
    n: usize,
}

struct FoldedSet {
    points: Vec<Fr>,
    /// F_s.
    poly: FrVec,
    /// R_s.
    rest: Vec<Fr>,
}

impl Folded {
    /// Folds with y; v folds the sets. Polynomials have `n` coefficients.
    pub(super) fn new(
        device: &dyn Device,
        sets: Vec<Set<'_>>,
        n: usize,
        y: Fr,
        v: Fr,
    ) -> Result<Self, DeviceError> {
        let fold = |set: Set<'_>| {
            let mut power = Fr::ONE;
            let mut terms = Vec::with_capacity(set.polys.len());
            let mut values = vec![Fr::ZERO; set.points.len()];
            for (poly, at) in &set.polys {
                terms.push((power, *poly));
                for (sum, value) in values.iter_mut().zip(at) {
                    *sum += power * value;
                }
                power *= y;
            }
            let mut poly = device.zeros(n)?;
            device.combine(&mut poly, &terms)?;
            Ok(FoldedSet {
                rest: interpolate(&set.points, &values),
                points: set.points,
                poly,
            })
        };
        let sets: Result<Vec<_>, DeviceError> = sets.into_iter().map(fold).collect();
        Ok(Self { sets: sets?, v, n })
    }

    /// H.
    pub(super) fn quotient(&self, device: &dyn Device) -> Result<FrVec, DeviceError> {
        let mut sum = device.zeros(self.n)?;
        let mut power = Fr::ONE;
        for set in &self.sets {
            let mut part = device.duplicate(&set.poly)?;
            subtract(device, &mut part, &set.rest)?;
            for point in &set.points {
                let _remainder = device.divide(&mut part, *point)?;
            }
            device.combine(&mut sum, &[(power, &part)])?;
            power *= self.v;
        }
        Ok(sum)
    }

    /// The polynomial of the second point, for H and u; `None` if u is one of the points.
    pub(super) fn linearization(
        self,
        device: &dyn Device,
        quotient: &FrVec,
        u: Fr,
    ) -> Result<Option<FrVec>, DeviceError> {
        let mut all: Vec<Fr> = Vec::new();
        for point in self.sets.iter().flat_map(|set| &set.points) {
            if !all.contains(point) {
                all.push(*point);
            }
        }
        let product = |points: &mut dyn Iterator<Item = &Fr>| {
            points.fold(Fr::ONE, |product, point| product * (u - point))
        };
        let vanishing = product(&mut all.iter());
        let mut factors = self.sets.iter().map(|set| {
            let mut lacking = all.iter().filter(|point| !set.points.contains(point));
            product(&mut lacking)
        });
        let Some(first) = factors.next() else {
            return Ok(None);
        };
        let Some(inverse) = first.inverse() else {
            return Ok(None);
        };
        let factors: Vec<Fr> = std::iter::once(first).chain(factors).collect();
        let mut power = Fr::ONE;
        let mut constant = Fr::ZERO;
        let mut terms = Vec::with_capacity(self.sets.len() + 1);
        for (set, factor) in self.sets.iter().zip(factors) {
            let factor = factor * power * inverse;
            terms.push((factor, &set.poly));
            constant += factor * horner(&set.rest, u);
            power *= self.v;
        }
        terms.push((-vanishing * inverse, quotient));
        let mut sum = device.zeros(self.n)?;
        device.combine(&mut sum, &terms)?;
        subtract(device, &mut sum, &[constant])?;
        let _remainder = device.divide(&mut sum, u)?;
        Ok(Some(sum))
    }
}

/// Subtracts a polynomial of few coefficients; what is beyond those of `poly` is left out.
fn subtract(device: &dyn Device, poly: &mut FrVec, few: &[Fr]) -> Result<(), DeviceError> {
    let n = few.len().min(poly.len());
    let mut lowest = Zeroizing::new(device.read_range(poly.slice(0..n)?)?);
    for (c, other) in lowest.iter_mut().zip(few) {
        *c -= other;
    }
    device.write_range(poly, 0, &lowest)
}
