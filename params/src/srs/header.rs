//! # The header page of a reference string
//!
//! Integers are little-endian. Bytes 4064..4096 are the SHA-256 of bytes 0..4064; unused bytes are zero.

use sha2::{Digest, Sha256};

use super::{
    FORMAT_VERSION, FileDigests, G2_BYTES, Header, MAX_K, MAX_NAME_BYTES, Origin, PAGE_BYTES,
    SrsError,
};

const MAGIC: [u8; 8] = *b"zkinfsrs";
const PAGE: usize = PAGE_BYTES as usize;
const DIGEST_AT: usize = PAGE - 32;
const NAME_AT: usize = 25;
const BLAKE2B_AT: usize = 120;
const SHA256_AT: usize = 184;
const S_G2_AT: usize = 216;
const MONOMIAL_AT: usize = 344;
const LAGRANGE_AT: usize = 376;
const END: usize = 408;

const DEVELOPMENT: u8 = 1;
const CEREMONY: u8 = 2;

/// The page, and its digest.
pub(super) fn encode(header: &Header) -> ([u8; PAGE], [u8; 32]) {
    let mut page = [0u8; PAGE];
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &MAGIC);
    put(8, &FORMAT_VERSION.to_le_bytes());
    // Both are at most 28.
    put(12, &[header.k as u8, header.lagrange_from as u8]);
    put(16, &header.file_bytes().to_le_bytes());
    match &header.origin {
        Origin::Development => put(14, &[DEVELOPMENT]),
        Origin::Ceremony { name, digests } => {
            put(14, &[CEREMONY]);
            // A list of ceremonies has no longer name.
            let name = &name.as_bytes()[..name.len().min(MAX_NAME_BYTES)];
            put(NAME_AT - 1, &[name.len() as u8]);
            put(NAME_AT, name);
            put(BLAKE2B_AT, &digests.blake2b);
            put(SHA256_AT, &digests.sha256);
        }
    }
    put(S_G2_AT, &header.s_g2);
    put(MONOMIAL_AT, &header.monomial_sha256);
    put(LAGRANGE_AT, &header.lagrange_sha256);
    let digest: [u8; 32] = Sha256::digest(&page[..DIGEST_AT]).into();
    page[DIGEST_AT..].copy_from_slice(&digest);
    (page, digest)
}

/// Reads the page of a file that has `file_bytes` bytes; a shorter file's page is filled up with zeros.
pub(super) fn decode(page: &[u8; PAGE], file_bytes: u64) -> Result<(Header, [u8; 32]), SrsError> {
    if page[..8] != MAGIC {
        return Err(SrsError::NotAnSrs {
            ptau: page[..4] == *b"ptau",
        });
    }
    let version = u32::from_le_bytes(array(page, 8));
    if version != FORMAT_VERSION {
        return Err(SrsError::version(version));
    }
    if file_bytes < PAGE_BYTES {
        return Err(SrsError::Length {
            expected: u64::from_le_bytes(array(page, 16)).max(PAGE_BYTES),
            got: file_bytes,
        });
    }
    let digest: [u8; 32] = array(page, DIGEST_AT);
    if <[u8; 32]>::from(Sha256::digest(&page[..DIGEST_AT])) != digest {
        return Err(SrsError::DamagedHeader);
    }
    let (k, lagrange_from) = (u32::from(page[12]), u32::from(page[13]));
    if !(1..=MAX_K).contains(&k) {
        return Err(SrsError::malformed("the header's k", "1 to 28", k));
    }
    if lagrange_from > k {
        let expected = format!("at most {k}");
        return Err(SrsError::malformed(
            "the header's smallest Lagrange form",
            expected,
            lagrange_from,
        ));
    }
    let header = Header {
        k,
        lagrange_from,
        origin: origin(page)?,
        s_g2: array::<G2_BYTES>(page, S_G2_AT),
        monomial_sha256: array(page, MONOMIAL_AT),
        lagrange_sha256: array(page, LAGRANGE_AT),
    };
    let unused = page[15] != 0 || page[END..DIGEST_AT].iter().any(|&byte| byte != 0);
    // Spelled otherwise, the same reference string would have two names.
    if unused || encode(&header).0[..END] != page[..END] {
        if u64::from_le_bytes(array(page, 16)) == header.file_bytes() {
            return Err(SrsError::malformed(
                "the header's unused bytes",
                "zeros",
                "something else",
            ));
        }
        return Err(SrsError::Length {
            expected: header.file_bytes(),
            got: u64::from_le_bytes(array(page, 16)),
        });
    }
    if file_bytes != header.file_bytes() {
        return Err(SrsError::Length {
            expected: header.file_bytes(),
            got: file_bytes,
        });
    }
    Ok((header, digest))
}

fn origin(page: &[u8; PAGE]) -> Result<Origin, SrsError> {
    match page[14] {
        DEVELOPMENT => Ok(Origin::Development),
        CEREMONY => {
            let malformed = |got: &dyn ToString| {
                SrsError::malformed(
                    "the header's name of the ceremony",
                    "1 to 95 printable bytes",
                    got.to_string(),
                )
            };
            let len = usize::from(page[NAME_AT - 1]);
            if len == 0 || len > MAX_NAME_BYTES {
                return Err(malformed(&len));
            }
            let name = std::str::from_utf8(&page[NAME_AT..NAME_AT + len])
                .ok()
                .filter(|name| !name.chars().any(char::is_control))
                .ok_or_else(|| malformed(&"something else"))?;
            Ok(Origin::Ceremony {
                name: name.to_owned(),
                digests: FileDigests {
                    blake2b: array(page, BLAKE2B_AT),
                    sha256: array(page, SHA256_AT),
                },
            })
        }
        other => Err(SrsError::malformed("the header's origin", "1 or 2", other)),
    }
}

/// `N` bytes of the page; every offset in this file is a constant inside it.
fn array<const N: usize>(page: &[u8; PAGE], at: usize) -> [u8; N] {
    let mut bytes = [0u8; N];
    bytes.copy_from_slice(&page[at..at + N]);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> Header {
        Header {
            k: 9,
            lagrange_from: 3,
            origin: Origin::Ceremony {
                name: "a ceremony".to_owned(),
                digests: FileDigests {
                    blake2b: [1; 64],
                    sha256: [2; 32],
                },
            },
            s_g2: [3; G2_BYTES],
            monomial_sha256: [4; 32],
            lagrange_sha256: [5; 32],
        }
    }

    #[test]
    fn a_page_gives_back_its_header_and_every_flipped_bit_is_refused() {
        for header in [
            header(),
            Header {
                origin: Origin::Development,
                ..header()
            },
        ] {
            let (page, digest) = encode(&header);
            let bytes = header.file_bytes();
            let (decoded, id) = decode(&page, bytes).expect("decoded");
            assert_eq!((decoded, id), (header, digest));
            for bit in 0..PAGE * 8 {
                let mut flipped = page;
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(decode(&flipped, bytes).is_err(), "bit {bit}");
            }
        }
    }

    proptest! {
        /// A hostile header has a valid digest, since anybody can compute one.
        #[test]
        fn a_hostile_header_never_panics_and_never_reaches_beyond_the_file(
            edits in prop::collection::vec((0usize..420, any::<u8>()), 0..12),
            file_bytes in prop::sample::select(vec![0u64, 4096, 100_000, 1 << 40, u64::MAX]),
        ) {
            let (mut page, _) = encode(&header());
            for (at, byte) in edits {
                page[at] = byte;
            }
            let digest: [u8; 32] = Sha256::digest(&page[..DIGEST_AT]).into();
            page[DIGEST_AT..].copy_from_slice(&digest);
            if let Ok((header, _)) = decode(&page, file_bytes) {
                prop_assert_eq!(header.file_bytes(), file_bytes);
            }
        }
    }
}
