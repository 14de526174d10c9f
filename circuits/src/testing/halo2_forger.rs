//! A lying prover of the Halo2 form: puts values in place of honest ones, recomputes what depends on them, or bends single cells.

use super::Failure;
use crate::arithmetization::halo2::{Cells, Fr, Halo2Circuit, Lie, Rule};
use crate::constraint::{Assignment, Instr, TensorId};
use halo2curves::ff::Field;
use zkinfer_verifier::{Context, Statement};

/// Most elements of one tensor, and most key cells of one step, that are changed one by one.
const SAMPLE: usize = 6;

/// An honest assignment of a Halo2 circuit, ready to be bent.
#[derive(Debug)]
pub struct Halo2Forger<'a> {
    circuit: &'a Halo2Circuit,
    solved: &'a Assignment,
    context: Fr,
    honest: Cells,
}

/// The context of checks without a transcript.
pub(super) fn context() -> Fr {
    Fr::from(77)
}

fn arbitrary(tag: u64) -> Fr {
    (Fr::from(tag) + Fr::from(0x7a6b_696e_6665_7200)).pow_vartime([65537])
}

fn changed(honest: Fr, limb_bits: u32, tag: u64) -> Vec<Fr> {
    let step = Fr::from(1 << limb_bits);
    let all = [
        honest + Fr::ONE,
        honest - Fr::ONE,
        -honest,
        honest + step,
        honest - step,
        Fr::ZERO,
        arbitrary(tag),
    ];
    let mut distinct: Vec<Fr> = vec![];
    for v in all {
        if v != honest && !distinct.contains(&v) {
            distinct.push(v);
        }
    }
    distinct
}

impl<'a> Halo2Forger<'a> {
    /// The honest witness under a fixed context.
    pub fn new(circuit: &'a Halo2Circuit, solved: &'a Assignment) -> Self {
        let context = context();
        Self {
            circuit,
            solved,
            context,
            honest: circuit.cells_of(solved, context, &Lie::default()),
        }
    }

    /// The honest witness satisfies every constraint, here and in the library's mock prover.
    ///
    /// # Errors
    /// What refuses it.
    ///
    /// # Panics
    /// When the assignment has no statement, which the solver excludes.
    pub fn check_honest(&self) -> Result<(), Failure> {
        let mut context = [0u8; 32];
        context[31] = 77;
        let context = Context::from_bytes(context).expect("small");
        let statement = self
            .solved
            .statement(self.circuit.program(), context)
            .expect("the solver ranged it");
        self.circuit
            .check(self.solved, &statement)
            .map_err(|violation| Failure::Halo2Refused { violation })
    }

    /// Lies about one element of a tensor or one key cell, everything that depends on it recomputed.
    pub fn lies(&self, every: bool) -> Vec<Halo2Lie> {
        let limb_bits = self.circuit.plan().limb_bits;
        let sample = if every { usize::MAX } else { SAMPLE };
        let program = self.circuit.program();
        let mut all = vec![];
        for step in program.steps() {
            let Some(y) = step.y else { continue };
            // renamed tensors have no cells of their own; any value of a private input is an honest input
            if matches!(
                step.instr,
                Instr::Range { .. } | Instr::Member { .. } | Instr::Input { .. }
            ) {
                continue;
            }
            let n = self.solved.tensor(y).len();
            for i in (0..n).step_by(n.div_ceil(sample)) {
                let honest = self.circuit.element(self.solved, y, i);
                for value in changed(honest, limb_bits, i as u64) {
                    let mut lie = Lie::default();
                    lie.tensors.insert((y.0, i as u32), value);
                    all.push(Halo2Lie(lie));
                }
            }
        }
        let rows = self.circuit.key_rows();
        for row in rows
            .iter()
            .step_by(rows.len().div_ceil(sample.saturating_mul(4)))
        {
            let honest = self.circuit.honest_key(self.solved, *row);
            for value in changed(honest, limb_bits, u64::from(*row)) {
                let mut lie = Lie::default();
                lie.keys.insert(*row, value);
                all.push(Halo2Lie(lie));
            }
        }
        all
    }

    /// Pairs of lies by ±1 and ±2^w: for tiny circuits.
    pub fn pairs(&self) -> Vec<Halo2Lie> {
        let step = Fr::from(1 << self.circuit.plan().limb_bits);
        let near = |v: Fr| [v + Fr::ONE, v - Fr::ONE, v + step, v - step];
        let mut cells: Vec<(Place, Fr)> = vec![];
        for s in self.circuit.program().steps() {
            let Some(y) = s.y else { continue };
            if matches!(
                s.instr,
                Instr::Lookup { .. }
                    | Instr::Hint { .. }
                    | Instr::Split { .. }
                    | Instr::Contract { .. }
            ) {
                for i in 0..self.solved.tensor(y).len() {
                    let honest = self.circuit.element(self.solved, y, i);
                    cells.push((Place::Element(y.0, i as u32), honest));
                }
            }
        }
        for row in self.circuit.key_rows() {
            let honest = self.circuit.honest_key(self.solved, row);
            cells.push((Place::Key(row), honest));
        }
        let put = |lie: &mut Lie, place: Place, value: Fr| match place {
            Place::Element(tensor, i) => lie.tensors.insert((tensor, i), value),
            Place::Key(row) => lie.keys.insert(row, value),
        };
        let mut all = vec![];
        for (k, (a, honest_a)) in cells.iter().enumerate() {
            for (b, honest_b) in &cells[k + 1..] {
                for x in near(*honest_a) {
                    for y in near(*honest_b) {
                        let mut lie = Lie::default();
                        put(&mut lie, *a, x);
                        put(&mut lie, *b, y);
                        all.push(Halo2Lie(lie));
                    }
                }
            }
        }
        all
    }

    /// A lie about one element of an input: `delta` more than it is.
    ///
    /// # Panics
    /// When there is no such input or element.
    pub fn input_lie(&self, io: usize, i: usize, delta: i64) -> Halo2Lie {
        let x = self.circuit.program().inputs()[io];
        let honest = self.circuit.element(self.solved, x, i);
        let magnitude = Fr::from(delta.unsigned_abs());
        let delta = if delta < 0 { -magnitude } else { magnitude };
        let mut lie = Lie::default();
        lie.tensors.insert((x.0, i as u32), honest + delta);
        Halo2Lie(lie)
    }

    /// Whether the constraints accept the lies together under the words of `statement`.
    pub fn accepts_as_claimed(&self, lies: &[Halo2Lie], statement: &Statement) -> bool {
        let mut all = Lie::default();
        for lie in lies {
            all.tensors.extend(&lie.0.tensors);
            all.keys.extend(&lie.0.keys);
        }
        let words = Halo2Circuit::instance(&statement.words());
        let cells = self.circuit.cells_as_claimed(self.solved, &words, &all);
        self.circuit.check_cells(&cells, None).is_ok()
    }

    fn cells(&self, lie: &Lie) -> Cells {
        self.circuit.cells_of(self.solved, self.context, lie)
    }

    /// Whether the constraints but those of `except` accept the lie; with the tape left out, results are what they are tied to.
    /// `None` when it is about a tensor that has no cells: nothing was changed.
    fn attempt(&self, lie: &Lie, except: Option<Rule>) -> Option<bool> {
        let mut cells = self.cells(lie);
        if cells.same_first_phase(&self.honest) {
            return None;
        }
        if except == Some(Rule::Tape) {
            self.circuit.bend_results(&mut cells);
        }
        Some(self.circuit.check_cells(&cells, except).is_ok())
    }

    /// Tries every lie; each must be refused. Returns how many changed a cell.
    ///
    /// # Errors
    /// The first lie that is accepted.
    pub fn check_lies(&self, lies: &[Halo2Lie]) -> Result<usize, Failure> {
        let mut tried = 0;
        for lie in lies {
            match self.attempt(&lie.0, None) {
                None => {}
                Some(false) => tried += 1,
                Some(true) => {
                    return Err(Failure::Halo2Accepted {
                        lie: format!("{lie:?}"),
                    });
                }
            }
        }
        Ok(tried)
    }

    /// As [`Halo2Forger::check_lies`] for a few of them, by the library's mock prover.
    ///
    /// # Errors
    /// The first lie that is accepted.
    pub fn check_lies_in_mock_prover(&self, lies: &[Halo2Lie]) -> Result<usize, Failure> {
        for lie in lies {
            if self.cells(&lie.0).same_first_phase(&self.honest) {
                continue;
            }
            if self.circuit.mock_accepts(self.solved, self.context, &lie.0) {
                return Err(Failure::Halo2Accepted {
                    lie: format!("mock prover: {lie:?}"),
                });
            }
        }
        Ok(lies.len())
    }

    /// Whether the assignment as it is, honest or not, is accepted; `except` numbers a rule of [`Halo2Forger::n_rules`].
    pub fn accepts_unchanged(&self, except: Option<usize>) -> bool {
        let rules = self.circuit.rules();
        let except = except.and_then(|i| rules.get(i).copied());
        let mut cells = self.cells(&Lie::default());
        if except == Some(Rule::Tape) {
            self.circuit.bend_results(&mut cells);
        }
        self.circuit.check_cells(&cells, except).is_ok()
    }

    /// Kinds of constraints this circuit has.
    pub fn n_rules(&self) -> usize {
        self.circuit.rules().len()
    }

    /// Name of a kind of constraints.
    pub fn rule_name(&self, rule: usize) -> String {
        self.circuit
            .rules()
            .get(rule)
            .map_or_else(String::new, |r| format!("{r:?}"))
    }

    /// Whether some lie gets through when the constraints of one kind are left out.
    pub fn finds_a_lie_without(&self, rule: usize, lies: &[Halo2Lie]) -> bool {
        let rules = self.circuit.rules();
        let Some(rule) = rules.get(rule).copied() else {
            return false;
        };
        self.circuit
            .bends_without(&mut self.cells(&Lie::default()), rule)
            || lies
                .iter()
                .any(|lie| self.attempt(&lie.0, Some(rule)) == Some(true))
    }

    /// Two outputs of `y` changed so that their sum under the checker's own challenges stays: what a prover could do who knew them.
    ///
    /// # Panics
    /// When `y` has fewer than two elements.
    pub fn kernel_lie(&self, y: TensorId) -> Halo2Lie {
        let eta = self.circuit.check_eta();
        let (a, b) = (
            self.circuit.element(self.solved, y, 0),
            self.circuit.element(self.solved, y, 1),
        );
        // y_0 + η·y_1 is what the first row of the fold adds
        let mut lie = Lie::default();
        lie.tensors.insert((y.0, 0), a + eta);
        lie.tensors.insert((y.0, 1), b - Fr::ONE);
        Halo2Lie(lie)
    }

    /// Elements 0 and 1 of the result of a contraction changed so that their sum under the checker's own δ stays: what a prover could
    /// do who knew it.
    ///
    /// # Panics
    /// When `y` has fewer than two elements.
    pub fn contraction_kernel_lie(&self, y: TensorId) -> Halo2Lie {
        let element = |i| self.circuit.element(self.solved, y, i);
        let mut lie = Lie::default();
        // δ·1 − 1·δ
        let delta = self.circuit.check_delta();
        lie.tensors.insert((y.0, 0), element(0) + delta);
        lie.tensors.insert((y.0, 1), element(1) - Fr::ONE);
        Halo2Lie(lie)
    }

    /// Bends single cells of every column, nothing recomputed; each must be refused. Returns how many.
    ///
    /// # Errors
    /// The first cell that can be bent.
    pub fn check_cells(&self) -> Result<usize, Failure> {
        let mut cells = self.cells(&Lie::default());
        self.circuit
            .bend_every_cell(&mut cells)
            .map_err(|cell| Failure::Halo2Accepted { lie: cell })
    }
}

/// What a lie can be about.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Element of a tensor.
    Element(u32, u32),
    /// Key cell of a row.
    Key(u32),
}

/// A lie, as text: what it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halo2Lie(Lie);

impl Halo2Lie {
    /// Both lies at once; where they disagree, the other one.
    pub fn and(mut self, other: &Self) -> Self {
        self.0.tensors.extend(&other.0.tensors);
        self.0.keys.extend(&other.0.keys);
        self
    }
}
