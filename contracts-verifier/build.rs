//! Lists the source files of the pallet and of the verifier, which every generated Substrate crate carries, so that none is forgotten.
#![forbid(unsafe_code)]

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

/// A folder of the generated crate, and where its files are, from this crate's folder.
const FOLDERS: [(&str, &str); 2] = [("pallet", "substrate/pallet"), ("verifier", "../verifier")];

fn main() -> io::Result<()> {
    let variable = |name: &str| env::var_os(name).map(PathBuf::from).unwrap_or_default();
    let root = variable("CARGO_MANIFEST_DIR");
    let mut list = String::from("&[\n");
    for (to, from) in FOLDERS {
        let folder = root.join(from).join("src");
        println!("cargo::rerun-if-changed={}", folder.display());
        for path in files(&folder)? {
            let name = path.strip_prefix(&folder).map_err(io::Error::other)?;
            let name: Vec<_> = name.iter().map(|part| part.to_string_lossy()).collect();
            let name = format!("{to}/src/{}", name.join("/"));
            let path = path.to_string_lossy();
            list += &format!("    ({name:?}, include_str!({path:?})),\n");
        }
    }
    fs::write(variable("OUT_DIR").join("vendored.rs"), list + "]\n")
}

/// The files under a folder.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}
