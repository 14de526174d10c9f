//! Page tokens: where a list goes on, bound to its filter and to this data folder.

use sha2::Digest as _;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use crate::{
    gateway::GatewayError,
    store::{Millis, Page},
};

const DEFAULT_SIZE: u32 = 50;
const MAX_SIZE: u32 = 500;
const TAG_BYTES: usize = 16;

fn tag(secret: &[u8; 32], filter: &str, body: &[u8]) -> [u8; TAG_BYTES] {
    let mut hash = sha2::Sha256::new();
    hash.update(secret);
    hash.update((filter.len() as u64).to_be_bytes());
    hash.update(filter);
    hash.update(body);
    let digest: [u8; 32] = hash.finalize().into();
    let mut out = [0; TAG_BYTES];
    out.copy_from_slice(&digest[..TAG_BYTES]);
    out
}

/// The page that a list request asks for.
pub(super) fn read(
    secret: &[u8; 32],
    filter: &str,
    size: i32,
    token: &str,
) -> Result<Page, GatewayError> {
    let size = match u32::try_from(size) {
        Err(_) => {
            return Err(GatewayError::invalid(
                "page_size",
                "BAD_PAGE_SIZE",
                "must not be negative",
            ));
        }
        Ok(0) => DEFAULT_SIZE,
        Ok(n) => n.min(MAX_SIZE),
    };
    if token.is_empty() {
        return Ok(Page { size, after: None });
    }
    let bad = || {
        let message = "not a token of this list with these filters; start again without a token";
        GatewayError::invalid("page_token", "BAD_PAGE_TOKEN", message)
    };
    let mut bytes = [0; 8 + 16 + TAG_BYTES];
    hex::decode_to_slice(token, &mut bytes).map_err(|_| bad())?;
    let (body, mac) = bytes.split_at(24);
    let fits: bool = tag(secret, filter, body)[..].ct_eq(mac).into();
    if !fits {
        return Err(bad());
    }
    let (at, id) = body.split_at(8);
    let at = Millis::from_be_bytes(at.try_into().map_err(|_| bad())?);
    Ok(Page {
        size,
        after: Some((at, Uuid::from_slice(id).map_err(|_| bad())?)),
    })
}

/// The token after the last row of a full page; empty when the list is over.
pub(super) fn next(
    secret: &[u8; 32],
    filter: &str,
    page: &Page,
    rows: usize,
    last: Option<(Millis, Uuid)>,
) -> String {
    match last {
        Some((at, id)) if rows >= page.size as usize => {
            let mut body = at.to_be_bytes().to_vec();
            body.extend_from_slice(id.as_bytes());
            let mac = tag(secret, filter, &body);
            body.extend_from_slice(&mac);
            hex::encode(body)
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_serves_only_the_filter_it_was_made_for() {
        let secret = [7; 32];
        let page = Page {
            size: 1,
            after: None,
        };
        let id = Uuid::now_v7();
        let token = next(&secret, "a", &page, 1, Some((42, id)));
        assert_eq!(
            read(&secret, "a", 1, &token).ok().and_then(|p| p.after),
            Some((42, id))
        );
        assert!(read(&secret, "b", 1, &token).is_err());
        assert!(read(&[8; 32], "a", 1, &token).is_err());
        assert!(read(&secret, "a", 1, "zz").is_err());
        assert!(read(&secret, "a", -1, "").is_err());
        assert_eq!(next(&secret, "a", &page, 0, Some((42, id))), "");
    }
}
