//! Bundles: the folder that `compile` and `setup` write and everything else reads.
//!
//! `manifest.json` (format version, digests, settings, system, who made the keys, size and SHA-256 of every other file), `model`,
//! `program`, `report.json`, `io.json`, and after setup `proving.key` and `verifying.key`. A bundle is written beside its
//! place and renamed. Every file's size and digest is checked when it is read. `verifying.key` alone is enough to verify.

mod manifest;
mod proof_file;

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use zkinfer_params::store::{Existing, StagedDir, StoreError as ParamsError, write_file};
use zkinfer_verifier::{ProofSystem, Setup, StatementLayout, VerifyingKey};

use crate::store::{Digest, blobs};

pub use manifest::{CompileSettings, FileEntry, IoTensor, KeyEntry, Manifest, Shown, io_tensors};
pub use proof_file::{ProofFile, ProofFileError};

/// The format that this version writes; older ones are read, newer ones refused.
pub const FORMAT: u32 = 1;

/// What names all other files.
pub const MANIFEST: &str = "manifest.json";
const MAX_MANIFEST_BYTES: u64 = 1 << 20;
/// Largest proof.json.
pub const MAX_PROOF_FILE_BYTES: u64 = 64 << 20;
/// Largest verifying key.
pub const MAX_VERIFYING_KEY_BYTES: u64 = 64 << 20;

/// The files of a bundle with their bounds.
const FILES: [(&str, u64); 6] = [
    (MODEL, 4 << 30),
    (PROGRAM, 4 << 30),
    (REPORT, 256 << 20),
    (IO, 1 << 20),
    (PROVING_KEY, 1 << 40),
    (VERIFYING_KEY, MAX_VERIFYING_KEY_BYTES),
];

/// The quantized model.
pub const MODEL: &str = "model";
/// The constraint program.
pub const PROGRAM: &str = "program";
/// How the quantized model compares with the float model.
pub const REPORT: &str = "report.json";
/// The tensors at the border.
pub const IO: &str = "io.json";
/// The proving key.
pub const PROVING_KEY: &str = "proving.key";
/// The verifying key.
pub const VERIFYING_KEY: &str = "verifying.key";

/// The largest size of a file of this name; `None` when no bundle has one.
pub fn size_bound(name: &str) -> Option<u64> {
    if name == MANIFEST {
        return Some(MAX_MANIFEST_BYTES);
    }
    let known = FILES.iter().find(|(known, _)| *known == name);
    known.map(|(_, bound)| *bound)
}

/// Why a bundle cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// No manifest.
    #[error("{path} is not a bundle: it has no manifest.json; make one with `zkinfer compile MODEL -o {path}`", path = .0.display())]
    NotABundle(PathBuf),
    /// The manifest is damaged.
    #[error("{path}/manifest.json is damaged: {reason}", path = .path.display())]
    Manifest {
        /// The bundle.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A newer version wrote it.
    #[error(
        "the bundle has format {found}, this zkinfer reads up to {FORMAT}; use a newer zkinfer"
    )]
    Newer {
        /// The format found.
        found: u32,
    },
    /// A file is damaged.
    #[error(
        "{file} of the bundle is damaged: {reason}; compile the model again or restore the file"
    )]
    File {
        /// Which.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// A file is missing.
    #[error("the bundle has no {0}")]
    Missing(&'static str),
    /// No keys yet.
    #[error("the bundle has no keys; make them with `zkinfer setup {path}`", path = .0.display())]
    NoKeys(PathBuf),
    /// Keys already.
    #[error(
        "the bundle has keys already; proofs and contracts of those keys would be orphaned: pass --force to replace them"
    )]
    HasKeys,
    /// The place is taken.
    #[error("{path} exists; choose another place or pass --force", path = .0.display())]
    Exists(PathBuf),
    /// Two files of the bundle do not belong together.
    #[error("{what}: the manifest says {expected}, the file has {got}")]
    Mismatch {
        /// Which digest.
        what: &'static str,
        /// Per manifest.
        expected: String,
        /// Per file.
        got: String,
    },
    /// It could not be written.
    #[error("cannot write the bundle: {0}")]
    Write(#[from] ParamsError),
}

/// What `compile` made.
#[derive(Debug)]
pub struct Compiled<'a> {
    /// The proof system.
    pub system: ProofSystem,
    /// How it was compiled.
    pub settings: CompileSettings,
    /// Digest of the quantized model.
    pub model_id: [u8; 32],
    /// Digest of the program.
    pub program_digest: [u8; 32],
    /// The encoded model.
    pub model: &'a [u8],
    /// The encoded program.
    pub program: &'a [u8],
    /// The report as JSON.
    pub report: &'a [u8],
    /// The tensors.
    pub layout: &'a StatementLayout,
}

/// An open bundle: its manifest was read, its files are checked as they are read.
#[derive(Clone, Debug)]
pub struct Bundle {
    path: PathBuf,
    manifest: Manifest,
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    let mut text =
        serde_json::to_vec_pretty(value).expect("manifests have string keys and finite numbers");
    text.push(b'\n');
    text
}

impl Bundle {
    /// Writes a bundle without keys.
    ///
    /// # Errors
    /// The place is taken (unless `replace`), or the disk refuses.
    pub fn create(
        path: &Path,
        compiled: &Compiled<'_>,
        replace: bool,
    ) -> Result<Self, BundleError> {
        let io = to_json(&io_tensors(compiled.layout));
        let contents: [(&str, &[u8]); 4] = [
            (MODEL, compiled.model),
            (PROGRAM, compiled.program),
            (REPORT, compiled.report),
            (IO, &io),
        ];
        let entry = |bytes: &[u8]| FileEntry {
            size: bytes.len() as u64,
            sha256: Digest::of(bytes).to_string(),
        };
        let manifest = Manifest {
            format: FORMAT,
            zkinfer: env!("CARGO_PKG_VERSION").to_owned(),
            system: compiled.system.name().to_owned(),
            model_id: hex::encode(compiled.model_id),
            program_digest: hex::encode(compiled.program_digest),
            settings: compiled.settings.clone(),
            keys: None,
            files: contents
                .iter()
                .map(|(name, bytes)| ((*name).to_owned(), entry(bytes)))
                .collect(),
        };
        let staged = StagedDir::beside(path)?;
        for (name, bytes) in contents {
            write_file(&staged.path().join(name), bytes)?;
        }
        write_file(&staged.path().join(MANIFEST), &to_json(&manifest))?;
        let existing = if replace {
            Existing::Replace
        } else {
            Existing::Refuse
        };
        staged.commit(existing).map_err(|e| match e {
            ParamsError::Exists { path } => BundleError::Exists(path),
            other => other.into(),
        })?;
        Ok(Self {
            path: path.to_owned(),
            manifest,
        })
    }

    /// Reads the manifest of a bundle.
    ///
    /// # Errors
    /// It is no bundle, it is damaged, or a newer version wrote it.
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        let damaged = |reason: String| BundleError::Manifest {
            path: path.to_owned(),
            reason,
        };
        let file = path.join(MANIFEST);
        if !file.is_file() {
            return Err(BundleError::NotABundle(path.to_owned()));
        }
        let bytes =
            blobs::read_bounded(&file, MAX_MANIFEST_BYTES).map_err(|e| damaged(e.to_string()))?;
        // The version first: a newer manifest may have fields that this version would call damage.
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let version: Version =
            serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
        if version.format > FORMAT {
            return Err(BundleError::Newer {
                found: version.format,
            });
        }
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
        if let Some(name) = manifest
            .files
            .keys()
            .find(|name| !FILES.iter().any(|(known, _)| known == name))
        {
            return Err(damaged(format!("unknown file {name:?}")));
        }
        manifest
            .system
            .parse::<ProofSystem>()
            .map_err(|e| damaged(e.to_string()))?;
        Ok(Self {
            path: path.to_owned(),
            manifest,
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The proof system.
    pub fn system(&self) -> ProofSystem {
        self.manifest
            .system
            .parse()
            .expect("checked when the manifest was read")
    }

    /// Reads a file and checks its size and digest.
    ///
    /// # Errors
    /// It is missing or damaged.
    pub fn read(&self, name: &'static str) -> Result<Vec<u8>, BundleError> {
        let entry = self.entry(name)?;
        let bytes = blobs::read_bounded(&self.path.join(name), entry.size)
            .map_err(|e| file_error(name, e))?;
        if bytes.len() as u64 != entry.size {
            return Err(file_error(
                name,
                format!("expected {} bytes, got {}", entry.size, bytes.len()),
            ));
        }
        check_digest(name, entry, &Digest::of(&bytes))?;
        Ok(bytes)
    }

    fn entry(&self, name: &'static str) -> Result<&FileEntry, BundleError> {
        let key = name == PROVING_KEY || name == VERIFYING_KEY;
        let missing = || {
            if key {
                BundleError::NoKeys(self.path.clone())
            } else {
                BundleError::Missing(name)
            }
        };
        let entry = self.manifest.files.get(name).ok_or_else(missing)?;
        let bound = FILES
            .iter()
            .find(|(known, _)| *known == name)
            .map_or(0, |(_, bound)| *bound);
        if entry.size > bound {
            return Err(file_error(
                name,
                format!("{} bytes, at most {bound}", entry.size),
            ));
        }
        Ok(entry)
    }

    /// The path of the proving key after its size and digest were checked.
    ///
    /// # Errors
    /// It is missing or damaged.
    pub fn checked_proving_key(&self) -> Result<PathBuf, BundleError> {
        let entry = self.entry(PROVING_KEY)?;
        let path = self.path.join(PROVING_KEY);
        let mut file = File::open(&path).map_err(|e| file_error(PROVING_KEY, e))?;
        let size = file
            .metadata()
            .map_err(|e| file_error(PROVING_KEY, e))?
            .len();
        if size != entry.size {
            return Err(file_error(
                PROVING_KEY,
                format!("expected {} bytes, got {size}", entry.size),
            ));
        }
        let digest = blobs::digest_of(&mut file).map_err(|e| file_error(PROVING_KEY, e))?;
        check_digest(PROVING_KEY, entry, &digest)?;
        Ok(path)
    }

    /// The verifying key, decoded and compared with the manifest.
    ///
    /// # Errors
    /// It is missing, damaged, or of another circuit.
    pub fn verifying_key(&self) -> Result<VerifyingKey, BundleError> {
        let vk = VerifyingKey::decode(&self.read(VERIFYING_KEY)?)
            .map_err(|e| file_error(VERIFYING_KEY, e))?;
        let keys = self
            .manifest
            .keys
            .as_ref()
            .ok_or_else(|| BundleError::NoKeys(self.path.clone()))?;
        same("verifying key digest", &keys.vk_digest, &vk.digest())?;
        same("circuit digest", &keys.circuit_digest, &vk.circuit_digest)?;
        same("model id", &self.manifest.model_id, &vk.model_id)?;
        if vk.system != self.system() {
            return Err(BundleError::Mismatch {
                what: "proof system",
                expected: self.manifest.system.clone(),
                got: vk.system.to_string(),
            });
        }
        Ok(vk)
    }

    /// Whether setup was done.
    pub fn has_keys(&self) -> bool {
        self.manifest.keys.is_some()
    }

    /// Where setup writes the proving key before [`Bundle::add_keys`]; nothing reads it until the manifest names it.
    pub fn proving_key_place(&self) -> PathBuf {
        self.path.join(PROVING_KEY)
    }

    /// Forgets the keys, so that new ones can be written.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn forget_keys(&mut self) -> Result<(), BundleError> {
        self.manifest.keys = None;
        self.manifest.files.remove(PROVING_KEY);
        self.manifest.files.remove(VERIFYING_KEY);
        Ok(write_file(
            &self.path.join(MANIFEST),
            &to_json(&self.manifest),
        )?)
    }

    /// Records the proving key that lies at its place, and the verifying key.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn add_keys(&mut self, vk: &VerifyingKey) -> Result<(), BundleError> {
        let mut file =
            File::open(self.proving_key_place()).map_err(|e| file_error(PROVING_KEY, e))?;
        let size = file
            .metadata()
            .map_err(|e| file_error(PROVING_KEY, e))?
            .len();
        let digest = blobs::digest_of(&mut file).map_err(|e| file_error(PROVING_KEY, e))?;
        let encoded = vk.encode();
        write_file(&self.path.join(VERIFYING_KEY), &encoded)?;
        let files = &mut self.manifest.files;
        files.insert(
            PROVING_KEY.to_owned(),
            FileEntry {
                size,
                sha256: digest.to_string(),
            },
        );
        let sha256 = Digest::of(&encoded).to_string();
        files.insert(
            VERIFYING_KEY.to_owned(),
            FileEntry {
                size: encoded.len() as u64,
                sha256,
            },
        );
        self.manifest.keys = Some(KeyEntry {
            setup: match vk.setup {
                Setup::Development => "development",
                Setup::Ceremony => "ceremony",
            }
            .to_owned(),
            vk_digest: hex::encode(vk.digest()),
            circuit_digest: hex::encode(vk.circuit_digest),
        });
        Ok(write_file(
            &self.path.join(MANIFEST),
            &to_json(&self.manifest),
        )?)
    }

    /// Compares a digest of the manifest with that of a decoded file.
    ///
    /// # Errors
    /// They differ.
    pub fn check_identity(
        &self,
        model_id: &[u8; 32],
        program_digest: &[u8; 32],
    ) -> Result<(), BundleError> {
        same("model id", &self.manifest.model_id, model_id)?;
        same(
            "program digest",
            &self.manifest.program_digest,
            program_digest,
        )
    }

    /// Size and SHA-256 of a file, per manifest.
    pub fn file(&self, name: &str) -> Option<&FileEntry> {
        self.manifest.files.get(name)
    }
}

fn file_error(file: &str, reason: impl ToString) -> BundleError {
    BundleError::File {
        file: file.to_owned(),
        reason: reason.to_string(),
    }
}

fn check_digest(name: &str, entry: &FileEntry, got: &Digest) -> Result<(), BundleError> {
    if entry.sha256 != got.to_string() {
        return Err(file_error(
            name,
            format!("expected sha256 {}, got {got}", entry.sha256),
        ));
    }
    Ok(())
}

fn same(what: &'static str, expected: &str, got: &[u8; 32]) -> Result<(), BundleError> {
    let got = hex::encode(got);
    if expected != got {
        return Err(BundleError::Mismatch {
            what,
            expected: expected.to_owned(),
            got,
        });
    }
    Ok(())
}
