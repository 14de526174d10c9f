//! # zkinfer-service: the gRPC proving service and the `zkinfer` command line
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`] | the verbs of the command line |
//! | [`api`] | gRPC: messages, errors, the server |
//! | [`auth`] | who may call |
//! | [`gateway`] | what a request does |
//! | [`farm`] | who proves what, and when |
//! | [`node`] | a prover node: leases proofs, makes them in killable slots, delivers them |
//! | [`store`] | what is remembered: SQLite and files |
//! | [`work`] | compile, set up, prove, verify |
//! | [`bundle`] | the folder of a compiled circuit, and proof.json |
//! | [`config`], [`telemetry`] | what can be set, what is logged |
#![forbid(unsafe_code)]

pub mod api;
pub mod auth;
pub mod bundle;
pub mod cli;
pub mod config;
pub mod farm;
pub mod gateway;
pub mod metrics;
pub mod node;
pub mod store;
pub mod telemetry;
pub mod work;
