//! # Rows: the domain of a circuit, and polynomials between their three forms
//!
//! Row i lies at ωⁱ, ω the library's root of unity of order n = 2^k. On a coset s·⟨ω⟩ place i is s·ωⁱ, so the row r further on is r places on,
//! around the end. Every transform and every multiplication by a key's points goes through here.

use std::mem;

use ark_bn254::{Fr, G1Projective};
use ark_ff::{FftField, Field};
use halo2curves::ff::PrimeField;
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
    domain: Domain,
    omega_inverse: Fr,
    /// ωⁱ.
    points: Vec<Fr>,
}

impl Rows {
    /// 2^k rows; `None` beyond the field's roots of unity.
    pub(super) fn new(k: u32) -> Option<Self> {
        if k > Fr::TWO_ADICITY {
            return None;
        }
        let mut omega = from_library(&LibraryFr::ROOT_OF_UNITY);
        for _ in k..Fr::TWO_ADICITY {
            omega.square_in_place();
        }
        let mut points = vec![Fr::ONE; 1 << k];
        fill_powers(&mut points, omega);
        Some(Self {
            domain: Domain::with_root(k, omega)?,
            omega_inverse: omega.inverse()?,
            points,
        })
    }

    /// Number of rows n.
    pub(super) fn n(&self) -> usize {
        self.points.len()
    }

    /// The points ωⁱ of the rows.
    pub(super) fn points(&self) -> &[Fr] {
        &self.points
    }

    /// x·ω^rotation.
    pub(super) fn rotate(&self, x: Fr, rotation: i32) -> Fr {
        let base = if rotation < 0 {
            self.omega_inverse
        } else {
            self.domain.root()
        };
        x * base.pow([u64::from(rotation.unsigned_abs())])
    }

    /// How many places further on the row at `rotation` is.
    pub(super) fn offset(&self, rotation: i32) -> usize {
        i64::from(rotation).rem_euclid(self.n() as i64) as usize
    }

    /// The coefficients of the polynomial with these values on the rows.
    pub(super) fn coefficients(
        &self,
        device: &dyn Device,
        mut values: Secret,
    ) -> Result<Secret, DeviceError> {
        self.transform(device, &mut values, Direction::Inverse, Points::Subgroup)?;
        Ok(values)
    }

    /// The values of a polynomial on the rows.
    pub(super) fn values(
        &self,
        device: &dyn Device,
        coefficients: &[Fr],
    ) -> Result<Secret, DeviceError> {
        let mut values = Zeroizing::new(coefficients.to_vec());
        self.transform(device, &mut values, Direction::Forward, Points::Subgroup)?;
        Ok(values)
    }

    /// The values of a polynomial on the coset of `shift`.
    pub(super) fn coset_values(
        &self,
        device: &dyn Device,
        coefficients: &[Fr],
        shift: Fr,
    ) -> Result<Secret, DeviceError> {
        let mut values = Zeroizing::new(coefficients.to_vec());
        let points = Points::Shifted(shift);
        self.transform(device, &mut values, Direction::Forward, points)?;
        Ok(values)
    }

    /// The coefficients of the polynomial with these values on the coset of `shift`.
    pub(super) fn coset_coefficients(
        &self,
        device: &dyn Device,
        mut values: Secret,
        shift: Fr,
    ) -> Result<Secret, DeviceError> {
        let points = Points::Shifted(shift);
        self.transform(device, &mut values, Direction::Inverse, points)?;
        Ok(values)
    }

    fn transform(
        &self,
        device: &dyn Device,
        column: &mut Secret,
        direction: Direction,
        points: Points,
    ) -> Result<(), DeviceError> {
        let mut vector = device.upload(mem::take(&mut **column))?;
        device.ntt(&mut vector, &self.domain, direction, points)?;
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

#[cfg(test)]
mod tests {
    use zkinfer_gpu::Cpu;

    use super::*;
    use crate::halo2_kzg::polynomial::evaluate;

    #[test]
    fn values_are_those_of_the_coefficients_on_rows_and_cosets() {
        let rows = Rows::new(6).expect("a small domain");
        let coefficients: Vec<Fr> = (0..64u64).map(|i| Fr::from(i * i + 3)).collect();
        let values = rows
            .values(&Cpu::new(), &coefficients)
            .expect("a transform");
        for (row, value) in values.iter().enumerate() {
            assert_eq!(rows.points()[row], rows.rotate(Fr::ONE, row as i32));
            assert_eq!(*value, evaluate(&coefficients, rows.points()[row]));
        }
        let back = rows.coefficients(&Cpu::new(), values).expect("a transform");
        assert_eq!(*back, coefficients);

        let shift = Fr::from(11u64);
        let values = rows
            .coset_values(&Cpu::new(), &coefficients, shift)
            .expect("a transform");
        for rotation in [-7, -1, 0, 1, 2] {
            for (place, point) in rows.points().iter().enumerate() {
                let at = (place + rows.offset(rotation)) % 64;
                let x = rows.rotate(shift * point, rotation);
                assert_eq!(values[at], evaluate(&coefficients, x));
            }
        }
        let back = rows
            .coset_coefficients(&Cpu::new(), values, shift)
            .expect("a transform");
        assert_eq!(*back, coefficients);
    }
}
