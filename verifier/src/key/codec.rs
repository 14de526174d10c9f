//! # The bytes of a verifying key
//! Every count is bounded, and checked against the bytes left, before anything is allocated for it.

use alloc::{string::String, vec::Vec};

use super::{GrothKey, KeyError, KeyMaterial, KeyPoint, VerifyingKey};
use crate::{
    cursor::Cursor,
    curve::{G1_BYTES, G2_BYTES, write_g1, write_g2},
    halo2_kzg,
    statement::{
        Dtype, LayoutError, MAX_DIMS, MAX_NAME_BYTES, MAX_TENSORS, Role, StatementLayout,
        TensorSpec, Visibility,
    },
    system::{ProofSystem, Setup},
};

const VERSION: u8 = 1;
const MAGIC: [u8; 8] = *b"zkinfvk\x01";
/// In place of a number of tensors: the number follows in two bytes and is not smaller than this.
const MANY_TENSORS: u8 = u8::MAX;
/// The least that a tensor takes: tags 3, name length 2, number of dimensions 1, scale 8, zero point 8.
const TENSOR_BYTES: usize = 22;

pub(super) fn encode(key: &VerifyingKey) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[key.system as u8, key.setup as u8]);
    out.extend_from_slice(&key.model_id);
    out.extend_from_slice(&key.circuit_digest);
    // Counts beyond these widths are refused by every check; saturation only keeps the encoder total.
    let n_tensors = u16::try_from(key.layout.tensors.len()).unwrap_or(u16::MAX);
    match u8::try_from(n_tensors) {
        Ok(few) if few != MANY_TENSORS => out.push(few),
        _ => {
            out.push(MANY_TENSORS);
            out.extend_from_slice(&n_tensors.to_be_bytes());
        }
    }
    for tensor in &key.layout.tensors {
        out.extend_from_slice(&[
            tensor.role as u8,
            tensor.visibility as u8,
            tensor.dtype as u8,
        ]);
        out.extend_from_slice(
            &u16::try_from(tensor.name.len())
                .unwrap_or(u16::MAX)
                .to_be_bytes(),
        );
        out.extend_from_slice(tensor.name.as_bytes());
        out.push(u8::try_from(tensor.shape.len()).unwrap_or(u8::MAX));
        tensor
            .shape
            .iter()
            .for_each(|dim| out.extend_from_slice(&dim.to_be_bytes()));
        out.extend_from_slice(&tensor.scale.to_bits().to_be_bytes());
        out.extend_from_slice(&tensor.zero_point.to_be_bytes());
    }
    match &key.material {
        KeyMaterial::Groth(groth) => encode_groth(&mut out, groth),
        KeyMaterial::Halo2Kzg(protocol) => halo2_kzg::encode(&mut out, protocol),
    }
    out
}

fn encode_groth(out: &mut Vec<u8>, key: &GrothKey) {
    write_g1(out, &key.alpha_g1);
    write_g2(out, &key.beta_g2);
    write_g2(out, &key.gamma_g2);
    out.push(u8::try_from(key.deltas_g2.len()).unwrap_or(u8::MAX));
    key.deltas_g2.iter().for_each(|delta| write_g2(out, delta));
    out.extend_from_slice(
        &u32::try_from(key.ic.len())
            .unwrap_or(u32::MAX)
            .to_be_bytes(),
    );
    key.ic.iter().for_each(|ic| write_g1(out, ic));
}

pub(super) fn decode(mut input: Cursor<'_>) -> Result<VerifyingKey, KeyError> {
    if input.array::<8>().ok() != Some(MAGIC) {
        return Err(KeyError::Magic { version: VERSION });
    }
    let system = input.tag("proof system", ProofSystem::from_tag)?;
    let setup = input.tag("setup", Setup::from_tag)?;
    let model_id = input.array()?;
    let circuit_digest = input.array()?;
    let layout = decode_layout(&mut input)?;
    let material = match system {
        ProofSystem::Halo2Kzg => KeyMaterial::Halo2Kzg(halo2_kzg::decode(&mut input)?),
        groth => KeyMaterial::Groth(decode_groth(&mut input, groth, layout.n_words())?),
    };
    match input.left() {
        0 => Ok(VerifyingKey {
            system,
            setup,
            model_id,
            circuit_digest,
            layout,
            material,
        }),
        extra => Err(KeyError::Trailing { extra }),
    }
}

fn decode_groth(
    input: &mut Cursor<'_>,
    system: ProofSystem,
    n_words: usize,
) -> Result<GrothKey, KeyError> {
    let alpha_g1 = input.g1(KeyPoint::Alpha)?;
    let beta_g2 = input.g2(KeyPoint::Beta)?;
    let gamma_g2 = input.g2(KeyPoint::Gamma)?;

    let n_deltas = usize::from(input.array::<1>()?[0]);
    check_count("deltas", system.n_deltas(), n_deltas)?;
    input.check_left(n_deltas.saturating_mul(G2_BYTES))?;
    let mut deltas_g2 = Vec::with_capacity(n_deltas);
    for i in 0..n_deltas {
        deltas_g2.push(input.g2(KeyPoint::Delta(i))?);
    }

    let n_ic = usize::try_from(u32::from_be_bytes(input.array()?)).unwrap_or(usize::MAX);
    check_count("IC points", system.n_ic(n_words), n_ic)?;
    input.check_left(n_ic.saturating_mul(G1_BYTES))?;
    let mut ic = Vec::with_capacity(n_ic);
    for i in 0..n_ic {
        ic.push(input.g1(KeyPoint::Ic(i))?);
    }
    Ok(GrothKey {
        alpha_g1,
        beta_g2,
        gamma_g2,
        deltas_g2,
        ic,
    })
}

fn decode_layout(input: &mut Cursor<'_>) -> Result<StatementLayout, KeyError> {
    let n_tensors = match input.array::<1>()?[0] {
        MANY_TENSORS => {
            let many = u16::from_be_bytes(input.array()?);
            if many < u16::from(MANY_TENSORS) {
                return Err(KeyError::LongCount {
                    what: "tensors",
                    got: many,
                });
            }
            usize::from(many)
        }
        few => usize::from(few),
    };
    if n_tensors > MAX_TENSORS {
        return Err(LayoutError::Tensors {
            max: MAX_TENSORS,
            got: n_tensors,
        }
        .into());
    }
    input.check_left(n_tensors.saturating_mul(TENSOR_BYTES))?;
    let mut tensors = Vec::with_capacity(n_tensors);
    for tensor in 0..n_tensors {
        let role = input.tag("role", Role::from_tag)?;
        let visibility = input.tag("visibility", Visibility::from_tag)?;
        let dtype = input.tag("dtype", Dtype::from_tag)?;
        let name_bytes = usize::from(u16::from_be_bytes(input.array()?));
        if name_bytes > MAX_NAME_BYTES {
            return Err(LayoutError::Name {
                tensor,
                max: MAX_NAME_BYTES,
                got: name_bytes,
            }
            .into());
        }
        let name = core::str::from_utf8(input.slice(name_bytes)?)
            .map_err(|_| KeyError::NameEncoding { tensor })?;
        let n_dims = usize::from(input.array::<1>()?[0]);
        if n_dims > MAX_DIMS {
            return Err(LayoutError::Dimensions {
                tensor,
                max: MAX_DIMS,
                got: n_dims,
            }
            .into());
        }
        let mut shape = Vec::with_capacity(n_dims);
        for _ in 0..n_dims {
            shape.push(u32::from_be_bytes(input.array()?));
        }
        tensors.push(TensorSpec {
            name: String::from(name),
            role,
            visibility,
            shape,
            dtype,
            scale: f64::from_bits(u64::from_be_bytes(input.array()?)),
            zero_point: i64::from_be_bytes(input.array()?),
        });
    }
    let layout = StatementLayout { tensors };
    layout.check()?;
    Ok(layout)
}

fn check_count(what: &'static str, expected: usize, got: usize) -> Result<(), KeyError> {
    if expected == got {
        Ok(())
    } else {
        Err(KeyError::Count {
            what,
            expected,
            got,
        })
    }
}
