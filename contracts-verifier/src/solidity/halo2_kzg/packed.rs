//! # The key of the reusable contract
//! The plan of one key as the bytes that stand behind the forwarder in a key contract's code; `Halo2KzgVerifier.sol` interprets them.
//! Values are addressed by slot, 32-byte places counted from the first byte of the image in memory. Layout: DESIGN.md#halo2-kzg.

use ark_bn254::G1Affine;
use ark_ec::AffineRepr;
use ark_ff::Field;
use zkinfer_verifier::{
    VerifyingKey,
    curve::{scalar_to_bytes, write_g1, write_g2},
    halo2_kzg::{Protocol, omega, transcript::TRANSCRIPT_DOMAIN},
};

use super::{
    super::key_words::KeyWord,
    graph::Input,
    plan::{Plan, Point},
    program::{MultiplyAdd, Place, Program},
};

/// What the last word of a key contract's code starts with.
pub(super) const MAGIC: &[u8; 24] = b"zkinfer/halo2-kzg/key/v1";
/// Operations in a word.
const OPS_PER_WORD: usize = 5;

/// The pieces of the image, then the last word; `None` if a slot number does not fit 16 bits.
pub(crate) fn key_pieces(key: &VerifyingKey, p: &Protocol) -> Option<Vec<KeyWord>> {
    let plan = Plan::new(p);
    let mut outputs = plan.outputs();
    outputs.sort_unstable();
    outputs.dedup();
    let program = Program::new(&plan.graph, plan.inverted, &outputs);
    Packer::new(p, &plan, &program, key).pack(key)
}

/// Slots of everything.
struct Packer<'a> {
    p: &'a Protocol,
    plan: &'a Plan,
    program: &'a Program,
    middle: usize,
    end: usize,
    group: usize,
    constants: usize,
    fixed: usize,
    sigma: usize,
    generator: usize,
    s_g2: usize,
    words: usize,
    proof: usize,
    challenges: usize,
    runtime: usize,
    results: usize,
    chains: usize,
    total: usize,
}

impl<'a> Packer<'a> {
    fn new(p: &'a Protocol, plan: &'a Plan, program: &'a Program, key: &VerifyingKey) -> Self {
        let before = program.before_inverse;
        let middle = 1 + before.div_ceil(OPS_PER_WORD);
        let end = middle
            + program
                .ops
                .len()
                .saturating_sub(before)
                .div_ceil(OPS_PER_WORD);
        // The table of absorbed words stands at `end`.
        let group = end + plan.absorbed.len().div_ceil(16);
        let entries = 1
            + plan
                .chains
                .iter()
                .map(|c| 2 + c.points.len())
                .sum::<usize>()
            + 2
            + 2 * plan.terms.len();
        let constants = group + entries.div_ceil(16);
        // ω⁻¹ stands behind the program's constants.
        let fixed = constants + program.constants.len() + 1;
        let sigma = fixed + 2 * p.fixed.len();
        let generator = sigma + 2 * p.sigma.len();
        let s_g2 = generator + 2;
        let prefix = s_g2 + 4;
        let words = prefix + 3;
        let proof = words + key.layout.n_words();
        let challenges = proof + p.proof_bytes() / 32;
        let runtime = challenges + plan.absorbed.len();
        let results = runtime + 4;
        // Programs are padded to whole words, and so are their results.
        let chains = results + OPS_PER_WORD * (end - 1);
        // Behind the chains: scratch space of the contract.
        let total = chains + 2 * plan.chains.len() + 16;
        Self {
            p,
            plan,
            program,
            middle,
            end,
            group,
            constants,
            fixed,
            sigma,
            generator,
            s_g2,
            words,
            proof,
            challenges,
            runtime,
            results,
            chains,
            total,
        }
    }

    fn evals(&self) -> usize {
        self.proof + 2 * self.p.n_commitments()
    }

    fn slot(&self, place: Place) -> usize {
        match place {
            Place::Input(Input::Eval(at)) => self.evals() + at,
            Place::Input(Input::Challenge(at)) => self.challenges + at,
            Place::Input(Input::Context) => self.words,
            Place::Input(Input::PowerOfX) => self.runtime,
            Place::Input(Input::InstanceNumerator) => self.runtime + 1,
            Place::Input(Input::InstanceDenominator) => self.runtime + 2,
            Place::Input(Input::Inverse) => self.runtime + 3,
            Place::Constant(at) => self.constants + at,
            Place::Result(at) => {
                let before = self.program.before_inverse;
                let padding = OPS_PER_WORD * (self.middle - 1) - before;
                self.results + at + if at < before { 0 } else { padding }
            }
        }
    }

    fn point(&self, point: Point) -> usize {
        let openings = self.evals() + self.p.n_evals();
        match point {
            Point::Fixed(i) => self.fixed + 2 * i,
            Point::Sigma(i) => self.sigma + 2 * i,
            Point::Commitment(i) => self.proof + 2 * i,
            Point::Chain(i) => self.chains + 2 * i,
            Point::W => openings,
            Point::WPrime => openings + 2,
            Point::Generator => self.generator,
        }
    }

    fn scalar(&self, id: super::graph::Id) -> Option<usize> {
        self.program.place(id).map(|place| self.slot(place))
    }

    fn pack(&self, key: &VerifyingKey) -> Option<Vec<KeyWord>> {
        let head = [
            usize::from(self.p.k),
            self.p.n_commitments(),
            self.p.n_evals(),
            self.plan.absorbed.len(),
            self.plan.x,
            self.middle,
            self.end,
            self.group,
            self.scalar(self.plan.inverted)?,
            self.constants + self.program.constants.len(),
            self.s_g2,
            self.results,
            self.chains,
            self.total,
        ];
        let (before, after) = self
            .program
            .ops
            .split_at_checked(self.program.before_inverse)?;
        let mut pieces = vec![
            piece("counts and slots", sixteens(head)?),
            piece("arithmetic before the inversion", self.operations(before)?),
            piece("arithmetic after the inversion", self.operations(after)?),
            piece(
                "words of the proof before each challenge",
                sixteens(self.plan.absorbed.iter().copied())?,
            ),
            piece("point arithmetic", sixteens(self.group_entries()?)?),
        ];
        for value in &self.program.constants {
            pieces.push(piece("constant", scalar_to_bytes(*value).to_vec()));
        }
        let omega = omega(self.p).inverse()?;
        pieces.push(piece("1/ω", scalar_to_bytes(omega).to_vec()));
        for (i, point) in self.p.fixed.iter().enumerate() {
            pieces.push(g1(format!("fixed column {i}"), point));
        }
        for (i, point) in self.p.sigma.iter().enumerate() {
            pieces.push(g1(format!("permutation σ_{i}"), point));
        }
        pieces.push(g1("generator of G1".to_owned(), &G1Affine::generator()));
        let mut s_g2 = Vec::with_capacity(128);
        write_g2(&mut s_g2, &self.p.s_g2);
        pieces.push(piece("[s] in G2: x.c1, x.c0, y.c1, y.c0", s_g2));
        pieces.push(piece("transcript domain", TRANSCRIPT_DOMAIN.to_vec()));
        pieces.push(piece("vk digest", key.digest().to_vec()));
        let repr = scalar_to_bytes(self.p.transcript_repr).to_vec();
        pieces.push(piece("what the library absorbs for the circuit", repr));
        debug_assert_eq!(
            pieces.iter().map(|piece| piece.bytes.len()).sum::<usize>(),
            32 * self.words
        );
        let mut tail = MAGIC.to_vec();
        for count in [key.layout.n_hashed(), self.words] {
            tail.extend_from_slice(&u16::try_from(count).ok()?.to_be_bytes());
        }
        let public_bytes = u32::try_from(key.layout.public_bytes()).ok()?;
        tail.extend_from_slice(&public_bytes.to_be_bytes());
        pieces.push(piece("format, digests, words above, public bytes", tail));
        Some(pieces)
    }

    fn operations(&self, ops: &[MultiplyAdd]) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(32 * ops.len().div_ceil(OPS_PER_WORD));
        for ops in ops.chunks(OPS_PER_WORD) {
            for op in ops {
                for place in [op.a, op.b, op.c] {
                    let slot = u16::try_from(self.slot(place)).ok()?;
                    bytes.extend_from_slice(&slot.to_be_bytes());
                }
            }
            // What is missing multiplies slot 0 by itself: nothing reads the results.
            bytes.resize(bytes.len().next_multiple_of(32), 0);
        }
        Some(bytes)
    }

    fn group_entries(&self) -> Option<Vec<usize>> {
        let mut entries = vec![self.plan.chains.len()];
        for chain in &self.plan.chains {
            entries.push(chain.points.len());
            entries.push(self.scalar(chain.at)?);
            entries.extend(chain.points.iter().map(|point| self.point(*point)));
        }
        entries.push(self.plan.terms.len());
        entries.push(self.point(self.plan.first));
        for (scalar, point) in &self.plan.terms {
            entries.extend([self.scalar(*scalar)?, self.point(*point)]);
        }
        Some(entries)
    }
}

fn piece(name: &str, bytes: Vec<u8>) -> KeyWord {
    KeyWord {
        name: name.to_owned(),
        bytes,
    }
}

fn g1(name: String, point: &G1Affine) -> KeyWord {
    let mut bytes = Vec::with_capacity(64);
    write_g1(&mut bytes, point);
    KeyWord { name, bytes }
}

/// 16-bit numbers, padded to whole words.
fn sixteens(values: impl IntoIterator<Item = usize>) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for value in values {
        bytes.extend_from_slice(&u16::try_from(value).ok()?.to_be_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    Some(bytes)
}
