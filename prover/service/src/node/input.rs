//! The input of a lease: fetched into one buffer that is wiped, and opened when it is sealed.

use std::{fmt, io, sync::Arc, time::Duration};

use zeroize::Zeroizing;

use super::{backoff::Backoff, cache::Source, watch::Watch};
use crate::{
    config,
    farm::lease::{FetchFile, Lease, UplinkError},
    store::{
        Digest,
        sealed::{self, SealError},
    },
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
    bytes: &[u8],
) -> Result<Zeroizing<Vec<u8>>, WorkError> {
    let fault = |e: SealError| WorkError::fault("SEALED_INPUT", format!("the input: {e}"));
    let key = match secret {
        Some(secret) => {
            let bound = sealed::binding(lease.attempt.job, lease.attempt.epoch);
            sealed::open_wrapped(&secret.0, &lease.input_key, &bound).map_err(fault)?
        }
        // The gateway in this process hands the key over as it is.
        None => {
            let mut key = sealed::Key::default();
            let length = |got: usize| SealError::Length {
                what: "the input key",
                expected: 32,
                got: got as u64,
            };
            if lease.input_key.len() != key.len() {
                return Err(fault(length(lease.input_key.len())));
            }
            key.copy_from_slice(&lease.input_key);
            key
        }
    };
    sealed::open_sealed(&key, bytes).map_err(fault)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{collections::BTreeMap, sync::Mutex};

    use p256::elliptic_curve::sec1::ToSec1Point as _;

    use super::*;
    use crate::{
        farm::lease::AttemptId,
        store::{ArtifactKind, Backend, CircuitId, JobId, Resources, sealed::Vault},
    };

    fn lease(input_key: Vec<u8>) -> Lease {
        Lease {
            attempt: AttemptId {
                job: JobId::fresh(),
                epoch: 7,
            },
            circuit: CircuitId::fresh(),
            backend: Backend::UltraGroth,
            files: Vec::new(),
            input_key,
            context: [0; 32],
            vk_digest: [0; 32],
            limits: Resources::default(),
            time_limit: Duration::ZERO,
            trace: BTreeMap::new(),
            speculative: false,
        }
    }

    #[test]
    fn only_the_node_and_the_attempt_that_a_key_was_wrapped_for_open_the_input() {
        let vault = Vault::from_key(Zeroizing::new([5; 32]));
        let secret = InputSecret(Arc::new(p256::SecretKey::from_slice(&[3; 32]).unwrap()));
        let point = secret.0.public_key().to_sec1_point(false);
        let sealed = vault.seal(b"tensors").unwrap();
        let mut lease = lease(Vec::new());
        let bound = sealed::binding(lease.attempt.job, lease.attempt.epoch);
        lease.input_key = vault
            .wrap_for_node(&sealed.wrapped_key, point.as_bytes(), &bound)
            .unwrap();
        let opened = open(Some(&secret), &lease, &sealed.bytes).unwrap();
        assert_eq!(&opened[..], b"tensors");

        let other = InputSecret(Arc::new(p256::SecretKey::from_slice(&[4; 32]).unwrap()));
        assert!(open(Some(&other), &lease, &sealed.bytes).is_err());
        assert!(open(None, &lease, &sealed.bytes).is_err());
        lease.attempt.epoch += 1;
        assert!(open(Some(&secret), &lease, &sealed.bytes).is_err());
        assert_eq!(format!("{secret:?}"), "InputSecret(..)");

        // In one process the key goes as it is.
        lease.input_key = vault.unwrap_key(&sealed.wrapped_key).unwrap().to_vec();
        assert_eq!(&open(None, &lease, &sealed.bytes).unwrap()[..], b"tensors");
    }

    /// Sends `bytes` in pieces of three and breaks after each.
    struct Pieces(Vec<u8>, Mutex<usize>);

    #[async_trait::async_trait]
    impl Source for Pieces {
        async fn fetch(
            &self,
            _: &FetchFile,
            offset: u64,
            sink: &mut (dyn io::Write + Send),
        ) -> Result<(), UplinkError> {
            *self.1.lock().unwrap() += 1;
            let rest = &self.0[offset as usize..];
            let broken = |e: io::Error| UplinkError::Unreachable(e.to_string());
            sink.write_all(&rest[..rest.len().min(3)]).map_err(broken)?;
            match rest.len() <= 3 {
                true => Ok(()),
                false => Err(UplinkError::Unreachable("cut".into())),
            }
        }
    }

    async fn fetched(promised: &[u8], sent: &[u8]) -> Result<(Vec<u8>, usize), String> {
        let file = FetchFile {
            kind: ArtifactKind::Input,
            name: String::new(),
            digest: Digest::of(promised),
            size: promised.len() as u64,
            encrypted: false,
        };
        let source = Pieces(sent.to_vec(), Mutex::new(0));
        let attempt = lease(Vec::new()).attempt;
        let watch = Watch::new(attempt, Resources::default());
        let bytes = fetch(&file, &source, &watch)
            .await
            .map_err(|e| e.to_string())?;
        Ok((bytes.to_vec(), source.1.into_inner().unwrap()))
    }

    #[tokio::test]
    async fn an_input_is_resumed_and_believed_only_by_its_digest() {
        assert_eq!(
            fetched(b"12345678", b"12345678").await,
            Ok((b"12345678".to_vec(), 3))
        );
        let wrong = fetched(b"12345678", b"12345679").await.unwrap_err();
        assert!(wrong.contains("expected digest"), "{wrong}");
        let long = fetched(b"1234", b"123456").await.unwrap_err();
        assert!(long.contains("more than the 4 bytes"), "{long}");
        let short = fetched(b"1234", b"123").await.unwrap_err();
        assert!(short.contains("expected 4 bytes, got 3"), "{short}");
    }
}
