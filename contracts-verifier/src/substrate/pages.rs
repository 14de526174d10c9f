//! # The files of a crate that speak of its key
//! Templates in `templates/substrate`, with `{{NAME}}` where the key's values stand. Text from the model is [`plain`].

use std::fmt::Write as _;

use zkinfer_verifier::{Setup, VerifyingKey, Visibility, statement::DIGEST_BYTES};

use crate::plain::plain;

/// The tests, the same for every key.
pub(super) const TESTS: &str = include_str!("../../templates/substrate/tests.rs.in");

/// The name of the package.
pub(super) fn crate_name(key: &VerifyingKey) -> String {
    let [a, b, c, d, ..] = key.digest();
    format!("zkinfer-verifier-{}", hex::encode([a, b, c, d]))
}

/// A template with its values in their places.
fn filled(template: &str, values: &[(&str, String)]) -> String {
    values
        .iter()
        .fold(template.to_owned(), |text, (name, value)| {
            text.replace(&format!("{{{{{name}}}}}"), value)
        })
}

/// The values that depend on the key alone.
fn values(key: &VerifyingKey) -> Vec<(&'static str, String)> {
    let crate_name = crate_name(key);
    let development = key.setup == Setup::Development;
    let trust = match key.setup {
        Setup::Development => {
            "one party made this key alone and can forge proofs: for tests and local chains only"
        }
        Setup::Ceremony => {
            "the key came out of a ceremony; proofs can be forged if all who contributed to it collude"
        }
    };
    vec![
        ("MODULE", crate_name.replace('-', "_")),
        ("CRATE", crate_name),
        ("VERSION", env!("CARGO_PKG_VERSION").to_owned()),
        ("SYSTEM", key.system.to_string()),
        ("SYSTEM_VARIANT", format!("{:?}", key.system)),
        ("SETUP", key.setup.to_string()),
        ("TRUST", trust.to_owned()),
        ("DEVELOPMENT", development.to_string()),
        ("KEY_DIGEST", hex::encode(key.digest())),
        ("MODEL_ID", hex::encode(key.model_id)),
        ("CIRCUIT_DIGEST", hex::encode(key.circuit_digest)),
        ("KEY_BYTES", key.encode().len().to_string()),
        ("PUBLIC_BYTES", key.layout.statement_bytes().to_string()),
        ("PROOF_BYTES", key.proof_bytes().to_string()),
    ]
}

/// `src/lib.rs`.
pub(super) fn library(key: &VerifyingKey) -> String {
    let template = include_str!("../../templates/substrate/lib.rs.in");
    let mut values = values(key);
    values.push(("TENSORS", tensors(key, "//! ").trim_end().to_owned()));
    filled(template, &values)
}

/// `README.md`.
pub(super) fn readme(key: &VerifyingKey, pallet_index: u8) -> String {
    let template = include_str!("../../templates/substrate/README.md.in");
    let mut values = values(key);
    values.push(("TENSORS", tensors(key, "").trim_end().to_owned()));
    values.push(("PALLET_INDEX", pallet_index.to_string()));
    filled(template, &values)
}

/// `src/mock.rs`: a runtime with the pallet at this place and the others at the first ones that are free.
pub(super) fn mock(pallet_index: u8) -> String {
    let template = include_str!("../../templates/substrate/mock.rs.in");
    let mut free = (0_u8..).filter(|index| *index != pallet_index);
    let mut next = || free.next().unwrap_or_default().to_string();
    let values = [
        ("SYSTEM_INDEX", next()),
        ("BALANCES_INDEX", next()),
        ("PALLET_INDEX", pallet_index.to_string()),
    ];
    filled(template, &values)
}

/// The tensors as a table; public ones and the digests of hashed ones with their place in the statement.
fn tensors(key: &VerifyingKey, margin: &str) -> String {
    let mut text = format!(
        "{margin}| bytes | tensor | element | shape | real value of an element q |\n{margin}|---|---|---|---|---|\n"
    );
    let (mut at, mut digest_at) = (0_usize, key.layout.public_bytes());
    for tensor in &key.layout.tensors {
        let place = match tensor.visibility {
            Visibility::Public => {
                let from = at;
                at = at.saturating_add(tensor.len_bytes());
                format!("{from}..{at}")
            }
            Visibility::Private => "private".to_owned(),
            Visibility::Hashed => {
                let from = digest_at;
                digest_at = digest_at.saturating_add(DIGEST_BYTES);
                format!("{from}..{digest_at}, its digest")
            }
        };
        let role = format!("{:?}", tensor.role).to_lowercase();
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "{margin}| {place} | {role} `{name}` | {dtype} | `{shape:?}` | `{scale:e} * (q - {zero})` |",
            name = plain(&tensor.name),
            dtype = tensor.dtype,
            shape = tensor.shape,
            scale = tensor.scale,
            zero = tensor.zero_point,
        );
    }
    text
}
