//! # Simulator: a trace of jobs through the scheduler, on nodes that are not there
//! A discrete-event simulation with the scheduler that the gateway runs, or with first come, first served to compare with. Nothing here
//! depends on a clock or on chance: the same trace gives the same report.
//!
//! A node has slots and room for some keys. A job that starts where its key is not loaded loads it, and the least recently used key that no proof
//! needs goes; a second job of the circuit waits for the same load. Starts that load nothing are *warm*.

mod report;
#[cfg(test)]
mod tests;
mod trace;
mod world;

pub use report::{Report, TenantReport, Waits};
pub use trace::{TraceError, TraceJob, generate, read_trace};
pub use world::{Machines, Policy, simulate};
