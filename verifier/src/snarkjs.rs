//! # snarkjs JSON for plain Groth16
//! `proof.json` and `public.json` in both directions, `verification_key.json` out. Numbers are decimal strings in canonical form;
//! points are projective with z = 1; G2 coordinates are [c0, c1] (snarkjs's order, not EIP-197's). The public signals are the
//! words of the statement. Source: snarkjs 0.7, `groth16_verify.js`.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

use ark_bn254::{Fq, Fq2, Fr, G1Affine, G2Affine};
use ark_ec::AffineRepr;
use ark_ff::{BigInt, PrimeField};
use serde::{Deserialize, Serialize};

use crate::{
    curve::PointError,
    key::VerifyingKey,
    proof::{Proof, ProofError, ProofPoint},
    statement::{Statement, StatementError, StatementLayout},
    system::ProofSystem,
};

/// Longest JSON text that is read.
pub const MAX_JSON_BYTES: usize = 1 << 26;

/// Why a text is not the file asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnarkjsError {
    /// Only plain Groth16 has these files.
    #[error("snarkjs files exist for groth16 only, got {got}")]
    System {
        /// The system of the proof or key.
        got: ProofSystem,
    },
    /// The text is longer than [`MAX_JSON_BYTES`].
    #[error("at most {max} bytes of JSON, got {got}")]
    TooLong {
        /// The bound.
        max: usize,
        /// Length of the text.
        got: usize,
    },
    /// Not JSON of this shape; the position and cause are serde's.
    #[error("line {line}, column {column}: not JSON of the expected shape")]
    Json {
        /// Line of the first offence.
        line: usize,
        /// Column of the first offence.
        column: usize,
    },
    /// A field has another value than the only one possible.
    #[error("{field}: expected `{expected}`")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// The value it must have.
        expected: &'static str,
    },
    /// Not a canonical decimal number below the modulus.
    #[error("{field}: not a canonical decimal number below the modulus")]
    Number {
        /// Where it stands.
        field: &'static str,
    },
    /// A point is not acceptable.
    #[error("{0}")]
    Proof(#[from] ProofError),
    /// The public signals are not the words of a statement of the layout.
    #[error("{0}")]
    Statement(#[from] StatementError),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProofJson {
    pi_a: [String; 3],
    pi_b: [[String; 2]; 3],
    pi_c: [String; 3],
    protocol: String,
    #[serde(default = "curve_name")]
    curve: String,
}

#[derive(Serialize)]
struct VerificationKeyJson {
    protocol: &'static str,
    curve: &'static str,
    #[serde(rename = "nPublic")]
    n_public: usize,
    vk_alpha_1: [String; 3],
    vk_beta_2: [[String; 2]; 3],
    vk_gamma_2: [[String; 2]; 3],
    vk_delta_2: [[String; 2]; 3],
    #[serde(rename = "IC")]
    ic: Vec<[String; 3]>,
}

fn curve_name() -> String {
    "bn128".to_string()
}

/// The text of `proof.json`.
///
/// # Errors
/// [`SnarkjsError::System`] unless the proof is plain Groth16.
pub fn proof_to_json(proof: &Proof) -> Result<String, SnarkjsError> {
    let Proof::Groth16 { a, b, c } = proof else {
        return Err(SnarkjsError::System {
            got: proof.system(),
        });
    };
    write(&ProofJson {
        pi_a: g1_json(a),
        pi_b: g2_json(b),
        pi_c: g1_json(c),
        protocol: "groth16".to_string(),
        curve: curve_name(),
    })
}

/// The proof in the text of a `proof.json`.
///
/// # Errors
/// [`SnarkjsError`] unless it is a canonical Groth16 proof over BN254.
pub fn proof_from_json(text: &str) -> Result<Proof, SnarkjsError> {
    let json: ProofJson = read(text)?;
    if json.protocol != "groth16" {
        return Err(SnarkjsError::Field {
            field: "protocol",
            expected: "groth16",
        });
    }
    if json.curve != "bn128" {
        return Err(SnarkjsError::Field {
            field: "curve",
            expected: "bn128",
        });
    }
    let proof = Proof::Groth16 {
        a: g1_from_json("pi_a", ProofPoint::A, &json.pi_a)?,
        b: g2_from_json("pi_b", ProofPoint::B, &json.pi_b)?,
        c: g1_from_json("pi_c", ProofPoint::C, &json.pi_c)?,
    };
    proof.check()?;
    Ok(proof)
}

/// The text of `public.json`: the words of a statement.
///
/// # Errors
/// [`SnarkjsError::Json`] if serialization fails, which it does not for strings.
pub fn public_to_json(statement: &Statement) -> Result<String, SnarkjsError> {
    let words: Vec<String> = statement.words().iter().map(Fr::to_string).collect();
    write(&words)
}

/// The statement in the text of a `public.json`.
///
/// # Errors
/// [`SnarkjsError`] unless it is exactly the words of a statement of `layout`.
pub fn public_from_json(layout: &StatementLayout, text: &str) -> Result<Statement, SnarkjsError> {
    let signals: Vec<String> = read(text)?;
    let expected = layout.n_words();
    if signals.len() != expected {
        return Err(StatementError::Words {
            expected,
            got: signals.len(),
        }
        .into());
    }
    let words = signals
        .iter()
        .map(|signal| number("public", signal))
        .collect::<Result<Vec<Fr>, _>>()?;
    Ok(Statement::from_words(layout, &words)?)
}

/// The text of `verification_key.json`. The optional field `vk_alphabeta_12`, which snarkjs writes and never reads to verify, is
/// left out.
///
/// # Errors
/// [`SnarkjsError::System`] unless the key is plain Groth16.
pub fn verification_key_to_json(key: &VerifyingKey) -> Result<String, SnarkjsError> {
    let got = key.system;
    let groth = key.groth().ok_or(SnarkjsError::System { got })?;
    let (ProofSystem::Groth16, [delta]) = (key.system, groth.deltas_g2.as_slice()) else {
        return Err(SnarkjsError::System { got });
    };
    write(&VerificationKeyJson {
        protocol: "groth16",
        curve: "bn128",
        n_public: groth.ic.len().saturating_sub(1),
        vk_alpha_1: g1_json(&groth.alpha_g1),
        vk_beta_2: g2_json(&groth.beta_g2),
        vk_gamma_2: g2_json(&groth.gamma_g2),
        vk_delta_2: g2_json(delta),
        ic: groth.ic.iter().map(g1_json).collect(),
    })
}

fn write<T: Serialize>(value: &T) -> Result<String, SnarkjsError> {
    serde_json::to_string_pretty(value).map_err(json_error)
}

fn read<'t, T: Deserialize<'t>>(text: &'t str) -> Result<T, SnarkjsError> {
    if text.len() > MAX_JSON_BYTES {
        return Err(SnarkjsError::TooLong {
            max: MAX_JSON_BYTES,
            got: text.len(),
        });
    }
    serde_json::from_str(text).map_err(json_error)
}

fn json_error(error: serde_json::Error) -> SnarkjsError {
    SnarkjsError::Json {
        line: error.line(),
        column: error.column(),
    }
}

fn g1_json(point: &G1Affine) -> [String; 3] {
    let (x, y) = point.xy().unwrap_or_default();
    [x.to_string(), y.to_string(), "1".to_string()]
}

fn g2_json(point: &G2Affine) -> [[String; 2]; 3] {
    let (x, y) = point.xy().unwrap_or_default();
    [
        [x.c0.to_string(), x.c1.to_string()],
        [y.c0.to_string(), y.c1.to_string()],
        ["1".to_string(), "0".to_string()],
    ]
}

fn g1_from_json(
    field: &'static str,
    point: ProofPoint,
    [x, y, z]: &[String; 3],
) -> Result<G1Affine, SnarkjsError> {
    finite(point, z == "1", z == "0")?;
    Ok(G1Affine::new_unchecked(
        coordinate(field, point, x)?,
        coordinate(field, point, y)?,
    ))
}

fn g2_from_json(
    field: &'static str,
    point: ProofPoint,
    [x, y, z]: &[[String; 2]; 3],
) -> Result<G2Affine, SnarkjsError> {
    finite(
        point,
        z[0] == "1" && z[1] == "0",
        z[0] == "0" && z[1] == "0",
    )?;
    let fq2 = |c: &[String; 2]| -> Result<Fq2, SnarkjsError> {
        Ok(Fq2::new(
            coordinate(field, point, &c[0])?,
            coordinate(field, point, &c[1])?,
        ))
    };
    Ok(G2Affine::new_unchecked(fq2(x)?, fq2(y)?))
}

fn finite(point: ProofPoint, is_one: bool, is_zero: bool) -> Result<(), SnarkjsError> {
    if is_one {
        return Ok(());
    }
    if is_zero {
        return Err(ProofError::Point {
            point,
            error: PointError::Infinity,
        }
        .into());
    }
    Err(SnarkjsError::Field {
        field: "the third coordinate",
        expected: "1",
    })
}

fn coordinate(field: &'static str, point: ProofPoint, text: &str) -> Result<Fq, SnarkjsError> {
    let value = decimal(text).ok_or(SnarkjsError::Number { field })?;
    Fq::from_bigint(value).ok_or(
        ProofError::Point {
            point,
            error: PointError::Coordinate,
        }
        .into(),
    )
}

fn number(field: &'static str, text: &str) -> Result<Fr, SnarkjsError> {
    decimal(text)
        .and_then(Fr::from_bigint)
        .ok_or(SnarkjsError::Number { field })
}

/// A decimal number below 2^256 without sign or leading zeros.
fn decimal(text: &str) -> Option<BigInt<4>> {
    let digits = text.as_bytes();
    if digits.is_empty() || digits.len() > 78 || (digits.len() > 1 && digits[0] == b'0') {
        return None;
    }
    let mut limbs = [0_u64; 4];
    for digit in digits {
        let mut carry = u128::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
        for limb in &mut limbs {
            let wide = u128::from(*limb) * 10 + carry;
            *limb = wide as u64;
            carry = wide >> 64;
        }
        if carry != 0 {
            return None;
        }
    }
    Some(BigInt(limbs))
}
