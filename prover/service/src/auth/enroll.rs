//! Enrollment tokens: `zkt1.<32 random bytes>.<the certificate of the gateway's authority>`, both in base64url. The second part is
//! how a node knows the gateway; the first is how the gateway knows the node, once.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use zeroize::Zeroizing;

use crate::store::Digest;

const MARK: &str = "zkt1";
/// Longest token: an authority's certificate has some 400 bytes.
const MAX_LEN: usize = 8192;

/// A token that lets one node in.
pub struct EnrollToken {
    secret: Zeroizing<[u8; 32]>,
    authority: Vec<u8>,
}

/// The text is no enrollment token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an enrollment token; expected zkt1.….… as `zkinfer token create` prints it, on one line"
)]
pub struct TokenError;

impl EnrollToken {
    /// A fresh token of the authority with this certificate (DER).
    pub fn fresh(authority: &[u8]) -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        rand::RngCore::fill_bytes(&mut rand::rngs::OsRng, &mut secret[..]);
        Self {
            secret,
            authority: authority.to_vec(),
        }
    }

    /// The certificate of the gateway's authority (DER).
    pub fn authority(&self) -> &[u8] {
        &self.authority
    }

    /// What the store keeps.
    pub fn hash(&self) -> Digest {
        Digest::of(&self.secret[..])
    }

    /// The whole token. Shown once, to whoever joins the node.
    pub fn expose(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(MAX_LEN));
        text.push_str(MARK);
        text.push('.');
        BASE64.encode_string(&self.secret[..], &mut text);
        text.push('.');
        BASE64.encode_string(&self.authority, &mut text);
        text
    }
}

impl FromStr for EnrollToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        if text.len() > MAX_LEN {
            return Err(TokenError);
        }
        let mut parts = text.split('.');
        let mut next = || parts.next().ok_or(TokenError);
        let (mark, secret, authority) = (next()?, next()?, next()?);
        if mark != MARK || parts.next().is_some() {
            return Err(TokenError);
        }
        let mut bytes = Zeroizing::new([0; 32]);
        match BASE64.decode_slice(secret, &mut bytes[..]) {
            Ok(32) => {}
            _ => return Err(TokenError),
        }
        let authority = BASE64.decode(authority).map_err(|_| TokenError)?;
        if authority.is_empty() {
            return Err(TokenError);
        }
        Ok(Self {
            secret: bytes,
            authority,
        })
    }
}

/// The secret is left out.
impl fmt::Debug for EnrollToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnrollToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back() {
        let token = EnrollToken::fresh(b"certificate");
        let read: EnrollToken = token.expose().parse().expect("own text");
        assert_eq!(read.hash(), token.hash());
        assert_eq!(read.authority(), b"certificate");
        assert_eq!(format!("{token:?}"), "EnrollToken(…)");
    }

    #[test]
    fn garbled_tokens_are_refused() {
        let good = EnrollToken::fresh(b"certificate").expose().to_string();
        let bad = [
            String::new(),
            "zkt1..".into(),
            good.replacen("zkt1", "zkt2", 1),
            format!("{good}.x"),
            good.replacen('.', ".A", 1),
            good[..good.rfind('.').expect("dot") + 1].into(),
            "zkt1.".to_owned() + &"A".repeat(MAX_LEN),
        ];
        for text in bad {
            assert!(text.parse::<EnrollToken>().is_err(), "{text}");
        }
    }
}
