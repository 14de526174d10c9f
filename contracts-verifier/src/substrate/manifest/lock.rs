//! # The lock file of a generated crate
//! That of the pallet's workspace here, less the packages that only its other members reach, and with the crate itself: nothing is left for
//! cargo to choose, and `cargo test --locked` agrees.

use std::collections::BTreeSet;

use super::{DEPENDENCIES, PALLET, SUBSTRATE, names, section};

const SUBSTRATE_LOCK: &str = include_str!("../../../substrate/Cargo.lock");

/// One `[[package]]`.
#[derive(Clone)]
struct Package {
    name: String,
    version: String,
    /// The lines before the dependencies.
    head: String,
    /// `name`, or where several have it `name version`.
    dependencies: Vec<String>,
}

impl Package {
    fn read(text: &str) -> Option<Self> {
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.strip_prefix(" = \"")?.strip_suffix('"')
        };
        let listed = |line: &str| Some(line.strip_prefix(" \"")?.strip_suffix("\",")?.to_owned());
        let (head, _) = text.split_once("\ndependencies").unwrap_or((text, ""));
        Some(Self {
            name: value("name")?.to_owned(),
            version: value("version")?.to_owned(),
            head: head.trim_end().to_owned(),
            dependencies: text.lines().filter_map(listed).collect(),
        })
    }

    /// The package that is generated.
    fn own(name: &str) -> Self {
        let version = section(SUBSTRATE, "[workspace.package]")
            .find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))
            .unwrap_or_default();
        let sdk = DEPENDENCIES.map(package_name);
        let ours = ["pallet-zkinfer-verifier", "zkinfer-verifier"];
        let dependencies: BTreeSet<&str> = sdk.into_iter().chain(ours).collect();
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            head: format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\""),
            dependencies: dependencies.into_iter().map(str::to_owned).collect(),
        }
    }

    /// Whether a list of dependencies means this package.
    fn is(&self, dependency: &str) -> bool {
        let mut parts = dependency.split(' ');
        parts.next() == Some(&self.name)
            && parts.next().is_none_or(|version| version == self.version)
    }

    fn text(&self) -> String {
        if self.dependencies.is_empty() {
            return self.head.clone();
        }
        let lines = self.dependencies.join("\",\n \"");
        format!("{}\ndependencies = [\n \"{lines}\",\n]", self.head)
    }
}

/// The name of the package behind a name in a manifest.
fn package_name(dependency: &str) -> &str {
    match dependency {
        "codec" => "parity-scale-codec",
        other => other,
    }
}

/// The lock file of a crate of this name.
pub(in crate::substrate) fn lock(name: &str) -> String {
    let mut blocks = SUBSTRATE_LOCK.split("\n\n");
    let head = blocks.next().unwrap_or_default();
    let mut packages: Vec<Package> = blocks.filter_map(Package::read).collect();
    // The vendored pallet has no tests.
    let kept: BTreeSet<&str> = names(PALLET, "[dependencies]").map(package_name).collect();
    for pallet in packages
        .iter_mut()
        .filter(|package| package.name == "pallet-zkinfer-verifier")
    {
        let name = |dependency: &str| dependency.split(' ').next().unwrap_or_default().to_owned();
        pallet
            .dependencies
            .retain(|dependency| kept.contains(&*name(dependency)));
    }
    // Packages are listed in order of their names.
    let place = packages.partition_point(|package| *package.name < *name);
    packages.insert(place, Package::own(name));
    let mut reached = BTreeSet::from([place]);
    let mut open = vec![place];
    while let Some(package) = open.pop().and_then(|at| packages.get(at)) {
        for (at, other) in packages.iter().enumerate() {
            if package.dependencies.iter().any(|name| other.is(name)) && reached.insert(at) {
                open.push(at);
            }
        }
    }
    let kept = packages
        .iter()
        .enumerate()
        .filter(|(at, _)| reached.contains(at));
    let texts: Vec<String> = kept.map(|(_, package)| package.text()).collect();
    format!("{head}\n\n{}\n", texts.join("\n\n"))
}
