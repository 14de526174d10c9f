//! One file on its way in: resumed where it stopped, hashed while it is written, placed only when its digest is right.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::Duration,
};

use sha2::Digest as _;

use super::{CacheError, Source, io_error};
use crate::{
    farm::lease::{FetchFile, UplinkError},
    node::{backoff::Backoff, watch::Watch},
    store::Digest,
};

/// Runs what reads or syncs a whole file where it keeps no other task from its turn.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CacheError> + Send + 'static,
) -> Result<T, CacheError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| CacheError::Defect)?
}

/// Fetches `file` into `part`.
pub(super) async fn download(
    file: &FetchFile,
    part: &Path,
    source: &dyn Source,
    watch: &Watch,
) -> Result<(), CacheError> {
    let (path, own) = (part.to_owned(), file.clone());
    let mut sink = aside(move || Part::open(&path, &own)).await?;
    let mut fresh = sink.written == 0;
    loop {
        fetch_rest(file, &mut sink, source, watch).await?;
        let got = aside(move || Ok(sink.finish())).await?;
        match got.map_err(io_error(part))? {
            got if got == file.digest => return Ok(()),
            got if fresh => {
                let _ = std::fs::remove_file(part);
                return Err(CacheError::Content {
                    name: file.name.clone(),
                    expected: file.digest.to_string(),
                    got: got.to_string(),
                });
            }
            // What an earlier process left was not the beginning of this file.
            _ => {
                let _ = std::fs::remove_file(part);
                sink = Part::open(part, file)?;
                fresh = true;
            }
        }
    }
}

/// Asks for the rest of a file until all of it is here.
async fn fetch_rest(
    file: &FetchFile,
    sink: &mut Part,
    source: &dyn Source,
    watch: &Watch,
) -> Result<(), CacheError> {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    while sink.written < file.size {
        let before = sink.written;
        let fetched = tokio::select! {
            fetched = source.fetch(file, before, sink) => fetched,
            () = watch.stopped() => return Err(CacheError::Stopped),
        };
        if let Some(source) = sink.refused.take() {
            return Err(CacheError::Io {
                path: file.name.clone().into(),
                source,
            });
        }
        match fetched {
            Ok(()) if sink.written == file.size => return Ok(()),
            Ok(()) => {
                return Err(CacheError::Content {
                    name: file.name.clone(),
                    expected: format!("{} bytes", file.size),
                    got: format!("{} bytes", sink.written),
                });
            }
            Err(UplinkError::Refused(why)) => {
                let source = UplinkError::Refused(why);
                return Err(CacheError::Fetch {
                    name: file.name.clone(),
                    source,
                });
            }
            Err(error) => {
                if sink.written > before {
                    backoff.reset();
                }
                tracing::warn!(file = %file.name, at = sink.written, %error, "a download was cut; going on");
                tokio::select! {
                    () = backoff.wait() => {}
                    () = watch.stopped() => return Err(CacheError::Stopped),
                }
            }
        }
    }
    Ok(())
}

/// The bytes that are here, and their hash so far.
struct Part {
    file: File,
    hash: sha2::Sha256,
    written: u64,
    size: u64,
    /// What the disk said, or that more came than was promised.
    refused: Option<io::Error>,
}

impl Part {
    /// Opens what is here of `file`; more than its length is thrown away.
    fn open(path: &Path, file: &FetchFile) -> Result<Self, CacheError> {
        let open = || -> io::Result<Self> {
            let mut part = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(path)?;
            if part.metadata()?.len() > file.size {
                part.set_len(0)?;
            }
            let mut hash = sha2::Sha256::new();
            let mut written = 0;
            let mut chunk = vec![0; 1 << 20];
            loop {
                match part.read(&mut chunk)? {
                    0 => break,
                    n => {
                        hash.update(chunk.get(..n).unwrap_or_default());
                        written += n as u64;
                    }
                }
            }
            part.seek(SeekFrom::Start(written))?;
            Ok(Self {
                file: part,
                hash,
                written,
                size: file.size,
                refused: None,
            })
        };
        open().map_err(io_error(path))
    }

    /// Syncs the bytes and answers their digest.
    fn finish(&mut self) -> io::Result<Digest> {
        self.file.sync_all()?;
        Ok(Digest(self.hash.clone().finalize().into()))
    }
}

impl Write for Part {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let refuse = |me: &mut Self, e: io::Error| {
            let copy = io::Error::new(e.kind(), e.to_string());
            me.refused = Some(e);
            Err(copy)
        };
        if self.written + bytes.len() as u64 > self.size {
            let most = self.size;
            return refuse(
                self,
                io::Error::other(format!("more than the {most} bytes promised came")),
            );
        }
        match self.file.write(bytes) {
            Ok(n) => {
                self.hash.update(bytes.get(..n).unwrap_or_default());
                self.written += n as u64;
                Ok(n)
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Err(e),
            Err(e) => refuse(self, e),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
