//! gRPC: messages in, messages out. What a request does is decided in `gateway`.

mod artifacts;
mod circuits;
mod convert;
mod jobs;
mod page;
/// Generated from `proto/zkinfer/v1/zkinfer.proto`.
#[allow(
    missing_docs,
    clippy::all,
    clippy::unwrap_used,
    unused_qualifications,
    rust_2018_idioms
)]
pub mod proto {
    tonic::include_proto!("zkinfer.v1");
}
mod redact;
pub mod server;
mod status;
mod watch;

/// The descriptors that reflection serves.
pub(crate) const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/zkinfer.bin"));
