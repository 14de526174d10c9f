//! # The sources that a generated crate carries
//! `pallet/src` and `verifier/src`, byte for byte as they are in this repository; `build.rs` lists them. Their manifests:
//! [`super::manifest::vendored`].

use super::manifest;

/// Path and text of each file, sorted.
static SOURCES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/vendored.rs"));

/// All files of `pallet` and `verifier`.
pub(super) fn files() -> impl Iterator<Item = (String, String)> {
    let manifests = ["pallet", "verifier"]
        .map(|folder| (format!("{folder}/Cargo.toml"), manifest::vendored(folder)));
    let sources = SOURCES
        .iter()
        .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
    manifests.into_iter().chain(sources)
}
