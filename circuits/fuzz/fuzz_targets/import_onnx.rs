//! Any bytes are a float graph or an error. Run it with `-rss_limit_mb`: the bound is in DESIGN.md.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// Panics of the ONNX parser are caught and become errors that name the node; one of ours is a bug even when it is caught.
fn abort_when_ours(panic: &std::panic::PanicHookInfo<'_>) {
    let file = panic.location().map_or("", |at| at.file());
    if file.contains("circuits/src") {
        eprintln!("{panic}");
        std::process::abort();
    }
}

fuzz_target!(
    init: std::panic::set_hook(Box::new(abort_when_ours)),
    |bytes: &[u8]| {
        let _ = zkinfer_circuits::onnx::import(bytes);
    }
);
