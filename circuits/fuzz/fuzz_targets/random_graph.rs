//! A graph drawn from the bytes: eval = solver = both R1CS forms, and tampering drawn from the rest of them is refused.
#![no_main]

#[path = "../../tests/graphs/mod.rs"]
mod graphs;

use graphs::{random_input, random_model};
use libfuzzer_sys::fuzz_target;
use rand::{Rng, RngCore};
use std::sync::Arc;
use zkinfer_circuits::arithmetization::r1cs::{Form, R1cs};
use zkinfer_circuits::constraint::{BuildError, solve};
use zkinfer_circuits::testing::Forger;

/// Random numbers that are the fuzzer's bytes, and then a counter.
struct Bytes {
    left: std::vec::IntoIter<u8>,
    after: u8,
}

impl RngCore for Bytes {
    fn next_u32(&mut self) -> u32 {
        self.next_u64() as u32
    }

    fn next_u64(&mut self) -> u64 {
        let mut word = [0; 8];
        self.fill_bytes(&mut word);
        u64::from_le_bytes(word)
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        for byte in out {
            *byte = self.left.next().unwrap_or_else(|| {
                self.after = self.after.wrapping_mul(5).wrapping_add(17);
                self.after
            });
        }
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), rand::Error> {
        self.fill_bytes(out);
        Ok(())
    }
}

fuzz_target!(|bytes: &[u8]| {
    let (model, mut rng) = random_model(Bytes {
        left: bytes.to_vec().into_iter(),
        after: 0,
    });
    let program = match model.synthesize() {
        Ok(program) => Arc::new(program),
        // the graph chose its multipliers by the model's facts, which know more than the builder's intervals
        Err(BuildError::TableTooWide { .. }) => return,
        Err(e) => panic!("{e}"),
    };
    let [x, other] = [(); 2].map(|()| random_input(&model, &mut rng));
    let y = model.eval(std::slice::from_ref(&x)).unwrap();
    let solved = solve(&program, &[x]).unwrap();
    assert_eq!(solved.outputs(&program), y);
    let other = solve(&program, &[other]).unwrap();
    for form in [Form::Plain, Form::Committed] {
        let circuit = R1cs::lower(&program, form).unwrap();
        let forger = Forger::new(&circuit, &solved);
        forger.check_honest().unwrap();
        let other = Forger::new(&circuit, &other);
        for _ in 0..8 {
            let changes = forger.tampering(&other, &mut |n| rng.gen_range(0..n));
            assert!(!forger.accepts(&changes, None), "{changes:?}");
        }
    }
});
