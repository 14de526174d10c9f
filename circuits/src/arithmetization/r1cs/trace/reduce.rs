//! Wires that cost less to multiply on their own.

use super::Trace;
use ark_bn254::Fr;
use ark_ff::Zero;
use rayon::prelude::*;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The mark of a private wire in no group.
pub const NO_GROUP: u32 = u32::MAX;

/// Private wires taken out of a witness. Overwritten when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Reduced {
    /// The value y of every wire that is α·y, zero for the others: a sum over the wires is α times one with these small scalars.
    pub folded: Option<Vec<Fr>>,
    /// The inverses of queries, if there are more of them than rows of tables.
    pub grouped: Option<Grouped>,
}

/// Wires of few distinct values.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Grouped {
    /// For every private wire, which value it has, or [`NO_GROUP`].
    pub groups: Vec<u32>,
    /// The values.
    pub values: Vec<Fr>,
}

impl std::fmt::Debug for Reduced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reduced").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Grouped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grouped").finish_non_exhaustive()
    }
}

impl Trace<'_> {
    /// Takes out of `wires` what costs less to multiply on its own, and sets it to zero there. α·value occurs in B and C only, the
    /// inverses in A and C only.
    pub fn reduce(&self, wires: &mut [Fr]) -> Reduced {
        let r1cs = &self.tracer.r1cs;
        let first = r1cs.n_instance() + r1cs.n_committed();
        let queries = || r1cs.queries.iter().zip(&self.asked);
        let folds = r1cs.queries.iter().any(|query| query.fold.is_some());
        let folded = folds.then(|| {
            let mut folded = vec![Fr::zero(); r1cs.n_private()];
            for query in &r1cs.queries {
                if let (Some(fold), Some(value)) = (query.fold, query.value) {
                    let range = self.private(fold);
                    self.write(self.values[value].view(&[]), &mut folded[range.clone()]);
                    wires[first..][range].fill(Fr::zero());
                }
            }
            folded
        });
        let n_rows: usize = self.tables.iter().map(|t| t.inverses.len()).sum();
        let n_inverses: usize = queries().map(|(_, asked)| asked.len()).sum();
        let grouped = (n_inverses > n_rows).then(|| {
            let mut starts = vec![];
            let mut values = Vec::with_capacity(n_rows);
            for table in &self.tables {
                starts.push(values.len() as u32);
                values.extend_from_slice(&table.inverses);
            }
            let mut groups = vec![NO_GROUP; r1cs.n_private()];
            for (query, asked) in queries() {
                let Some(inverse) = query.inverse else {
                    continue;
                };
                let range = self.private(inverse);
                let start = starts[query.table];
                let rows = groups[range.clone()].par_iter_mut().zip(asked.par_iter());
                rows.for_each(|(group, row)| *group = start + row);
                wires[first..][range].fill(Fr::zero());
            }
            Grouped { groups, values }
        });
        Reduced { folded, grouped }
    }

    /// Puts back what [`Trace::reduce`] took out.
    pub fn restore(&self, wires: &mut [Fr]) {
        let r1cs = &self.tracer.r1cs;
        let first = r1cs.n_instance() + r1cs.n_committed();
        for (q, query) in r1cs.queries.iter().enumerate() {
            if let Some(fold) = query.fold {
                self.gather(q, |t| &t.folds, &mut wires[first..][self.private(fold)]);
            }
            if let Some(inverse) = query.inverse {
                let range = self.private(inverse);
                self.gather(q, |t| &t.inverses, &mut wires[first..][range]);
            }
        }
    }
}
