//! Frames between a supervisor and its child: a length of four bytes, little-endian, and as many bytes of postcard. The input of
//! a proof follows its order as it is, so that no copy of it is made on the way.

use std::{
    io::{self, Read, Write},
    os::unix::ffi::OsStringExt as _,
    path::PathBuf,
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::super::slot::Load;
use crate::store::{CircuitId, Failure, Phase, Resources};

/// Longest request, without the input.
pub(super) const MAX_REQUEST_BYTES: u32 = 64 << 10;
/// Longest reply: a proof with its statement.
pub(super) const MAX_REPLY_BYTES: u32 = 8 << 20;
/// Longest input.
pub(super) const MAX_INPUT_BYTES: u64 = 8 * crate::config::MAX_TENSOR_FILE_BYTES;

/// A [`Load`] on its way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SentLoad {
    circuit: [u8; 16],
    folder: Vec<u8>,
    limits: Resources,
    time_limit_ms: u64,
}

impl From<&Load> for SentLoad {
    fn from(load: &Load) -> Self {
        // The child works in another folder.
        let folder = std::path::absolute(&load.folder).unwrap_or_else(|_| load.folder.clone());
        Self {
            circuit: load.circuit.0.into_bytes(),
            folder: folder.into_os_string().into_vec(),
            limits: load.limits,
            time_limit_ms: u64::try_from(load.time_limit.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl From<SentLoad> for Load {
    fn from(sent: SentLoad) -> Self {
        Self {
            circuit: CircuitId(uuid::Uuid::from_bytes(sent.circuit)),
            folder: PathBuf::from(std::ffi::OsString::from_vec(sent.folder)),
            limits: sent.limits,
            time_limit: Duration::from_millis(sent.time_limit_ms),
        }
    }
}

/// What the supervisor says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// First of all.
    Begin { threads: u64, warm_bytes: u64 },
    /// Load a circuit.
    Load { number: u64, load: SentLoad },
    /// Make a proof of the `input_bytes` bytes that follow.
    Prove {
        number: u64,
        load: SentLoad,
        context: [u8; 32],
        input_bytes: u64,
    },
    /// Stop that order.
    Cancel { number: u64 },
    /// Let a circuit go.
    Forget { circuit: [u8; 16] },
}

/// What the child says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// What it proves on: said once by a child that was given a GPU, before anything else, and again if it goes on with the CPU.
    Device { is_gpu: bool, line: String },
    /// Where it is.
    Progress { phase: Phase, done: u64, total: u64 },
    /// An order ended.
    Done {
        number: u64,
        told: Told,
        peak_ram: u64,
        /// Circuits that are loaded, and the milliseconds that took.
        warm: Vec<([u8; 16], u64)>,
    },
}

/// How an order ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Told {
    /// Well.
    Made(Outcome),
    /// It was cancelled.
    Stopped,
    /// It failed.
    Failed(Failure),
}

/// What an order made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Outcome {
    /// A circuit is loaded.
    Loaded { load_ms: u64 },
    /// A proof.
    Proved {
        proof: Vec<u8>,
        public_values: Vec<u8>,
        load_ms: u64,
        prove_ms: u64,
    },
}

fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

/// The frame of a message.
pub(super) fn frame(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    bytes = postcard::to_extend(message, bytes).map_err(|e| invalid(e.to_string()))?;
    let length = u32::try_from(bytes.len() - 4).map_err(|_| invalid("a message of over 4 GiB"))?;
    bytes
        .first_chunk_mut::<4>()
        .ok_or_else(|| invalid("an empty frame"))?
        .copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

/// Writes a message.
pub(super) fn write(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    to.write_all(&frame(message)?)?;
    to.flush()
}

/// Reads a message of at most `max` bytes; `None` at the end of the stream. Memory grows with the bytes that came, not with
/// the length that was promised.
pub(super) fn read<T: DeserializeOwned>(from: &mut impl Read, max: u32) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    let mut have = 0;
    while let Some(rest) = length.get_mut(have..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) if have == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    let length = u32::from_le_bytes(length);
    if length > max {
        return Err(invalid(format!("a frame of {length} bytes, at most {max}")));
    }
    let mut bytes = Vec::with_capacity(length.min(64 << 10) as usize);
    from.take(u64::from(length)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != u64::from(length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let (message, rest) = postcard::take_from_bytes(&bytes)
        .map_err(|e| invalid(format!("a malformed frame: {e}")))?;
    if !rest.is_empty() {
        return Err(invalid(format!("{} bytes after a message", rest.len())));
    }
    Ok(Some(message))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn done() -> Reply {
        Reply::Done {
            number: 7,
            told: Told::Made(Outcome::Proved {
                proof: vec![1; 256],
                public_values: vec![2; 40],
                load_ms: 3,
                prove_ms: 4,
            }),
            peak_ram: 5,
            warm: vec![([6; 16], 7)],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut stream = Vec::new();
        write(&mut stream, &done()).unwrap();
        write(&mut stream, &done()).unwrap();
        let mut stream = &stream[..];
        for _ in 0..2 {
            let got: Reply = read(&mut stream, MAX_REPLY_BYTES).unwrap().unwrap();
            assert_eq!(format!("{got:?}"), format!("{:?}", done()));
        }
        assert!(
            read::<Reply>(&mut stream, MAX_REPLY_BYTES)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn frames_that_are_too_long_cut_or_padded_are_refused() {
        let whole = frame(&done()).unwrap();
        let refused = |bytes: &[u8], max| read::<Reply>(&mut &*bytes, max).unwrap_err().to_string();
        assert!(refused(&whole, 10).contains("at most 10"));
        assert!(refused(&u32::MAX.to_le_bytes(), MAX_REPLY_BYTES).contains("at most"));
        for cut in 1..whole.len() {
            assert!(
                read::<Reply>(&mut &whole[..cut], MAX_REPLY_BYTES).is_err(),
                "{cut}"
            );
        }
        let mut padded = whole.clone();
        padded.push(0);
        let length = (padded.len() - 4) as u32;
        padded[..4].copy_from_slice(&length.to_le_bytes());
        assert!(refused(&padded, MAX_REPLY_BYTES).contains("after a message"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read::<Reply>(&mut &bytes[..], 1 << 20);
            let _ = read::<Request>(&mut &bytes[..], 1 << 20);
        }
    }
}
