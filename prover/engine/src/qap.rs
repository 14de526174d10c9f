//! # The quadratic arithmetic program: rows of an R1CS as values of polynomials
//!
//! Row i of the circuit lives at ωⁱ, i < n_rows. After them comes one row `a_j·0 = 0` for each instance wire j, at
//! ω^(n_rows + j): it makes the u_j of the instance linearly independent of each other and of every other wire's, without
//! which a proof of one statement can be turned into a proof of another. The domain is the next power of two.
//!
//! u_j, v_j, w_j interpolate column j of A, B, C. For a satisfied witness a,
//! (Σ a_j·u_j)(Σ a_j·v_j) − Σ a_j·w_j = h·Z with deg h ≤ n − 2. The quotient h is kept as its n values on the coset g·H, where
//! Z is the constant gⁿ − 1; the key holds its bases in the same form, so the transform back is never taken.

use std::mem;

use ark_bn254::Fr;
use ark_ff::{Field, Zero};
use rayon::prelude::*;
use zeroize::Zeroizing;
use zkinfer_circuits::arithmetization::r1cs::trace::Trace;
use zkinfer_circuits::arithmetization::r1cs::{Matrix, R1cs};
use zkinfer_gpu::{Device, DeviceError, Domain, FrVec};

/// The domain of a circuit and where its rows lie.
#[derive(Debug, Clone)]
pub(crate) struct Qap {
    domain: Domain,
    n_rows: usize,
    n_instance: usize,
}

impl Qap {
    /// The program of `r1cs`; `None` when the field has too few roots of unity.
    pub(crate) fn new(r1cs: &R1cs) -> Option<Self> {
        Some(Self {
            domain: Domain::new(r1cs.n_rows().checked_add(r1cs.n_instance())?)?,
            n_rows: r1cs.n_rows(),
            n_instance: r1cs.n_instance(),
        })
    }

    /// Points of the domain.
    pub(crate) fn n(&self) -> usize {
        self.domain.n()
    }

    /// Rows in use, those of the instance included.
    pub(crate) fn rows_used(&self) -> usize {
        self.n_rows + self.n_instance
    }

    /// L_i(τ) of every row, those of the instance included; `None` when τ is a root of unity. τ can be computed from them.
    pub(crate) fn lagrange(&self, tau: Fr) -> Option<Zeroizing<Vec<Fr>>> {
        let vanishing = Zeroizing::new(self.domain.vanishing_at(tau));
        if vanishing.is_zero() {
            return None;
        }
        Some(Zeroizing::new(self.domain.lagrange_at(tau)))
    }

    /// u_j(τ), v_j(τ) or w_j(τ) of every wire.
    pub(crate) fn at(&self, r1cs: &R1cs, matrix: Matrix, lagrange: &[Fr]) -> Zeroizing<Vec<Fr>> {
        let (rows, of_instance) = lagrange.split_at(self.n_rows);
        let mut wires = Zeroizing::new(r1cs.transpose(matrix, rows));
        if matrix == Matrix::A {
            let instance = &mut wires[..self.n_instance];
            instance
                .iter_mut()
                .zip(of_instance)
                .for_each(|(u, row)| *u += row);
        }
        wires
    }

    /// L_i(τ)·Z(τ) for the points of the coset: Σ h(g·ωⁱ)·quotient[i] = h(τ)·Z(τ).
    pub(crate) fn quotient_at(&self, tau: Fr) -> Zeroizing<Vec<Fr>> {
        let vanishing = Zeroizing::new(self.domain.vanishing_at(tau));
        let mut quotient = Zeroizing::new(self.domain.coset_lagrange_at(tau));
        quotient
            .par_iter_mut()
            .for_each(|value| *value *= *vanishing);
        quotient
    }

    /// The values of h on the coset, for the witness of a trace.
    pub(crate) fn quotient(
        &self,
        device: &dyn Device,
        trace: &Trace<'_>,
        wires: &[Fr],
    ) -> Result<FrVec, DeviceError> {
        let on_coset = |matrix: Matrix| -> Result<FrVec, DeviceError> {
            let mut rows = Zeroizing::new(vec![Fr::zero(); self.n()]);
            trace.row_values(matrix, wires, &mut rows);
            if matrix == Matrix::A {
                let instance = &wires[..self.n_instance];
                rows[self.n_rows..self.rows_used()].copy_from_slice(instance);
            }
            let mut vector = device.upload(mem::take(&mut *rows))?;
            device.to_coset(&mut vector, &self.domain)?;
            Ok(vector)
        };
        let mut a = on_coset(Matrix::A)?;
        let b = on_coset(Matrix::B)?;
        let c = on_coset(Matrix::C)?;
        let scale = self
            .domain
            .vanishing_on_coset()
            .inverse()
            .expect("Z has no root on the coset, since g is not a root of unity");
        device.mul_sub_scale(&mut a, &b, &c, scale)?;
        Ok(a)
    }
}
