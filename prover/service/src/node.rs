//! The prover node: leases proofs from a gateway, makes them in slots that can be killed, delivers them.
//!
//! | file | what it is |
//! |---|---|
//! | [`supervisor`] | sessions, leases, drain |
//! | `attempt` | one lease from its files to its proof |
//! | `pulse` | heartbeats, on a thread that no proof starves |
//! | [`slot`], [`child`], [`threads`] | where proofs are made: a process a slot, or a thread |
//! | [`cache`] | bundles on the node's disk |
//! | [`remote`], [`home`], [`join`] | the gateway by gRPC, the folder with the node's identity, how it came there |
//! | [`capabilities`] | what this machine has |

mod attempt;
mod backoff;
pub mod cache;
pub mod capabilities;
pub mod child;
pub mod home;
mod input;
pub mod join;
pub(crate) mod memory;
mod pulse;
pub mod remote;
pub mod slot;
pub mod supervisor;
pub mod threads;
mod warm;
pub mod watch;

pub use cache::{Cache, CacheError, CacheSettings};
pub use child::{ChildGpus, Children, run_child};
pub use input::InputSecret;
pub use slot::{Slot, Workshop};
pub use supervisor::{Files, NodeConfig, NodeError, run};
pub use threads::Threads;
