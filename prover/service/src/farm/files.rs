//! The files that an attempt needs, by digest: those of the circuit's bundle and the input.

use std::{path::PathBuf, sync::Arc};

use super::{Farm, lease::FetchFile};
use crate::{
    bundle::{self, Bundle},
    store::{ArtifactKind, CircuitId, Digest},
};

/// Files of a bundle that a prover needs, beside the manifest.
const NEEDED: [&str; 5] = [
    bundle::MODEL,
    bundle::PROGRAM,
    bundle::IO,
    bundle::PROVING_KEY,
    bundle::VERIFYING_KEY,
];

fn kind(name: &str) -> ArtifactKind {
    match name {
        bundle::MODEL => ArtifactKind::Model,
        bundle::PROVING_KEY => ArtifactKind::ProvingKey,
        bundle::VERIFYING_KEY => ArtifactKind::VerifyingKey,
        _ => ArtifactKind::Circuit,
    }
}

fn bundle_files(folder: &std::path::Path) -> Result<Vec<FetchFile>, String> {
    let bundle = Bundle::open(folder).map_err(|e| e.to_string())?;
    let manifest = std::fs::read(folder.join(bundle::MANIFEST)).map_err(|e| e.to_string())?;
    let mut files = vec![FetchFile {
        kind: ArtifactKind::Circuit,
        name: bundle::MANIFEST.to_owned(),
        digest: Digest::of(&manifest),
        size: manifest.len() as u64,
        encrypted: false,
    }];
    for (name, entry) in &bundle.manifest().files {
        if !NEEDED.contains(&name.as_str()) {
            continue;
        }
        let digest = entry
            .sha256
            .parse()
            .map_err(|_| format!("the manifest has a bad digest of {name}"))?;
        files.push(FetchFile {
            kind: kind(name),
            name: name.clone(),
            digest,
            size: entry.size,
            encrypted: false,
        });
    }
    Ok(files)
}

impl Farm {
    /// The files of a READY circuit's bundle that provers need; none when its folder is no bundle (work of tests).
    pub(super) async fn files_of(&self, circuit: CircuitId) -> Result<Arc<Vec<FetchFile>>, String> {
        let lock = || {
            self.files
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        };
        if let Some(files) = lock().touch(&circuit) {
            return Ok(files);
        }
        let folder = self.bundle(circuit);
        let read = move || match folder.join(bundle::MANIFEST).exists() {
            true => bundle_files(&folder),
            false => Ok(Vec::new()),
        };
        let files = tokio::task::spawn_blocking(read)
            .await
            .map_err(|_| "reading the bundle met a defect".to_owned())??;
        let files = Arc::new(files);
        lock().insert(circuit, Arc::clone(&files));
        Ok(files)
    }

    /// Where a file of a circuit lies.
    pub(super) fn file_of(&self, circuit: CircuitId, file: &FetchFile) -> PathBuf {
        self.bundle(circuit).join(&file.name)
    }
}
