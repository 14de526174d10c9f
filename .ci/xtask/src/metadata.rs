//! What `cargo metadata` says: the members of the workspace and everything they depend on.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// One package of the dependency graph, reduced to what the checks read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    pub(crate) member: bool,
    /// Declared dependencies: name and kind (`normal`, `dev` or `build`).
    pub(crate) dependencies: Vec<(String, String)>,
    /// Roots of the library and the binaries, relative to the repository.
    pub(crate) roots: Vec<String>,
    /// The package's folder, relative to the repository.
    pub(crate) folder: String,
}

/// The repository's root: the folder above `.ci/`.
///
/// Cargo says at run time where the package is: the binary itself may have been built in another clone with the same target folder.
pub(crate) fn repository() -> PathBuf {
    let built = || env!("CARGO_MANIFEST_DIR").into();
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(built));
    manifest.join("../..").canonicalize().unwrap_or(manifest)
}

/// Runs `cargo metadata` on the committed lock file.
///
/// # Errors
/// When cargo fails (its own message is passed on) or prints something else than metadata.
pub(crate) fn packages() -> Result<Vec<Package>, String> {
    packages_of("Cargo.toml")
}

/// As [`packages`], of the workspace with this manifest.
pub(crate) fn packages_of(manifest: &str) -> Result<Vec<Package>, String> {
    let output = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(["--manifest-path", manifest])
        .current_dir(repository())
        .output()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    let json = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("cargo metadata: {error}"))?;
    Ok(parse(&json))
}

fn parse(json: &Value) -> Vec<Package> {
    let root = format!("{}/", text(&json["workspace_root"]));
    let members = list(&json["workspace_members"]);
    list(&json["packages"])
        .iter()
        .map(|package| {
            let relative = |path: &Value| {
                text(path)
                    .strip_prefix(&root)
                    .unwrap_or_default()
                    .to_owned()
            };
            let is_root = |target: &&Value| {
                list(&target["kind"])
                    .iter()
                    .any(|kind| matches!(kind.as_str(), Some("lib" | "bin")))
            };
            Package {
                name: text(&package["name"]),
                version: text(&package["version"]),
                license: package["license"].as_str().map(str::to_owned),
                member: members.contains(&package["id"]),
                dependencies: list(&package["dependencies"])
                    .iter()
                    .map(|d| {
                        (
                            text(&d["name"]),
                            d["kind"].as_str().unwrap_or("normal").to_owned(),
                        )
                    })
                    .collect(),
                roots: list(&package["targets"])
                    .iter()
                    .filter(is_root)
                    .map(|t| relative(&t["src_path"]))
                    .collect(),
                folder: relative(&package["manifest_path"])
                    .trim_end_matches("/Cargo.toml")
                    .to_owned(),
            }
        })
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
