//! # Rows: the domain of a circuit, and polynomials between their three forms
//!
//! Row i lies at ωⁱ, ω the library's root of unity of order n = 2^k. On a coset s·⟨ω⟩ place i is s·ωⁱ, so the row r further on is r places on,
//! around the end. Polynomials stay on the device; every transform and every multiplication by a key's points goes through here.

use ark_bn254::{Fr, G1Projective};
use ark_ff::{FftField, Field};
use halo2curves::ff::PrimeField;
use rayon::prelude::*;
use zeroize::Zeroizing;
use zkinfer_gpu::{Bases, Device, DeviceError, Direction, Domain, FrVec, G1, Points, ScalarClass};

use super::library::{LibraryFr, from_library};

/// Scalars of the host that are overwritten with zeros when dropped.
pub(super) type Secret = Zeroizing<Vec<Fr>>;

/// Elements of one task.
const PER_TASK: usize = 1 << 12;

/// The domain of a circuit's rows.
#[derive(Debug)]
pub(super) struct Rows {
    domain: Domain,
    omega_inverse: Fr,
    /// ωⁱ.
    points: FrVec,
}

impl Rows {
    /// 2^k rows; `None` beyond the field's roots of unity.
    pub(super) fn new(device: &dyn Device, k: u32) -> Result<Option<Self>, DeviceError> {
        if k > Fr::TWO_ADICITY {
            return Ok(None);
        }
        let mut omega = from_library(&LibraryFr::ROOT_OF_UNITY);
        for _ in k..Fr::TWO_ADICITY {
            omega.square_in_place();
        }
        let (Some(domain), Some(omega_inverse)) = (Domain::with_root(k, omega), omega.inverse())
        else {
            return Ok(None);
        };
        let mut points = vec![Fr::ONE; 1 << k];
        fill_powers(&mut points, omega);
        Ok(Some(Self {
            domain,
            omega_inverse,
            points: device.upload(points)?,
        }))
    }

    /// Number of rows n.
    pub(super) fn n(&self) -> usize {
        self.points.len()
    }

    /// The points ωⁱ of the rows.
    pub(super) fn points(&self) -> &FrVec {
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
        mut values: FrVec,
    ) -> Result<FrVec, DeviceError> {
        let (inverse, rows) = (Direction::Inverse, Points::Subgroup);
        device.ntt(&mut values, &self.domain, inverse, rows)?;
        Ok(values)
    }

    /// The values of a polynomial on the rows.
    pub(super) fn values(
        &self,
        device: &dyn Device,
        coefficients: &FrVec,
    ) -> Result<FrVec, DeviceError> {
        let mut values = device.duplicate(coefficients)?;
        let (forward, rows) = (Direction::Forward, Points::Subgroup);
        device.ntt(&mut values, &self.domain, forward, rows)?;
        Ok(values)
    }

    /// The values of a polynomial on the coset of `shift`.
    pub(super) fn coset_values(
        &self,
        device: &dyn Device,
        coefficients: &FrVec,
        shift: Fr,
    ) -> Result<FrVec, DeviceError> {
        let mut values = device.duplicate(coefficients)?;
        let (forward, coset) = (Direction::Forward, Points::Shifted(shift));
        device.ntt(&mut values, &self.domain, forward, coset)?;
        Ok(values)
    }

    /// The coefficients of the polynomial with these values on the coset of `shift`.
    pub(super) fn coset_coefficients(
        &self,
        device: &dyn Device,
        mut values: FrVec,
        shift: Fr,
    ) -> Result<FrVec, DeviceError> {
        let (inverse, coset) = (Direction::Inverse, Points::Shifted(shift));
        device.ntt(&mut values, &self.domain, inverse, coset)?;
        Ok(values)
    }
}

/// Σ column_i·base_i.
pub(super) fn commit(
    device: &dyn Device,
    bases: &Bases<G1>,
    column: &FrVec,
) -> Result<G1Projective, DeviceError> {
    device.msm_g1(bases, column.as_slice(), ScalarClass::Full)
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
    use crate::halo2_kzg::polynomial::horner;

    fn read(vector: &FrVec) -> Vec<Fr> {
        Cpu.read_range(vector.as_slice()).expect("values")
    }

    #[test]
    fn values_are_those_of_the_coefficients_on_rows_and_cosets() {
        let rows = Rows::new(&Cpu, 6).expect("points").expect("a small domain");
        let coefficients: Vec<Fr> = (0..64u64).map(|i| Fr::from(i * i + 3)).collect();
        let points = read(rows.points());
        let held = Cpu.upload(coefficients.clone()).expect("a vector");
        let values = rows.values(&Cpu, &held).expect("a transform");
        for (row, value) in read(&values).iter().enumerate() {
            assert_eq!(points[row], rows.rotate(Fr::ONE, row as i32));
            assert_eq!(*value, horner(&coefficients, points[row]));
        }
        let back = rows.coefficients(&Cpu, values).expect("a transform");
        assert_eq!(read(&back), coefficients);

        let shift = Fr::from(11u64);
        let on_coset = rows.coset_values(&Cpu, &held, shift).expect("a transform");
        let values = read(&on_coset);
        for rotation in [-7, -1, 0, 1, 2] {
            for (place, point) in points.iter().enumerate() {
                let at = (place + rows.offset(rotation)) % 64;
                let x = rows.rotate(shift * point, rotation);
                assert_eq!(values[at], horner(&coefficients, x));
            }
        }
        let back = rows
            .coset_coefficients(&Cpu, on_coset, shift)
            .expect("a transform");
        assert_eq!(read(&back), coefficients);
    }
}
