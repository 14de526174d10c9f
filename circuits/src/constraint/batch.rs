//! # Batches: n inferences of one program in one program
//! The copies follow each other. Copy j is the program with every tensor and every input moved by j times their number, so no
//! instruction of a copy reads a tensor of another. Shared are what depends on no input: node names, tables, the maps and
//! biases of linear steps, and the proved intervals, which are the same in every copy because every input has the interval of its type.
//! Statement: the inputs of copy 0, of copy 1, …, then the outputs of copy 0, …; tensor `x` of copy j is called `x[j]`.
//! Soundness: DESIGN.md#batches.

use super::builder::{MAX_ELEMENTS, MAX_LINEAR_TERMS, MAX_STEPS};
use super::program::TensorDecl;
use super::{BuildError, Instr, Program, Step, TensorId};
use zkinfer_verifier::statement::MAX_TENSORS;
use zkinfer_verifier::{StatementLayout, TensorSpec};

/// Most copies in a batch.
pub const MAX_BATCH: u32 = 4096;

/// Most operands in the lists of all copies' instructions, 256 MiB of them.
const MAX_LISTED: u64 = 1 << 24;

/// Ends the name of a tensor of the first copy.
const FIRST: &str = "[0]";

/// The name that a tensor of the first copy has in the program that is repeated.
pub(super) fn name_of_first(name: &str) -> &str {
    name.strip_suffix(FIRST).unwrap_or(name)
}

impl Program {
    /// How many inferences one proof of this program is about: 1, or what [`Program::batched`] was given.
    pub fn batch(&self) -> u32 {
        self.batch
    }

    /// The program that is `n` copies of this one, for `n` inferences in one proof; this program itself when `n` is 1.
    ///
    /// # Errors
    /// When `n` is not in 1..=[`MAX_BATCH`], the program is a batch already, or the batch would pass a bound of programs or
    /// of statements.
    pub fn batched(&self, n: u32) -> Result<Self, BuildError> {
        if !(1..=MAX_BATCH).contains(&n) {
            return Err(BuildError::Batch {
                max: MAX_BATCH,
                got: n,
            });
        }
        if self.batch != 1 {
            return Err(BuildError::Batched { copies: self.batch });
        }
        if n == 1 {
            return Ok(self.clone());
        }
        self.room_for_copies(n)?;
        // at most MAX_STEPS tensors and inputs, checked above
        let (n_tensors, n_inputs) = (self.tensors.len() as u32, self.inputs.len() as u32);
        let moved = |id: TensorId, copy: u32| TensorId(id.0 + copy * n_tensors);
        let steps = (0..n).flat_map(|copy| {
            self.steps.iter().map(move |step| Step {
                node: step.node,
                instr: step.instr.shifted(copy * n_tensors, copy * n_inputs),
                y: step.y.map(|y| moved(y, copy)),
            })
        });
        let every = |ids: &[TensorId]| {
            (0..n)
                .flat_map(|copy| ids.iter().map(move |id| moved(*id, copy)))
                .collect()
        };
        let tensors = (0..n).flat_map(|_| self.tensors.iter().cloned());
        let layout = self.layout_of_copies(n);
        layout.check().map_err(BuildError::Layout)?;
        Ok(Self {
            nodes: self.nodes.clone(),
            steps: steps.collect(),
            tensors: tensors.collect(),
            tables: self.tables.clone(),
            inputs: every(&self.inputs),
            outputs: every(&self.outputs),
            layout,
            batch: n,
        })
    }

    fn layout_of_copies(&self, n: u32) -> StatementLayout {
        let (inputs, outputs) = self.layout.tensors.split_at(self.inputs.len());
        let copies = |specs: &[TensorSpec]| -> Vec<TensorSpec> {
            let copy = |j: u32| {
                specs.iter().map(move |spec| TensorSpec {
                    name: format!("{}[{j}]", spec.name),
                    ..spec.clone()
                })
            };
            (0..n).flat_map(copy).collect()
        };
        StatementLayout {
            tensors: [copies(inputs), copies(outputs)].concat(),
        }
    }

    /// The bounds that the builder holds a program to, for `n` copies of this one.
    fn room_for_copies(&self, n: u32) -> Result<(), BuildError> {
        let terms = |step: &Step| match (&step.instr, step.y) {
            (Instr::Linear { map, .. }, Some(y)) => {
                (self.tensors[y.index()].len() as u64).saturating_mul(map.row_terms())
            }
            (Instr::Contract { dims, .. }, Some(_)) => dims
                .iter()
                .fold(1, |n, d| u64::saturating_mul(n, (*d).into())),
            _ => 0,
        };
        let terms: u64 = self.steps.iter().map(terms).fold(0, u64::saturating_add);
        let elements: usize = self.tensors.iter().map(TensorDecl::len).sum();
        let listed: usize = self.steps.iter().map(|step| step.instr.n_listed()).sum();
        let n_tensors = self.layout.tensors.len() as u64;
        let counts = [
            ("statement tensors", n_tensors, MAX_TENSORS as u64),
            ("listed operands", listed as u64, MAX_LISTED),
            ("instructions", self.steps.len() as u64, MAX_STEPS as u64),
            ("tensor elements", elements as u64, MAX_ELEMENTS as u64),
            ("multiply-accumulates", terms, MAX_LINEAR_TERMS),
        ];
        for (what, one, max) in counts {
            if one.saturating_mul(n.into()) > max {
                return Err(BuildError::BatchTooLarge {
                    what,
                    batch: n,
                    one,
                    max,
                });
            }
        }
        Ok(())
    }
}
