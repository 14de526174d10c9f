//! # The committed form: one logUp argument for all ranges and tables
//! Semantics: every query (key, value) of table t is one of its rows (key, value, id_t).
//! Constraints: `inv·(ρ + key + α·value + α²·id) = 1` per query, `q·(ρ + row) = m` per row, `Σ inv = Σ q`.
//! Soundness: DESIGN.md#logup. Source: eprint 2022/1530; the committed round is eprint 2020/278.
//!
//! Keys, values and multiplicities lie in the committed round (W1); the only later wires in a denominator are `α·value` and
//! α², each tied by its own row.

use super::LowerError;
use super::circuit::{Class, Fill, LinComb, Node, Query, RTable, Rid};
use super::lower::{Lowering, pow2};
use crate::constraint::{TableId, TensorId};
use ark_bn254::Fr;
use ark_ff::{Field, One, Zero};
use std::sync::Arc;

/// Where a query's table is: a program table, or the range table of so many bits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Program(TableId),
    Range(u32),
}

impl Kind {
    /// Table ids: distinct small integers, program tables after the 64 possible range tables; never 0.
    fn id(self) -> u64 {
        match self {
            Self::Range(bits) => u64::from(bits),
            Self::Program(table) => 64 + u64::from(table.0),
        }
    }
}

impl Lowering<'_> {
    /// The context: the only committed wire that is neither an input nor solved.
    pub(super) fn open_committed(&mut self) {
        self.wires(Class::Committed, 1, Fill::Context);
    }

    pub(super) fn lookup_committed(
        &mut self,
        step: usize,
        table: TableId,
        key: TensorId,
        y: TensorId,
    ) -> Rid {
        let key = self.rid(key);
        let n = self.len(key);
        let value = self.wires(Class::Committed, n, Fill::Value(y));
        self.query(step, key, Some(value), Kind::Program(table));
        value
    }

    /// `0 ≤ x < 2^bits`; when not `exact`, x < 2^bits is already proved and any larger power of two will do.
    pub(super) fn range_committed(&mut self, step: usize, x: Rid, bits: u32, exact: bool) {
        let w = self.plan.limb_bits;
        if bits > w {
            let n = self.len(x);
            let limbs = bits.div_ceil(w) - 1;
            let mut rest = LinComb::of(x);
            for j in 0..limbs {
                let fill = Fill::Bits {
                    of: LinComb::of(x),
                    shift: w * j,
                    bits: w,
                };
                let limb = self.wires(Class::Committed, n, fill);
                self.query(step, limb, None, Kind::Range(w));
                rest = rest.plus(-pow2(w * j), &LinComb::of(limb));
            }
            // 2 is invertible in a field of odd characteristic
            let inverse = pow2(w * limbs).inverse().unwrap_or_else(Fr::zero);
            let top = self.combo(rest.scaled(inverse), n);
            return self.range_committed(step, top, bits - w * limbs, exact);
        }
        if bits == w || !exact {
            return self.query(step, x, None, Kind::Range(w));
        }
        *self.narrow_queries.entry(bits).or_default() += self.len(x);
        if self.plan.narrow.contains(&bits) {
            return self.query(step, x, None, Kind::Range(bits));
        }
        // x < 2^w and x·2^(w − bits) < 2^w: no wrap, since both factors are below 2^16
        let scaled = self.combo(LinComb::of(x).scaled(pow2(w - bits)), self.len(x));
        self.query(step, x, None, Kind::Range(w));
        self.query(step, scaled, None, Kind::Range(w));
    }

    fn query(&mut self, step: usize, key: Rid, value: Option<Rid>, kind: Kind) {
        let table = match self.tables.iter().position(|t| t.id == kind.id()) {
            Some(known) => known,
            None => {
                let (rows, name): (Arc<[(i64, i64)]>, _) = match kind {
                    Kind::Range(bits) => (
                        (0..1i64 << bits).map(|k| (k, 0)).collect(),
                        format!("range {bits} bits"),
                    ),
                    Kind::Program(id) => {
                        let table = &self.program.tables()[id.0 as usize];
                        let f = &table.function;
                        let what = if f.values.is_some() {
                            "function"
                        } else {
                            "clamp"
                        };
                        (
                            table.rows().collect(),
                            format!("{what} on [{}, {}]", f.lo, f.hi),
                        )
                    }
                };
                self.tables.push(RTable {
                    id: kind.id(),
                    rows,
                    name,
                    quotient: None,
                });
                self.tables.len() - 1
            }
        };
        let n = self.len(key);
        self.queries.push(Query {
            key,
            value,
            table,
            step,
            n,
            fold: None,
            inverse: None,
        });
    }

    /// Multiplicities, then everything that follows the challenges. Returns where the second phase begins.
    pub(super) fn close_committed(&mut self, words: Option<Rid>) -> Result<usize, LowerError> {
        let counts: Vec<Rid> = (0..self.tables.len())
            .map(|table| {
                let n = self.tables[table].rows.len();
                self.wires(Class::Committed, n, Fill::Count { table })
            })
            .collect();
        self.check_phases(words)?;
        let first_phase = self.tensors.len();

        // the pole is for the lookups alone; words and contractions are polynomials in α
        let rho = self.wires(Class::Instance, 1, Fill::Given);
        let alpha = self.wires(Class::Instance, 1, Fill::Given);
        let evaluation = self.wires(Class::Instance, 1, Fill::Given);
        let alpha_lc = LinComb::of(alpha);
        self.evaluate_words(words, alpha, evaluation);
        for contraction in self.contractions.clone() {
            self.check_contraction(&contraction, alpha);
        }

        let square = [alpha_lc.clone(), alpha_lc.clone()];
        let alpha2 = self.product("challenge square", None, Class::Private, 1, square);
        let mut sum: Vec<(Fr, Rid)> = vec![];
        for (index, q) in self.queries.clone().into_iter().enumerate() {
            let mut denominator = LinComb::of(rho).plus(Fr::one(), &LinComb::of(q.key));
            if let Some(value) = q.value {
                let factors = [alpha_lc.clone(), LinComb::of(value)];
                let folded = self.product("fold", Some(q.step), Class::Private, q.n, factors);
                denominator = denominator.plus(Fr::one(), &LinComb::of(folded));
                self.queries[index].fold = Some(folded);
            }
            let id = Fr::from(self.tables[q.table].id);
            denominator = denominator.plus(id, &LinComb::of(alpha2));
            let fill = Fill::Inverse {
                of: denominator.clone(),
            };
            let inverse = self.wires(Class::Private, q.n, fill);
            self.queries[index].inverse = Some(inverse);
            let row = [LinComb::of(inverse), denominator, LinComb::one()];
            self.rows("lookup", Some(q.step), q.n, row);
            sum.push((Fr::one(), inverse));
        }
        for (index, count) in counts.iter().enumerate() {
            let (id, rows) = (self.tables[index].id, self.tables[index].rows.clone());
            let keys: Arc<[i64]> = rows.iter().map(|r| r.0).collect();
            let n = rows.len();
            let keys = self.push(Node::Constants { values: keys }, n, Class::Committed);
            let mut denominator = LinComb::of(rho)
                .plus(Fr::one(), &LinComb::of(keys))
                .plus(Fr::from(id), &LinComb::of(alpha2));
            if rows.iter().any(|r| r.1 != 0) {
                let values: Arc<[i64]> = rows.iter().map(|r| r.1).collect();
                let node = Node::Outer { values, x: alpha };
                let values = self.push(node, n, Class::Instance);
                denominator = denominator.plus(Fr::one(), &LinComb::of(values));
            }
            let (num, den) = (LinComb::of(*count), denominator.clone());
            let quotient = self.wires(
                Class::Private,
                n,
                Fill::Quotient {
                    num: num.clone(),
                    den,
                },
            );
            self.tables[index].quotient = Some(quotient);
            self.rows("table", None, n, [LinComb::of(quotient), denominator, num]);
            sum.push((-Fr::one(), quotient));
        }
        if !sum.is_empty() {
            let total = self.push(Node::Sum { terms: sum }, 1, Class::Private);
            let row = [LinComb::of(total), LinComb::one(), LinComb::default()];
            self.rows("lookup sum", None, 1, row);
        }
        Ok(first_phase)
    }

    /// `e = context + α·(word_1 + α·(word_2 + …))` by Horner's rule, one row a word.
    fn evaluate_words(&mut self, words: Option<Rid>, alpha: Rid, evaluation: Rid) {
        const CONTEXT: Rid = 0; // `open_committed` made it the first tensor
        let n = words.map_or(0, |w| self.len(w));
        let word = |l: &mut Self, k: usize| match words {
            // word 0 is the context; packed words follow
            Some(words) if k > 0 => {
                let node = Node::Pack {
                    rows: vec![vec![(words, k - 1, Fr::one())]],
                    constants: vec![Fr::zero()],
                };
                let class = l.tensors[words].class;
                l.push(node, 1, class)
            }
            _ => CONTEXT,
        };
        let last = word(self, n);
        let mut acc = LinComb::of(last);
        for k in (0..n).rev() {
            let here = LinComb::of(word(self, k));
            let factors = [LinComb::of(alpha), acc];
            let next = if k == 0 {
                evaluation
            } else {
                let [a, b] = factors.clone();
                self.wires(
                    Class::Private,
                    1,
                    Fill::Product {
                        a,
                        b,
                        plus: here.clone(),
                    },
                )
            };
            let [a, b] = factors;
            let c = LinComb::of(next).plus(-Fr::one(), &here);
            self.rows("evaluation of the words", None, 1, [a, b, c]);
            acc = LinComb::of(next);
        }
        if n == 0 {
            let difference = acc.plus(-Fr::one(), &LinComb::of(evaluation));
            let row = [difference, LinComb::one(), LinComb::default()];
            self.rows("evaluation of the words", None, 1, row);
        }
    }

    /// The W1 rule: the support of every query, of every operand and result of a contraction that is checked at the challenge,
    /// and of every word lies in the committed round.
    pub(super) fn check_phases(&self, words: Option<Rid>) -> Result<(), LowerError> {
        let queries = self.queries.iter();
        let queries = queries.map(|q| (q.step, vec![Some(q.key), q.value]));
        let contractions = self.contractions.iter();
        let contractions = contractions.map(|c| (c.step, c.reads().map(Some).to_vec()));
        for (step, reads) in queries.chain(contractions) {
            if reads
                .into_iter()
                .flatten()
                .any(|x| self.tensors[x].class != Class::Committed)
            {
                return Err(LowerError::Phase {
                    node: self.node_name(step),
                    step: self.program.steps()[step].instr.name(),
                });
            }
        }
        if words.is_some_and(|w| self.tensors[w].class != Class::Committed) {
            return Err(LowerError::Phase {
                node: "statement".to_owned(),
                step: "words",
            });
        }
        Ok(())
    }
}
