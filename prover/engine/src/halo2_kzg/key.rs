//! # What a prover holds of a circuit between proofs
//!
//! From the circuit without a witness and the powers of τ: the coefficients of fixed columns and σ's, the permutation as numbers of cells, the
//! constraints as a compiled program, and the bases, mapped. Polynomials lie on the device. The columns' values are not kept: a proof that permutes a fixed column
//! transforms it back.

use std::sync::Arc;

use ark_bn254::{Fr, G1Affine, G1Projective, G2Affine};
use ark_ec::{AffineRepr, CurveGroup};
use halo2_proofs::plonk::{Circuit, VerifyingKey, permutation};
use halo2_proofs::poly::EvaluationDomain;
use halo2curves::serde::SerdeObject;
use rayon::prelude::*;
use zkinfer_gpu::curve::encode_points;
use zkinfer_gpu::{Bases, BasesError, Device, DeviceError, FrVec, G1};
use zkinfer_params::srs::MAX_K;
use zkinfer_verifier::halo2_kzg::Protocol;

use super::assembly::Assembly;
use super::library::LibraryFr;
use super::permutation::Permutation;
use super::program::{Malformed, Program};
use super::protocol::{Commitments, ExtractError, describe, scalar};
use super::rows::{Rows, commit};

/// Points checked at once.
const PIECE: usize = 1 << 14;

/// Why a circuit has no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeygenError {
    /// The library refuses the circuit.
    #[error("the circuit: {0}")]
    Circuit(#[from] halo2_proofs::plonk::Error),
    /// The circuit gave up with a panic.
    #[error("the circuit gave up while it was laid out")]
    Panicked,
    /// The circuit has no protocol description.
    #[error(transparent)]
    Extract(#[from] ExtractError),
    /// More of something than a key can have.
    #[error("the circuit has {got} {what}")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// How many.
        got: usize,
    },
    /// Not one point for each row.
    #[error("{what}: expected {expected} points, got {got}")]
    Points {
        /// Which points.
        what: &'static str,
        /// Rows.
        expected: usize,
        /// Points.
        got: usize,
    },
    /// A point of the key is not on the curve.
    #[error("{what} point {index} of the key is not on the curve")]
    OffCurve {
        /// Which points.
        what: &'static str,
        /// Its position.
        index: usize,
    },
    /// The points could not be read.
    #[error(transparent)]
    Bases(#[from] BasesError),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

fn too_many_rows(k: u32) -> KeygenError {
    KeygenError::TooLarge {
        what: "binary digits in its number of rows",
        got: k as usize,
    }
}

/// The powers of τ, as far as a circuit needs them.
#[derive(Debug)]
pub struct Powers {
    /// \[τⁱ\] for every row.
    pub monomial: Bases<G1>,
    /// \[L_i(τ)\] for every row, over the library's domain.
    pub lagrange: Bases<G1>,
    /// \[τ\] in G2.
    pub s_g2: G2Affine,
}

impl Powers {
    /// Checks that there is one finite or infinite point of the curve for each of 2^k rows, and that the powers begin at the generator.
    fn check(&self, k: u32) -> Result<(), KeygenError> {
        if k > MAX_K {
            return Err(too_many_rows(k));
        }
        let n = 1usize << k;
        for (what, bases) in [("monomial", &self.monomial), ("lagrange", &self.lagrange)] {
            if bases.len() != n {
                return Err(KeygenError::Points {
                    what,
                    expected: n,
                    got: bases.len(),
                });
            }
            for start in (0..n).step_by(PIECE) {
                let points = bases.points(start..n.min(start + PIECE))?;
                let bad = points.par_iter().position_first(|p| !p.is_on_curve());
                if let Some(index) = bad {
                    let index = start + index;
                    return Err(KeygenError::OffCurve { what, index });
                }
            }
        }
        if self.monomial.points(0..1)?.first() == Some(&G1Affine::generator()) {
            Ok(())
        } else {
            Err(ExtractError::Generators.into())
        }
    }
}

/// The fixed part of a circuit, committed to.
#[derive(Debug)]
pub(super) struct Preprocessed {
    pub(super) protocol: Protocol,
    rows: Rows,
    fixed: Vec<FrVec>,
    sigma: Vec<FrVec>,
    permutation: Permutation,
}

impl Preprocessed {
    /// Lays `circuit` out on 2^k rows and commits to its columns. The transcript's representation of the key is the library's unless
    /// there is one already.
    pub(super) fn new<C: Circuit<LibraryFr>>(
        device: &dyn Device,
        circuit: &C,
        k: u32,
        powers: &Powers,
        transcript_repr: Option<Fr>,
    ) -> Result<Self, KeygenError> {
        powers.check(k)?;
        let rows = Rows::new(device, k)?.ok_or(too_many_rows(k))?;
        let assembly = Assembly::of(circuit, k)?;
        let permutation = Permutation::new(rows.n(), assembly.next);
        let n_permuted = assembly.cs.permutation().get_columns().len();
        let sigma = (0..n_permuted).map(|i| permutation.sigma(device, &rows, i));
        let (sigma, sigma_points) = commit_all(device, powers, sigma)?;
        let fixed = assembly.fixed.into_iter();
        let fixed = fixed.map(|column| device.upload(column));
        let (fixed, fixed_points) = commit_all(device, powers, fixed)?;
        let transcript_repr = match transcript_repr {
            Some(scalar) => scalar,
            None => {
                let domain = EvaluationDomain::new(assembly.cs.degree() as u32, k);
                let permutation =
                    permutation::VerifyingKey::from_commitments(to_library(&sigma_points)?);
                let fixed = to_library(&fixed_points)?;
                let cs = assembly.cs.clone();
                let vk =
                    VerifyingKey::from_parts(domain, fixed, permutation, cs, Vec::new(), false);
                scalar(&vk.transcript_repr())
            }
        };
        let commitments = Commitments {
            fixed: fixed_points,
            sigma: sigma_points,
            s_g2: powers.s_g2,
        };
        Ok(Self {
            protocol: describe(&assembly.cs, k, transcript_repr, commitments)?,
            rows,
            fixed,
            sigma,
            permutation,
        })
    }
}

/// Commits to columns given by their values; gives them back.
fn commit_all(
    device: &dyn Device,
    powers: &Powers,
    columns: impl Iterator<Item = Result<FrVec, DeviceError>>,
) -> Result<(Vec<FrVec>, Vec<G1Affine>), KeygenError> {
    let (mut values, mut points) = (Vec::new(), Vec::new());
    for column in columns {
        let column = column?;
        points.push(commit(device, &powers.lagrange, &column)?);
        values.push(column);
    }
    Ok((values, G1Projective::normalize_batch(&points)))
}

/// Points as the library's.
fn to_library(points: &[G1Affine]) -> Result<Vec<halo2curves::bn256::G1Affine>, KeygenError> {
    let mut bytes = Vec::with_capacity(64 * points.len());
    encode_points::<G1>(points, &mut bytes);
    bytes
        .chunks_exact(64)
        .enumerate()
        .map(|(index, raw)| {
            halo2curves::bn256::G1Affine::from_raw_bytes(raw).ok_or(KeygenError::OffCurve {
                what: "commitment",
                index,
            })
        })
        .collect()
}

/// A circuit ready to be proved, on the device that it was made with: see the module.
#[derive(Debug)]
pub struct ProvingKey {
    pub(super) protocol: Protocol,
    pub(super) rows: Rows,
    pub(super) program: Program,
    /// Coefficients of the fixed columns.
    pub(super) fixed: Vec<FrVec>,
    /// Coefficients of the σ's.
    pub(super) sigma: Vec<FrVec>,
    pub(super) permutation: Permutation,
    pub(super) powers: Arc<Powers>,
}

impl ProvingKey {
    /// The key of `circuit`, whose witness is not looked at, on 2^k rows. With `transcript_repr`, the key's representation in the transcript
    /// is taken from there instead of being computed as the library does.
    ///
    /// # Errors
    /// [`KeygenError`].
    pub fn generate<C: Circuit<LibraryFr>>(
        device: &dyn Device,
        circuit: &C,
        k: u32,
        powers: impl Into<Arc<Powers>>,
        transcript_repr: Option<Fr>,
    ) -> Result<Self, KeygenError> {
        let powers = powers.into();
        let Preprocessed {
            protocol,
            rows,
            fixed,
            sigma,
            permutation,
        } = Preprocessed::new(device, circuit, k, &powers, transcript_repr)?;
        let coefficients = |columns: Vec<FrVec>| -> Result<Vec<FrVec>, DeviceError> {
            let columns = columns.into_iter();
            columns
                .map(|column| rows.coefficients(device, column))
                .collect()
        };
        let (fixed, sigma) = (coefficients(fixed)?, coefficients(sigma)?);
        let program = Program::compile(&protocol, &rows).map_err(|Malformed| {
            // The description was checked: only a number that does not fit is left.
            KeygenError::TooLarge {
                what: "operations of the gates",
                got: protocol.gates.len(),
            }
        })?;
        program.prepare(device)?;
        Ok(Self {
            protocol,
            rows,
            program,
            fixed,
            sigma,
            permutation,
            powers,
        })
    }

    /// What verifiers know of the circuit.
    #[must_use]
    pub fn protocol(&self) -> &Protocol {
        &self.protocol
    }
}
