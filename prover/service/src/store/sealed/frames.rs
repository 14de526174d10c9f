//! AES-256-GCM in frames of 1 MiB: the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár, "Online Authenticated-Encryption and its
//! Nonce-Reuse Misuse-Resistance", CRYPTO 2015).
//! Nonce of a frame: 7 zero bytes ‖ its number (32 bits, big-endian) ‖ 1 for the last frame, else 0. The data key is used once, so its nonces are.
//! A frame that is dropped, repeated, moved or cut off at the end does not open.

use std::io::{self, Read, Write};

use aes_gcm::{Aes256Gcm, aead::AeadInOut};
use zeroize::Zeroizing;

use super::{Key, SealError, cipher};

/// Plain bytes in a frame; the last has fewer, or as many.
pub const FRAME: usize = 1 << 20;
/// What a frame is longer for.
pub const TAG: usize = 16;

/// The length of `len` bytes when they are sealed.
pub fn sealed_len(len: u64) -> u64 {
    let frames = len.div_ceil(FRAME as u64).max(1);
    len.saturating_add(frames.saturating_mul(TAG as u64))
}

/// Seals what is left of `plain`; answers how many bytes that were. `key` must never seal anything else.
///
/// # Errors
/// The reader or the writer fails.
pub fn seal_frames(
    key: &Key,
    plain: &mut dyn Read,
    sealed: &mut dyn Write,
) -> Result<u64, SealError> {
    let cipher = cipher(key);
    let mut total = 0u64;
    each_frame(plain, FRAME, |frame, nonce| {
        total += frame.len() as u64;
        cipher
            .encrypt_in_place(&nonce.into(), &[], frame)
            .map_err(|_| SealError::TooLong)?;
        Ok(sealed.write_all(frame)?)
    })?;
    Ok(total)
}

/// Opens what is left of `sealed`; answers how many plain bytes that were. Every byte written is authentic, but only `Ok` says that they are all.
///
/// # Errors
/// The bytes are not what was sealed with this key, or the reader or the writer fails.
pub fn open_frames(
    key: &Key,
    sealed: &mut dyn Read,
    plain: &mut dyn Write,
) -> Result<u64, SealError> {
    let cipher: Aes256Gcm = cipher(key);
    let what = "the sealed input";
    let mut total = 0u64;
    each_frame(sealed, FRAME + TAG, |frame, nonce| {
        cipher
            .decrypt_in_place(&nonce.into(), &[], frame)
            .map_err(|_| SealError::NotAuthentic { what })?;
        // One way to seal the same bytes.
        if frame.is_empty() && total > 0 {
            return Err(SealError::NotAuthentic { what });
        }
        total += frame.len() as u64;
        Ok(plain.write_all(frame)?)
    })?;
    Ok(total)
}

/// Calls `work` with frames of `size` bytes, of which the last may be shorter, and their nonces.
fn each_frame(
    reader: &mut dyn Read,
    size: usize,
    mut work: impl FnMut(&mut Vec<u8>, [u8; 12]) -> Result<(), SealError>,
) -> Result<(), SealError> {
    let mut frame = buffer();
    let mut next = buffer();
    read_frame(reader, size, &mut frame)?;
    for number in 0..=u32::MAX {
        if frame.len() == size {
            read_frame(reader, size, &mut next)?;
        }
        let last = next.is_empty();
        let mut nonce = [0; 12];
        nonce[7..11].copy_from_slice(&number.to_be_bytes());
        nonce[11] = u8::from(last);
        work(&mut frame, nonce)?;
        if last {
            return Ok(());
        }
        std::mem::swap(&mut frame, &mut next);
        next.clear();
    }
    Err(SealError::TooLong)
}

/// Large enough for a frame: a vector that grows leaves copies behind.
fn buffer() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Vec::with_capacity(FRAME + TAG))
}

/// Reads `size` bytes, or what is left.
fn read_frame(reader: &mut dyn Read, size: usize, out: &mut Vec<u8>) -> io::Result<()> {
    out.clear();
    reader.take(size as u64).read_to_end(out).map(|_| ())
}
