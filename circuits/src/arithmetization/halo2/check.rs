//! Every constraint checked on cells, by name: what the gates say, without the polynomials. Tests compare with the library's mock prover.

use super::tape::{NO_STEP, Target};
use super::witness::{Challenges, First, Lie, Second};
use super::{Fr, Halo2Circuit};
use crate::arithmetization::Violation;
use crate::constraint::Assignment;
use halo2_proofs::dev::MockProver;
use halo2curves::ff::Field;
use zkinfer_verifier::Statement;

/// One kind of constraint, for tests that leave one out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Home cells of words equal the instance column.
    Word,
    /// The sum of a decomposition.
    Sum(u32),
    /// The scaled last limb of a decomposition.
    Short(u32),
    /// A row of the tape.
    Tape,
    /// Factor a is a copy.
    FactorA,
    /// Factor b is a copy.
    FactorB,
    /// A result equals what it is tied to.
    Tie,
    /// Two home cells are copies.
    Home,
    /// The lookup sum.
    Lookup,
}

/// What a check leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Except {
    /// Nothing.
    Nothing,
    /// One kind of constraint.
    Rule(Rule),
    /// Everything that serves one step of the program. The lookup sum says that every question is a row of its table; without the
    /// questions of the step it says so of the others, and they are looked at one by one.
    Step(u32),
}

impl Except {
    fn keeps(self, rule: Rule, step: u32) -> bool {
        match self {
            Self::Nothing => true,
            Self::Rule(except) => except != rule,
            Self::Step(except) => except != step,
        }
    }
}

/// All cells of a witness.
#[derive(Debug)]
pub(crate) struct Cells {
    pub(super) first: First,
    pub(super) second: Second,
    pub(super) words: Vec<Fr>,
    pub(super) challenges: Challenges,
}

impl Cells {
    /// Whether both commit to the same cells and show the same words.
    pub(crate) fn same_first_phase(&self, other: &Self) -> bool {
        let parts = |c: &Self| [c.first.h.clone(), c.first.l.clone(), c.words.clone()];
        parts(self) == parts(other)
    }
}

impl std::fmt::Debug for Second {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Second")
            .field("rows", &self.s.len())
            .finish_non_exhaustive()
    }
}

/// Challenges that nobody chose, for checks without a transcript.
fn fixed_challenges() -> Challenges {
    use halo2curves::ff::FromUniformBytes;
    use sha2::Digest;
    let draw = |tag: u8| {
        let hash = sha2::Sha512::digest([b"zkinfer halo2 check ".as_slice(), &[tag]].concat());
        Fr::from_uniform_bytes(&hash.into())
    };
    Challenges {
        theta: draw(0),
        beta: draw(1),
        gamma: draw(2),
        delta: draw(3),
        eta: draw(4),
    }
}

impl Halo2Circuit {
    /// Checks the honest witness of a solved program against every constraint, and against the library's mock prover.
    ///
    /// # Errors
    /// The first constraint that does not hold, by node and instruction.
    pub fn check(&self, solved: &Assignment, statement: &Statement) -> Result<(), Violation> {
        let words = Self::instance(&statement.words());
        self.check_cells(&self.cells(self.first(solved, &words), words), None)?;
        let refused = self.violation(NO_STEP, "mock prover", 0);
        let mock = MockProver::run(
            self.k,
            &self.assign(solved, statement),
            vec![Self::instance(&statement.words())],
        )
        .map_err(|_| refused.clone())?;
        mock.verify().map_err(|_| refused)
    }

    /// Checks a lying witness with the library's mock prover.
    pub(crate) fn mock_accepts(&self, solved: &Assignment, context: Fr, lie: &Lie) -> bool {
        let (first, words) = self.first_of(solved, context, lie);
        MockProver::run(self.k, &self.with_first(first), vec![words])
            .is_ok_and(|mock| mock.verify().is_ok())
    }

    /// The cells of a lying witness.
    pub(crate) fn cells_of(&self, solved: &Assignment, context: Fr, lie: &Lie) -> Cells {
        let (first, words) = self.first_of(solved, context, lie);
        self.cells(first, words)
    }

    /// The cells of a lying witness under words that somebody claims.
    pub(crate) fn cells_as_claimed(&self, solved: &Assignment, words: &[Fr], lie: &Lie) -> Cells {
        let first = self.first_as_claimed(solved, words, lie);
        self.cells(first, words.to_vec())
    }

    fn cells(&self, first: First, words: Vec<Fr>) -> Cells {
        let challenges = fixed_challenges();
        let second = self.second(&first, &challenges);
        Cells {
            first,
            second,
            words,
            challenges,
        }
    }

    fn violation(&self, step: u32, rule: &'static str, index: usize) -> Violation {
        let step = self.program.steps().get(step as usize);
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

    /// Checks every constraint but those of `except`. `index` of a violation is its row.
    pub(crate) fn check_cells(&self, c: &Cells, except: Option<Rule>) -> Result<(), Violation> {
        self.check_cells_except(c, except.map_or(Except::Nothing, Except::Rule))
    }

    /// Whether a constraint serves step `step`.
    pub(crate) fn has_rows_of(&self, step: usize) -> bool {
        let step = step as u32;
        self.rows.iter().any(|row| row.step == step)
            || self.tape.rows.iter().any(|row| row.step == step)
            || self.home_ties.iter().any(|tie| tie.2 == step)
    }

    /// Checks every constraint but those of `except`. `index` of a violation is its row.
    pub(crate) fn check_cells_except(&self, c: &Cells, except: Except) -> Result<(), Violation> {
        let on = |rule: Rule, step: u32| except.keeps(rule, step);
        self.check_questions(c, except)?;
        for (row, lookup) in self.rows.iter().enumerate() {
            let Some(kind) = lookup.kind else { continue };
            let decomposition = &self.kinds[kind as usize];
            let l = |rotation: u32| c.first.l[row + rotation as usize];
            let terms = decomposition.terms.iter();
            let sum: Fr = terms.map(|(r, e)| l(*r) * super::values::pow2(*e)).sum();
            if on(Rule::Sum(kind), lookup.step) && c.first.h[row] != sum {
                return Err(self.violation(lookup.step, "sum of limbs", row));
            }
            if let Some((from, to, scale)) = decomposition.check
                && on(Rule::Short(kind), lookup.step)
                && l(to) != l(from) * super::values::pow2(scale)
            {
                return Err(self.violation(lookup.step, "short limb", row));
            }
        }
        for (copy, of, step) in &self.home_ties {
            if on(Rule::Home, *step)
                && self.home_value(&c.first, *copy) != self.home_value(&c.first, *of)
            {
                return Err(self.violation(*step, "copy", *copy as usize));
            }
        }
        self.check_tape(c, except)?;
        if on(Rule::Word, NO_STEP)
            && (0..self.n_words).any(|k| c.words.get(k) != Some(&c.first.h[k]))
        {
            return Err(self.violation(NO_STEP, "word", 0));
        }
        match except {
            Except::Rule(Rule::Lookup) | Except::Step(_) => Ok(()),
            _ => self.check_lookup_sum(c),
        }
    }

    fn check_questions(&self, c: &Cells, except: Except) -> Result<(), Violation> {
        let rows = self.rows.iter().enumerate();
        for (row, lookup) in rows.filter(|(_, row)| except.keeps(Rule::Lookup, row.step)) {
            let table = &self.tables[lookup.table as usize];
            let (key, value) = (c.first.l[row], c.first.h[row]);
            if self.table_row(table, key, value, lookup.table).is_none() {
                return Err(self.violation(lookup.step, "lookup", row));
            }
        }
        Ok(())
    }

    fn check_tape(&self, c: &Cells, except: Except) -> Result<(), Violation> {
        let on = |rule: Rule, step: u32| except.keeps(rule, step);
        let Second { a, b, s, .. } = &c.second;
        let eta = c.challenges.eta;
        let etas: Vec<Fr> = std::iter::successors(Some(Fr::ONE), |p| Some(*p * eta))
            .take(self.tape.width)
            .collect();
        for (row, op) in self.tape.rows.iter().enumerate() {
            let next = self.tape_step(row, s[row], a[row], b[row], &c.challenges, &etas);
            if on(Rule::Tape, op.step) && s[row + 1] != next {
                return Err(self.violation(op.step, "tape", row));
            }
            for (rule, cell, operand) in
                [(Rule::FactorA, a[row], op.a), (Rule::FactorB, b[row], op.b)]
            {
                let home = |cell| self.home_value(&c.first, cell);
                let Some(source) = self.tape.factor(operand, home, |r| s[r as usize + 1]) else {
                    continue;
                };
                if on(rule, op.step) && source != cell {
                    return Err(self.violation(op.step, "factor", row));
                }
            }
        }
        for (row, target, step) in &self.tape.ties {
            if on(Rule::Tie, *step)
                && s[*row as usize + 1] != self.target_value(&c.first, s, *target)
            {
                return Err(self.violation(*step, "result", *row as usize));
            }
        }
        Ok(())
    }

    fn check_lookup_sum(&self, c: &Cells) -> Result<(), Violation> {
        let refused = |row| Err(self.violation(NO_STEP, "lookup sum", row));
        let phi = &c.second.phi;
        let (asked, rows) = self.denominators(&c.first, &c.challenges);
        for row in 0..self.active_rows() {
            let (f, t) = (asked[row], rows[row]);
            let m = c.first.m[row];
            if (phi[row + 1] - phi[row]) * f * t - t + m * f != Fr::ZERO {
                return refused(row);
            }
        }
        match (phi.first(), phi.last()) {
            (Some(first), Some(last)) if *first == Fr::ZERO && *last == Fr::ZERO => Ok(()),
            _ => refused(0),
        }
    }

    /// η of the checks without a transcript.
    pub(crate) fn check_eta(&self) -> Fr {
        fixed_challenges().eta
    }

    /// δ of the checks without a transcript.
    pub(crate) fn check_delta(&self) -> Fr {
        fixed_challenges().delta
    }

    /// Rules that this circuit uses.
    pub(crate) fn rules(&self) -> Vec<Rule> {
        let mut rules = vec![Rule::Word, Rule::Tape, Rule::FactorA, Rule::FactorB];
        rules.extend([Rule::Tie, Rule::Lookup]);
        if !self.home_ties.is_empty() {
            rules.push(Rule::Home);
        }
        for (index, kind) in self.kinds.iter().enumerate() {
            rules.push(Rule::Sum(index as u32));
            if kind.check.is_some() {
                rules.push(Rule::Short(index as u32));
            }
        }
        rules
    }

    /// Without the tape's rows a prover puts into every tied result what it is tied to.
    pub(crate) fn bend_results(&self, c: &mut Cells) {
        for (row, target, _) in &self.tape.ties {
            match target {
                Target::Home(home) => {
                    c.second.s[*row as usize + 1] = self.home_value(&c.first, *home);
                }
                Target::Result(other) => {
                    c.second.s[*row as usize + 1] = c.second.s[*other as usize + 1];
                }
                Target::Zero => {}
            }
        }
    }
}
