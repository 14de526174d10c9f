//! From integers to wires: filling, completing after the challenges, row values, checking.

use super::circuit::{Class, Fill, LinComb, Node, Rid};
use super::transpose::SmallInts;
use super::{Form, R1cs, Violation, ZeroDenominator};
use crate::constraint::{Assignment, LinearMap, bias_at};
use ark_bn254::Fr;
use ark_ff::{One, PrimeField, Zero, batch_inversion};
use rayon::prelude::*;
use std::collections::BTreeMap;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Values of all wires. Holds private inputs: never shown, wiped on drop.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Witness {
    /// `[1, words…]` or `[1, ρ, α, e]`.
    pub instance: Vec<Fr>,
    /// Committed round, W1.
    pub committed: Vec<Fr>,
    /// Everything else, W2.
    pub private: Vec<Fr>,
}

impl std::fmt::Debug for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Witness")
            .field("instance", &self.instance.len())
            .field("committed", &self.committed.len())
            .field("private", &self.private.len())
            .finish_non_exhaustive()
    }
}

/// Values of every tensor of the circuit; wiped on drop like the witness they come from.
pub(super) struct Values(pub(super) Vec<Vec<Fr>>);

impl Drop for Values {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// What is known before a pass over the tensors; the rest is filled.
#[derive(Default)]
pub(super) struct Known<'a> {
    pub(super) instance: Option<&'a [Fr]>,
    pub(super) committed: Option<&'a [Fr]>,
    pub(super) private: Option<&'a [Fr]>,
    pub(super) solved: Option<&'a Assignment>,
    pub(super) context: Fr,
    /// Wires whose filled value is replaced before anything reads it (forging).
    pub(super) forged: Option<&'a BTreeMap<usize, Fr>>,
    /// What is added to the filled values of wires before anything reads them (forging).
    pub(super) added: Option<&'a BTreeMap<usize, Fr>>,
    /// ρ and α of a pass that takes the public words from the wires (forging).
    pub(super) follow: Option<(Fr, Fr)>,
    pub(super) first_phase_only: bool,
}

impl R1cs {
    /// The whole witness of the plain form; `words[0]` is the context.
    pub fn assign_plain(&self, solved: &Assignment, words: &[Fr]) -> Witness {
        self.fill_plain(solved, words, &BTreeMap::new())
    }

    /// The values of the committed round.
    pub fn commit(&self, solved: &Assignment, context: Fr) -> Vec<Fr> {
        self.commit_forged(solved, context, &BTreeMap::new()).0
    }

    /// As [`R1cs::commit`], with some wires replaced before dependent values and multiplicities are computed; also the words
    /// that the changed wires amount to.
    pub(crate) fn commit_forged(
        &self,
        solved: &Assignment,
        context: Fr,
        forged: &BTreeMap<usize, Fr>,
    ) -> (Vec<Fr>, Vec<Fr>) {
        let known = Known {
            solved: Some(solved),
            context,
            forged: Some(forged),
            first_phase_only: true,
            ..Known::default()
        };
        // inverses belong to the second phase
        let values = self
            .evaluate(&known)
            .expect("nothing to invert in the first phase");
        let packed = self.words.map_or(&[][..], |w| &values.0[w]);
        let words = std::iter::once(context)
            .chain(packed.iter().copied())
            .collect();
        (self.collect(&values, Class::Committed), words)
    }

    /// The plain witness with some wires replaced before dependent values are computed; the words follow the wires.
    pub(crate) fn assign_plain_forged(
        &self,
        solved: &Assignment,
        context: Fr,
        forged: &BTreeMap<usize, Fr>,
    ) -> Witness {
        let (_, words) = self.commit_forged(solved, context, forged);
        self.fill_plain(solved, &words, forged)
    }

    /// The plain witness under given words, with some wires replaced before dependent values are computed.
    pub(crate) fn fill_plain(
        &self,
        solved: &Assignment,
        words: &[Fr],
        forged: &BTreeMap<usize, Fr>,
    ) -> Witness {
        let instance: Vec<Fr> = std::iter::once(Fr::one())
            .chain(words.iter().copied())
            .collect();
        let known = Known {
            instance: Some(&instance),
            solved: Some(solved),
            forged: Some(forged),
            ..Known::default()
        };
        // the plain form has no denominators
        let values = self
            .evaluate(&known)
            .expect("nothing to invert in the plain form");
        Witness {
            committed: vec![],
            private: self.collect(&values, Class::Private),
            instance,
        }
    }

    /// Fills the second phase after the challenges; `words[0]` is the context.
    ///
    /// # Errors
    /// When a denominator is zero: commit again with fresh randomness.
    pub fn complete(
        &self,
        committed: Vec<Fr>,
        words: &[Fr],
        rho: Fr,
        alpha: Fr,
    ) -> Result<Witness, ZeroDenominator> {
        self.complete_forged(committed, words, rho, alpha, &BTreeMap::new())
    }

    pub(crate) fn complete_forged(
        &self,
        committed: Vec<Fr>,
        words: &[Fr],
        rho: Fr,
        alpha: Fr,
        forged: &BTreeMap<usize, Fr>,
    ) -> Result<Witness, ZeroDenominator> {
        let e = words
            .iter()
            .rev()
            .fold(Fr::zero(), |e, word| e * alpha + word);
        let instance = vec![Fr::one(), rho, alpha, e];
        let known = Known {
            instance: Some(&instance),
            committed: Some(&committed),
            forged: Some(forged),
            ..Known::default()
        };
        let values = self.evaluate(&known)?;
        let private = self.collect(&values, Class::Private);
        drop(values);
        Ok(Witness {
            instance,
            committed,
            private,
        })
    }

    /// A·z, B·z and C·z, each of [`R1cs::n_rows`] values.
    pub fn row_values(&self, w: &Witness) -> [Vec<Fr>; 3] {
        let values = self.values_of(w);
        let mut rows = [(); 3].map(|()| Vec::with_capacity(self.n_rows));
        for group in &self.groups {
            for (rows, l) in rows.iter_mut().zip([&group.a, &group.b, &group.c]) {
                rows.extend_from_slice(&Zeroizing::new(lincomb(&values.0, l, group.n)));
            }
        }
        rows
    }

    /// Checks every row, and in the committed form first every lookup, so that a violation carries the query's name.
    ///
    /// # Errors
    /// The first constraint that does not hold.
    pub fn check(&self, w: &Witness) -> Result<(), Violation> {
        let values = self.values_of(w);
        self.check_lookups(&values)?;
        self.check_group_values(&values, None)
    }

    /// Checks the rows alone, except those of one group.
    pub(crate) fn check_rows(&self, w: &Witness, except: Option<usize>) -> Result<(), Violation> {
        self.check_group_values(&self.values_of(w), except)
    }

    fn check_group_values(&self, values: &Values, except: Option<usize>) -> Result<(), Violation> {
        for (g, group) in self.groups.iter().enumerate() {
            if Some(g) == except {
                continue;
            }
            let [a, b, c] = [&group.a, &group.b, &group.c]
                .map(|l| Zeroizing::new(lincomb(&values.0, l, group.n)));
            let bad = (0..group.n).find(|&i| a[i] * b[i] != c[i]);
            if let Some(index) = bad {
                return Err(self.violation(group.step, group.rule, index));
            }
        }
        Ok(())
    }

    fn check_lookups(&self, values: &Values) -> Result<(), Violation> {
        for q in &self.queries {
            let table = &self.tables[q.table];
            for (i, key) in values.0[q.key].iter().enumerate() {
                let row = self.row_of(table, *key);
                let value = q.value.map_or(Fr::zero(), |v| values.0[v][i]);
                if row.is_none_or(|row| Fr::from(table.rows[row].1) != value) {
                    return Err(self.violation(Some(q.step), "lookup", i));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn violation(
        &self,
        step: Option<usize>,
        rule: &'static str,
        index: usize,
    ) -> Violation {
        let step = step.map(|s| &self.program.steps()[s]);
        let (node, name) = step.map_or(("circuit", "argument"), |s| {
            (self.program.node_of(s), s.instr.name())
        });
        Violation {
            node: node.to_owned(),
            step: name,
            rule,
            index,
        }
    }

    pub(super) fn row_of(&self, table: &super::RTable, key: Fr) -> Option<usize> {
        let first = table.rows.first()?.0;
        let row = to_i64(key)?.checked_sub(first)?;
        usize::try_from(row)
            .ok()
            .filter(|row| *row < table.rows.len())
    }

    fn values_of(&self, w: &Witness) -> Values {
        let known = Known {
            instance: Some(&w.instance),
            committed: Some(&w.committed),
            private: Some(&w.private),
            ..Known::default()
        };
        // every wire is given: nothing is inverted
        self.evaluate(&known).expect("all wires are given")
    }

    fn collect(&self, values: &Values, class: Class) -> Vec<Fr> {
        let mut wires = Vec::with_capacity(match class {
            Class::Instance => self.n_instance,
            Class::Committed => self.n_committed,
            Class::Private => self.n_private,
        });
        for (tensor, v) in self.tensors.iter().zip(&values.0) {
            if matches!(&tensor.node, Node::Wires { class: c, .. } if *c == class) {
                wires.extend_from_slice(v);
            }
        }
        wires
    }

    /// One pass over the tensors in order: given wires are copied, the others filled from what came before.
    pub(super) fn evaluate(&self, known: &Known<'_>) -> Result<Values, ZeroDenominator> {
        let small = SmallInts::shared();
        let n = if known.first_phase_only {
            self.first_phase
        } else {
            self.tensors.len()
        };
        let mut values = Values(Vec::with_capacity(n));
        for tensor in &self.tensors[..n] {
            let v = match &tensor.node {
                Node::Wires { class, start, fill } => {
                    let given = match class {
                        Class::Instance => known.instance,
                        Class::Committed => known.committed,
                        Class::Private => known.private,
                    };
                    match given {
                        Some(wires) => wires[*start..start + tensor.len].to_vec(),
                        None => {
                            let mut v = match (fill, known.follow) {
                                (Fill::Given, Some(challenges)) => {
                                    self.followed(*start, &values.0, known.context, challenges)
                                }
                                _ => self.fill(fill, tensor.len, &values.0, known)?,
                            };
                            if let Some(added) = known.added.filter(|a| !a.is_empty()) {
                                let at = self.wire(*class, *start);
                                for (wire, value) in added.range(at..at + v.len()) {
                                    v[wire - at] += *value;
                                }
                            }
                            if let Some(forged) = known.forged.filter(|f| !f.is_empty()) {
                                let at = self.wire(*class, *start);
                                for (wire, value) in forged.range(at..at + v.len()) {
                                    v[wire - at] = *value;
                                }
                            }
                            v
                        }
                    }
                }
                Node::Linear { step, x } => {
                    let (map, bias) = self.linear(*step);
                    apply(map, bias, &values.0[*x], tensor.len, small)
                }
                Node::Combo(l) => lincomb(&values.0, l, tensor.len),
                Node::Outer { values: c, x } => {
                    let x = values.0[*x][0];
                    c.iter().map(|c| small.of(*c) * x).collect()
                }
                Node::Constants { values } => values.iter().map(|c| small.of(*c)).collect(),
                Node::Gather { x, strides } => {
                    let x = &values.0[*x];
                    (0..tensor.len).map(|i| x[strides.at(i)]).collect()
                }
                Node::Sums { x, width } => {
                    let sums = values.0[*x].chunks(*width);
                    sums.map(|x| x.iter().sum()).collect()
                }
                Node::Sum { terms } => {
                    let total = |(c, x): &(Fr, Rid)| *c * values.0[*x].iter().sum::<Fr>();
                    vec![terms.iter().map(total).sum()]
                }
                Node::Pack { rows, constants } => rows
                    .iter()
                    .zip(constants)
                    .map(|(row, k)| {
                        row.iter()
                            .fold(*k, |sum, (x, i, c)| sum + values.0[*x][*i] * c)
                    })
                    .collect(),
                Node::Affine { map, of } => {
                    let argument = |x| concatenated(&values.0[of[0]], &values.0[of[1]], x);
                    (0..tensor.len).map(|row| map.at(row, argument)).collect()
                }
            };
            values.0.push(v);
        }
        Ok(values)
    }

    fn fill(
        &self,
        fill: &Fill,
        n: usize,
        values: &[Vec<Fr>],
        known: &Known<'_>,
    ) -> Result<Vec<Fr>, ZeroDenominator> {
        // the first phase is never filled without an assignment; the second phase does not ask for one
        let solved = |id| known.solved.map_or(&[][..], |s| s.tensor(id));
        Ok(match fill {
            Fill::Given => vec![Fr::zero(); n],
            Fill::Context => vec![known.context],
            Fill::Value(id) => solved(*id).iter().map(|v| Fr::from(*v)).collect(),
            Fill::Remainder {
                x,
                q,
                split,
                shift,
                bits,
            } => {
                let (x, q) = (solved(*x), solved(*q));
                let limb = |(x, q): (&i64, &i64)| {
                    Fr::from((x - (q << split)) >> shift & ((1 << bits) - 1))
                };
                x.iter().zip(q).map(limb).collect()
            }
            Fill::Bits { of, shift, bits } => lincomb(values, of, n)
                .into_iter()
                .map(|x| bits_of(x, *shift, *bits))
                .collect(),
            Fill::Product { a, b, plus } => {
                let [a, b, plus] = [a, b, plus].map(|l| Zeroizing::new(lincomb(values, l, n)));
                a.iter()
                    .zip(b.iter())
                    .zip(plus.iter())
                    .map(|((a, b), p)| *a * b + p)
                    .collect()
            }
            Fill::FifthPowers { map, state } => map.fifth_powers(|i| values[*state][i]),
            Fill::Inverse { of } => inverses(lincomb(values, of, n))?,
            Fill::Quotient { num, den } => {
                let inverses = inverses(lincomb(values, den, n))?;
                let num = lincomb(values, num, n);
                num.iter().zip(&inverses).map(|(a, b)| *a * b).collect()
            }
            Fill::Count { table } => self.count(*table, n, values),
            Fill::Contract { a, b, dims, .. } => contract(&values[*a], &values[*b], *dims),
        })
    }

    /// How many queries ask for each row; a query outside the table is not counted (and cannot be proved).
    fn count(&self, index: usize, n: usize, values: &[Vec<Fr>]) -> Vec<Fr> {
        let table = &self.tables[index];
        let mut counts = vec![0u64; n];
        for q in self.queries.iter().filter(|q| q.table == index) {
            for (i, key) in values[q.key].iter().enumerate() {
                let Some(row) = self.row_of(table, *key) else {
                    continue;
                };
                let value = q.value.map_or(Fr::zero(), |v| values[v][i]);
                if value == Fr::from(table.rows[row].1) {
                    counts[row] += 1;
                }
            }
        }
        counts.into_iter().map(Fr::from).collect()
    }

    /// Every first-phase wire that an instruction hinted: (global index, program step), inputs and multiplicities apart.
    pub(crate) fn wire_tensors(&self) -> impl Iterator<Item = WireTensorInfo> + '_ {
        self.tensors.iter().filter_map(|t| match &t.node {
            Node::Wires { class, start, fill } => Some(WireTensorInfo {
                class: *class,
                start: self.wire(*class, *start),
                len: t.len,
                given: matches!(fill, Fill::Given),
                count: matches!(fill, Fill::Count { .. }),
                chosen: matches!(
                    fill,
                    Fill::Value(_) | Fill::Remainder { .. } | Fill::Bits { .. }
                ),
                value: match fill {
                    Fill::Value(id) | Fill::Contract { y: id, .. } => Some(*id),
                    _ => None,
                },
            }),
            _ => None,
        })
    }

    pub(crate) fn is_committed(&self) -> bool {
        self.form == Form::Committed
    }
}

/// A tensor of wires, as the forging tests see it.
#[derive(Clone, Debug)]
pub(crate) struct WireTensorInfo {
    pub(crate) class: Class,
    pub(crate) start: usize,
    pub(crate) len: usize,
    pub(crate) given: bool,
    pub(crate) count: bool,
    pub(crate) chosen: bool,
    pub(crate) value: Option<crate::constraint::TensorId>,
}

/// Rows of `a` times rows of `b`, in the field: what an honest prover makes of any operands.
fn contract(a: &[Fr], b: &[Fr], [batch, m, k, n]: [usize; 4]) -> Vec<Fr> {
    let element = |out: usize| {
        let (t, i, j) = (out / (m * n), out / n % m, out % n);
        let (i, j) = ((t * m + i) * k, (t * n + j) * k);
        let pairs = a[i..i + k].iter().zip(&b[j..j + k]);
        pairs.map(|(a, b)| *a * b).sum()
    };
    (0..batch * m * n).into_par_iter().map(element).collect()
}

fn inverses(mut of: Vec<Fr>) -> Result<Vec<Fr>, ZeroDenominator> {
    if of.iter().any(Fr::is_zero) {
        return Err(ZeroDenominator);
    }
    batch_inversion(&mut of);
    Ok(of)
}

/// Element `i` of two vectors, one after the other.
fn concatenated(first: &[Fr], second: &[Fr], i: usize) -> Fr {
    match i.checked_sub(first.len()) {
        None => first[i],
        Some(i) => second[i],
    }
}

/// Vectors shorter than this are not worth a second thread.
const PARALLEL: usize = 1 << 12;

pub(super) fn lincomb(values: &[Vec<Fr>], l: &LinComb, n: usize) -> Vec<Fr> {
    let mut sum = vec![l.constant; n];
    for (c, x) in &l.terms {
        let x = &values[*x];
        if x.len() == 1 {
            let add = *c * x[0];
            sum.iter_mut().for_each(|s| *s += add);
        } else if c.is_one() {
            sum.iter_mut().zip(x).for_each(|(s, x)| *s += x);
        } else if n < PARALLEL {
            sum.iter_mut().zip(x).for_each(|(s, x)| *s += *x * c);
        } else {
            sum.par_iter_mut().zip(x).for_each(|(s, x)| *s += *x * c);
        }
    }
    sum
}

/// W·x + bias. Honest values are small integers and are added as such; anything else takes the field's way.
fn apply(map: &LinearMap, bias: &[i64], x: &[Fr], n: usize, small: &SmallInts) -> Vec<Fr> {
    // a copy of activations: wiped like them
    let integers: Option<Zeroizing<Vec<i64>>> = x
        .iter()
        .map(|x| to_i64(*x))
        .collect::<Option<Vec<i64>>>()
        .map(Zeroizing::new);
    let output = |out: usize| match &integers {
        Some(x) => {
            // the builder proved every partial sum, in this order, below 2^127
            let mut sum = i128::from(bias_at(bias, out));
            map.row(out, |i, c| sum += i128::from(c) * i128::from(x[i]));
            Fr::from(sum)
        }
        None => {
            let mut sum = Fr::from(bias_at(bias, out));
            map.row(out, |i, c| sum += x[i] * small.of(c));
            sum
        }
    };
    if n < 64 {
        (0..n).map(output).collect()
    } else {
        (0..n).into_par_iter().map(output).collect()
    }
}

/// The integer of least absolute value that `x` stands for, when it fits 63 bits.
pub(super) fn to_i64(x: Fr) -> Option<i64> {
    let magnitude = |x: Fr| {
        let limbs = x.into_bigint().0;
        (limbs[1] == 0 && limbs[2] == 0 && limbs[3] == 0 && limbs[0] < 1 << 62)
            .then_some(limbs[0] as i64)
    };
    magnitude(x).or_else(|| magnitude(-x).map(|x| -x))
}

fn bits_of(x: Fr, shift: u32, bits: u32) -> Fr {
    let limb = x.into_bigint() >> shift;
    Fr::from(limb.as_ref()[0] & ((1 << bits) - 1))
}
