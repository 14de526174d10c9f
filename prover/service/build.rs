//! Generates the gRPC code from `proto/` without a system `protoc`.
#![forbid(unsafe_code)]

use std::{env, error::Error, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let clients = protox::compile(["zkinfer/v1/zkinfer.proto"], ["proto"])?;
    let descriptors = protox::compile(["zkinfer/v1/nodes.proto"], ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // Reflection serves exactly what the code of the clients' listener was generated from.
    std::fs::write(out.join("zkinfer.bin"), clients.encode_to_vec())?;
    // Messages that may carry a private input or a secret get a redacting Debug by hand.
    tonic_prost_build::configure()
        .btree_map(".")
        .skip_debug([
            ".zkinfer.v1.CreateJobRequest",
            ".zkinfer.v1.Chunk",
            ".zkinfer.v1.CreateApiKeyResponse",
            ".zkinfer.v1.CreateEnrollTokenResponse",
            ".zkinfer.v1.EnrollRequest",
        ])
        .compile_fds(descriptors)?;
    Ok(())
}
