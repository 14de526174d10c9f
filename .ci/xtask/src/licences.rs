//! Every package in the lock files carries a licence that the project may link.

use crate::metadata;

/// SPDX identifiers that ask for nothing but attribution (MPL-2.0: for the source of changed files, which we do not change).
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Checks the licence of every package of `cargo metadata`.
///
/// # Errors
/// Names each package whose expression no choice of allowed licences satisfies.
pub(crate) fn run() -> Result<String, String> {
    let mut packages = metadata::packages()?;
    packages.extend(metadata::packages_of(
        "contracts-verifier/substrate/Cargo.toml",
    )?);
    let complaints: Vec<String> = packages
        .iter()
        .filter(|package| !package.license.as_deref().is_some_and(satisfied))
        .map(|p| {
            format!(
                "licence: {} {}: {}",
                p.name,
                p.version,
                p.license.as_deref().unwrap_or("none declared")
            )
        })
        .collect();
    if complaints.is_empty() {
        Ok(format!("{} packages", packages.len()))
    } else {
        Err(complaints.join("\n"))
    }
}

/// Whether some choice of the SPDX expression's alternatives is allowed throughout. `/` is the old spelling of `OR`.
fn satisfied(expression: &str) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let holds = alternatives(&tokens, &mut at);
    holds && at == tokens.len()
}

fn alternatives(tokens: &[&str], at: &mut usize) -> bool {
    let mut holds = conjunction(tokens, at);
    while tokens.get(*at) == Some(&"OR") {
        *at += 1;
        holds |= conjunction(tokens, at);
    }
    holds
}

fn conjunction(tokens: &[&str], at: &mut usize) -> bool {
    let mut holds = licence(tokens, at);
    while tokens.get(*at) == Some(&"AND") {
        *at += 1;
        holds &= licence(tokens, at);
    }
    holds
}

fn licence(tokens: &[&str], at: &mut usize) -> bool {
    let Some(token) = tokens.get(*at) else {
        return false;
    };
    *at += 1;
    if *token == "(" {
        let holds = alternatives(tokens, at);
        *at += usize::from(tokens.get(*at) == Some(&")"));
        return holds;
    }
    if tokens.get(*at) == Some(&"WITH") {
        *at += 2; // An exception only grants more.
    }
    ALLOWED.contains(token)
}

#[cfg(test)]
mod tests {
    use super::satisfied;

    #[test]
    fn an_alternative_suffices_and_a_conjunction_needs_both() {
        for allowed in [
            "MIT",
            "MIT OR GPL-3.0",
            "MIT/Apache-2.0",
            "(GPL-2.0 OR MIT) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(satisfied(allowed), "{allowed}");
        }
        for refused in [
            "",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "(MIT OR ISC) AND AGPL-3.0",
            "MIT MIT",
        ] {
            assert!(!satisfied(refused), "{refused}");
        }
    }
}
