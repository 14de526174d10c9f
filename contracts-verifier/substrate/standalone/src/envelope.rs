//! # The envelope: key, context, public tensors and proof in one byte string
//! The safe half of the exports: bytes in, verdict out. No input panics.

use zkinfer_verifier::{
    Context, ContextError, KeyError, Proof, ProofError, Statement, StatementError, VerifyError,
    VerifyingKey, verify,
};

/// Why an envelope was not accepted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The lengths in the envelope do not add up to its own.
    #[error("the lengths in the envelope do not add up to its own")]
    Envelope,
    /// The key does not decode, or allows forgery.
    #[error("verifying key: {0}")]
    Key(#[from] KeyError),
    /// The context is no context.
    #[error("{0}")]
    Context(#[from] ContextError),
    /// The public tensors and digests are not those of the key's layout.
    #[error("statement: {0}")]
    Statement(#[from] StatementError),
    /// The proof does not decode, or a point in it is not acceptable.
    #[error("{0}")]
    Proof(#[from] ProofError),
    /// The equation does not hold.
    #[error("the proof does not prove this statement under this key")]
    Rejected,
}

impl Refusal {
    /// The verdict that the export `verify` returns for it; the table is the crate's page.
    #[must_use]
    pub const fn code(&self) -> i32 {
        match self {
            Self::Envelope => -1,
            Self::Key(_) => -2,
            Self::Context(_) | Self::Statement(_) => -3,
            Self::Proof(_) => -4,
            Self::Rejected => -5,
        }
    }
}

/// Accepts exactly if the envelope is well formed and its proof proves its statement under its key.
///
/// # Errors
/// [`Refusal`], which says what was wrong.
pub fn check(envelope: &[u8]) -> Result<(), Refusal> {
    let parts = Parts::of(envelope).ok_or(Refusal::Envelope)?;
    let key = VerifyingKey::decode(parts.key)?;
    let context = Context::from_bytes(*parts.context)?;
    let statement = Statement::from_bytes(&key.layout, context, parts.publics)?;
    let proof = Proof::from_bytes(key.system, parts.proof)?;
    verify(&key, &statement, &proof).map_err(|error| match error {
        VerifyError::Key(error) => error.into(),
        VerifyError::Statement(error) => error.into(),
        VerifyError::Proof(error) => error.into(),
        _ => Refusal::Rejected,
    })
}

/// The four parts of an envelope.
struct Parts<'e> {
    key: &'e [u8],
    context: &'e [u8; 32],
    publics: &'e [u8],
    proof: &'e [u8],
}

impl<'e> Parts<'e> {
    fn of(envelope: &'e [u8]) -> Option<Self> {
        let (key, rest) = take_prefixed(envelope)?;
        let (context, rest) = rest.split_first_chunk()?;
        let (publics, rest) = take_prefixed(rest)?;
        let (proof, rest) = take_prefixed(rest)?;
        rest.is_empty().then_some(Self {
            key,
            context,
            publics,
            proof,
        })
    }
}

/// A length of 4 little-endian bytes, then as many bytes; and the rest.
fn take_prefixed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::{Parts, Refusal, check};

    fn envelope(key: &[u8], context: [u8; 32], publics: &[u8], proof: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (part, fixed) in [
            (key, false),
            (&context, true),
            (publics, false),
            (proof, false),
        ] {
            if !fixed {
                bytes.extend_from_slice(&u32::try_from(part.len()).unwrap().to_le_bytes());
            }
            bytes.extend_from_slice(part);
        }
        bytes
    }

    #[test]
    fn parts_come_out_as_they_went_in() {
        let bytes = envelope(b"key", [7; 32], b"", b"a proof");
        let parts = Parts::of(&bytes).unwrap();
        assert_eq!(parts.key, b"key");
        assert_eq!(parts.context, &[7; 32]);
        assert_eq!(parts.publics, b"");
        assert_eq!(parts.proof, b"a proof");
    }

    #[test]
    fn refuses_every_shorter_and_every_longer_envelope() {
        let bytes = envelope(b"key", [0; 32], b"publics", b"proof");
        for len in 0..bytes.len() {
            assert_eq!(check(&bytes[..len]), Err(Refusal::Envelope), "{len}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert_eq!(check(&longer), Err(Refusal::Envelope));
    }

    #[test]
    fn refuses_lengths_past_the_end() {
        let bytes = envelope(b"key", [0; 32], b"publics", b"proof");
        for at in [0, 4 + 3 + 32, 4 + 3 + 32 + 4 + 7] {
            for len in [u32::MAX, 1 << 31, 1 << 16] {
                let mut bytes = bytes.clone();
                bytes[at..at + 4].copy_from_slice(&len.to_le_bytes());
                assert_eq!(check(&bytes), Err(Refusal::Envelope), "{at} {len}");
            }
        }
    }

    #[test]
    fn says_which_part_is_wrong() {
        let codes = [b"" as &[u8], b"zkinfvk", &[0xff; 300]]
            .map(|key| check(&envelope(key, [0; 32], b"", b"")).unwrap_err().code());
        assert_eq!(codes, [-2; 3]);
    }
}
