//! A lying prover: changes wires, recomputes what depends on them, and asks whether the circuit still accepts.

mod contraction;
mod tampering;

use super::Failure;
use crate::arithmetization::r1cs::{Class, Form, R1cs, Violation, Witness};
use crate::constraint::Assignment;
use ark_bn254::Fr;
use ark_ff::{Field, PrimeField, Zero};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use zkinfer_verifier::Context;

/// A change to the witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attack {
    /// Part of the witness.
    part: &'static str,
    /// Wires and what is added to them, as text.
    what: String,
}

impl std::fmt::Display for Attack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} wires {}", self.part, self.what)
    }
}

/// Most elements of one wire tensor that are changed one by one.
const SAMPLE: usize = 6;

/// Circuits with more rows are changed at one element of every tensor.
const LARGE: usize = 4000;

/// The rows of an S-box of the hash, in the order of their groups.
const SBOX_RULES: [&str; 3] = ["hash square", "hash fourth power", "hash fifth power"];

/// An honest assignment of a circuit, ready to be bent.
#[derive(Debug)]
pub struct Forger<'a> {
    circuit: &'a R1cs,
    solved: &'a Assignment,
    words: Vec<Fr>,
    rho: Fr,
    alpha: Fr,
    honest: Witness,
}

/// A field element that nobody chose.
fn arbitrary(tag: u64) -> Fr {
    let mut hash = Sha256::new();
    hash.update(b"zkinfer forger");
    hash.update(tag.to_be_bytes());
    Fr::from_be_bytes_mod_order(&hash.finalize())
}

/// The context, ρ and α of checks without a transcript.
pub(super) fn fixed() -> [Fr; 3] {
    [Fr::from(77u64), arbitrary(1), arbitrary(2)]
}

impl<'a> Forger<'a> {
    /// The honest witness under fixed challenges and a fixed context.
    ///
    /// # Panics
    /// When the assignment has no statement, which the solver excludes.
    pub fn new(circuit: &'a R1cs, solved: &'a Assignment) -> Self {
        let mut context = [0u8; 32];
        context[31] = 77;
        let context = Context::from_bytes(context).expect("small");
        let statement = solved
            .statement(circuit.program(), context)
            .expect("the solver ranged it");
        let words = statement.words();
        let (rho, alpha) = (arbitrary(1), arbitrary(2));
        let mut forger = Self {
            circuit,
            solved,
            words,
            rho,
            alpha,
            honest: Witness {
                instance: vec![],
                committed: vec![],
                private: vec![],
            },
        };
        forger.honest = forger.forge(&BTreeMap::new());
        forger
    }

    /// The witness with `changes` (wire → value) made and everything that depends on them recomputed, the claimed outputs too.
    fn forge(&self, changes: &BTreeMap<usize, Fr>) -> Witness {
        let c = self.circuit;
        match c.form() {
            Form::Plain => c.assign_plain_forged(self.solved, self.words[0], changes),
            Form::Committed => {
                let (committed, words) = c.commit_forged(self.solved, self.words[0], changes);
                // the denominators vanish with probability ≈ 2^-240 under hashed challenges
                c.complete_forged(committed, &words, self.rho, self.alpha, changes)
                    .expect("no denominator vanishes")
            }
        }
    }

    /// The honest witness must satisfy the rows, and rows, transpose and values must tell the same matrices.
    ///
    /// # Errors
    /// When one of them does not hold.
    pub fn check_honest(&self) -> Result<(), Failure> {
        let form = self.circuit.form();
        self.circuit
            .check(&self.honest)
            .map_err(|violation| Failure::Refused { form, violation })?;
        self.check_matrices()?;
        self.check_trace()
    }

    /// The prover's pass must give the wires and row values of the definition.
    fn check_trace(&self) -> Result<(), Failure> {
        use crate::arithmetization::r1cs::Matrix;
        use crate::arithmetization::r1cs::trace::{Grouped, Tracer};
        let c = self.circuit;
        let tracer = Tracer::new(c.clone());
        let (trace, mut wires) = match c.form() {
            Form::Plain => tracer.plain(self.solved, &self.words),
            Form::Committed => {
                let (mut trace, mut wires) = tracer
                    .first_round(self.solved, self.words[0])
                    .map_err(|violation| Failure::Refused {
                        form: c.form(),
                        violation,
                    })?;
                // other challenges first: a second attempt must leave nothing of them
                for (rho, alpha) in [(self.alpha, self.rho), (self.rho, self.alpha)] {
                    trace
                        .second_round(&mut wires, &self.words, rho, alpha)
                        .map_err(|_| Failure::Differ("zero denominators"))?;
                }
                (trace, wires)
            }
        };
        if trace.witness(&wires) != self.honest {
            return Err(Failure::Differ("traced and defined witness"));
        }
        let rows = c.row_values(&self.honest);
        for (matrix, defined) in [Matrix::A, Matrix::B, Matrix::C].into_iter().zip(&rows) {
            let mut traced = vec![Fr::zero(); c.n_rows()];
            trace.row_values(matrix, &wires, &mut traced);
            if traced != *defined {
                return Err(Failure::Differ("traced and defined row values"));
            }
        }
        let reduced = trace.reduce(&mut wires);
        let first = c.n_instance() + c.n_committed();
        let whole = |(k, rest): (usize, &Fr)| {
            let folded = reduced.folded.as_ref().map_or(Fr::zero(), |y| y[k]);
            let value = |g: &Grouped| g.values.get(g.groups[k] as usize).copied();
            let grouped = reduced.grouped.as_ref().and_then(value);
            *rest + self.alpha * folded + grouped.unwrap_or(Fr::zero())
        };
        let parts: Vec<Fr> = wires[first..].iter().enumerate().map(whole).collect();
        if parts != self.honest.private {
            return Err(Failure::Differ("reduced wires and their parts"));
        }
        trace.restore(&mut wires);
        match trace.witness(&wires) == self.honest {
            true => Ok(()),
            false => Err(Failure::Differ("restored and defined witness")),
        }
    }

    fn check_matrices(&self) -> Result<(), Failure> {
        use crate::arithmetization::r1cs::Matrix;
        let c = self.circuit;
        let w = &self.honest;
        let z: Vec<Fr> = w
            .instance
            .iter()
            .chain(&w.committed)
            .chain(&w.private)
            .copied()
            .collect();
        let rows = c.row_values(w);
        let weights: Vec<Fr> = (0..c.n_rows() as u64).map(|i| arbitrary(100 + i)).collect();
        for (side, matrix) in [Matrix::A, Matrix::B, Matrix::C].into_iter().enumerate() {
            let by_rows: Fr = rows[side].iter().zip(&weights).map(|(v, w)| *v * w).sum();
            let transposed = c.transpose(matrix, &weights);
            let by_wires: Fr = transposed.iter().zip(&z).map(|(t, z)| *t * z).sum();
            if by_rows != by_wires {
                return Err(Failure::Differ("rows and transposed walk"));
            }
        }
        for row in (0..c.n_rows()).step_by(1 + c.n_rows() / 400) {
            for (side, symbols) in c.row(row).into_iter().enumerate() {
                let value: Fr = symbols.iter().map(|(wire, k)| z[*wire] * k).sum();
                if value != rows[side][row] {
                    return Err(Failure::Differ("symbolic row and row value"));
                }
            }
        }
        Ok(())
    }

    /// Changes hinted wires one at a time by ±1, ×−1, + 2^w and to an arbitrary element; each must be refused, and refused
    /// by a constraint of `node` (or of the shared argument, for multiplicities and second-phase wires). Returns how many.
    ///
    /// # Errors
    /// When a forgery is accepted, or refused in another node's name.
    pub fn check_single_changes(&self, node: &str) -> Result<usize, Failure> {
        let form = self.circuit.form();
        let mut tried = 0;
        for changes in self.single_changes() {
            let attack = self.describe(&changes);
            let forged = self.forge(&changes);
            let Err(violation) = self.circuit.check(&forged) else {
                return Err(Failure::Accepted { form, attack });
            };
            if self.circuit.check_rows(&forged, None).is_ok() {
                return Err(Failure::Accepted { form, attack });
            }
            if violation.node != node && violation.node != "circuit" && violation.node != "feed" {
                return Err(Failure::Misnamed {
                    form,
                    attack,
                    violation,
                });
            }
            tried += 1;
        }
        Ok(tried)
    }

    fn describe(&self, changes: &BTreeMap<usize, Fr>) -> Attack {
        let first = changes.keys().next().copied().unwrap_or(0);
        let committed = self.circuit.n_instance() + self.circuit.n_committed();
        let part = if first < committed && self.circuit.is_committed() {
            "committed"
        } else {
            "private"
        };
        let what: Vec<String> = changes
            .iter()
            .map(|(wire, value)| format!("{wire}: {} → {value}", self.value(*wire)))
            .collect();
        Attack {
            part,
            what: what.join(", "),
        }
    }

    fn value(&self, wire: usize) -> Fr {
        let w = &self.honest;
        let (i, c) = (w.instance.len(), w.committed.len());
        match wire {
            _ if wire < i => w.instance[wire],
            _ if wire < i + c => w.committed[wire - i],
            _ => w.private[wire - i - c],
        }
    }

    /// Wires of the first phase that are chosen, not counted.
    fn hinted_wires(&self) -> Vec<usize> {
        let c = self.circuit;
        let first = if c.is_committed() {
            Class::Committed
        } else {
            Class::Private
        };
        let inputs = c.program().inputs();
        c.wire_tensors()
            .filter(|t| t.class == first && !t.count)
            .filter(|t| !t.value.is_some_and(|id| inputs.contains(&id)))
            .flat_map(|t| t.start..t.start + t.len)
            .collect()
    }

    /// The honest value ± 1 and ± 2^w.
    fn near_values(&self, wire: usize) -> [Fr; 4] {
        let honest = self.value(wire);
        let one = Fr::from(1u64);
        let step = Fr::from(1u64 << self.circuit.limb_bits().max(1));
        [honest + one, honest - one, honest + step, honest - step]
    }

    /// Wires a prover fills, except private inputs (any value of theirs is an honest input).
    pub fn wires(&self) -> Vec<usize> {
        let program = self.circuit.program();
        let inputs = program.inputs();
        self.circuit
            .wire_tensors()
            .filter(|t| t.class != Class::Instance && !t.given)
            .filter(|t| !t.value.is_some_and(|id| inputs.contains(&id)))
            .flat_map(|t| {
                let sample = if self.circuit.n_rows() > LARGE {
                    1
                } else {
                    SAMPLE
                };
                let step = t.len.div_ceil(sample).max(1);
                (t.start..t.start + t.len).step_by(step)
            })
            .collect()
    }

    fn changed_values(&self, wire: usize) -> Vec<Fr> {
        let honest = self.value(wire);
        let w = self.circuit.limb_bits().max(1);
        let one = Fr::from(1u64);
        let all = [
            honest + one,
            honest - one,
            -honest,
            honest + Fr::from(1u64 << w),
            honest - Fr::from(1u64 << w),
            arbitrary(1000 + wire as u64),
            Fr::zero(),
        ];
        let mut distinct: Vec<Fr> = vec![];
        for v in all {
            if v != honest && !distinct.contains(&v) {
                distinct.push(v);
            }
        }
        distinct
    }

    /// One wire at a time: ±1, ×−1, ± 2^w, zero and an arbitrary element, on a sample of every tensor.
    pub fn single_changes(&self) -> impl Iterator<Item = BTreeMap<usize, Fr>> + '_ {
        self.wires().into_iter().flat_map(|wire| {
            self.changed_values(wire)
                .into_iter()
                .map(move |v| BTreeMap::from([(wire, v)]))
        })
    }

    /// Changes of one wire, and of any two hinted wires by ±1 and ±2^w: what the search at tiny parameters tries.
    pub fn small_changes(&self) -> Vec<BTreeMap<usize, Fr>> {
        let wires = self.hinted_wires();
        let mut all: Vec<BTreeMap<usize, Fr>> = self.single_changes().collect();
        for wire in &wires {
            let honest = self.value(*wire);
            for step in (1..6).map(|e| Fr::from(1u64 << e)) {
                all.push(BTreeMap::from([(*wire, honest + step)]));
                all.push(BTreeMap::from([(*wire, honest - step)]));
            }
        }
        for (k, a) in wires.iter().enumerate() {
            for b in &wires[k + 1..] {
                for va in self.near_values(*a) {
                    for vb in self.near_values(*b) {
                        all.push(BTreeMap::from([(*a, va), (*b, vb)]));
                    }
                }
            }
        }
        all
    }

    /// Whether the assignment of another run or another prover fills the same wires with the same values.
    pub fn same_witness(&self, other: &Self) -> bool {
        self.honest == other.honest
    }

    /// Whether the rows, without those of group `except`, accept the assignment as it is.
    pub fn accepts_unchanged(&self, except: Option<usize>) -> bool {
        match self.circuit.check_rows(&self.honest, except) {
            Ok(()) => true,
            Err(Violation {
                rule: "sum of bits",
                ..
            }) => except.is_some_and(|group| self.refilled(&BTreeMap::new(), &self.honest, group)),
            Err(_) => false,
        }
    }

    /// Whether the rows, without those of group `except`, accept the forged witness.
    ///
    /// With a group left out the prover may also rebalance: a wire that only that group tied is free, so the residue of the
    /// logUp sum is put into it.
    pub fn accepts(&self, changes: &BTreeMap<usize, Fr>, except: Option<usize>) -> bool {
        let forged = self.forge(changes);
        if forged == self.honest {
            return false;
        }
        match self.circuit.check_rows(&forged, except) {
            Ok(()) => true,
            Err(Violation {
                rule: "lookup sum", ..
            }) => except.is_some_and(|group| self.rebalanced(changes, &forged, group)),
            Err(Violation {
                rule: "sum of bits",
                ..
            }) => except.is_some_and(|group| self.refilled(changes, &forged, group)),
            Err(_) => false,
        }
    }

    /// Puts the residue of a decomposition into a bit that, without the rows of `group`, may be any element.
    fn refilled(&self, changes: &BTreeMap<usize, Fr>, forged: &Witness, group: usize) -> bool {
        let c = self.circuit;
        if c.groups[group].rule != "bit" {
            return false;
        }
        let [bit, _, _] = c.row(c.groups[group].first_row);
        let Some(&(wire, _)) = bit.first() else {
            return false;
        };
        let start = forged.instance.len() + forged.committed.len();
        let rows = c.row_values(forged);
        let mut refilled = changes.clone();
        for sum in c.groups.iter().filter(|g| g.rule == "sum of bits") {
            let [terms, _, _] = c.row(sum.first_row);
            let Some((_, weight)) = terms.iter().find(|(w, _)| *w == wire) else {
                continue;
            };
            let Some(inverse) = weight.inverse() else {
                continue;
            };
            let value = forged.private[wire - start] - rows[0][sum.first_row] * inverse;
            refilled.insert(wire, value);
            return c.check_rows(&self.forge(&refilled), Some(group)).is_ok();
        }
        false
    }

    fn rebalanced(&self, changes: &BTreeMap<usize, Fr>, forged: &Witness, group: usize) -> bool {
        let c = self.circuit;
        let deleted = &c.groups[group];
        if deleted.rule != "lookup" && deleted.rule != "table" {
            return false;
        }
        let sum = c.groups.len() - 1;
        let residue = c.row_values(forged)[0][c.groups[sum].first_row];
        // the A side of a deleted lookup or table row is the freed wire itself
        let [a, _, _] = c.row(deleted.first_row);
        let Some((wire, _)) = a.first() else {
            return false;
        };
        let sign = if deleted.rule == "lookup" {
            -residue
        } else {
            residue
        };
        let start = forged.instance.len() + forged.committed.len();
        let mut balanced = changes.clone();
        balanced.insert(*wire, forged.private[*wire - start] + sign);
        c.check_rows(&self.forge(&balanced), Some(group)).is_ok()
    }

    /// Changes that profit from one deleted group although no one or two wires do.
    ///
    /// Without rows that fold a contraction, what they make is solved for (`solved_changes`); without those that make what
    /// all elements of a row share, the whole row follows (`followed_changes`).
    /// Without the row that ties `α·value`, a lie about a lookup's value keeps the denominator of the true one: the value is
    /// changed, the fold keeps its honest element and the multiplicities stay. Without one of the three rows of an S-box of the
    /// hash, its result is what the other two make of the wire that is free.
    pub fn targeted_changes(&self, group: usize) -> Vec<BTreeMap<usize, Fr>> {
        let c = self.circuit;
        let deleted = &c.groups[group];
        if deleted.rule.starts_with("fold of") || deleted.rule == "folded terms" {
            return self.solved_changes(group);
        }
        if deleted.rule == "own pairs" {
            return self.followed_changes(group);
        }
        if let Some(at) = SBOX_RULES.iter().position(|rule| *rule == deleted.rule) {
            return self.sbox_changes(group, at);
        }
        if deleted.rule != "fold" {
            return vec![];
        }
        let counts = c
            .wire_tensors()
            .filter(|t| t.count)
            .flat_map(|t| t.start..t.start + t.len);
        let kept: BTreeMap<usize, Fr> = counts.map(|wire| (wire, self.value(wire))).collect();
        let mut all = vec![];
        for row in deleted.first_row..deleted.first_row + deleted.n {
            // α·value = fold: the value wire is alone on the B side, the fold on the C side
            let [_, b, fold] = c.row(row);
            let ([(value, _)], [(fold, _)]) = (b.as_slice(), fold.as_slice()) else {
                continue;
            };
            for v in self.changed_values(*value) {
                let mut changes = kept.clone();
                changes.extend([(*value, v), (*fold, self.value(*fold))]);
                all.push(changes);
            }
        }
        all
    }

    /// Changes that profit from one deleted fold in an assignment that lies about a lookup's value and is consistent afterwards:
    /// the fold keeps the element of `honest`, and some table row is asked for once more.
    pub fn kept_folds(&self, honest: &Self, group: usize) -> Vec<BTreeMap<usize, Fr>> {
        let c = self.circuit;
        let deleted = &c.groups[group];
        if deleted.rule != "fold" {
            return vec![];
        }
        let rows = deleted.first_row..deleted.first_row + deleted.n;
        let folds = rows.filter_map(|row| {
            let [_, _, fold] = c.row(row);
            let (wire, _) = fold.first()?;
            (self.value(*wire) != honest.value(*wire)).then_some((*wire, honest.value(*wire)))
        });
        let kept: BTreeMap<usize, Fr> = folds.collect();
        if kept.is_empty() {
            return vec![];
        }
        let counts = c.wire_tensors().filter(|t| t.count);
        let counts = counts.flat_map(|t| t.start..t.start + t.len);
        let asked = counts.map(|wire| {
            let mut changes = kept.clone();
            changes.insert(wire, self.value(wire) + Fr::from(1u64));
            changes
        });
        asked.collect()
    }
    /// A wire of the last S-box of a stage changed, and its result with it; `group` holds the rows of rule `at`.
    fn sbox_changes(&self, group: usize, at: usize) -> Vec<BTreeMap<usize, Fr>> {
        let c = self.circuit;
        let last = |group: usize| c.groups[group].first_row + c.groups[group].n - 1;
        let first = group - at;
        // u·u = u2, u2·u2 = u4, u4·u = v: what is tied stands alone on the C side, and u on the B side of the last
        let made = (first..first + 3).map(|group| c.row(last(group))[2].clone());
        let wires: Vec<usize> = made.filter_map(|c| Some(c.first()?.0)).collect();
        let u = c.row_values(&self.honest)[1][last(first + 2)];
        let &[square, fourth, fifth] = wires.as_slice() else {
            return vec![];
        };
        let lie = |value: Fr| match at {
            0 => BTreeMap::from([(square, value), (fifth, value.square() * u)]),
            1 => BTreeMap::from([(fourth, value), (fifth, value * u)]),
            _ => BTreeMap::from([(fifth, value)]),
        };
        let values = self.changed_values(wires[at]);
        values.into_iter().map(lie).collect()
    }

    /// Whether the rows accept the changes under the words of the honest statement: an input, or a digest, that is not what was claimed.
    pub fn accepts_as_claimed(&self, changes: &BTreeMap<usize, Fr>) -> bool {
        let c = self.circuit;
        let forged = match c.form() {
            Form::Plain => c.fill_plain(self.solved, &self.words, changes),
            Form::Committed => {
                let (committed, _) = c.commit_forged(self.solved, self.words[0], changes);
                c.complete_forged(committed, &self.words, self.rho, self.alpha, changes)
                    .expect("no denominator vanishes")
            }
        };
        c.check_rows(&forged, None).is_ok()
    }

    /// Whether the rows accept the honest wires under other words after the context.
    pub fn accepts_words(&self, words: &[Fr]) -> bool {
        let c = self.circuit;
        let forged = match c.form() {
            Form::Plain => Ok(c.assign_plain(self.solved, words)),
            Form::Committed => {
                let committed = c.commit(self.solved, words[0]);
                c.complete(committed, words, self.rho, self.alpha)
            }
        };
        forged.is_ok_and(|forged| c.check_rows(&forged, None).is_ok())
    }

    /// The words that the changes amount to.
    pub fn words_of(&self, changes: &BTreeMap<usize, Fr>) -> Vec<Fr> {
        let c = self.circuit;
        c.commit_forged(self.solved, self.words[0], changes).1
    }

    /// The words of the honest statement.
    pub fn words(&self) -> &[Fr] {
        &self.words
    }

    /// Wires that hold the elements of input `io`, in order.
    ///
    /// # Panics
    /// When there is no such input.
    pub fn input_wires(&self, io: usize) -> Vec<usize> {
        let id = self.circuit.program().inputs()[io];
        let tensors = self.circuit.wire_tensors();
        tensors
            .filter(|t| t.value == Some(id))
            .flat_map(|t| t.start..t.start + t.len)
            .collect()
    }

    /// The honest value of a wire.
    pub fn honest_value(&self, wire: usize) -> Fr {
        self.value(wire)
    }

    /// Whether, without the rows of `group`, the honest tensors prove a statement with another public word.
    pub fn accepts_other_statement(&self, group: usize) -> bool {
        let c = self.circuit;
        let rule = c.groups[group].rule;
        let (plain, last) = (c.form() == Form::Plain, self.words.len() - 1);
        if rule
            != if plain {
                "public word"
            } else {
                "evaluation of the words"
            }
        {
            return false;
        }
        let mut words = self.words.clone();
        words[last] += Fr::from(1u64);
        if plain {
            let forged = c.assign_plain(self.solved, &words);
            return c.check_rows(&forged, Some(group)).is_ok();
        }
        // Horner rows run from the innermost word out to the context; `outward` counts the rows between `group` and e
        let horner: Vec<usize> = (0..c.groups.len())
            .filter(|g| c.groups[*g].rule == rule)
            .collect();
        let outward = horner.iter().filter(|g| **g > group).count();
        let e = words
            .iter()
            .rev()
            .fold(Fr::zero(), |e, word| e * self.alpha + word);
        let Some(inverse) = self.alpha.inverse() else {
            return false;
        };
        let mut partial = e;
        let mut changes = BTreeMap::new();
        for k in 0..outward {
            // the committed words stay honest: partial_k = word_k + α·partial_{k+1}, solved for the inner sum
            partial = (partial - self.words[k]) * inverse;
            let row = c.groups[horner[horner.len() - 2 - k]].first_row;
            let [_, _, sum] = c.row(row);
            let private = c.n_instance() + c.n_committed();
            let Some((wire, _)) = sum.iter().find(|(wire, _)| *wire >= private) else {
                return false;
            };
            changes.insert(*wire, partial);
        }
        let committed = c.commit(self.solved, self.words[0]);
        let forged = c.complete_forged(committed, &words, self.rho, self.alpha, &changes);
        forged.is_ok_and(|w| c.check_rows(&w, Some(group)).is_ok())
    }

    /// The circuit's groups of rows: (index, rule).
    pub fn groups(&self) -> Vec<(usize, &'static str)> {
        self.circuit
            .groups
            .iter()
            .enumerate()
            .map(|(i, g)| (i, g.rule))
            .collect()
    }
}
