//! Any bytes are a float graph or an error. Run it with `-rss_limit_mb`: the bound is in DESIGN.md.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = zkinfer_circuits::onnx::import(bytes);
});
