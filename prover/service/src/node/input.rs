//! The input of a lease: fetched into one buffer that is wiped, and opened when it is sealed.

use std::{fmt, io, sync::Arc, time::Duration};

use zeroize::Zeroizing;

use super::{backoff::Backoff, cache::Source, watch::Watch};
use crate::{
    config,
    farm::lease::{FetchFile, Lease, UplinkError},
    store::Digest,
    work::WorkError,
};

/// Longest input, with room for its seals.
const MAX_SEALED_BYTES: u64 = 8 * config::MAX_TENSOR_FILE_BYTES + (64 << 20);

/// The private key of a node's certificate.
#[derive(Clone)]
pub struct InputSecret(pub Arc<p256::SecretKey>);

impl fmt::Debug for InputSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InputSecret(..)")
    }
}

/// Fetches the input into memory and compares its digest.
pub(super) async fn fetch(
    file: &FetchFile,
    source: &dyn Source,
    watch: &Watch,
) -> Result<Zeroizing<Vec<u8>>, WorkError> {
    let fault = |message: String| WorkError::fault("INPUT", message);
    if file.size > MAX_SEALED_BYTES {
        return Err(fault(format!(
            "an input of {} bytes, at most {MAX_SEALED_BYTES}",
            file.size
        )));
    }
    let size = usize::try_from(file.size).map_err(|e| fault(e.to_string()))?;
    let mut sink = Sink::of(size).map_err(|e| {
        WorkError::exceeded("INPUT_MEMORY", format!("an input of {size} bytes: {e}"))
    })?;
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    while sink.bytes.len() < size {
        let offset = sink.bytes.len() as u64;
        let fetched = tokio::select! {
            fetched = source.fetch(file, offset, &mut sink) => fetched,
            () = watch.stopped() => return Err(WorkError::Cancelled),
        };
        match fetched {
            Ok(()) if sink.bytes.len() == size => {}
            Ok(()) => {
                return Err(fault(format!(
                    "expected {size} bytes, got {}",
                    sink.bytes.len()
                )));
            }
            Err(_) if sink.overflow => {
                return Err(fault(format!("more than the {size} bytes promised came")));
            }
            Err(UplinkError::Refused(reason)) => return Err(fault(reason)),
            Err(error) => {
                tracing::warn!(%error, "the input was cut; going on");
                tokio::select! {
                    () = backoff.wait() => {}
                    () = watch.stopped() => return Err(WorkError::Cancelled),
                }
            }
        }
    }
    let got = Digest::of(&sink.bytes);
    if got != file.digest {
        return Err(fault(format!("expected digest {}, got {got}", file.digest)));
    }
    Ok(sink.bytes)
}

/// A buffer of the promised length, which never moves and is wiped.
struct Sink {
    bytes: Zeroizing<Vec<u8>>,
    size: usize,
    overflow: bool,
}

impl Sink {
    fn of(size: usize) -> Result<Self, std::collections::TryReserveError> {
        let mut bytes = Zeroizing::new(Vec::new());
        bytes.try_reserve_exact(size)?;
        Ok(Self {
            bytes,
            size,
            overflow: false,
        })
    }
}

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.size {
            self.overflow = true;
            return Err(io::Error::other("more than was promised"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens a sealed input with the data key of its lease.
pub(super) fn open(
    secret: Option<&InputSecret>,
    lease: &Lease,
    sealed: Zeroizing<Vec<u8>>,
) -> Result<Zeroizing<Vec<u8>>, WorkError> {
    let _ = (secret, lease, sealed);
    Err(WorkError::fault(
        "SEALED_INPUT",
        "this node cannot open sealed inputs",
    ))
}
