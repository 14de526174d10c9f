//! `manifest.json` and `io.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use zkinfer_circuits::Precisions;
use zkinfer_verifier::{Role, StatementLayout, Visibility};

/// What may be chosen when a model is compiled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompileSettings {
    /// Whether the statement shows the input.
    #[serde(default = "shown")]
    pub input: Shown,
    /// Whether the statement shows the output.
    #[serde(default = "shown")]
    pub output: Shown,
    /// Whether it shows tensors that differ from the two above, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub visibilities: BTreeMap<String, Shown>,
    /// How many inferences one proof is about.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub batch: u32,
    /// The precisions that are not left to the quantizer.
    #[serde(default, skip_serializing_if = "Precisions::is_empty")]
    pub precisions: Precisions,
}

fn shown() -> Shown {
    Shown::Public
}

fn one() -> u32 {
    1
}

fn is_one(batch: &u32) -> bool {
    *batch == 1
}

impl Default for CompileSettings {
    fn default() -> Self {
        Self {
            input: Shown::Public,
            output: Shown::Public,
            visibilities: BTreeMap::new(),
            batch: one(),
            precisions: Precisions::default(),
        }
    }
}

/// Whether the statement shows a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Shown {
    /// In the statement.
    Public,
    /// Known to the prover only.
    Private,
    /// In the statement by its digest: who is told the values can check them. Few possible values can be guessed.
    Hashed,
}

impl Shown {
    /// In words.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
            Self::Hashed => "shown by their digest",
        }
    }
}

impl From<Shown> for Visibility {
    fn from(shown: Shown) -> Self {
        match shown {
            Shown::Public => Self::Public,
            Shown::Private => Self::Private,
            Shown::Hashed => Self::Hashed,
        }
    }
}

/// The size and digest of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Bytes.
    pub size: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

/// The keys of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEntry {
    /// "development" or "ceremony".
    pub setup: String,
    /// Keccak-256 of the verifying key: what proofs name.
    pub vk_digest: String,
    /// Digest of the constraint system.
    pub circuit_digest: String,
}

/// `manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Format version.
    pub format: u32,
    /// The version that wrote it.
    pub zkinfer: String,
    /// "groth16", "ultragroth" or "halo2-kzg".
    pub system: String,
    /// Digest of the quantized model.
    pub model_id: String,
    /// Digest of the constraint program.
    pub program_digest: String,
    /// How it was compiled.
    pub settings: CompileSettings,
    /// After setup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<KeyEntry>,
    /// Every other file.
    pub files: BTreeMap<String, FileEntry>,
}

/// One tensor in `io.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IoTensor {
    /// ONNX name.
    pub name: String,
    /// "input" or "output".
    pub role: String,
    /// Dimensions.
    pub shape: Vec<u32>,
    /// Element type.
    pub dtype: String,
    /// real = scale · (quantized − zero_point).
    pub scale: f64,
    /// The integer that stands for 0.
    pub zero_point: i64,
    /// "public", "private" or "hashed".
    pub visibility: String,
}

/// The tensors of a layout as `io.json` shows them.
pub fn io_tensors(layout: &StatementLayout) -> Vec<IoTensor> {
    let tensor = |t: &zkinfer_verifier::TensorSpec| IoTensor {
        name: t.name.clone(),
        role: match t.role {
            Role::Input => "input",
            Role::Output => "output",
        }
        .to_owned(),
        shape: t.shape.clone(),
        dtype: t.dtype.to_string(),
        scale: t.scale,
        zero_point: t.zero_point,
        visibility: match t.visibility {
            Visibility::Public => "public",
            Visibility::Private => "private",
            Visibility::Hashed => "hashed",
        }
        .to_owned(),
    };
    layout.tensors.iter().map(tensor).collect()
}
