//! # A proof, round by round
//!
//! The order of commitments, challenges and evaluations is that of `zkinfer_verifier::halo2_kzg::protocol`, which is that of
//! `halo2-axiom` 0.5.3. Scalars are drawn from the caller's generator in the library's order, those that KZG ignores included up to the last that matters, and
//! only the random polynomial comes from elsewhere (the library's from its thread's generator, ours from one seeded by the caller's): with one
//! seed both provers make the same proof but for that polynomial. Soundness and zero knowledge: DESIGN.md#halo2-kzg.

use std::mem;

use ark_bn254::{Fr, G1Affine, G1Projective};
use ark_ec::{AffineRepr, CurveGroup};
use ark_ff::{AdditiveGroup, Field};
use halo2curves::ff::Field as _;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rayon::prelude::*;
use zeroize::{Zeroize, Zeroizing};
use zkinfer_gpu::{Bases, Device, FrVec, G1};
use zkinfer_verifier::curve::{scalar_to_bytes, write_g1};
use zkinfer_verifier::halo2_kzg::transcript::Transcript;
use zkinfer_verifier::halo2_kzg::{Column, Eval, Poly, Protocol};

use super::graph::Source;
use super::key::ProvingKey;
use super::library::{LibraryFr, from_library, to_library};
use super::opening::{Folded, Set};
use super::program::Values;
use super::quotient::{self, Coefficients, quotient};
use super::rows::{Secret, commit};
use crate::backend::{CryptoRngCore, Phase, Progress, Steps};
use crate::error::ProveError;

/// Coefficients of the random polynomial that share a seed.
const PER_SEED: usize = 1 << 12;

/// Fills the advice columns of a circuit, phase by phase.
pub trait Witness {
    /// Calls `column` with the index and the values, from row 0, of each advice column of `phase`; what is not given is zero. Of
    /// `challenges` those of earlier phases are known.
    fn advice(
        &self,
        phase: u8,
        challenges: &[Option<LibraryFr>],
        column: &mut dyn FnMut(usize, &[LibraryFr]),
    );
}

/// The bytes of a proof that the circuit of `key` with this witness shows `words`, under the verifying key with this digest. Whether the witness
/// satisfies the circuit is not checked: verify the proof.
///
/// # Errors
/// [`ProveError`]: cancelled, the device failed or is not that of the key, a column or the words have too many rows, or a commitment is the point at infinity.
pub fn create_proof(
    key: &ProvingKey,
    device: &dyn Device,
    vk_digest: &[u8; 32],
    words: &[Fr],
    witness: &dyn Witness,
    rng: &mut dyn CryptoRngCore,
    progress: &dyn Progress,
) -> Result<Vec<u8>, ProveError> {
    let p = &key.protocol;
    let points = p.n_commitments() as u64 + 2;
    let total = points + quotient::n_steps(&key.program, p.n_quotients());
    let mut prover = Rounds {
        key,
        p,
        device,
        rng,
        transcript: Transcript::new(vk_digest),
        bytes: Vec::with_capacity(p.proof_bytes()),
        n_points: 0,
        steps: Steps::begin(progress, Phase::Prove, total)?,
    };
    prover.transcript.absorb_scalar(p.transcript_repr);
    for word in words {
        prover.transcript.absorb_scalar(*word);
    }
    let instance = prover.instance(words)?;
    let (advice, challenges) = prover.advice(witness)?;
    let _theta = prover.transcript.squeeze();
    let beta = prover.transcript.squeeze();
    let gamma = prover.transcript.squeeze();
    let products = prover.products(&advice, &instance, (beta, gamma))?;
    let columns = Columns {
        key,
        advice: prover.all_coefficients(advice)?,
        instance: key.rows.coefficients(device, instance)?,
        products,
    };
    let random = prover.random()?;
    let values = Values {
        challenges: &challenges,
        beta,
        gamma,
        y: prover.transcript.squeeze(),
        shift: Fr::ONE,
    };
    let pieces = quotient(
        device,
        &key.rows,
        &key.program,
        &columns,
        values,
        p.n_quotients(),
        &mut prover.steps,
    )?;
    prover.commit_all(&key.powers.monomial, &pieces)?;
    let x = prover.transcript.squeeze();
    let folded = prover.fold_pieces(pieces, x)?;
    prover.open(&columns, &random, &folded, x)?;
    Ok(prover.bytes)
}

/// The polynomials that the constraints read.
struct Columns<'a> {
    key: &'a ProvingKey,
    advice: Vec<FrVec>,
    instance: FrVec,
    products: Vec<FrVec>,
}

impl Coefficients for Columns<'_> {
    fn of(&self, source: Source) -> Option<&FrVec> {
        match source {
            Source::Advice(i) => Some(&self.advice[usize::from(i)]),
            Source::Fixed(i) => Some(&self.key.fixed[usize::from(i)]),
            Source::Instance => Some(&self.instance),
            Source::Product(i) => Some(&self.products[usize::from(i)]),
            Source::Sigma(i) => Some(&self.key.sigma[usize::from(i)]),
            Source::First | Source::Point => None,
        }
    }
}

struct Rounds<'a> {
    key: &'a ProvingKey,
    p: &'a Protocol,
    device: &'a dyn Device,
    rng: &'a mut dyn CryptoRngCore,
    transcript: Transcript,
    bytes: Vec<u8>,
    n_points: usize,
    steps: Steps<'a>,
}

impl Rounds<'_> {
    fn write_point(&mut self, point: &G1Affine) -> Result<(), ProveError> {
        if point.is_zero() {
            return Err(ProveError::Identity {
                commitment: self.n_points,
            });
        }
        self.n_points += 1;
        let start = self.bytes.len();
        write_g1(&mut self.bytes, point);
        self.transcript.absorb(&self.bytes[start..]);
        Ok(())
    }

    fn write_scalar(&mut self, scalar: Fr) {
        let bytes = scalar_to_bytes(scalar);
        self.transcript.absorb(&bytes);
        self.bytes.extend_from_slice(&bytes);
    }

    fn scalar(&mut self) -> Fr {
        from_library(&LibraryFr::random(&mut *self.rng))
    }

    /// Draws what the library calls the blind of a commitment. KZG has no use for it.
    fn skip_blinds(&mut self, n: usize) {
        for _ in 0..n {
            let _blind = LibraryFr::random(&mut *self.rng);
        }
    }

    /// The first of the last `n` rows.
    fn row_from_end(&self, n: usize) -> usize {
        self.key.rows.n() - n
    }

    fn blinding(&self) -> usize {
        usize::from(self.p.blinding_factors)
    }

    fn commit(&mut self, bases: &Bases<G1>, column: &FrVec) -> Result<(), ProveError> {
        let point = commit(self.device, bases, column)?;
        self.write_point(&point.into_affine())?;
        Ok(self.steps.advance(1)?)
    }

    fn commit_all(&mut self, bases: &Bases<G1>, columns: &[FrVec]) -> Result<(), ProveError> {
        let mut points = Vec::with_capacity(columns.len());
        for column in columns {
            points.push(commit(self.device, bases, column)?);
            self.steps.advance(1)?;
        }
        for point in G1Projective::normalize_batch(&points) {
            self.write_point(&point)?;
        }
        Ok(())
    }

    fn check_rows(&self, what: &'static str, got: usize) -> Result<(), ProveError> {
        let most = self.row_from_end(self.blinding() + 1);
        if got <= most {
            Ok(())
        } else {
            Err(ProveError::Rows { what, most, got })
        }
    }

    /// The values of the instance column.
    fn instance(&self, words: &[Fr]) -> Result<FrVec, ProveError> {
        self.check_rows("the instance column", words.len())?;
        let mut values = vec![Fr::ZERO; self.key.rows.n()];
        values[..words.len()].copy_from_slice(words);
        Ok(self.device.upload(values)?)
    }

    /// The values of the advice columns, committed to, and the challenges.
    fn advice(&mut self, witness: &dyn Witness) -> Result<(Vec<FrVec>, Vec<Fr>), ProveError> {
        let p = self.p;
        let n = self.key.rows.n();
        let mut columns: Vec<Secret> = vec![Zeroizing::new(Vec::new()); p.advice_phases.len()];
        let nothing = || self.device.upload(Vec::new());
        let held: Result<Vec<FrVec>, _> = p.advice_phases.iter().map(|_| nothing()).collect();
        let mut held = held?;
        let mut challenges: Vec<Option<LibraryFr>> = vec![None; p.challenge_phases.len()];
        for phase in 0..p.n_phases() {
            let of_phase = |phases: &[u8]| -> Vec<usize> {
                let own = phases.iter().enumerate().filter(|(_, own)| **own == phase);
                own.map(|(i, _)| i).collect()
            };
            let own = of_phase(&p.advice_phases);
            for i in &own {
                columns[*i] = Zeroizing::new(vec![Fr::ZERO; n]);
            }
            let mut most_rows = 0;
            witness.advice(phase, &challenges, &mut |i, values| {
                most_rows = most_rows.max(values.len());
                if own.contains(&i) {
                    for (cell, value) in columns[i].iter_mut().zip(values) {
                        *cell = from_library(value);
                    }
                }
            });
            self.check_rows("an advice column", most_rows)?;
            let first = self.row_from_end(self.blinding() + 1);
            let mut committed = Vec::with_capacity(own.len());
            for i in &own {
                let mut column = mem::take(&mut columns[*i]);
                for cell in &mut column[first..] {
                    *cell = self.scalar();
                }
                committed.push(self.device.upload(mem::take(&mut *column))?);
            }
            self.skip_blinds(own.len());
            self.commit_all(&self.key.powers.lagrange, &committed)?;
            for (i, column) in own.into_iter().zip(committed) {
                held[i] = column;
            }
            for i in of_phase(&p.challenge_phases) {
                challenges[i] = Some(to_library(&self.transcript.squeeze()));
            }
        }
        let challenges = challenges.iter().flatten().map(from_library).collect();
        Ok((held, challenges))
    }

    /// The coefficients of the permutation products, committed to.
    fn products(
        &mut self,
        advice: &[FrVec],
        instance: &FrVec,
        challenges: (Fr, Fr),
    ) -> Result<Vec<FrVec>, ProveError> {
        let (key, p) = (self.key, self.p);
        let mut products = Vec::with_capacity(p.n_products());
        let mut start = Fr::ONE;
        for i in 0..p.n_products() {
            let columns = p.chunk(i);
            let mut fixed = Vec::new();
            for column in &p.permuted[columns.clone()] {
                if let Column::Fixed(i) = column {
                    let coefficients = &key.fixed[usize::from(*i)];
                    fixed.push(key.rows.values(self.device, coefficients)?);
                }
            }
            let mut fixed = fixed.iter();
            let values: Vec<&FrVec> = p.permuted[columns.clone()]
                .iter()
                .filter_map(|column| match column {
                    Column::Advice(i) => Some(&advice[usize::from(*i)]),
                    Column::Fixed(_) => fixed.next(),
                    Column::Instance => Some(instance),
                })
                .collect();
            let mut product = key.permutation.product(
                self.device,
                &key.rows,
                columns,
                &values,
                challenges,
                start,
            )?;
            let first = self.row_from_end(self.blinding());
            let random: Secret =
                Zeroizing::new((0..self.blinding()).map(|_| self.scalar()).collect());
            self.device.write_range(&mut product, first, &random)?;
            let last = product.slice(first - 1..first)?;
            start = Zeroizing::new(self.device.read_range(last)?)[0];
            self.skip_blinds(1);
            self.commit(&key.powers.lagrange, &product)?;
            products.push(key.rows.coefficients(self.device, product)?);
        }
        Ok(products)
    }

    fn all_coefficients(&self, columns: Vec<FrVec>) -> Result<Vec<FrVec>, ProveError> {
        let coefficients = |column| Ok(self.key.rows.coefficients(self.device, column)?);
        columns.into_iter().map(coefficients).collect()
    }

    /// The random polynomial, committed to.
    fn random(&mut self) -> Result<FrVec, ProveError> {
        let n = self.key.rows.n();
        let mut seeds = Zeroizing::new(vec![[0u8; 32]; n.div_ceil(PER_SEED)]);
        for seed in seeds.iter_mut() {
            self.rng.fill_bytes(seed);
        }
        let mut random: Secret = Zeroizing::new(vec![Fr::ZERO; n]);
        random
            .par_chunks_mut(PER_SEED)
            .zip(seeds.par_iter())
            .for_each(|(part, seed)| {
                let mut rng = StdRng::from_seed(*seed);
                for c in part {
                    *c = from_library(&LibraryFr::random(&mut rng));
                }
            });
        seeds.zeroize();
        let random = self.device.upload(mem::take(&mut *random))?;
        self.commit(&self.key.powers.monomial, &random)?;
        Ok(random)
    }

    /// Σ_j x^(nj)·h_j.
    fn fold_pieces(&self, pieces: Vec<FrVec>, x: Fr) -> Result<FrVec, ProveError> {
        let n = self.key.rows.n();
        let step = x.pow([n as u64]);
        let mut pieces = pieces.into_iter();
        let mut folded = match pieces.next() {
            Some(first) => first,
            None => self.device.zeros(n)?,
        };
        let others: Vec<FrVec> = pieces.collect();
        let mut power = Fr::ONE;
        let mut terms = Vec::with_capacity(others.len());
        for piece in &others {
            power *= step;
            terms.push((power, piece));
        }
        self.device.combine(&mut folded, &terms)?;
        Ok(folded)
    }

    /// Evaluations and the two points of the opening.
    fn open(
        &mut self,
        columns: &Columns<'_>,
        random: &FrVec,
        quotient: &FrVec,
        x: Fr,
    ) -> Result<(), ProveError> {
        let (p, rows) = (self.p, &self.key.rows);
        let poly = |poly: Poly| match poly {
            Poly::Advice(i) => &columns.advice[usize::from(i)],
            Poly::Fixed(i) => &columns.key.fixed[usize::from(i)],
            Poly::Product(i) => &columns.products[usize::from(i)],
            Poly::Sigma(i) => &columns.key.sigma[usize::from(i)],
            Poly::Quotient => quotient,
            Poly::Random => random,
        };
        // Every evaluation of the proof belongs to one opening.
        let openings = p.openings();
        let mut evals = vec![Fr::ZERO; p.n_evals()];
        let mut sets = Vec::with_capacity(openings.len());
        for opening in &openings {
            let points: Vec<Fr> = opening
                .rotations
                .iter()
                .map(|r| rows.rotate(x, *r))
                .collect();
            let mut polys = Vec::with_capacity(opening.polys.len());
            for (which, at) in &opening.polys {
                let coefficients = poly(*which);
                let mut values = Vec::with_capacity(points.len());
                for (point, eval) in points.iter().zip(at) {
                    let value = self.device.evaluate(coefficients, *point)?;
                    if let Eval::Given(position) = eval {
                        evals[*position] = value;
                    }
                    values.push(value);
                }
                polys.push((coefficients, values));
            }
            sets.push(Set { points, polys });
        }
        for eval in evals {
            self.write_scalar(eval);
        }
        let y = self.transcript.squeeze();
        let v = self.transcript.squeeze();
        let folded = Folded::new(self.device, sets, rows.n(), y, v)?;
        let first = folded.quotient(self.device)?;
        self.commit(&self.key.powers.monomial, &first)?;
        let u = self.transcript.squeeze();
        let second = folded.linearization(self.device, &first, u)?;
        let second = second.ok_or(ProveError::Identity {
            commitment: self.n_points,
        })?;
        self.commit(&self.key.powers.monomial, &second)
    }
}
