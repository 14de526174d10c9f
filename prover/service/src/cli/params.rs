//! `params`: reference strings for halo2-kzg.

use std::{
    fs::File,
    io::Read as _,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use zkinfer_params::{
    dev_setup::{Trapdoor, development_srs},
    srs::{Ceremonies, Origin, Place, Srs, SrsHome, SrsStep, library, ptau},
};

use super::{
    CliError, Out,
    output::{bytes, row, seconds, table},
    progress::Bar,
};
use crate::config;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum ParamsVerb {
    /// Import a file of a ceremony: a .ptau file, or one in halo2's own format. Its digest must be of a known ceremony.
    Import(ImportArgs),
    /// Read a reference string and check every point of it.
    Verify(NameArgs),
    /// List the reference strings of the folder.
    Ls {
        #[command(flatten)]
        home: HomeArg,
    },
    /// Write powers of τ in halo2's own format.
    Export(ExportArgs),
    /// Make a development reference string: whoever made it can forge every proof under its keys.
    Dev(DevArgs),
}

/// Where reference strings lie.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct HomeArg {
    /// The folder of reference strings [default: params in the data folder].
    #[arg(long = "params", value_name = "DIR")]
    folder: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// The file.
    file: PathBuf,
    /// Take the first 2^K powers only.
    #[arg(long, value_name = "K")]
    max_k: Option<u32>,
    /// A list of ceremonies to trust beside the known ones: [{"name": "…", "blake2b": "…"}] (or "sha256").
    #[arg(long, value_name = "FILE")]
    ceremonies: Vec<PathBuf>,
    /// The digest that the ceremony's people published for this file: BLAKE2b-512 or SHA-256 in hexadecimal.
    #[arg(long, value_name = "HEX")]
    digest: Option<String>,
    /// What to call the ceremony of --digest.
    #[arg(long, requires = "digest", value_name = "NAME")]
    name: Option<String>,
    /// Write this file instead of adding to the folder.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    home: HomeArg,
}

#[derive(Debug, clap::Args)]
pub(crate) struct NameArgs {
    /// A file, or the id that `params ls` shows.
    #[arg(value_name = "FILE|ID")]
    srs: String,
    #[command(flatten)]
    home: HomeArg,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// A file, or the id that `params ls` shows.
    #[arg(value_name = "FILE|ID")]
    srs: String,
    /// Write 2^K powers; by default all.
    #[arg(long, value_name = "K")]
    k: Option<u32>,
    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    home: HomeArg,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DevArgs {
    /// Make 2^K powers.
    #[arg(long, value_name = "K")]
    k: u32,
    /// Write this file instead of adding to the folder.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    home: HomeArg,
}

impl HomeArg {
    fn open(&self) -> Result<SrsHome, CliError> {
        let folder = self.folder.clone();
        let folder = folder.unwrap_or_else(|| config::default_data_dir().join("params"));
        SrsHome::open(&folder).map_err(CliError::failed)
    }

    /// The reference string of a file's name, or of an id in the folder.
    pub(crate) fn find(&self, name: &str) -> Result<Srs, CliError> {
        let path = Path::new(name);
        if path.exists() {
            return Srs::open(path)
                .map_err(|e| CliError::usage(format!("{}: {e}", path.display())));
        }
        self.open()?.find(name).map_err(CliError::usage)
    }
}

/// Where a reference string comes from, in words.
pub(crate) fn origin_text(srs: &Srs) -> String {
    match srs.origin() {
        Origin::Development => "development (whoever made it can forge proofs)".to_owned(),
        Origin::Ceremony { name, .. } => format!("ceremony {name}"),
    }
}

pub(crate) fn run(verb: &ParamsVerb, out: Out) -> Result<(), CliError> {
    match verb {
        ParamsVerb::Import(args) => import(args, out),
        ParamsVerb::Verify(args) => verify(args, out),
        ParamsVerb::Ls { home } => list(home, out),
        ParamsVerb::Export(args) => export(args, out),
        ParamsVerb::Dev(args) => development(args, out),
    }
}

/// Shows the work of a watch on a bar; a step counts from its own beginning.
fn shown(bar: &Bar) -> impl FnMut(SrsStep, u64, u64) -> ControlFlow<()> {
    |step, done, total| {
        let what = match step {
            SrsStep::Read => "reading and checking",
            SrsStep::Make => "making points",
            _ => "computing the Lagrange form",
        };
        bar.show(what, done as f64 / total.max(1) as f64);
        ControlFlow::Continue(())
    }
}

fn import(args: &ImportArgs, out: Out) -> Result<(), CliError> {
    let home = args.home.open()?;
    let mut known = home.ceremonies().map_err(CliError::usage)?;
    for path in &args.ceremonies {
        known.extend(Ceremonies::read(path).map_err(CliError::usage)?);
    }
    if let Some(digest) = &args.digest {
        let name = args.name.as_deref().unwrap_or("named on the command line");
        known.add(name, digest).map_err(CliError::usage)?;
    }
    let mut magic = [0u8; 4];
    let ptau = File::open(&args.file)
        .and_then(|mut file| file.read_exact(&mut magic))
        .map(|()| magic == *b"ptau")
        .map_err(|e| CliError::usage(format!("{}: {e}", args.file.display())))?;
    let bar = Bar::new("import");
    let place = place(args.output.as_deref(), &home);
    let import = if ptau { ptau::import } else { library::import };
    let srs = import(&args.file, &known, args.max_k, place, &mut shown(&bar))
        .map_err(|e| CliError::failed(format!("{}: {e}", args.file.display())))?;
    let took = bar.elapsed();
    drop(bar);
    print(&srs, took, out);
    Ok(())
}

fn place<'a>(output: Option<&'a Path>, home: &'a SrsHome) -> Place<'a> {
    output.map_or(Place::Home(home), Place::File)
}

fn verify(args: &NameArgs, out: Out) -> Result<(), CliError> {
    let srs = args.home.find(&args.srs)?;
    let bar = Bar::new("verify");
    srs.verify(&mut shown(&bar))
        .map_err(|e| CliError::failed(format!("not valid: {e}")))?;
    let took = bar.elapsed();
    drop(bar);
    print(&srs, took, out);
    Ok(())
}

fn export(args: &ExportArgs, out: Out) -> Result<(), CliError> {
    let srs = args.home.find(&args.srs)?;
    let bar = Bar::new("export");
    let k = args.k.unwrap_or(srs.k());
    library::export(&srs, k, &args.output, &mut shown(&bar)).map_err(CliError::failed)?;
    drop(bar);
    let rows = [
        row("written", args.output.display()),
        row("powers", format!("2^{k}")),
        row("from", origin_text(&srs)),
    ];
    let value = json!({ "written": args.output, "k": k, "origin": origin_text(&srs) });
    out.result(&value, &table(&rows));
    Ok(())
}

fn development(args: &DevArgs, out: Out) -> Result<(), CliError> {
    let home = args.home.open()?;
    let bar = Bar::new("params dev");
    let place = place(args.output.as_deref(), &home);
    let trapdoor = Trapdoor::for_development();
    let srs =
        development_srs(&trapdoor, args.k, place, &mut shown(&bar)).map_err(CliError::failed)?;
    let took = bar.elapsed();
    drop(bar);
    print(&srs, took, out);
    out.warning("this is a DEVELOPMENT reference string: whoever made it can forge every proof under its keys");
    Ok(())
}

fn list(home: &HomeArg, out: Out) -> Result<(), CliError> {
    let home = home.open()?;
    let entries = home.list().map_err(CliError::failed)?;
    let values: Vec<Value> = entries
        .iter()
        .map(|entry| match &entry.srs {
            Ok(srs) => json_of(srs),
            Err(e) => json!({ "path": entry.path, "error": e.to_string() }),
        })
        .collect();
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| match &entry.srs {
            Ok(srs) => row(
                &hex::encode(srs.id())[..16],
                format!(
                    "2^{:<3} {:>10}  {}",
                    srs.k(),
                    bytes(srs.file_bytes()),
                    origin_text(srs)
                ),
            ),
            Err(e) => row(entry.path.display().to_string(), format!("unusable: {e}")),
        })
        .collect();
    let value = json!({ "folder": home.root(), "reference_strings": values });
    let text = if rows.is_empty() {
        format!(
            "no reference strings in {}; import one with `zkinfer params import`",
            home.root().display()
        )
    } else {
        table(&rows)
    };
    out.result(&value, &text);
    Ok(())
}

fn json_of(srs: &Srs) -> Value {
    let (setup, name, blake2b, sha256) = match srs.origin() {
        Origin::Development => ("development", None, None, None),
        Origin::Ceremony { name, digests } => (
            "ceremony",
            Some(name.as_str()),
            Some(hex::encode(digests.blake2b)),
            Some(hex::encode(digests.sha256)),
        ),
    };
    json!({
        "id": hex::encode(srs.id()), "path": srs.path(), "k": srs.k(), "setup": setup, "ceremony": name, "blake2b": blake2b,
        "sha256": sha256, "bytes": srs.file_bytes(),
    })
}

fn print(srs: &Srs, took: f64, out: Out) {
    let mut value = json_of(srs);
    value["seconds"] = json!(took);
    let rows = [
        row("id", hex::encode(srs.id())),
        row("file", srs.path().display()),
        row("powers", format!("2^{}", srs.k())),
        row("from", format!("{}, by its own header", origin_text(srs))),
        row("size", bytes(srs.file_bytes())),
        row("checked in", seconds(took)),
    ];
    out.result(&value, &table(&rows));
}
