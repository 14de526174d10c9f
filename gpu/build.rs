//! Embeds the machine code that lies in `gpu/cubins`: `<unit>.sm_<architecture>.cubin`, each beside a file `.key` that says what it was made from.
//! The example `kernels` writes both. Without them the units are compiled where they run.
#![forbid(unsafe_code)]

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

#[path = "src/cuda/module/recipe.rs"]
mod recipe;

fn main() -> io::Result<()> {
    for watched in ["build.rs", "cubins", "cuda", "src/cuda/module/recipe.rs"] {
        println!("cargo:rerun-if-changed={watched}");
    }
    let crate_folder = folder("CARGO_MANIFEST_DIR")?;
    let mut rows = Vec::new();
    for path in files(&crate_folder.join("cubins"), recipe::CUBIN)? {
        match fresh(&crate_folder, &path) {
            Ok((unit, sm)) => rows.push(format!("({unit:?}, {sm}, include_bytes!({path:?})),\n")),
            Err(reason) => println!("cargo:warning={} is not embedded: {reason}", path.display()),
        }
    }
    let table = folder("OUT_DIR")?.join("embedded.rs");
    fs::write(table, format!("&[\n{}]\n", rows.concat()))
}

/// Unit and architecture of machine code that was made from the source as it is, or why it was not.
fn fresh(crate_folder: &Path, cubin: &Path) -> Result<(String, u32), String> {
    let name = cubin.file_stem().and_then(|name| name.to_str());
    let (unit, sm) = name
        .and_then(|name| name.split_once(".sm_"))
        .ok_or("its name is not <unit>.sm_<architecture>.cubin")?;
    let sm: u32 = sm.parse().map_err(|_| "its architecture is no number")?;
    let read = |path: &Path| {
        fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let source = crate_folder.join("cuda");
    let unit_text = read(&source.join(format!("{unit}.cu")))?;
    let mut headers = Vec::new();
    for path in files(&source, "cuh").map_err(|error| error.to_string())? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        headers.push((name, read(&path)?));
    }
    let headers = headers
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()));
    let key = recipe::key((&format!("{unit}.cu"), &unit_text), headers, sm);
    match read(&cubin.with_file_name(recipe::file_name(unit, sm, recipe::KEY)))?.trim() == key {
        true => Ok((unit.to_owned(), sm)),
        false => Err(
            "it was made from other source; run the example `kernels` again, or remove it"
                .to_owned(),
        ),
    }
}

/// The files of a folder that have the ending, in order of their names; none where there is no folder.
fn files(folder: &Path, ending: &str) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths?;
    paths.retain(|path| path.extension().is_some_and(|found| found == ending));
    paths.sort();
    Ok(paths)
}

fn folder(variable: &str) -> io::Result<PathBuf> {
    env::var_os(variable)
        .map(PathBuf::from)
        .ok_or_else(|| io::Error::other(format!("cargo does not set {variable}")))
}
