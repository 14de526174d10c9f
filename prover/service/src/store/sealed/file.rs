//! Files that are encrypted while they grow: uploads of inputs.
//! Header: `zkseal\0\x01` ‖ id of the key file's key (8) ‖ nonce (16). Then the bytes, xor AES-256-CTR from block 0 with a key that HKDF makes of the key file's key
//! and the nonce: the byte at offset o needs block ⌊o/16⌋ only, so an upload goes on wherever it stopped. The digest that the upload was announced with is what
//! makes its bytes authentic; it is checked before anything uses them.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use aes_gcm::{
    KeyInit,
    aes::{Aes256, Block, cipher::BlockCipherEncrypt},
};
use zeroize::{Zeroize as _, Zeroizing};

use super::{ID_LEN, Key, SALT_LEN, SealError, Vault, derive, random};

const MAGIC: &[u8; 8] = b"zkseal\0\x01";
const HEADER: usize = MAGIC.len() + ID_LEN + SALT_LEN;
/// Bytes that are en- or decrypted at a time.
const CHUNK: usize = 64 << 10;

/// An encrypted file. Reads begin at its start, writes go to its end.
pub struct SealedFile {
    file: File,
    stream: Aes256,
    /// Plain bytes.
    len: u64,
    /// Where the next read begins.
    at: u64,
}

/// The sizes.
impl fmt::Debug for SealedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedFile({} bytes)", self.len)
    }
}

impl Vault {
    /// Opens a sealed file to read.
    ///
    /// # Errors
    /// The file cannot be read, is no sealed file, or of another key.
    pub fn read_file(&self, path: &Path) -> Result<SealedFile, SealError> {
        let io = |source| SealError::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        let len = file.metadata().map_err(io)?.len();
        self.with_header(file, len)
    }

    /// Opens a sealed file to append to it, or makes an empty one that only the owner may read.
    ///
    /// # Errors
    /// The file cannot be written, is no sealed file, or of another key.
    pub fn append_file(&self, path: &Path) -> Result<SealedFile, SealError> {
        let io = |source| SealError::Io {
            path: path.to_owned(),
            source,
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(io)?;
        let mut len = file.metadata().map_err(io)?.len();
        // A header that was not written whole has nothing behind it.
        if len < HEADER as u64 {
            let mut header = [0; HEADER];
            header[..8].copy_from_slice(MAGIC);
            header[8..8 + ID_LEN].copy_from_slice(&self.id);
            random(&mut header[8 + ID_LEN..])?;
            file.set_len(0)
                .and_then(|()| file.write_all_at(&header, 0))
                .map_err(io)?;
            len = HEADER as u64;
        }
        self.with_header(file, len)
    }

    fn with_header(&self, file: File, len: u64) -> Result<SealedFile, SealError> {
        let what = "the sealed file";
        let Some(plain) = len.checked_sub(HEADER as u64) else {
            return Err(SealError::Length {
                what,
                expected: HEADER as u64,
                got: len,
            });
        };
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, 0)?;
        if &header[..8] != MAGIC {
            return Err(SealError::Format { what });
        }
        self.check_id(&header[8..8 + ID_LEN])?;
        let mut key = Key::default();
        derive(
            &self.key,
            &header[8 + ID_LEN..],
            b"zkinfer upload v1",
            &mut key,
        );
        Ok(SealedFile {
            file,
            stream: Aes256::new((&*key).into()),
            len: plain,
            at: 0,
        })
    }
}

impl SealedFile {
    /// The plain length of a sealed file; 0 when its header is not whole.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn plain_len(path: &Path) -> io::Result<u64> {
        Ok(std::fs::metadata(path)?.len().saturating_sub(HEADER as u64))
    }

    /// Plain bytes in the file.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Lets the next read begin at `offset`.
    pub fn seek_to(&mut self, offset: u64) {
        self.at = offset;
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// The disk fails.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

impl Read for SealedFile {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.len.saturating_sub(self.at);
        let want = out.len().min(CHUNK).min(left.try_into().unwrap_or(CHUNK));
        let out = &mut out[..want];
        let n = self.file.read_at(out, HEADER as u64 + self.at)?;
        xor(&self.stream, self.at, &mut out[..n]);
        self.at += n as u64;
        Ok(n)
    }
}

impl Write for SealedFile {
    fn write(&mut self, plain: &[u8]) -> io::Result<usize> {
        let mut chunk = plain[..plain.len().min(CHUNK)].to_vec();
        xor(&self.stream, self.len, &mut chunk);
        let n = self.file.write_at(&chunk, HEADER as u64 + self.len)?;
        self.len += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Adds the key stream from byte `offset` on.
fn xor(cipher: &Aes256, offset: u64, data: &mut [u8]) {
    let skip = (offset % 16) as usize;
    let first = offset / 16;
    let mut blocks: Vec<Block> = (0..(skip + data.len()).div_ceil(16) as u64)
        .map(|i| Block::from(u128::from(first + i).to_be_bytes()))
        .collect();
    cipher.encrypt_blocks(&mut blocks);
    let mut stream = Zeroizing::new(Vec::with_capacity(blocks.len() * 16));
    for block in &mut blocks {
        stream.extend_from_slice(block);
        block.as_mut_slice().zeroize();
    }
    for (byte, key) in data.iter_mut().zip(&stream[skip..]) {
        *byte ^= key;
    }
}
