//! From integers to cells: the first phase from the solver's tensors, the second from the first and the challenges.

use super::table::{KeyFill, LookupTable};
use super::tape::{HomeFill, Operand, Target};
use super::values::{fr, pow2, scalar, to_i64, word};
use super::{Fr, Halo2Circuit};
use crate::arithmetization::interface::{self, Packed};
use crate::arithmetization::sponge;
use crate::constraint::{Assignment, Instr, TensorId, bias_at};
use halo2curves::ff::{BatchInvert, Field};
use rayon::prelude::*;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// The cells of the first phase. Holds private values: never shown, overwritten on drop.
pub(super) struct First {
    pub(super) h: Vec<Fr>,
    pub(super) l: Vec<Fr>,
    pub(super) m: Vec<Fr>,
}

/// The cells of the second phase; overwritten on drop.
#[derive(Clone)]
pub(super) struct Second {
    pub(super) a: Vec<Fr>,
    pub(super) b: Vec<Fr>,
    pub(super) s: Vec<Fr>,
    pub(super) phi: Vec<Fr>,
}

/// Overwrites field elements of the library's type, which has no `Zeroize`.
pub(super) fn wipe(values: &mut [Fr]) {
    values.fill(Fr::ZERO);
    std::hint::black_box(values);
}

impl Drop for First {
    fn drop(&mut self) {
        [&mut self.h, &mut self.l, &mut self.m]
            .into_iter()
            .for_each(|v| wipe(v));
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        [&mut self.a, &mut self.b, &mut self.s, &mut self.phi]
            .into_iter()
            .for_each(|v| wipe(v));
    }
}

/// The values of every tensor of the program; overwritten on drop.
struct Tensors(Vec<Vec<Fr>>);

impl Drop for Tensors {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(|v| wipe(v));
    }
}

/// Rows of `a` times rows of `b`, in the field.
fn contract(a: &[Fr], b: &[Fr], dims: [u32; 4]) -> Vec<Fr> {
    let [batch, m, k, n] = dims.map(|d| d as usize);
    let element = |out: usize| {
        let (t, i, j) = (out / (m * n), out / n % m, out % n);
        let (i, j) = ((t * m + i) * k, (t * n + j) * k);
        let pairs = a[i..i + k].iter().zip(&b[j..j + k]);
        pairs.map(|(a, b)| *a * b).sum()
    };
    (0..batch * m * n).map(element).collect()
}

/// θ, β, γ, δ, η.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Challenges {
    pub(super) theta: Fr,
    pub(super) beta: Fr,
    pub(super) gamma: Fr,
    pub(super) delta: Fr,
    pub(super) eta: Fr,
}

/// Values that a lying prover puts in place of the honest ones, before anything that depends on them is computed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lie {
    /// (tensor, element).
    pub(crate) tensors: BTreeMap<(u32, u32), Fr>,
    /// Key cells by row.
    pub(crate) keys: BTreeMap<u32, Fr>,
}

impl Challenges {
    /// The challenges in the order in which [`super::Config`] asks for them.
    pub(super) fn new(challenge: impl Fn(usize) -> Fr) -> Self {
        Self {
            theta: challenge(0),
            beta: challenge(1),
            gamma: challenge(2),
            delta: challenge(3),
            eta: challenge(4),
        }
    }
}

impl Halo2Circuit {
    /// The first phase of an honest witness; `words[0]` is the context.
    pub(super) fn first(&self, solved: &Assignment, words: &[Fr]) -> First {
        let values = (0..self.program.tensors().len())
            .map(|id| solved.tensor(TensorId(id as u32)))
            .map(|v| v.iter().map(|x| fr(*x)).collect())
            .collect();
        self.fill(solved, Tensors(values), words, &Lie::default())
    }

    /// The first phase of a lying witness, and the words it amounts to.
    pub(super) fn first_of(&self, solved: &Assignment, context: Fr, lie: &Lie) -> (First, Vec<Fr>) {
        let values = self.recompute(solved, lie);
        let mut words = vec![context];
        words.extend(self.pack(&values.0));
        (self.fill(solved, values, &words, lie), words)
    }

    fn fill(&self, solved: &Assignment, values: Tensors, words: &[Fr], lie: &Lie) -> First {
        let mut homes: Vec<Fr> = Vec::with_capacity(self.homes.len());
        for home in &self.homes {
            let value = match home.fill {
                HomeFill::Tensor(x, i) => values.0[x.index()][i as usize],
                HomeFill::Offset(x, i, c) => values.0[x.index()][i as usize] + fr(c),
                HomeFill::Remainder { x, q, index, split } => {
                    let i = index as usize;
                    values.0[x.index()][i] - values.0[q.index()][i] * pow2(split)
                }
                HomeFill::Word(k) => words.get(k as usize).copied().unwrap_or(Fr::ZERO),
                // filled below, all at once
                HomeFill::Between { .. } => Fr::ZERO,
                HomeFill::Copy(of) => homes[of as usize],
            };
            homes.push(value);
        }
        let between: Vec<(usize, Fr)> = self
            .homes
            .par_iter()
            .enumerate()
            .filter_map(|(cell, home)| match home.fill {
                HomeFill::Between { product, index } => {
                    let product = &self.products[product as usize];
                    let map = self.map_of(product.step)?;
                    let x = &values.0[product.x.index()];
                    Some((cell, product.between_value(map, index as usize, x)))
                }
                _ => None,
            })
            .collect();
        for (cell, value) in between {
            homes[cell] = value;
        }
        let n = self.rows.len();
        let mut first = First {
            h: vec![Fr::ZERO; n],
            l: vec![Fr::ZERO; n],
            m: vec![Fr::ZERO; self.active_rows()],
        };
        for (row, lookup) in self.rows.iter().enumerate() {
            if let Some(home) = lookup.home {
                first.h[row] = homes[home as usize];
            }
            first.l[row] = match lie.keys.get(&(row as u32)) {
                Some(lie) => *lie,
                None => self.key(solved, &values.0, lookup.key),
            };
        }
        wipe(&mut homes);
        self.count(&mut first);
        first
    }

    pub(super) fn key(&self, solved: &Assignment, values: &[Vec<Fr>], fill: KeyFill) -> Fr {
        match fill {
            KeyFill::Zero => Fr::ZERO,
            KeyFill::Element(x, i, c) => values[x.index()][i as usize] + fr(c),
            KeyFill::Limb {
                x,
                q,
                index,
                offset,
                split,
                at,
                bits,
                scale,
            } => {
                let i = index as usize;
                let q = q.map_or(0, |q| solved.tensor(q)[i]);
                let low = (solved.tensor(x)[i] + offset) - (q << split);
                Fr::from((((low >> at) & ((1 << bits) - 1)) as u64) << scale)
            }
        }
    }

    /// How often each table row is asked for; what is in no table is not counted (and cannot be proved).
    pub(super) fn count(&self, first: &mut First) {
        let mut counts = vec![0u64; first.m.len()];
        counts[0] += (self.active_rows() - self.rows.len()) as u64;
        for (row, lookup) in self.rows.iter().enumerate() {
            let table = &self.tables[lookup.table as usize];
            if let Some(at) = self.table_row(table, first.l[row], first.h[row], lookup.table) {
                counts[at] += 1;
            }
        }
        for (m, count) in first.m.iter_mut().zip(counts) {
            *m = Fr::from(count);
        }
    }

    /// The table row that a question hits.
    pub(super) fn table_row(
        &self,
        table: &LookupTable,
        key: Fr,
        value: Fr,
        id: u32,
    ) -> Option<usize> {
        let at = usize::try_from(to_i64(key)?.checked_sub(table.first)?).ok()?;
        let expected = table.values.get(at)?;
        (id == 0 || fr(*expected) == value).then_some(table.start + at)
    }

    /// The words after the context, as the tape computes them.
    fn pack(&self, values: &[Vec<Fr>]) -> Vec<Fr> {
        let words = interface::words(&self.program).expect("lowering packed the same words");
        let element = |e: &Packed| {
            pow2(e.exponent) * fr(e.scale) * (values[e.tensor.index()][e.index] - fr(e.min))
        };
        let packed = |word: &Vec<Packed>| word.iter().map(element).sum::<Fr>();
        let digests = interface::hashed(&self.program).into_iter().map(|hashed| {
            let words = hashed.words.iter().map(|word| scalar(packed(word)));
            let words: Zeroizing<Vec<_>> = Zeroizing::new(words.collect());
            word(sponge::poseidon().hash(hashed.tag, &words))
        });
        words.iter().map(packed).chain(digests).collect()
    }

    /// The first phase of a lying witness under words that somebody claims.
    pub(super) fn first_as_claimed(&self, solved: &Assignment, words: &[Fr], lie: &Lie) -> First {
        self.fill(solved, self.recompute(solved, lie), words, lie)
    }

    /// Every tensor again, in the field, with the lies in place.
    fn recompute(&self, solved: &Assignment, lie: &Lie) -> Tensors {
        let mut values: Vec<Vec<Fr>> = vec![];
        for step in self.program.steps() {
            let Some(y) = step.y else { continue };
            let honest = || solved.tensor(y).iter().map(|x| fr(*x)).collect::<Vec<Fr>>();
            let mut v = match &step.instr {
                Instr::Linear { map, x, bias } => (0..solved.tensor(y).len())
                    .map(|out| {
                        let mut sum = fr(bias_at(bias, out));
                        map.row(out, |i, c| sum += fr(c) * values[x.index()][i]);
                        sum
                    })
                    .collect(),
                Instr::Combine { terms, constant } => (0..solved.tensor(y).len())
                    .map(|i| {
                        let sum =
                            |sum, (c, x): &(i64, TensorId)| sum + fr(*c) * values[x.index()][i];
                        terms.iter().fold(fr(*constant), sum)
                    })
                    .collect(),
                Instr::Mul { a, b } => {
                    let pairs = values[a.index()].iter().zip(&values[b.index()]);
                    pairs.map(|(a, b)| *a * b).collect()
                }
                Instr::Select { condition, yes, no } => {
                    let (yes, no) = (&values[yes.index()], &values[no.index()]);
                    let condition = values[condition.index()].iter();
                    let element = |(i, c): (usize, &Fr)| no[i] + *c * (yes[i] - no[i]);
                    condition.enumerate().map(element).collect()
                }
                Instr::Contract { a, b, dims } => {
                    contract(&values[a.index()], &values[b.index()], *dims)
                }
                Instr::Split { x, shift } => {
                    let mut rest = values[x.index()].clone();
                    self.subtract_limbs(solved, lie, y, &mut rest);
                    let inverse: Fr = Option::from(pow2(*shift).invert()).unwrap_or(Fr::ZERO);
                    rest.iter().map(|r| *r * inverse).collect()
                }
                Instr::Range { x, .. } | Instr::Member { x, .. } => values[x.index()].clone(),
                _ => honest(),
            };
            for ((_, i), value) in lie.tensors.range((y.0, 0)..(y.0 + 1, 0)) {
                if let Some(v) = v.get_mut(*i as usize) {
                    *v = *value;
                }
            }
            values.push(v);
        }
        Tensors(values)
    }

    /// Takes the limbs of the split that made `y` off its operand.
    fn subtract_limbs(&self, solved: &Assignment, lie: &Lie, y: TensorId, rest: &mut [Fr]) {
        for (row, lookup) in self.rows.iter().enumerate() {
            let KeyFill::Limb {
                q,
                index,
                at,
                scale: 0,
                ..
            } = lookup.key
            else {
                continue;
            };
            if q != Some(y) {
                continue;
            }
            let limb = match lie.keys.get(&(row as u32)) {
                Some(lie) => *lie,
                None => self.key(solved, &[], lookup.key),
            };
            rest[index as usize] -= pow2(at) * limb;
        }
    }

    /// The second phase.
    pub(super) fn second(&self, first: &First, c: &Challenges) -> Second {
        let (a, b, s) = self.run_tape(first, c);
        Second {
            a,
            b,
            s,
            phi: self.lookup_sum(first, c),
        }
    }

    /// Value of a home cell.
    pub(super) fn home_value(&self, first: &First, home: u32) -> Fr {
        first.h[self.home_row(home)]
    }

    fn run_tape(&self, first: &First, c: &Challenges) -> (Vec<Fr>, Vec<Fr>, Vec<Fr>) {
        let n = self.tape.rows.len();
        let (mut a, mut b) = (vec![Fr::ZERO; n], vec![Fr::ZERO; n]);
        let mut s = vec![Fr::ZERO; n + 1];
        let etas: Vec<Fr> = std::iter::successors(Some(Fr::ONE), |p| Some(*p * c.eta))
            .take(self.tape.width)
            .collect();
        let top = n as u32 - self.tape.first_power();
        let powers: Vec<Fr> = std::iter::successors(Some(Fr::ONE), |p| Some(*p * c.delta))
            .take(top as usize)
            .collect();
        for (row, op) in self.tape.rows.iter().enumerate() {
            let value = |operand| match operand {
                // the powers stand at the end of the tape but depend on nothing
                Operand::Power(e) => powers[e as usize],
                _ => {
                    let home = |cell| self.home_value(first, cell);
                    let value = self.tape.factor(operand, home, |row| s[row as usize + 1]);
                    value.unwrap_or(Fr::ZERO)
                }
            };
            (a[row], b[row]) = (value(op.a), value(op.b));
            s[row + 1] = self.tape_step(row, s[row], a[row], b[row], c, &etas);
        }
        (a, b, s)
    }

    /// What the tape makes of row `row`.
    pub(super) fn tape_step(
        &self,
        row: usize,
        s: Fr,
        a: Fr,
        b: Fr,
        c: &Challenges,
        etas: &[Fr],
    ) -> Fr {
        use super::tape::Mode;
        let op = &self.tape.rows[row];
        let kept = match op.mode {
            Mode::Start => Fr::ZERO,
            Mode::Keep => s,
            Mode::Delta => s * c.delta,
            Mode::Gamma => s * c.gamma,
        };
        let weights = self.tape.weights_of(op);
        let product = if op.f == Fr::ZERO {
            Fr::ZERO
        } else {
            op.f * a * b
        };
        weights
            .iter()
            .zip(etas)
            .fold(kept + product, |sum, (w, eta)| sum + *w * eta)
    }

    /// Denominators of the question and of the table row of every active row.
    pub(super) fn denominators(&self, first: &First, c: &Challenges) -> (Vec<Fr>, Vec<Fr>) {
        let n = self.active_rows();
        let nothing = c.beta;
        let mut asked = vec![nothing; n];
        for (row, lookup) in self.rows.iter().enumerate() {
            let id = Fr::from(u64::from(lookup.table));
            asked[row] = c.beta + first.l[row] + c.theta * id * (first.h[row] + c.theta);
        }
        let mut table_rows = vec![nothing; n];
        for (id, table) in self.tables.iter().enumerate() {
            let id = Fr::from(id as u64);
            for (i, value) in table.values.iter().enumerate() {
                let key = fr(table.first + i as i64);
                table_rows[table.start + i] = c.beta + key + c.theta * id * (fr(*value) + c.theta);
            }
        }
        (asked, table_rows)
    }

    fn lookup_sum(&self, first: &First, c: &Challenges) -> Vec<Fr> {
        let (mut asked, mut rows) = self.denominators(first, c);
        asked.iter_mut().batch_invert();
        rows.iter_mut().batch_invert();
        let mut phi = Vec::with_capacity(asked.len() + 1);
        let mut sum = Fr::ZERO;
        phi.push(sum);
        for ((asked, row), m) in asked.iter().zip(&rows).zip(&first.m) {
            sum += *asked - *row * m;
            phi.push(sum);
        }
        wipe(&mut asked);
        phi
    }

    /// Value of a tie's target.
    pub(super) fn target_value(&self, first: &First, s: &[Fr], target: Target) -> Fr {
        target.place(
            |cell| self.home_value(first, cell),
            |row| s[row as usize + 1],
        )
    }
}
