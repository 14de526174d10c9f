//! Decoded steps, one by one through the builder's own methods.

use super::super::program::TensorState;
use super::super::{BuildError, Hinted, Instr, TableFunction, TensorId, Unbound, WireTensor};
use super::Builder;
use std::sync::Arc;
use zkinfer_verifier::TensorSpec;

impl Builder {
    /// Repeats one decoded step: a program on disk obeys the same rules as a built one.
    pub(in crate::constraint) fn replay(
        &mut self,
        instr: Instr,
        functions: &[TableFunction],
        specs: &[TensorSpec],
    ) -> Result<(), BuildError> {
        let missing = || BuildError::Interface {
            reason: "an operand does not exist",
        };
        if instr
            .operands()
            .iter()
            .any(|id| id.index() >= self.tensors.len())
        {
            return Err(missing());
        }
        let proved = |b: &Self, id: TensorId| match &b.tensors[id.index()].state {
            TensorState::Proved(_) => Ok(b.wire(id)),
            _ => Err(BuildError::Interface {
                reason: "arithmetic on an unbound operand",
            }),
        };
        match instr {
            Instr::Input { io } => {
                let spec = specs.get(io as usize).ok_or_else(missing)?.clone();
                if io as usize != self.inputs.len() {
                    return Err(BuildError::Interface {
                        reason: "inputs out of order",
                    });
                }
                self.input(spec)?;
            }
            Instr::Linear { map, x, bias } => {
                let x = proved(self, x)?;
                // a decoded step is nobody else's: nothing is copied
                let (map, bias) = (Arc::unwrap_or_clone(map), Arc::unwrap_or_clone(bias));
                self.linear(map, &x, bias)?;
            }
            Instr::Combine { terms, constant } => {
                let xs: Result<Vec<_>, _> = terms
                    .iter()
                    .map(|(c, x)| Ok((*c, proved(self, *x)?)))
                    .collect();
                let xs: Vec<(i64, WireTensor)> = xs?;
                let terms: Vec<_> = xs.iter().map(|(c, x)| (*c, x)).collect();
                self.combine(&terms, constant)?;
            }
            Instr::Mul { a, b } => {
                let (a, b) = (proved(self, a)?, proved(self, b)?);
                self.mul(&a, &b)?;
            }
            Instr::Select { condition, yes, no } => {
                let condition = proved(self, condition)?;
                let (yes, no) = (proved(self, yes)?, proved(self, no)?);
                self.select(&condition, &yes, &no)?;
            }
            Instr::Split { x, shift } => {
                let x = proved(self, x)?;
                self.split(&x, shift)?;
            }
            Instr::Lookup { table, key } => {
                let f = functions.get(table.0 as usize).ok_or_else(missing)?.clone();
                match self.tensors[key.index()].state.clone() {
                    TensorState::Proved(_) => self.lookup(&f, &proved(self, key)?)?,
                    TensorState::Expected(expected) => {
                        self.lookup_unbound(&f, Unbound { id: key, expected })?
                    }
                    TensorState::Hinted(_) => {
                        return Err(BuildError::Interface {
                            reason: "lookup of a hinted key",
                        });
                    }
                };
            }
            Instr::Range { x, bits } => {
                match self.tensors[x.index()].state.clone() {
                    TensorState::Proved(_) => self.range(&proved(self, x)?, bits)?,
                    TensorState::Expected(e) => self.range_within(x, &e, bits)?,
                    TensorState::Hinted(len) => self.range_id(x, len, bits)?,
                };
            }
            Instr::AssertZero { x } => {
                let x = proved(self, x)?;
                self.assert_zero(&x)?;
            }
            Instr::Member { x, of } => {
                let TensorState::Hinted(len) = self.tensors[x.index()].state else {
                    return Err(BuildError::Interface {
                        reason: "membership of a bound tensor",
                    });
                };
                let of: Result<Vec<_>, _> = of.into_iter().map(|c| proved(self, c)).collect();
                self.member(Hinted { id: x, len }, &of?.iter().collect::<Vec<_>>())?;
            }
            Instr::Hint { kind, inputs } => {
                let xs: Result<Vec<_>, _> = inputs.into_iter().map(|c| proved(self, c)).collect();
                self.hint(kind, &xs?.iter().collect::<Vec<_>>())?;
            }
            Instr::Contract { a, b, dims } => {
                let (a, b) = (proved(self, a)?, proved(self, b)?);
                self.contract(&a, &b, dims.map(|d| d as usize))?;
            }
        }
        Ok(())
    }
}
