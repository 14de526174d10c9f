//! # The header page of a proving key
//!
//! Integers are little-endian. Bytes 4064..4096 are the SHA-256 of bytes 0..4064; unused bytes are zero.

use sha2::{Digest, Sha256};
use zkinfer_verifier::{ProofSystem, Setup};

use super::{
    FORMAT_VERSION, KeyHeader, KeyOpenError, MAX_POINTS, PAGE_BYTES, Section, SectionKind,
};

const MAGIC: [u8; 8] = *b"zkinf-pk";
const PAGE: usize = PAGE_BYTES as usize;
const DIGEST_AT: usize = PAGE - 32;
const TABLE_AT: usize = 128;
const ENTRY_BYTES: usize = 64;

/// The page for `sections` in a file of `file_bytes`.
pub(super) fn encode(header: &KeyHeader, sections: &[Section], file_bytes: u64) -> [u8; PAGE] {
    let mut page = [0u8; PAGE];
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &MAGIC);
    put(8, &FORMAT_VERSION.to_le_bytes());
    put(12, &[header.system as u8, header.setup as u8]);
    // Each kind occurs once, so there are at most ten.
    put(14, &(sections.len() as u16).to_le_bytes());
    put(16, &file_bytes.to_le_bytes());
    put(24, &header.vk_digest);
    put(56, &header.circuit_digest);
    put(88, &header.program_digest);
    for (k, section) in sections.iter().enumerate() {
        let at = TABLE_AT + k * ENTRY_BYTES;
        put(at, &(section.kind as u32).to_le_bytes());
        put(at + 4, &(section.kind.point_bytes() as u32).to_le_bytes());
        put(at + 8, &section.count.to_le_bytes());
        put(at + 16, &section.offset.to_le_bytes());
        put(at + 24, &section.len_bytes().to_le_bytes());
        put(at + 32, &section.sha256);
    }
    let digest: [u8; 32] = Sha256::digest(&page[..DIGEST_AT]).into();
    page[DIGEST_AT..].copy_from_slice(&digest);
    page
}

/// Reads the page of a file that has `file_bytes` bytes.
pub(super) fn decode(
    page: &[u8; PAGE],
    file_bytes: u64,
) -> Result<(KeyHeader, Vec<Section>), KeyOpenError> {
    if page[..8] != MAGIC {
        return Err(KeyOpenError::NotAKey);
    }
    let version = u32::from_le_bytes(array(page, 8));
    if version != FORMAT_VERSION {
        return Err(KeyOpenError::Version { got: version });
    }
    if <[u8; 32]>::from(Sha256::digest(&page[..DIGEST_AT])) != array::<32>(page, DIGEST_AT) {
        return Err(KeyOpenError::DamagedHeader);
    }
    let malformed = |field| KeyOpenError::Malformed { field };
    let header = KeyHeader {
        system: match page[12] {
            1 => ProofSystem::Groth16,
            2 => ProofSystem::UltraGroth,
            3 => ProofSystem::Halo2Kzg,
            _ => return Err(malformed("proof system")),
        },
        setup: match page[13] {
            1 => Setup::Development,
            2 => Setup::Ceremony,
            _ => return Err(malformed("set-up")),
        },
        vk_digest: array(page, 24),
        circuit_digest: array(page, 56),
        program_digest: array(page, 88),
    };
    let n_sections = usize::from(u16::from_le_bytes(array(page, 14)));
    if n_sections > SectionKind::ALL.len() {
        return Err(malformed("number of sections"));
    }
    let mut sections = Vec::with_capacity(n_sections);
    let mut end = PAGE_BYTES;
    for k in 0..n_sections {
        let section = decode_entry(page, TABLE_AT + k * ENTRY_BYTES)?;
        if section.offset != end.next_multiple_of(PAGE_BYTES) {
            return Err(malformed("section offset"));
        }
        if sections.iter().any(|s: &Section| s.kind == section.kind) {
            return Err(malformed("repeated section"));
        }
        end = section.offset + section.len_bytes();
        sections.push(section);
    }
    if u64::from_le_bytes(array(page, 16)) != end || file_bytes != end {
        return Err(KeyOpenError::Length {
            expected: end,
            got: file_bytes,
        });
    }
    Ok((header, sections))
}

fn decode_entry(page: &[u8; PAGE], at: usize) -> Result<Section, KeyOpenError> {
    let malformed = |field| KeyOpenError::Malformed { field };
    let code = u32::from_le_bytes(array(page, at));
    let kind = SectionKind::ALL
        .into_iter()
        .find(|kind| *kind as u32 == code)
        .ok_or(malformed("section kind"))?;
    if u64::from(u32::from_le_bytes(array(page, at + 4))) != kind.point_bytes() {
        return Err(malformed("size of a point"));
    }
    let section = Section {
        kind,
        count: u64::from_le_bytes(array(page, at + 8)),
        offset: u64::from_le_bytes(array(page, at + 16)),
        sha256: array(page, at + 32),
    };
    if section.count > MAX_POINTS {
        return Err(malformed("number of points"));
    }
    if u64::from_le_bytes(array(page, at + 24)) != section.len_bytes() {
        return Err(malformed("section length"));
    }
    Ok(section)
}

/// `N` bytes of the page; every offset in this file is a constant inside it.
fn array<const N: usize>(page: &[u8; PAGE], at: usize) -> [u8; N] {
    let mut bytes = [0u8; N];
    bytes.copy_from_slice(&page[at..at + N]);
    bytes
}
