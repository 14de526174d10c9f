//! API keys: `pk_<env>_<prefix of 8>_<32 random bytes in base 62>`. The store keeps the prefix and the SHA-256 of the whole key:
//! the secret has 256 bits, so a slow hash would cost the server and nobody else.

use std::{fmt, str::FromStr};

use rand::{Rng as _, distributions::Alphanumeric};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use crate::store::Digest;

const MARK: &str = "pk";
const ENVIRONMENT: &str = "live";
const PREFIX_LEN: usize = 8;
/// ⌈256 / log₂ 62⌉
const SECRET_LEN: usize = 43;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// An API key with its secret.
pub struct ApiSecret {
    text: Zeroizing<String>,
    prefix: String,
}

/// The text is no API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an API key; expected pk_<env>_<8 characters>_<43 characters>")]
pub struct KeyError;

fn base62(mut bytes: [u8; 32]) -> Zeroizing<String> {
    let mut digits = Zeroizing::new([b'0'; SECRET_LEN]);
    for digit in digits.iter_mut().rev() {
        let mut rest = 0u32;
        for byte in &mut bytes {
            let value = rest * 256 + u32::from(*byte);
            *byte = (value / 62) as u8;
            rest = value % 62;
        }
        *digit = BASE62[rest as usize];
    }
    bytes.zeroize();
    Zeroizing::new(digits.iter().map(|d| char::from(*d)).collect())
}

impl ApiSecret {
    /// A fresh key.
    pub fn fresh() -> Self {
        let mut rng = rand::rngs::OsRng;
        let prefix: String = (0..PREFIX_LEN)
            .map(|_| char::from(rng.sample(Alphanumeric)))
            .collect();
        let secret = base62(rng.r#gen());
        let mut text = Zeroizing::new(String::with_capacity(64));
        for part in [MARK, "_", ENVIRONMENT, "_", &prefix, "_", &secret] {
            text.push_str(part);
        }
        Self { text, prefix }
    }

    /// The public part, by which it is found.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The whole key. Shown once, to whom it was made for.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// What the store keeps.
    pub fn hash(&self) -> Digest {
        Digest::of(self.text.as_bytes())
    }

    /// Whether it is the key on record; the time tells nothing of where they differ.
    pub fn matches(&self, on_record: &Digest) -> bool {
        self.hash().0.ct_eq(&on_record.0).into()
    }
}

impl FromStr for ApiSecret {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let word = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric());
        let mut parts = text.split('_');
        let mut next = || parts.next().filter(|p| word(p)).ok_or(KeyError);
        let (mark, env, prefix, secret) = (next()?, next()?, next()?, next()?);
        let fits = mark == MARK
            && (1..=16).contains(&env.len())
            && prefix.len() == PREFIX_LEN
            && secret.len() == SECRET_LEN;
        if !fits || parts.next().is_some() {
            return Err(KeyError);
        }
        Ok(Self {
            text: Zeroizing::new(text.to_owned()),
            prefix: prefix.to_owned(),
        })
    }
}

/// The secret is left out.
impl fmt::Debug for ApiSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiSecret({}…)", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_key_reads_back_and_matches_only_its_own_hash() {
        let key = ApiSecret::fresh();
        let read: ApiSecret = key.expose().parse().expect("own text");
        assert_eq!(read.prefix(), key.prefix());
        assert!(read.matches(&key.hash()));
        assert!(!read.matches(&ApiSecret::fresh().hash()));
        let secret = key.expose().rsplit('_').next().expect("secret");
        assert!(!format!("{key:?}").contains(secret));
    }

    #[test]
    fn garbled_keys_are_refused() {
        let good = ApiSecret::fresh().expose().to_owned();
        let bad = [
            String::new(),
            "pk".into(),
            good[1..].into(),
            good[..good.len() - 1].into(),
            format!("{good}0"),
            format!("{good}_"),
            good.replace("pk_", "sk_"),
            good.replace("_live_", "__"),
            good.replacen('_', "-", 1),
            format!("{}ä", &good[..good.len() - 2]),
        ];
        for text in bad {
            assert!(text.parse::<ApiSecret>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_largest_secret_fits_its_digits() {
        // 2^256 − 1 = 62^43 · 0.0117…: the first digit is 0, the last is (2^256 − 1) mod 62 = 15.
        let text = base62([0xff; 32]);
        assert_eq!(text.len(), SECRET_LEN);
        let value = text.bytes().fold([0u8; 32], |mut bytes, digit| {
            let mut carry = BASE62.iter().position(|d| *d == digit).expect("digit") as u32;
            for byte in bytes.iter_mut().rev() {
                carry += u32::from(*byte) * 62;
                *byte = carry as u8;
                carry >>= 8;
            }
            assert_eq!(carry, 0, "more than 256 bits");
            bytes
        });
        assert_eq!(value, [0xff; 32]);
        assert_eq!(&*base62([0; 32]), &"0".repeat(SECRET_LEN));
    }
}
