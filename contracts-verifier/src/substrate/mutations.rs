//! # Vectors: an example, and what the native verifier says when a byte of it changes
//! Sampled from the key's digest, so the same key gives the same places. A change of the key is refused whatever it does: proofs name the
//! digest of their key, and the digest covers every byte.

use std::{
    collections::BTreeSet,
    fmt::{Result as Written, Write},
};

use zkinfer_verifier::{Context, Proof, Statement, VerifyingKey, keccak256, verify};

use super::Example;

/// Changes of the proof, the public tensors with the digests behind them, the context and the key.
const SAMPLES: [(&str, usize); 4] = [
    ("proof", 320),
    ("public_tensors", 128),
    ("context", 64),
    ("key", 192),
];

const HEADER: &str =
    "# Place, byte, what it is changed by (exclusive or), and the verdict of `zkinfer verify`.
# The first line changes nothing.
none 0 00 accepted
";

/// The bytes of a proof and all that it depends on.
#[derive(Clone)]
struct Parts {
    digest: [u8; 32],
    key: Vec<u8>,
    context: [u8; 32],
    public_tensors: Vec<u8>,
    proof: Vec<u8>,
}

impl Parts {
    fn of(key: &VerifyingKey, example: &Example) -> Self {
        Self {
            digest: key.digest(),
            key: key.encode(),
            context: example.statement.context.to_bytes(),
            public_tensors: example.statement.to_bytes(),
            proof: example.proof.to_bytes(),
        }
    }

    fn place(&mut self, name: &str) -> &mut [u8] {
        match name {
            "proof" => &mut self.proof,
            "public_tensors" => &mut self.public_tensors,
            "context" => &mut self.context,
            _ => &mut self.key,
        }
    }

    /// What `zkinfer verify --key` says of a key and a proof.json that names the digest of the original.
    fn hold(self, original: &VerifyingKey) -> bool {
        // Whether or not these bytes are a key: the proof is not for it.
        if keccak256(&self.key) != self.digest {
            return false;
        }
        let Ok(context) = Context::from_bytes(self.context) else {
            return false;
        };
        let layout = &original.layout;
        let Ok(statement) = Statement::from_bytes(layout, context, &self.public_tensors) else {
            return false;
        };
        Proof::from_bytes(original.system, &self.proof)
            .is_ok_and(|proof| verify(original, &statement, &proof).is_ok())
    }
}

/// A stream of numbers.
struct Numbers([u8; 32]);

impl Numbers {
    fn next(&mut self) -> usize {
        self.0 = keccak256(&self.0);
        let [a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d]) as usize
    }
}

/// The example, one value a line.
pub(super) fn example(key: &VerifyingKey, example: &Example) -> String {
    let digest = key.digest();
    let statement = &example.statement;
    let lines = [
        ("context", statement.context.to_bytes().to_vec()),
        ("public_tensors", statement.to_bytes()),
        ("proof", example.proof.to_bytes()),
        ("statement_digest", statement.digest(&digest).to_vec()),
    ];
    let line = |(name, bytes): (&str, Vec<u8>)| format!("{name} {}\n", hex::encode(bytes));
    lines.into_iter().map(line).collect()
}

/// Changes of one byte, spread evenly over each place, and the verdict on each.
pub(super) fn sampled(key: &VerifyingKey, example: &Example) -> String {
    let parts = Parts::of(key, example);
    let mut numbers = Numbers(parts.digest);
    let mut text = HEADER.to_owned();
    for (place, wanted) in SAMPLES {
        let len = parts.clone().place(place).len();
        let wanted = wanted.min(len.saturating_mul(255));
        let mut seen = BTreeSet::new();
        while seen.len() < wanted {
            // A stratum of the place for each change, and any byte of it.
            let from = seen.len() * len / wanted;
            let to = ((seen.len() + 1) * len).div_ceil(wanted).max(from + 1);
            let at = from + numbers.next() % (to - from);
            let change = u8::try_from(1 + numbers.next() % 255).unwrap_or(1);
            if !seen.insert((at, change)) {
                continue;
            }
            // Writing to a String does not fail.
            let _ = line(&mut text, key, &parts, (place, at, change));
        }
    }
    text
}

fn line(
    text: &mut String,
    key: &VerifyingKey,
    parts: &Parts,
    (place, at, change): (&str, usize, u8),
) -> Written {
    let mut changed = parts.clone();
    if let Some(byte) = changed.place(place).get_mut(at) {
        *byte ^= change;
    }
    let verdict = match changed.hold(key) {
        true => "accepted",
        false => "refused",
    };
    writeln!(text, "{place} {at} {change:02x} {verdict}")
}
