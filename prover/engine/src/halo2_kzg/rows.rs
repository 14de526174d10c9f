//! # Rows: the domain of a circuit, and polynomials between their three forms
//!
//! Row i lies at ωⁱ, ω the library's root of unity of order n = 2^k. The device transforms over its own root ω′ of the same order:
//! ω = ω′^s for an odd s, so values in the order of rows are values in the device's order with index i·s in place of i. Coefficients do
//! not know the difference; values on a coset stay in the device's order, where the row r further on is s·r places on.
//! Everything that depends on this is here.

use std::mem;

use ark_bn254::{Fr, G1Projective};
use ark_ff::{AdditiveGroup, FftField, Field};
use ark_poly::{EvaluationDomain, Radix2EvaluationDomain};
use halo2curves::ff::PrimeField as _;
use rayon::prelude::*;
use zeroize::Zeroizing;
use zkinfer_gpu::{Bases, Device, DeviceError, Direction, Domain, G1, Points, ScalarClass};

use super::library::{LibraryFr, from_library};

/// Scalars that are overwritten with zeros when dropped.
pub(super) type Secret = Zeroizing<Vec<Fr>>;

/// Elements of one task.
const PER_TASK: usize = 1 << 12;

/// The domain of a circuit's rows.
#[derive(Debug)]
pub(super) struct Rows {
    k: u32,
    domain: Domain,
    /// ω.
    omega: Fr,
    omega_inverse: Fr,
    /// s.
    stride: usize,
    /// ω′^m.
    points: Vec<Fr>,
}

impl Rows {
    /// 2^k rows; `None` beyond the field's roots of unity.
    pub(super) fn new(k: u32) -> Option<Self> {
        if k > Fr::TWO_ADICITY {
            return None;
        }
        let n = 1usize << k;
        let domain = Domain::new(n)?;
        let theirs = Radix2EvaluationDomain::<Fr>::new(n)?.group_gen();
        let mut omega = from_library(&LibraryFr::ROOT_OF_UNITY);
        for _ in k..Fr::TWO_ADICITY {
            omega.square_in_place();
        }
        let mut points = vec![Fr::ONE; n];
        fill_powers(&mut points, theirs);
        Some(Self {
            k,
            domain,
            omega,
            omega_inverse: omega.inverse()?,
            stride: logarithm(omega, theirs, k),
            points,
        })
    }

    /// Number of rows n.
    pub(super) fn n(&self) -> usize {
        1 << self.k
    }

    /// x·ω^rotation.
    pub(super) fn rotate(&self, x: Fr, rotation: i32) -> Fr {
        let base = if rotation < 0 {
            self.omega_inverse
        } else {
            self.omega
        };
        x * base.pow([u64::from(rotation.unsigned_abs())])
    }

    /// ωⁱ of the row, i < n.
    pub(super) fn point(&self, row: usize) -> Fr {
        self.points[self.place(row)]
    }

    /// How many places further on in the device's order the row at `rotation` is.
    pub(super) fn offset(&self, rotation: i32) -> usize {
        let places = i64::from(rotation) * self.stride as i64;
        places.rem_euclid(self.n() as i64) as usize
    }

    /// The points ω′^m of the domain in the device's order.
    pub(super) fn points(&self) -> &[Fr] {
        &self.points
    }

    /// Where row i is in the device's order.
    fn place(&self, row: usize) -> usize {
        row.wrapping_mul(self.stride) & (self.n() - 1)
    }

    /// out_i = values_(i·s): from the device's order to that of rows; for coefficients, from ω′ to ω.
    fn by_rows(&self, values: &[Fr]) -> Secret {
        let mask = self.n() - 1;
        let mut out = Zeroizing::new(vec![Fr::ZERO; self.n()]);
        out.par_chunks_mut(PER_TASK)
            .enumerate()
            .for_each(|(task, out)| {
                let mut place = self.place(task * PER_TASK);
                for out in out {
                    *out = values[place];
                    place = (place + self.stride) & mask;
                }
            });
        out
    }

    /// The coefficients of the polynomial with these values in the order of rows.
    pub(super) fn coefficients(
        &self,
        device: &dyn Device,
        mut values: Secret,
    ) -> Result<Secret, DeviceError> {
        // Σ_i v_i·ω^(−ij)/n is the device's coefficient number s·j.
        self.transform(device, &mut values, Direction::Inverse)?;
        Ok(if self.stride == 1 {
            values
        } else {
            self.by_rows(&values)
        })
    }

    /// The values of a polynomial in the order of rows.
    pub(super) fn values(
        &self,
        device: &dyn Device,
        coefficients: &[Fr],
    ) -> Result<Secret, DeviceError> {
        let mut values = Zeroizing::new(coefficients.to_vec());
        self.transform(device, &mut values, Direction::Forward)?;
        Ok(self.by_rows(&values))
    }

    /// The values of a polynomial on the coset of `shifts` = (shift^j)_j, in the device's order.
    pub(super) fn coset_values(
        &self,
        device: &dyn Device,
        coefficients: &[Fr],
        shifts: &[Fr],
    ) -> Result<Secret, DeviceError> {
        let mut values = Zeroizing::new(vec![Fr::ZERO; self.n()]);
        values
            .par_iter_mut()
            .with_min_len(PER_TASK)
            .zip(coefficients)
            .zip(shifts)
            .for_each(|((value, c), shift)| *value = *c * shift);
        self.transform(device, &mut values, Direction::Forward)?;
        Ok(values)
    }

    /// The coefficients of the polynomial with these values on the coset, the j-th still times shift^j.
    pub(super) fn shifted_coefficients(
        &self,
        device: &dyn Device,
        values: &mut Secret,
    ) -> Result<(), DeviceError> {
        self.transform(device, values, Direction::Inverse)
    }

    /// The one place where a transform is asked for.
    fn transform(
        &self,
        device: &dyn Device,
        column: &mut Secret,
        direction: Direction,
    ) -> Result<(), DeviceError> {
        let mut vector = device.upload(mem::take(&mut **column))?;
        device.ntt(&mut vector, &self.domain, direction, Points::Subgroup)?;
        **column = device.download(vector)?;
        Ok(())
    }
}

/// Σ column_i·base_i.
pub(super) fn commit(
    device: &dyn Device,
    bases: &Bases<G1>,
    column: &mut Secret,
) -> Result<G1Projective, DeviceError> {
    let vector = device.upload(mem::take(&mut **column))?;
    let sum = device.msm_g1(bases, vector.as_slice(), ScalarClass::Full)?;
    **column = device.download(vector)?;
    Ok(sum)
}

/// Fills `out` with first, first·x, first·x², …, first being the value that is there.
pub(super) fn fill_powers(out: &mut [Fr], x: Fr) {
    let Some(first) = out.first().copied() else {
        return;
    };
    out.par_chunks_mut(PER_TASK)
        .enumerate()
        .for_each(|(task, out)| {
            let mut power = first * x.pow([(task * PER_TASK) as u64]);
            for out in out {
                *out = power;
                power *= x;
            }
        });
}

/// The s < 2^k with base^s = x, both of order 2^k: bit by bit.
fn logarithm(x: Fr, base: Fr, k: u32) -> usize {
    let mut s = 0u64;
    let inverse = base.inverse().unwrap_or(Fr::ONE);
    for bit in 0..k {
        let rest = x * inverse.pow([s]);
        if rest.pow([1u64 << (k - 1 - bit)]) != Fr::ONE {
            s |= 1 << bit;
        }
    }
    s as usize
}

#[cfg(test)]
mod tests {
    use zkinfer_gpu::Cpu;

    use super::*;
    use crate::halo2_kzg::polynomial::evaluate;

    #[test]
    fn values_and_coefficients_belong_to_the_librarys_root() {
        let rows = Rows::new(6).expect("a small domain");
        assert_eq!(rows.omega.pow([1u64 << 6]), Fr::ONE);
        assert_eq!(rows.points[1].pow([rows.stride as u64]), rows.omega);
        let coefficients: Vec<Fr> = (0..64u64).map(|i| Fr::from(i * i + 3)).collect();
        let values = rows.values(&Cpu, &coefficients).expect("a transform");
        for (row, value) in values.iter().enumerate() {
            assert_eq!(rows.point(row), rows.rotate(Fr::ONE, row as i32));
            assert_eq!(*value, evaluate(&coefficients, rows.point(row)));
        }
        let back = rows.coefficients(&Cpu, values).expect("a transform");
        assert_eq!(*back, coefficients);
    }

    #[test]
    fn coset_values_are_rotated_by_an_offset() {
        let rows = Rows::new(5).expect("a small domain");
        let coefficients: Vec<Fr> = (0..32u64).map(|i| Fr::from(7 * i + 1)).collect();
        let shift = Fr::from(11u64);
        let mut shifts = vec![Fr::ONE; 32];
        fill_powers(&mut shifts, shift);
        let mut values = rows
            .coset_values(&Cpu, &coefficients, &shifts)
            .expect("a transform");
        for rotation in [-7, -1, 0, 1, 2] {
            for (place, point) in rows.points().iter().enumerate() {
                let at = (place + rows.offset(rotation)) % 32;
                let x = rows.rotate(shift * point, rotation);
                assert_eq!(values[at], evaluate(&coefficients, x));
            }
        }
        rows.shifted_coefficients(&Cpu, &mut values)
            .expect("a transform");
        for ((got, c), shift) in values.iter().zip(&coefficients).zip(&shifts) {
            assert_eq!(*got, *c * shift);
        }
    }
}
