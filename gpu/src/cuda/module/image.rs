//! # Image: where the machine code of a unit comes from
//!
//! From this program, if it was embedded when the program was built; from the cache on the disk; or from the compiler.

use super::cache::Cache;
use super::nvrtc::Nvrtc;
use super::recipe::{self, Text};
use crate::cuda::driver::{DriverError, Unit};
use crate::cuda::source::{self, File};

/// Unit, architecture and machine code of everything that lay in `gpu/cubins` and was made from this source.
const EMBEDDED: &[(&str, u32, &[u8])] = include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// The embedded machine code for exactly this architecture.
pub(crate) fn embedded(unit: Unit, sm: u32) -> Option<&'static [u8]> {
    let found = EMBEDDED
        .iter()
        .find(|(name, built, _)| *name == unit.name() && *built == sm);
    found.map(|(_, _, image)| *image)
}

/// The embedded machine code of the nearest older architecture of the same family, which `sm` runs too.
pub(crate) fn embedded_for_family(unit: Unit, sm: u32) -> Option<&'static [u8]> {
    let family = |built: u32| built / 10 == sm / 10 && built <= sm;
    let candidates = EMBEDDED
        .iter()
        .filter(|(name, built, _)| *name == unit.name() && family(*built));
    candidates
        .max_by_key(|(_, built, _)| *built)
        .map(|(_, _, image)| *image)
}

/// Machine code of a source from the cache, or else from a compiler whose major version is at most `newest`, which fills the cache.
///
/// # Errors
/// There is no such compiler, or the source does not compile.
pub(crate) fn compiled(source: File<'_>, sm: u32, newest: u32) -> Result<Vec<u8>, DriverError> {
    let compiler = Nvrtc::find(newest)?;
    let (major, minor) = compiler.version();
    let version = format!("NVRTC {major}.{minor}");
    let key = recipe::digest([key(source, sm).as_bytes(), version.as_bytes()]);
    let cache = Cache::of_user();
    if let Some(image) = cache.as_ref().and_then(|cache| cache.read(&key)) {
        return Ok(image);
    }
    let image = compiler.compile(source, sm)?.code;
    if let Some(cache) = cache {
        // The next start compiles again where this fails.
        let _ = cache.write(&key, &image);
    }
    Ok(image)
}

/// The digest of all that the machine code of a source is made from, but for the compiler.
pub(crate) fn key(source: File<'_>, sm: u32) -> String {
    recipe::key(text_of(&source), source::HEADERS.iter().map(text_of), sm)
}

fn text_of<'a>(file: &File<'a>) -> Text<'a> {
    (file.name, file.text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;
    use std::fs;

    use super::*;

    /// The build script takes every header of the folder, the compiler those of the list.
    #[test]
    fn every_header_of_the_folder_is_listed() {
        let files = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/cuda")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let found: BTreeSet<String> = names.filter(|name| name.ends_with(".cuh")).collect();
        let listed: BTreeSet<String> = source::HEADERS
            .iter()
            .map(|file| file.name.to_owned())
            .collect();
        assert_eq!(found, listed);
    }

    #[test]
    fn keys_depend_on_source_headers_and_architecture() {
        let headers = [("a.cuh", "1"), ("b.cuh", "2")];
        let key = recipe::key(("u.cu", "3"), headers, 90);
        assert_eq!(
            key,
            recipe::key(("u.cu", "3"), [headers[1], headers[0]], 90)
        );
        assert_ne!(key, recipe::key(("u.cu", "3"), headers, 80));
        assert_ne!(key, recipe::key(("u.cu", "4"), headers, 90));
        assert_ne!(
            key,
            recipe::key(("u.cu", "3"), [headers[0], ("b.cuh", "5")], 90)
        );
        let keys: BTreeSet<String> = Unit::ALL
            .into_iter()
            .map(|unit| super::key(source::unit(unit), 90))
            .collect();
        assert_eq!(keys.len(), Unit::ALL.len());
    }
}
