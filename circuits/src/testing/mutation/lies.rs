//! Lies about one step, on integers: cheap to try, before any circuit is asked.

use super::{Forgery, Fraction, Search};
use crate::constraint::{Instr, Lies, Step, TensorId, TensorState, solve_lying};

/// Elements of a tensor that are lied about.
const ELEMENTS: usize = 6;
/// Elements of a hint that are lied about, since only some are held by a given assertion.
const HINTED: usize = 400;
/// Forgeries of one step and run that circuits are asked about.
const ASKED: usize = 8;
/// Pairs of lies that are tried when no single one will do.
const PAIRS: usize = 4000;

/// `n` indices spread over `0..len`.
fn spread(len: usize, n: usize) -> impl Iterator<Item = usize> {
    (0..len).step_by(len.div_ceil(n).max(1))
}

impl Search<'_> {
    /// Calls `ask` with forgeries that break the relation of `step` alone, until it says true.
    pub(super) fn each_forgery(&mut self, step: usize, ask: &mut dyn FnMut(&Forgery) -> bool) {
        let mut asked = 0;
        for lies in self.candidates(step) {
            if !self.breaks_only(step, &lies, self.end_of_node(step)) {
                continue;
            }
            let Some(forgery) = self.forgery(step, lies) else {
                continue;
            };
            asked += 1;
            if ask(&forgery) {
                return;
            }
            if asked == ASKED {
                break;
            }
        }
        self.fractions(step, ask);
    }

    /// The only step that reads a tensor; behind steps that only add a constant, the one after them.
    fn only_sum_of(&self, x: TensorId) -> Option<(usize, &Step)> {
        let steps = self.program.steps().iter().enumerate();
        let mut readers = steps.filter(|(_, s)| s.instr.operands().contains(&x));
        let (reader, None) = (readers.next()?, readers.next()) else {
            return None;
        };
        match (&reader.1.instr, reader.1.y) {
            (Instr::Combine { terms, .. }, Some(y)) if matches!(terms[..], [(1, _)]) => {
                self.only_sum_of(y)
            }
            _ => Some(reader),
        }
    }

    /// Forgeries of an input that one sum reads: the input moves by 1/c, the sum by 1.
    fn fractions(&mut self, step: usize, ask: &mut dyn FnMut(&Forgery) -> bool) {
        let own = &self.program.steps()[step];
        let (Instr::Input { .. }, Some(x)) = (&own.instr, own.y) else {
            return;
        };
        let Some((reader, sum)) = self.only_sum_of(x).map(|(at, s)| (at, s.clone())) else {
            return;
        };
        let Some(y) = sum.y else { return };
        for index in spread(self.honest.tensor(y).len(), ELEMENTS) {
            let reads = match &sum.instr {
                Instr::Linear { map, .. } => {
                    let mut reads = None;
                    map.row(index, |i, c| reads = Some((i, c)));
                    reads
                }
                Instr::Combine { terms, .. } => {
                    let term = terms.iter().find(|t| t.1 == x);
                    term.map(|(c, _)| (index, *c))
                }
                _ => None,
            };
            let Some((i, c)) = reads.filter(|(_, c)| c.abs() > 1) else {
                continue;
            };
            for delta in [1, -1] {
                let lies = Lies::from([((y, index), self.honest.tensor(y)[index] + delta)]);
                let Some(mut forgery) = self.forgery(reader, lies) else {
                    continue;
                };
                forgery.fraction = Some(Fraction {
                    step,
                    x,
                    index: i,
                    c: c * delta,
                });
                if ask(&forgery) {
                    return;
                }
            }
        }
    }

    /// Single lies first, then pairs of them.
    fn candidates(&self, step: usize) -> Vec<Lies> {
        let program = self.program;
        let own = &program.steps()[step];
        let fresh = |instr: &Instr| {
            !matches!(
                instr,
                Instr::Range { .. } | Instr::Member { .. } | Instr::AssertZero { .. }
            )
        };
        let mut single: Vec<((TensorId, usize), i64)> = vec![];
        match own.y.filter(|_| fresh(&own.instr)) {
            Some(y) => {
                let n = self.honest.tensor(y).len();
                for i in spread(n, ELEMENTS) {
                    for value in self.other_values(&own.instr, y, i) {
                        single.push(((y, i), value));
                    }
                }
            }
            None => {
                for hint in self.hints_behind(step) {
                    let y = hint.1;
                    let n = self.honest.tensor(y).len();
                    for i in spread(n, HINTED) {
                        for value in self.other_values(hint.0, y, i) {
                            single.push(((y, i), value));
                        }
                    }
                }
            }
        }
        let mut all: Vec<Lies> = single.iter().map(|lie| Lies::from([*lie])).collect();
        let stride = (single.len() * single.len() / (2 * PAIRS)).max(1);
        let mut count = 0usize;
        for (k, a) in single.iter().enumerate() {
            for b in single[k + 1..].iter().filter(|b| b.0 != a.0) {
                count += 1;
                if count.is_multiple_of(stride) {
                    all.push(Lies::from([*a, *b]));
                }
            }
        }
        all
    }

    /// What a liar puts instead of element `i` of `y`.
    fn other_values(&self, instr: &Instr, y: TensorId, i: usize) -> Vec<i64> {
        let honest = self.honest.tensor(y)[i];
        let mut values: Vec<i64> = match instr {
            Instr::Input { io } => {
                let dtype = self.program.layout().tensors[*io as usize].dtype;
                vec![dtype.max() + 1, dtype.min() - 1]
            }
            Instr::Hint { inputs, .. } => {
                let inputs = inputs.iter().filter_map(|x| self.honest.tensor(*x).get(i));
                inputs
                    .copied()
                    .chain([honest + 1, honest - 1, 1 - honest])
                    .collect()
            }
            _ => vec![honest + 1, honest - 1, honest + 2, honest - 2],
        };
        values.sort_unstable();
        values.dedup();
        values.retain(|v| *v != honest);
        values
    }

    /// Hinted tensors that the operands of `step` come from.
    fn hints_behind(&self, step: usize) -> Vec<(&Instr, TensorId)> {
        let steps = self.program.steps();
        let node = steps[step].node;
        let mut wanted = steps[step].instr.operands();
        let mut hints = vec![];
        for earlier in steps[..step].iter().rev().filter(|s| s.node == node) {
            let Some(y) = earlier.y.filter(|y| wanted.contains(y)) else {
                continue;
            };
            let state = &self.program.tensors()[y.index()].state;
            if matches!(earlier.instr, Instr::Hint { .. })
                && matches!(state, TensorState::Hinted(_))
            {
                hints.push((&earlier.instr, y));
            }
            wanted.extend(earlier.instr.operands());
        }
        hints
    }

    /// The first step after those of the node that `step` serves.
    fn end_of_node(&self, step: usize) -> usize {
        let steps = self.program.steps();
        let node = steps[step].node;
        let more = steps[step..].iter().position(|s| s.node != node);
        more.map_or(steps.len(), |n| step + n)
    }

    /// Whether the lies break `step` and nothing else before `until`.
    fn breaks_only(&mut self, step: usize, lies: &Lies, until: usize) -> bool {
        let found = solve_lying(self.program, self.inputs, &mut self.scratch, lies, until);
        self.scratch.restore(&self.honest, &found.touched);
        found.broken.contains(&step) && found.broken.len() == 1
    }

    /// The whole assignment that follows from lies.
    fn forgery(&mut self, step: usize, lies: Lies) -> Option<Forgery> {
        let all = self.program.steps().len();
        let found = solve_lying(self.program, self.inputs, &mut self.scratch, &lies, all);
        let only = found.broken.contains(&step) && found.broken.len() == 1;
        let values = only.then(|| self.scratch.clone());
        self.scratch.restore(&self.honest, &found.touched);
        Some(Forgery {
            lies,
            instead_of: found.instead_of,
            values: values?,
            fraction: None,
        })
    }
}
