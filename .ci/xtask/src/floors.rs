//! The floors of the house, read from `cargo metadata`: who may depend on whom, and on which heavy libraries.

use crate::metadata::Package;

/// Each member, and the members it may depend on (for tests as well).
const ARROWS: &[(&str, &[&str])] = &[
    ("zkinfer-verifier", &[]),
    ("zkinfer-gpu", &[]),
    ("zkinfer-params", &["zkinfer-verifier"]),
    ("zkinfer-circuits", &["zkinfer-verifier"]),
    ("zkinfer-contracts", &["zkinfer-verifier"]),
    (
        "zkinfer-engine",
        &[
            "zkinfer-circuits",
            "zkinfer-params",
            "zkinfer-gpu",
            "zkinfer-verifier",
        ],
    ),
    (
        "zkinfer-service",
        &[
            "zkinfer-engine",
            "zkinfer-contracts",
            "zkinfer-circuits",
            "zkinfer-params",
            "zkinfer-gpu",
            "zkinfer-verifier",
        ],
    ),
    (
        "zkinfer-benches",
        &[
            "zkinfer-engine",
            "zkinfer-contracts",
            "zkinfer-circuits",
            "zkinfer-params",
            "zkinfer-gpu",
            "zkinfer-verifier",
        ],
    ),
    ("xtask", &[]),
];

/// Asynchronous and database libraries: prefixes of package names.
const SERVICE_ONLY: &[&str] = &["tokio", "tonic", "prost", "sqlx"];

/// The one exception: the test that drives a real node through `alloy` needs a runtime.
const EXCEPTIONS: &[(&str, &str, &str)] = &[("zkinfer-contracts", "tokio", "dev")];

/// Complaints about the members' dependencies.
pub(crate) fn check(packages: &[Package]) -> Vec<String> {
    packages
        .iter()
        .filter(|package| package.member)
        .flat_map(check_member)
        .collect()
}

fn check_member(package: &Package) -> Vec<String> {
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package.name) else {
        return vec![format!(
            "{}: a crate that the floors do not know; give it a place in .ci/xtask/src/floors.rs",
            package.name
        )];
    };
    let mut complaints = Vec::new();
    for (name, kind) in &package.dependencies {
        let ours = name.starts_with("zkinfer-") || name == "xtask";
        if ours && !allowed.contains(&name.as_str()) {
            complaints.push(format!(
                "{}: arrows point down only, and this one does not: → {name}",
                package.name
            ));
        }
        let service_only = SERVICE_ONLY
            .iter()
            .any(|prefix| name == prefix || name.starts_with(&format!("{prefix}-")));
        let excepted = EXCEPTIONS.contains(&(package.name.as_str(), name.as_str(), kind.as_str()));
        if service_only && package.name != "zkinfer-service" && !excepted {
            complaints.push(format!(
                "{}: {name} belongs to zkinfer-service only ({kind} dependency)",
                package.name
            ));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, dependencies: &[(&str, &str)]) -> Package {
        Package {
            name: name.to_owned(),
            member: true,
            dependencies: dependencies
                .iter()
                .map(|(n, k)| ((*n).to_owned(), (*k).to_owned()))
                .collect(),
            ..Package::default()
        }
    }

    #[test]
    fn an_arrow_that_points_up_or_sideways_is_caught() {
        assert!(check(&[member("zkinfer-engine", &[("zkinfer-gpu", "normal")])]).is_empty());
        assert_eq!(
            check(&[member("zkinfer-verifier", &[("zkinfer-params", "normal")])]).len(),
            1
        );
        assert_eq!(
            check(&[member("zkinfer-circuits", &[("zkinfer-contracts", "dev")])]).len(),
            1
        );
        assert_eq!(check(&[member("zkinfer-extra", &[])]).len(), 1);
    }

    #[test]
    fn async_libraries_outside_the_service_are_caught() {
        assert!(
            check(&[member(
                "zkinfer-service",
                &[("tokio", "normal"), ("sqlx", "normal")]
            )])
            .is_empty()
        );
        assert!(check(&[member("zkinfer-contracts", &[("tokio", "dev")])]).is_empty());
        assert_eq!(
            check(&[member("zkinfer-contracts", &[("tokio", "normal")])]).len(),
            1
        );
        assert_eq!(
            check(&[member(
                "zkinfer-engine",
                &[("tonic-health", "normal"), ("prost", "build")]
            )])
            .len(),
            2
        );
    }
}
