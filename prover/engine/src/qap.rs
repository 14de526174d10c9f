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
use zeroize::{Zeroize, Zeroizing};
use zkinfer_circuits::arithmetization::r1cs::trace::Trace;
use zkinfer_circuits::arithmetization::r1cs::{Matrix, R1cs};
use zkinfer_gpu::{Device, DeviceError, Direction, Domain, FrVec, Points};

/// The domain of a circuit and where its rows lie.
#[derive(Debug, Clone)]
pub(crate) struct Qap {
    domain: Domain,
    n_rows: usize,
    n_instance: usize,
}

/// Every wire's polynomials at τ.
pub(crate) struct QapAtTau {
    /// u_j(τ).
    pub(crate) u: Vec<Fr>,
    /// v_j(τ).
    pub(crate) v: Vec<Fr>,
    /// w_j(τ).
    pub(crate) w: Vec<Fr>,
    /// L_i(τ)·Z(τ) for the points of the coset: Σ h(g·ωⁱ)·quotient[i] = h(τ)·Z(τ).
    pub(crate) quotient: Vec<Fr>,
}

impl Drop for QapAtTau {
    fn drop(&mut self) {
        // τ can be computed from any of them.
        for values in [&mut self.u, &mut self.v, &mut self.w, &mut self.quotient] {
            values.zeroize();
        }
    }
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

    /// Evaluates every wire's polynomials at `tau`; `None` when τ is a root of unity.
    pub(crate) fn at(&self, r1cs: &R1cs, tau: Fr) -> Option<QapAtTau> {
        let vanishing = Zeroizing::new(self.domain.vanishing_at(tau));
        if vanishing.is_zero() {
            return None;
        }
        let lagrange = Zeroizing::new(self.domain.lagrange_at(tau));
        let rows = &lagrange[..self.n_rows];
        let ((mut u, v), w) = rayon::join(
            || {
                rayon::join(
                    || r1cs.transpose(Matrix::A, rows),
                    || r1cs.transpose(Matrix::B, rows),
                )
            },
            || r1cs.transpose(Matrix::C, rows),
        );
        for (u, row) in u
            .iter_mut()
            .zip(&lagrange[self.n_rows..])
            .take(self.n_instance)
        {
            *u += row;
        }
        drop(lagrange);
        let mut quotient = self.domain.coset_lagrange_at(tau);
        quotient.iter_mut().for_each(|value| *value *= *vanishing);
        Some(QapAtTau { u, v, w, quotient })
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
            device.ntt(
                &mut vector,
                &self.domain,
                Direction::Inverse,
                Points::Subgroup,
            )?;
            device.ntt(&mut vector, &self.domain, Direction::Forward, Points::Coset)?;
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
