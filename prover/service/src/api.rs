//! gRPC: messages in, messages out. What a request does is decided in `gateway`.

mod admin;
mod answers;
mod artifacts;
mod circuits;
mod convert;
mod jobs;
mod nodes;
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
pub(crate) mod status;
mod watch;

/// Every method of the clients' listener, as "Service/Method", from the descriptors that reflection serves.
pub(crate) fn served_methods() -> Vec<String> {
    use prost::Message as _;
    let set = prost_types::FileDescriptorSet::decode(DESCRIPTORS)
        .expect("the descriptors of this build decode");
    let services = set.file.iter().flat_map(|file| &file.service);
    services
        .flat_map(|service| {
            let names = service.method.iter();
            names.map(|method| format!("{}/{}", service.name(), method.name()))
        })
        .collect()
}

/// The descriptors that reflection serves.
pub(crate) const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/zkinfer.bin"));

/// Who calls. Only the guard of the listener says so; a call that did not pass it is nobody's.
fn caller<T>(request: &tonic::Request<T>) -> Result<crate::auth::Caller, tonic::Status> {
    let caller = request.extensions().get::<crate::auth::Caller>();
    caller.cloned().ok_or_else(|| {
        let message = "the call did not pass the guard";
        status::refuse(
            tonic::Code::Unauthenticated,
            "UNAUTHENTICATED",
            message,
            None,
        )
    })
}
