//! # Recipe: what the machine code of a unit is made from, and the digests that name it
//!
//! Shared with the build script, which embeds only machine code that was made from the source at hand.

use sha2::{Digest, Sha256};

/// A file of source: its name, and its text.
pub(crate) type Text<'a> = (&'a str, &'a str);

/// What NVRTC is told to do for the architecture `sm` (90 for `sm_90`).
pub(crate) fn options(sm: u32) -> Vec<String> {
    vec![
        format!("--gpu-architecture=sm_{sm}"),
        "--std=c++17".to_owned(),
        "--device-as-default-execution-space".to_owned(),
        // Headers come from this crate: a file that lies in the working directory is not to be included.
        "--no-source-include".to_owned(),
        // The log says of each kernel what does not fit in its registers.
        "--ptxas-options=-v".to_owned(),
    ]
}

/// The digest of a unit's source, its headers in any order, and the options for `sm`.
pub(crate) fn key<'a>(
    unit: Text<'a>,
    headers: impl IntoIterator<Item = Text<'a>>,
    sm: u32,
) -> String {
    let mut headers: Vec<Text<'_>> = headers.into_iter().collect();
    headers.sort_unstable();
    let options = options(sm).join("\0");
    let files = std::iter::once(unit).chain(headers);
    let texts = files.flat_map(|(name, text)| [name, text]);
    digest(texts.chain([options.as_str()]).map(str::as_bytes))
}

/// SHA-256, in hexadecimal, of the parts and where each of them ends.
pub(crate) fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let hex = |byte: u8| {
        [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
    };
    hash.finalize().iter().copied().flat_map(hex).collect()
}

/// The ending of files with machine code.
pub(crate) const CUBIN: &str = "cubin";

/// The ending of files that say what machine code was made from.
pub(crate) const KEY: &str = "key";

/// The name of the file about the machine code of a unit that has this ending.
pub(crate) fn file_name(unit: &str, sm: u32, ending: &str) -> String {
    format!("{unit}.sm_{sm}.{ending}")
}
