//! The lookup argument of a trace: which rows are asked for, how often, and what the challenges make of them.

use super::value::{View, each_piece, fill_all};
use super::{Trace, Violation, ZeroDenominator};
use crate::arithmetization::r1cs::circuit::RTable;
use crate::arithmetization::r1cs::transpose::SmallInts;
use ark_bn254::Fr;
use ark_ff::{Zero, batch_inversion};
use rayon::prelude::*;
use zeroize::Zeroizing;

/// Every row of a table after the challenges.
pub(super) struct Answers {
    /// α·value.
    pub(super) folds: Vec<Fr>,
    /// ρ + key + α·value + α²·id.
    pub(super) denominators: Vec<Fr>,
    pub(super) inverses: Vec<Fr>,
}

impl Answers {
    pub(super) fn new(table: &RTable, rho: Fr, alpha: Fr) -> Result<Self, ZeroDenominator> {
        let small = SmallInts::shared();
        let base = rho + alpha * alpha * Fr::from(table.id);
        let fold = |row: &(i64, i64)| small.of(row.1) * alpha;
        let folds: Vec<Fr> = match table.rows.iter().any(|row| row.1 != 0) {
            true => table.rows.par_iter().map(fold).collect(),
            false => vec![Fr::zero(); table.rows.len()],
        };
        let rows = table.rows.par_iter().zip(&folds);
        let denominators: Vec<Fr> = rows
            .map(|(row, fold)| base + small.of(row.0) + fold)
            .collect();
        if denominators.par_iter().any(Fr::is_zero) {
            return Err(ZeroDenominator);
        }
        let mut inverses = denominators.clone();
        batch_inversion(&mut inverses);
        Ok(Self {
            folds,
            denominators,
            inverses,
        })
    }
}

impl Trace<'_> {
    /// What the rows that a query asks for have in a column of its table's answers.
    pub(super) fn gather(&self, q: usize, column: impl Fn(&Answers) -> &Vec<Fr>, out: &mut [Fr]) {
        let column = column(&self.tables[self.tracer.r1cs.queries[q].table]);
        let asked = &self.asked[q];
        each_piece(out, |start, out| {
            let asked = &asked[start..];
            out.iter_mut()
                .zip(asked)
                .for_each(|(out, row)| *out = column[*row as usize]);
            true
        });
    }

    /// The rows of its table that query `q` asks for.
    pub(super) fn ask(&self, q: usize, wires: &[Fr]) -> Result<Zeroizing<Vec<u32>>, Violation> {
        let r1cs = &self.tracer.r1cs;
        let query = &r1cs.queries[q];
        let rows = &r1cs.tables[query.table].rows;
        let first = rows.first().map_or(0, |row| row.0);
        let mut asked = Zeroizing::new(vec![0u32; query.n]);
        let zeros = Zeroizing::new(match query.value {
            Some(_) => vec![],
            None => vec![0i64; 1],
        });
        let (keys, values) = (
            self.values[query.key].view(wires),
            query
                .value
                .map_or(View::Integers(&zeros), |v| self.values[v].view(wires)),
        );
        let row_of = |i: usize| {
            let (View::Integers(keys), View::Integers(values)) = (keys, values) else {
                return None;
            };
            let row = usize::try_from(keys[i].checked_sub(first)?).ok()?;
            let value = values[if query.value.is_some() { i } else { 0 }];
            (rows.get(row)?.1 == value).then_some(row as u32)
        };
        match fill_all(&mut asked, row_of) {
            Some(()) => Ok(asked),
            None => {
                let index = (0..query.n).find(|i| row_of(*i).is_none()).unwrap_or(0);
                Err(r1cs.violation(Some(query.step), "lookup", index))
            }
        }
    }

    /// How many queries ask for each row.
    pub(super) fn count(&self, table: usize, n: usize) -> Zeroizing<Vec<i64>> {
        let mut counts = Zeroizing::new(vec![0i64; n]);
        let queries = self.tracer.r1cs.queries.iter().zip(&self.asked);
        for (_, asked) in queries.filter(|(query, _)| query.table == table) {
            for row in asked.iter() {
                counts[*row as usize] += 1;
            }
        }
        counts
    }
}
