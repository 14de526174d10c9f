//! # Lines: a straight-line program over the rows of vectors
//!
//! The same steps are done in every row, with registers of the row's own: values are read from columns, in the row itself or a fixed number of
//! rows further on, around the end; operations make others of them; and a sum, one value a row, takes them up. What is the same for all rows
//! is given in a list of *uniform* values. [`Device::run_lines`](crate::Device::run_lines) runs a program.

use thiserror::Error;

use crate::copies::Copies;

/// What a register is set to. Operands are registers, or uniform values where it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// The value of a column.
    Load {
        /// Number of the column.
        column: u16,
        /// How many rows further on.
        offset: u32,
    },
    /// −a.
    Neg(u16),
    /// a + b.
    Add(u16, u16),
    /// a − b.
    Sub(u16, u16),
    /// a·b.
    Mul(u16, u16),
    /// uniform + a.
    AddUniform(u16, u16),
    /// uniform − a.
    UniformSub(u16, u16),
    /// uniform·a.
    MulUniform(u16, u16),
}

impl Op {
    /// The registers that are read.
    fn operands(self) -> impl Iterator<Item = u16> {
        let (first, second) = match self {
            Self::Load { .. } => (None, None),
            Self::Neg(a)
            | Self::AddUniform(_, a)
            | Self::UniformSub(_, a)
            | Self::MulUniform(_, a) => (Some(a), None),
            Self::Add(a, b) | Self::Sub(a, b) | Self::Mul(a, b) => (Some(a), Some(b)),
        };
        first.into_iter().chain(second)
    }

    fn uniform(self) -> Option<u16> {
        match self {
            Self::AddUniform(u, _) | Self::UniformSub(u, _) | Self::MulUniform(u, _) => Some(u),
            _ => None,
        }
    }
}

/// A step of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// register ← op; the register is no operand.
    Set(u16, Op),
    /// sum ← sum·fold + register.
    Fold(u16),
    /// sum ← sum·fold + uniform.
    FoldUniform(u16),
}

/// A checked program.
#[derive(Debug)]
pub struct Lines {
    steps: Vec<Step>,
    n_registers: usize,
    n_columns: usize,
    n_uniform: usize,
    /// What devices compiled.
    pub(crate) copies: Copies,
}

/// Why steps are no program.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinesError {
    /// A register, a column or a uniform value that there is not.
    #[error("step {step} names {what} {got} of {n}")]
    Range {
        /// Number of the step.
        step: usize,
        /// Of what.
        what: &'static str,
        /// Its number.
        got: usize,
        /// How many there are.
        n: usize,
    },
    /// A register is read that no step before has set.
    #[error("step {step} reads register {register} before it is set")]
    Unset {
        /// Number of the step.
        step: usize,
        /// Number of the register.
        register: u16,
    },
    /// A register is set to something made of itself.
    #[error("step {step} sets its own operand, register {register}")]
    OwnOperand {
        /// Number of the step.
        step: usize,
        /// Number of the register.
        register: u16,
    },
}

impl Lines {
    /// A program of these steps with `n_registers` registers, `n_columns` columns and `n_uniform` uniform values.
    ///
    /// # Errors
    /// [`LinesError`].
    pub fn new(
        steps: Vec<Step>,
        n_registers: usize,
        n_columns: usize,
        n_uniform: usize,
    ) -> Result<Self, LinesError> {
        let mut set = vec![false; n_registers];
        for (number, step) in steps.iter().enumerate() {
            let range = |what, got: u16, n| match usize::from(got) {
                got if got < n => Ok(got),
                got => Err(LinesError::Range {
                    step: number,
                    what,
                    got,
                    n,
                }),
            };
            let read = |set: &[bool], register| match set[range("register", register, n_registers)?]
            {
                true => Ok(()),
                false => Err(LinesError::Unset {
                    step: number,
                    register,
                }),
            };
            match *step {
                Step::Set(target, op) => {
                    for register in op.operands() {
                        read(&set, register)?;
                        if register == target {
                            return Err(LinesError::OwnOperand {
                                step: number,
                                register,
                            });
                        }
                    }
                    if let Op::Load { column, .. } = op {
                        range("column", column, n_columns)?;
                    }
                    if let Some(uniform) = op.uniform() {
                        range("uniform value", uniform, n_uniform)?;
                    }
                    set[range("register", target, n_registers)?] = true;
                }
                Step::Fold(register) => read(&set, register)?,
                Step::FoldUniform(uniform) => {
                    range("uniform value", uniform, n_uniform)?;
                }
            }
        }
        Ok(Self {
            steps,
            n_registers,
            n_columns,
            n_uniform,
            copies: Copies::default(),
        })
    }

    /// The steps, in order.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Registers of a row.
    #[must_use]
    pub fn n_registers(&self) -> usize {
        self.n_registers
    }

    /// Columns read.
    #[must_use]
    pub fn n_columns(&self) -> usize {
        self.n_columns
    }

    /// Uniform values needed at least.
    #[must_use]
    pub fn n_uniform(&self) -> usize {
        self.n_uniform
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_that_name_what_is_not_there_are_refused() {
        let load = Step::Set(
            0,
            Op::Load {
                column: 0,
                offset: 1,
            },
        );
        assert!(Lines::new(vec![load, Step::Fold(0)], 1, 1, 0).is_ok());
        for (steps, error) in [
            (
                vec![load, Step::Set(1, Op::Neg(0))],
                LinesError::Range {
                    step: 1,
                    what: "register",
                    got: 1,
                    n: 1,
                },
            ),
            (
                vec![Step::Set(
                    0,
                    Op::Load {
                        column: 1,
                        offset: 0,
                    },
                )],
                LinesError::Range {
                    step: 0,
                    what: "column",
                    got: 1,
                    n: 1,
                },
            ),
            (
                vec![load, Step::FoldUniform(0)],
                LinesError::Range {
                    step: 1,
                    what: "uniform value",
                    got: 0,
                    n: 0,
                },
            ),
            (
                vec![Step::Fold(0)],
                LinesError::Unset {
                    step: 0,
                    register: 0,
                },
            ),
            (
                vec![load, Step::Set(0, Op::Mul(0, 0))],
                LinesError::OwnOperand {
                    step: 1,
                    register: 0,
                },
            ),
        ] {
            assert_eq!(Lines::new(steps, 1, 1, 0).err(), Some(error));
        }
    }
}
