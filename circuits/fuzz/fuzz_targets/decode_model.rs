//! Whatever decodes as a model is canonical, and becomes a program or is refused by name.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zkinfer_circuits::Model;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(model) = Model::decode(bytes) {
        assert_eq!(model.encode(), bytes);
        let _ = model.synthesize();
    }
});
