//! # `.ptau` files, as snarkjs writes them
//!
//! `ptau`, version u32, number of sections u32; each section: kind u32, bytes u64, content; little-endian.
//!
//! | kind | content |
//! |---|---|
//! | 1 | bytes of a coordinate u32, modulus, power u32, the ceremony's power u32 |
//! | 2 | \[τⁱ\] in G1, 2^(power + 1) − 1 points |
//! | 3 | \[τⁱ\] in G2, 2^power points |
//! | 12 | the Lagrange forms in G1 of 1, 2, 4 … 2^power powers (and of 2^(power + 1)); only in prepared files |
//!
//! Other sections (α, β, the contributions) enter the digest and are not looked at: the contributions are checked by
//! `snarkjs powersoftau verify`, and who trusts a digest trusts that somebody did.

use std::path::Path;

use ark_bn254::{Fq, G2Affine};
use ark_ec::AffineRepr;
use ark_ff::PrimeField;

use super::ceremony::hex;
use super::check::Check;
use super::source::Source;
use super::{
    Ceremonies, G1_BYTES, G2_BYTES, MAX_K, Origin, Place, Srs, SrsError, SrsSection, SrsWriter,
    Watch, decode_g2, lagrange,
};

const MAGIC: [u8; 4] = *b"ptau";
const VERSION: u32 = 1;
/// Sections that any `.ptau` file has at most.
const MAX_SECTIONS: u32 = 32;
/// Bytes of the largest coordinate whose curve is worth naming.
const MAX_COORDINATE: u32 = 128;

/// Imports the first 2^`max_k` powers (or all) of a `.ptau` file that `ceremonies` knows.
///
/// # Errors
/// [`SrsError`]; nothing is left behind then. Memory is a few chunks, for a file that is not prepared the powers.
pub fn import(
    path: &Path,
    ceremonies: &Ceremonies,
    max_k: Option<u32>,
    to: Place<'_>,
    watch: &mut Watch<'_>,
) -> Result<Srs, SrsError> {
    let mut source = Source::open(path, watch)?;
    let power = begin(&mut source)?;
    let k = max_k.map_or(power.power, |max| max.min(power.power));
    let mut writer = SrsWriter::begin(k, &to)?;
    let mut check = Check::new(k, 0);
    let mut seen = vec![1u32];
    let mut s_g2 = None;
    for _ in 1..power.sections {
        let (kind, bytes) = section(&mut source, &mut seen)?;
        let n = 1u64 << power.power;
        match kind {
            2 => {
                exact_points(kind, bytes, &[2 * n - 1], G1_BYTES)?;
                let wanted = 1u64 << k;
                source.points(wanted, |raw| {
                    check.absorb(SrsSection::Monomial, raw)?;
                    writer.append(SrsSection::Monomial, raw)
                })?;
                source.skip(bytes - wanted * G1_BYTES as u64)?;
            }
            3 => {
                exact_points(kind, bytes, &[n], G2_BYTES)?;
                let mut points = [0u8; 2 * G2_BYTES];
                source.fill(&mut points)?;
                s_g2 = Some(second_g2(&points)?);
                source.skip(bytes - points.len() as u64)?;
            }
            12 => {
                exact_points(kind, bytes, &[4 * n - 1, 2 * n - 1], G1_BYTES)?;
                let wanted = (2u64 << k) - 1;
                source.points(wanted, |raw| {
                    check.absorb(SrsSection::Lagrange, raw)?;
                    writer.append(SrsSection::Lagrange, raw)
                })?;
                source.skip(bytes - wanted * G1_BYTES as u64)?;
            }
            _ => source.skip(bytes)?,
        }
    }
    for (needed, what) in [(2, "the powers of τ in G1"), (3, "the powers of τ in G2")] {
        if !seen.contains(&needed) {
            return Err(SrsError::malformed(
                "the .ptau file",
                format!("a section {needed} ({what})"),
                "none",
            ));
        }
    }
    let lagrange_from = if seen.contains(&12) {
        0
    } else {
        check.without_lagrange();
        let powers = super::decode_g1(&writer.powers()?)
            .map_err(|(i, fault)| SrsError::point(SrsSection::Monomial, i, fault))?;
        let points = lagrange::from_powers(&powers, source.watch())?;
        writer.append(SrsSection::Lagrange, &super::encode_g1_all(&points))?;
        k
    };
    let digests = source.finish()?;
    let origin = known(ceremonies, digests)?;
    let s_g2 = s_g2.unwrap_or([0; G2_BYTES]);
    check.finish(&s_g2)?;
    writer.finish(lagrange_from, origin, s_g2)
}

/// The origin of a file with these digests.
pub(super) fn known(
    ceremonies: &Ceremonies,
    digests: super::FileDigests,
) -> Result<Origin, SrsError> {
    match ceremonies.name_of(&digests) {
        Some(name) => Ok(Origin::Ceremony {
            name: name.to_owned(),
            digests,
        }),
        None => Err(SrsError::UnknownDigest {
            digests: Box::new(digests),
            known: ceremonies.len(),
        }),
    }
}

struct Power {
    sections: u32,
    power: u32,
}

/// Reads up to the end of section 1.
fn begin(source: &mut Source<'_, '_>) -> Result<Power, SrsError> {
    let mut magic = [0; 4];
    if source.len() < 12 {
        return Err(SrsError::NotPtau);
    }
    source.fill(&mut magic)?;
    if magic != MAGIC {
        return Err(SrsError::NotPtau);
    }
    let version = source.u32()?;
    if version != VERSION {
        return Err(SrsError::Version {
            format: ".ptau",
            expected: VERSION,
            got: version,
        });
    }
    let sections = source.u32()?;
    if !(1..=MAX_SECTIONS).contains(&sections) {
        let expected = format!("1 to {MAX_SECTIONS}");
        return Err(SrsError::malformed(
            "the number of sections of the .ptau file",
            expected,
            sections,
        ));
    }
    let (kind, bytes) = section(source, &mut Vec::new())?;
    if kind != 1 {
        return Err(SrsError::malformed("the first section", 1, kind));
    }
    let coordinate = source.u32()?;
    if !(1..=MAX_COORDINATE).contains(&coordinate) || bytes != u64::from(coordinate) + 12 {
        return Err(SrsError::malformed(
            "section 1 of the .ptau file",
            "44 bytes with a modulus of 32",
            format!("{bytes} bytes with a modulus of {coordinate}"),
        ));
    }
    let mut modulus = vec![0u8; coordinate as usize];
    source.fill(&mut modulus)?;
    let mut expected: Vec<u8> = Fq::MODULUS
        .0
        .iter()
        .flat_map(|limb| limb.to_le_bytes())
        .collect();
    if modulus != expected {
        expected.reverse();
        modulus.reverse();
        return Err(SrsError::Curve {
            expected: hex(&expected),
            got: hex(&modulus),
        });
    }
    let (power, ceremony) = (source.u32()?, source.u32()?);
    if !(1..=MAX_K).contains(&power) || !(power..=MAX_K).contains(&ceremony) {
        return Err(SrsError::malformed(
            "section 1 of the .ptau file",
            "a power of 1 to 28, not above the ceremony's",
            format!("{power} of {ceremony}"),
        ));
    }
    Ok(Power { sections, power })
}

/// The kind and the length of the next section, which lies inside the file.
fn section(source: &mut Source<'_, '_>, seen: &mut Vec<u32>) -> Result<(u32, u64), SrsError> {
    let (kind, bytes) = (source.u32()?, source.u64()?);
    if seen.contains(&kind) {
        return Err(SrsError::malformed(
            "the .ptau file",
            format!("one section {kind}"),
            "two",
        ));
    }
    seen.push(kind);
    if bytes > source.left() {
        return Err(SrsError::malformed(
            format!("section {kind} of the .ptau file"),
            format!("at most the {} bytes that follow", source.left()),
            bytes,
        ));
    }
    Ok((kind, bytes))
}

fn exact_points(kind: u32, bytes: u64, counts: &[u64], point: usize) -> Result<(), SrsError> {
    // At most 2³⁰ points of 128 bytes.
    let lengths: Vec<u64> = counts.iter().map(|n| n * point as u64).collect();
    if lengths.contains(&bytes) {
        return Ok(());
    }
    let expected = lengths
        .iter()
        .map(|n| format!("{n} bytes"))
        .collect::<Vec<_>>()
        .join(" or ");
    Err(SrsError::malformed(
        format!("section {kind} of the .ptau file"),
        expected,
        bytes,
    ))
}

/// \[τ\] of the raw points \[1\], \[τ\].
fn second_g2(points: &[u8; 2 * G2_BYTES]) -> Result<[u8; G2_BYTES], SrsError> {
    let (mut one, mut tau) = ([0; G2_BYTES], [0; G2_BYTES]);
    one.copy_from_slice(&points[..G2_BYTES]);
    tau.copy_from_slice(&points[G2_BYTES..]);
    if decode_g2(&one).map_err(|fault| SrsError::PointG2 { fault })? != G2Affine::generator() {
        return Err(SrsError::Generator {
            section: "the powers of τ",
            group: "G2",
        });
    }
    Ok(tau)
}
