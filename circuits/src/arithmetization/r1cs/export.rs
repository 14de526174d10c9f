//! # iden3 files: `.r1cs` and `.wtns`
//! Semantics: the plain form as circom's tools read it, so that snarkjs can set up, prove and verify our circuit on its own.
//! Source: the binary format descriptions in iden3/r1csfile (`.r1cs` version 1) and iden3/snarkjs (`.wtns` version 2).

use super::{Form, R1cs, Witness};
use ark_bn254::Fr;
use ark_ff::{BigInteger, PrimeField};
use std::io::{self, Write};

const FIELD_BYTES: u32 = 32;

/// Why a circuit is not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The iden3 formats know no committed round.
    #[error("only the plain form (groth16) has an .r1cs file; this circuit has a committed round")]
    Form,
    /// The writer failed.
    #[error("writing: {0}")]
    Io(#[from] io::Error),
}

fn field(x: &Fr) -> Vec<u8> {
    x.into_bigint().to_bytes_le()
}

fn section(out: &mut impl Write, kind: u32, body: &[u8]) -> io::Result<()> {
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&(body.len() as u64).to_le_bytes())?;
    out.write_all(body)
}

/// Writes the constraints. Every word is a public input, in statement order; there is no public output.
///
/// # Errors
/// For the committed form, and when writing fails.
pub fn write_r1cs(circuit: &R1cs, out: &mut impl Write) -> Result<(), ExportError> {
    if circuit.form() != Form::Plain {
        return Err(ExportError::Form);
    }
    let n_wires = circuit.n_wires() as u32;
    let n_public = circuit.n_instance() as u32 - 1;
    let mut header = FIELD_BYTES.to_le_bytes().to_vec();
    header.extend(Fr::MODULUS.to_bytes_le());
    for n in [n_wires, 0, n_public, circuit.n_private() as u32] {
        header.extend(n.to_le_bytes());
    }
    header.extend(u64::from(n_wires).to_le_bytes());
    header.extend((circuit.n_rows() as u32).to_le_bytes());

    let mut rows = vec![];
    for row in 0..circuit.n_rows() {
        for side in circuit.row(row) {
            rows.extend((side.len() as u32).to_le_bytes());
            for (wire, coefficient) in side {
                rows.extend((wire as u32).to_le_bytes());
                rows.extend(field(&coefficient));
            }
        }
    }
    let labels: Vec<u8> = (0..u64::from(n_wires)).flat_map(u64::to_le_bytes).collect();
    out.write_all(b"r1cs")?;
    out.write_all(&1u32.to_le_bytes())?;
    out.write_all(&3u32.to_le_bytes())?;
    section(out, 1, &header)?;
    section(out, 2, &rows)?;
    section(out, 3, &labels)?;
    Ok(())
}

/// Writes the values of all wires.
///
/// # Errors
/// When the witness has committed wires, and when writing fails.
pub fn write_wtns(witness: &Witness, out: &mut impl Write) -> Result<(), ExportError> {
    if !witness.committed.is_empty() {
        return Err(ExportError::Form);
    }
    let wires = || witness.instance.iter().chain(&witness.private);
    let mut header = FIELD_BYTES.to_le_bytes().to_vec();
    header.extend(Fr::MODULUS.to_bytes_le());
    header.extend((wires().count() as u32).to_le_bytes());
    let values: Vec<u8> = wires().flat_map(field).collect();
    out.write_all(b"wtns")?;
    out.write_all(&2u32.to_le_bytes())?;
    out.write_all(&2u32.to_le_bytes())?;
    section(out, 1, &header)?;
    section(out, 2, &values)?;
    Ok(())
}
