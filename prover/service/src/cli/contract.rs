//! `verifier` and `calldata`: what verifies proofs of a key on a chain, and the call that checks one.

mod example;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use zkinfer_contracts::{
    GenerateError, Solidity, SourceTree, Substrate, Target as _,
    substrate::{PALLET_INDEX, VERIFY},
};
use zkinfer_verifier::VerifyingKey;

use super::{
    CliError, Out,
    output::{row, table, write_file},
};
use crate::bundle::Bundle;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum TargetName {
    /// Solidity, for EVM chains.
    Solidity,
    /// The pallet, for Substrate chains.
    Substrate,
}

/// Where the pallet is in its runtime.
#[derive(Clone, Copy, Debug, clap::Args)]
struct PalletArgs {
    /// The pallet's number in `construct_runtime!` of the chain (substrate only), by default 8.
    #[arg(long, value_name = "N")]
    pallet_index: Option<u8>,
}

impl PalletArgs {
    fn index(self) -> u8 {
        self.pallet_index.unwrap_or(PALLET_INDEX)
    }
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
    /// Generate for a development key: a contract that deploys on chain id 31337 only, a crate whose key a runtime refuses unless its
    /// AllowDevelopmentKeys is true.
    #[arg(long)]
    allow_dev_key: bool,
    /// A proof.json for the tests of the generated crate (substrate only); without it, an input of zeros is proved.
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    #[command(flatten)]
    pallet: PalletArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CalldataArgs {
    /// The bundle folder.
    bundle: PathBuf,
    /// The proof.
    proof: PathBuf,
    /// The kind of chain.
    #[arg(long, value_enum, default_value = "solidity")]
    target: TargetName,
    #[command(flatten)]
    pallet: PalletArgs,
}

/// A flag of the other kind of chain is a mistake, not a wish.
fn check_flags(target: TargetName, substrate_only: &[(&str, bool)]) -> Result<(), CliError> {
    let given = substrate_only.iter().find(|(_, given)| *given);
    match (target, given) {
        (TargetName::Solidity, Some((flag, _))) => {
            Err(CliError::usage(format!("{flag} is for --target substrate")))
        }
        _ => Ok(()),
    }
}

pub(crate) fn verifier(args: &VerifierArgs, out: Out) -> Result<(), CliError> {
    let flags = [
        ("--proof", args.proof.is_some()),
        ("--pallet-index", args.pallet.pallet_index.is_some()),
    ];
    check_flags(args.target, &flags)?;
    let bundle = Bundle::open(&args.bundle)?;
    let vk = bundle.verifying_key()?;
    let files = match args.target {
        TargetName::Solidity => Solidity {
            allow_dev_key: args.allow_dev_key,
        }
        .generate(&vk)
        .map_err(CliError::failed)?,
        TargetName::Substrate => substrate(args, &bundle, &vk)?,
    };
    let written = write_tree(&args.output, &files)?;
    let mut value = json!({ "written": written, "vk_digest": hex::encode(vk.digest()), "setup": vk.setup.name() });
    let rows: Vec<_> = match args.target {
        TargetName::Solidity => written
            .iter()
            .map(|p| row("written", p.display()))
            .collect(),
        TargetName::Substrate => {
            let folder = args.output.display();
            value["pallet_index"] = json!(args.pallet.index());
            vec![
                row("written", format!("{folder} ({} files)", written.len())),
                row("key digest", hex::encode(vk.digest())),
                row("test it", format!("cd {folder} && cargo test")),
            ]
        }
    };
    out.result(&value, &table(&rows));
    Ok(())
}

fn substrate(
    args: &VerifierArgs,
    bundle: &Bundle,
    vk: &VerifyingKey,
) -> Result<SourceTree, CliError> {
    let mut target = Substrate {
        allow_dev_key: args.allow_dev_key,
        pallet_index: args.pallet.index(),
        example: None,
    };
    let mut made = target.generate(vk);
    // What refuses the key does so before a proof is made.
    if made == Err(GenerateError::NoExample) {
        target.example = Some(match &args.proof {
            Some(path) => example::read(path, vk)?,
            None => example::prove(bundle)?,
        });
        made = target.generate(vk);
    }
    made.map_err(CliError::failed)
}

/// Writes the files and the folders that they are in.
fn write_tree(folder: &Path, files: &SourceTree) -> Result<Vec<PathBuf>, CliError> {
    let mut written = Vec::new();
    for (name, text) in files {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)
                .map_err(|e| CliError::failed(format!("{}: {e}", parent.display())))?;
        }
        write_file(&path, text.as_bytes())?;
        written.push(path);
    }
    Ok(written)
}

pub(crate) fn calldata(args: &CalldataArgs, out: Out) -> Result<(), CliError> {
    let flags = [("--pallet-index", args.pallet.pallet_index.is_some())];
    check_flags(args.target, &flags)?;
    let vk = Bundle::open(&args.bundle)?.verifying_key()?;
    // A proof that does not hold costs its sender gas and proves nothing.
    let example = example::read(&args.proof, &vk)?;
    let (statement, proof) = (&example.statement, &example.proof);
    let (data, place): (_, Value) = match args.target {
        TargetName::Solidity => {
            let target = Solidity {
                allow_dev_key: true,
            };
            (target.encode(&vk, statement, proof), json!({}))
        }
        TargetName::Substrate => {
            let pallet_index = args.pallet.index();
            let target = Substrate {
                allow_dev_key: true,
                pallet_index,
                example: None,
            };
            let place = json!({ "pallet_index": pallet_index, "call_index": VERIFY });
            (target.encode(&vk, statement, proof), place)
        }
    };
    let data = data.map_err(CliError::failed)?;
    let hex = format!("0x{}", hex::encode(&data));
    let mut value = place;
    value["calldata"] = json!(hex);
    value["bytes"] = json!(data.len());
    out.result(&value, &hex);
    Ok(())
}
