//! The waist: a short list of tensor-level instructions, one builder that proves intervals, one solver.
//!
//! Instructions and rules: `DESIGN.md`. No finite field and no operator name appears below this module.

mod batch;
mod builder;
mod error;
mod hint;
mod instr;
mod linear_map;
mod program;
mod solve;
mod table;
mod wire;

pub use batch::MAX_BATCH;
pub use builder::Builder;
pub use error::BuildError;
pub use hint::HintKind;
pub use instr::{Instr, Step};
pub use linear_map::LinearMap;
pub(crate) use linear_map::bias_at;
pub use program::{Io, Program, ProgramError, TensorDecl, TensorState};
pub use solve::{Assignment, SolveError, solve, solve_bent, solve_unchecked};
pub use table::{Table, TableFunction, TableId};
pub use wire::{Hinted, TensorId, Unbound, WireTensor};
