//! # The library's own format
//!
//! What `ParamsKZG::write` of halo2 (PSE and axiom) writes: k u32, \[τⁱ\] for i < 2ᵏ, \[L_i(τ)\] for i < 2ᵏ over the library's domain,
//! \[1\] and \[τ\] in G2; points raw. The library reads such a file without any check; here all of it is checked.

use std::path::Path;

use ark_bn254::G2Affine;
use ark_ec::AffineRepr;

use super::check::Check;
use super::source::Source;
use super::{
    Ceremonies, G1_BYTES, G2_BYTES, MAX_K, Place, Srs, SrsError, SrsPart, SrsSection, SrsWriter,
    Watch, decode_g1, decode_g2, encode_g1_all, g2_generator, lagrange, ptau,
};
use crate::store::write_file;

/// Imports the first 2^`max_k` powers (or all) of a file in the library's format that `ceremonies` knows.
///
/// # Errors
/// [`SrsError`]; nothing is left behind then. Memory is the Lagrange form.
pub fn import(
    path: &Path,
    ceremonies: &Ceremonies,
    max_k: Option<u32>,
    to: Place<'_>,
    watch: &mut Watch<'_>,
) -> Result<Srs, SrsError> {
    let mut source = Source::open(path, watch)?;
    let file_k = source.u32()?;
    if !(1..=MAX_K).contains(&file_k) {
        return Err(SrsError::malformed(
            "the first four bytes (k)",
            "1 to 28",
            file_k,
        ));
    }
    let n = 1u64 << file_k;
    let expected = 4 + 2 * n * G1_BYTES as u64 + 2 * G2_BYTES as u64;
    if source.len() != expected {
        return Err(SrsError::Length {
            expected,
            got: source.len(),
        });
    }
    let k = max_k.map_or(file_k, |max| max.min(file_k));
    let mut writer = SrsWriter::begin(k, &to)?;
    let mut check = Check::new(k, k);
    let wanted = 1u64 << k;
    source.points(wanted, |raw| {
        check.absorb(SrsSection::Monomial, raw)?;
        writer.append(SrsSection::Monomial, raw)
    })?;
    source.skip((n - wanted) * G1_BYTES as u64)?;
    let own = if k == file_k {
        // No longer than the file.
        let mut points = vec![0u8; n as usize * G1_BYTES];
        source.fill(&mut points)?;
        lagrange::from_library(&points)
    } else {
        source.skip(n * G1_BYTES as u64)?;
        let powers = decode_g1(&writer.powers()?)
            .map_err(|(i, fault)| SrsError::point(SrsSection::Monomial, i, fault))?;
        encode_g1_all(&lagrange::from_powers(&powers, source.watch())?)
    };
    check.absorb(SrsSection::Lagrange, &own)?;
    writer.append(SrsSection::Lagrange, &own)?;
    let (mut one, mut tau) = ([0; G2_BYTES], [0; G2_BYTES]);
    source.fill(&mut one)?;
    source.fill(&mut tau)?;
    if decode_g2(&one).map_err(|fault| SrsError::PointG2 { fault })? != G2Affine::generator() {
        return Err(SrsError::Generator {
            section: "the points in G2",
            group: "G2",
        });
    }
    let origin = ptau::known(ceremonies, source.finish()?)?;
    check.finish(&tau)?;
    writer.finish(k, origin, tau)
}

/// Writes the first 2ᵏ powers of `srs` in the library's format.
///
/// # Errors
/// [`SrsError`], when the reference string is too small or not what it says.
pub fn export(srs: &Srs, k: u32, to: &Path, watch: &mut Watch<'_>) -> Result<(), SrsError> {
    Ok(write_file(to, &encode(&srs.load(k, watch)?))?)
}

/// The part in the library's format.
#[must_use]
pub fn encode(part: &SrsPart) -> Vec<u8> {
    let len = 4 + part.monomial.len() + part.lagrange.len() + 2 * G2_BYTES;
    let mut bytes = Vec::with_capacity(len);
    bytes.extend_from_slice(&part.k.to_le_bytes());
    bytes.extend_from_slice(&part.monomial);
    bytes.extend_from_slice(&part.lagrange);
    bytes.extend_from_slice(&g2_generator());
    bytes.extend_from_slice(&part.s_g2);
    bytes
}
