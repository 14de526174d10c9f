//! Single cells bent, for the forging tests: which cells a constraint must hold, and whether it does.

use super::check::{Cells, Rule};
use super::table::KeyFill;
use super::tape::{HomeFill, Operand};
use super::values::fr;
use super::witness::Second;
use super::{Fr, Halo2Circuit};
use crate::constraint::{Assignment, TensorId};
use halo2curves::ff::Field;

impl Halo2Circuit {
    /// An element of a solved tensor.
    pub(crate) fn element(&self, solved: &Assignment, x: TensorId, i: usize) -> Fr {
        fr(solved.tensor(x)[i])
    }

    /// Rows whose key cell the prover chooses.
    pub(crate) fn key_rows(&self) -> Vec<u32> {
        let rows = self.rows.iter().enumerate();
        rows.filter(|(_, row)| !matches!(row.key, KeyFill::Zero))
            .map(|(row, _)| row as u32)
            .collect()
    }

    /// The honest key of a row.
    pub(crate) fn honest_key(&self, solved: &Assignment, row: u32) -> Fr {
        match self.rows[row as usize].key {
            KeyFill::Element(x, i, c) => fr(solved.tensor(x)[i as usize] + c),
            key => self.key(solved, &[], key),
        }
    }

    /// Adds 1 to cells of every column, one at a time: all those that some constraint must hold. Returns how many.
    pub(crate) fn bend_every_cell(&self, c: &mut Cells) -> Result<usize, String> {
        let mut tried = 0;
        let mut bend =
            |what: &str, at: usize, cell: fn(&mut Cells, usize) -> &mut Fr, c: &mut Cells| {
                *cell(c, at) += Fr::ONE;
                let accepted = self.check_cells(c, None).is_ok();
                *cell(c, at) -= Fr::ONE;
                tried += 1;
                if accepted {
                    return Err(format!("{what}[{at}] + 1"));
                }
                Ok(())
            };
        for (row, lookup) in self.rows.iter().enumerate() {
            if lookup.home.is_some() {
                bend("h", row, |c, at| &mut c.first.h[at], c)?;
            }
            if !matches!(lookup.key, KeyFill::Zero) {
                bend("l", row, |c, at| &mut c.first.l[at], c)?;
            }
        }
        let tables: usize = self.tables.iter().map(|t| t.values.len()).sum();
        for row in (0..self.active_rows()).step_by(1 + tables / 40) {
            bend("m", row, |c, at| &mut c.first.m[at], c)?;
        }
        for row in (0..=self.active_rows()).step_by(1 + tables / 40) {
            bend("phi", row, |c, at| &mut c.second.phi[at], c)?;
        }
        for (row, op) in self.tape.rows.iter().enumerate() {
            if op.a != Operand::None {
                bend("a", row, |c, at| &mut c.second.a[at], c)?;
            }
            if op.b != Operand::None {
                bend("b", row, |c, at| &mut c.second.b[at], c)?;
            }
            bend("s", row + 1, |c, at| &mut c.second.s[at], c)?;
        }
        for word in 0..c.words.len() {
            bend("word", word, |c, at| &mut c.words[at], c)?;
        }
        Ok(tried)
    }

    /// Whether, without one kind of constraints, an honest witness can be bent where only that kind held it.
    pub(crate) fn bends_without(&self, c: &mut Cells, rule: Rule) -> bool {
        match rule {
            Rule::Word => {
                // the statement says something else than the cells
                let Some(word) = c.words.last_mut() else {
                    return false;
                };
                *word += Fr::ONE;
            }
            Rule::FactorA => {
                // a product whose other factor is zero
                let rows = self.tape.rows.iter().enumerate();
                let found = rows
                    .filter(|(_, op)| op.a != Operand::None)
                    .find(|(row, _)| c.second.b[*row] == Fr::ZERO);
                let Some((row, _)) = found else {
                    return self.flips_without(c, rule);
                };
                c.second.a[row] += Fr::ONE;
            }
            _ => return self.flips_without(c, rule),
        }
        self.check_cells(c, Some(rule)).is_ok()
    }

    /// Whether, without one kind of constraints, a Bool input can be the other one while all that follows from it stays.
    fn flips_without(&self, c: &mut Cells, rule: Rule) -> bool {
        let rows = self.rows.iter().enumerate();
        let inputs = rows.filter(|(_, row)| {
            let home = row.home.map(|home| self.homes[home as usize].fill);
            matches!(home, Some(HomeFill::Offset(..)))
        });
        let inputs: Vec<usize> = inputs.map(|(row, _)| row).collect();
        inputs.into_iter().any(|row| {
            self.flip(c, row);
            let before = self.follow(c, rule);
            let accepted = self.check_cells(c, Some(rule)).is_ok();
            c.second = before;
            self.flip(c, row);
            accepted
        })
    }

    fn flip(&self, c: &mut Cells, row: usize) {
        for cell in [&mut c.first.h[row], &mut c.first.l[row]] {
            *cell = Fr::ONE - *cell;
        }
        self.count(&mut c.first);
    }

    /// Brings the second phase after a changed first, as far as the constraints without `rule` ask for it; returns what it was.
    fn follow(&self, c: &mut Cells, rule: Rule) -> Second {
        let before = c.second.clone();
        let honest = self.second(&c.first, &c.challenges);
        c.second.phi = honest.phi.clone();
        match rule {
            // the results stay what they were
            Rule::Tape => {
                for (row, op) in self.tape.rows.iter().enumerate() {
                    for (cell, operand) in
                        [(&mut c.second.a[row], op.a), (&mut c.second.b[row], op.b)]
                    {
                        if let Operand::Home(home) = operand {
                            *cell = self.home_value(&c.first, home);
                        }
                    }
                }
            }
            // the results follow, what they are tied to does not
            Rule::Tie => {
                c.second.a = honest.a.clone();
                c.second.b = honest.b.clone();
                c.second.s = honest.s.clone();
            }
            _ => {}
        }
        before
    }
}
