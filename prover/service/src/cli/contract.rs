//! `verifier` and `calldata`: the contract of a key, and the call that checks a proof.

use std::path::PathBuf;

use serde_json::json;
use zkinfer_contracts::{Solidity, Target as _};

use super::{
    CliError, Out,
    output::{read_file, row, table, write_file},
};
use crate::bundle::{Bundle, MAX_PROOF_FILE_BYTES, ProofFile};

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum TargetName {
    /// Solidity, for EVM chains.
    Solidity,
}

#[derive(Debug, clap::Args)]
pub(crate) struct VerifierArgs {
    /// The bundle folder.
    bundle: PathBuf,
    /// The kind of chain.
    #[arg(long, value_enum)]
    target: TargetName,
    /// The folder to write.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Generate a contract for a development key; it deploys on chain id 31337 only.
    #[arg(long)]
    allow_dev_key: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CalldataArgs {
    /// The bundle folder.
    bundle: PathBuf,
    /// The proof.
    proof: PathBuf,
}

pub(crate) fn verifier(args: &VerifierArgs, out: Out) -> Result<(), CliError> {
    let TargetName::Solidity = args.target;
    let vk = Bundle::open(&args.bundle)?.verifying_key()?;
    let files = Solidity {
        allow_dev_key: args.allow_dev_key,
    }
    .generate(&vk)
    .map_err(CliError::failed)?;
    std::fs::create_dir_all(&args.output)
        .map_err(|e| CliError::failed(format!("{}: {e}", args.output.display())))?;
    let mut written = Vec::new();
    for (name, text) in &files {
        let path = args.output.join(name);
        write_file(&path, text.as_bytes())?;
        written.push(path);
    }
    let value = json!({ "written": written, "vk_digest": hex::encode(vk.digest()), "setup": vk.setup.name() });
    let rows: Vec<_> = written
        .iter()
        .map(|p| row("written", p.display()))
        .collect();
    out.result(&value, &table(&rows));
    Ok(())
}

pub(crate) fn calldata(args: &CalldataArgs, out: Out) -> Result<(), CliError> {
    let vk = Bundle::open(&args.bundle)?.verifying_key()?;
    let text = read_file(&args.proof, MAX_PROOF_FILE_BYTES, "proof")?;
    // A proof that does not hold costs its sender gas and proves nothing.
    let (statement, proof) = ProofFile::parse(&text)
        .and_then(|file| file.verify(&vk))
        .map_err(|e| CliError::failed(format!("{}: {e}", args.proof.display())))?;
    let data = Solidity {
        allow_dev_key: true,
    }
    .encode(&statement, &proof)
    .map_err(CliError::failed)?;
    let hex = format!("0x{}", hex::encode(&data));
    out.result(&json!({ "calldata": hex, "bytes": data.len() }), &hex);
    Ok(())
}
