//! Whatever decodes as a program is canonical, and both R1CS forms take it or refuse it by name.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::Arc;
use zkinfer_circuits::Program;
use zkinfer_circuits::arithmetization::r1cs::{Form, R1cs};

fuzz_target!(|bytes: &[u8]| {
    let Ok(program) = Program::decode(bytes) else {
        return;
    };
    assert_eq!(program.encode(), bytes);
    let program = Arc::new(program);
    for form in [Form::Plain, Form::Committed] {
        let _ = R1cs::lower(&program, form);
    }
});
