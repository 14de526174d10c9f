//! The .npy header and its numbers, with every size checked before anything is allocated.

use super::input::InputError;

/// Most elements an array may have.
const MAX_ELEMENTS: usize = 1 << 28;

/// Element types that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    F4,
    F8,
    I1,
    I2,
    I4,
    I8,
    U1,
    U2,
    U4,
    U8,
    Bool,
}

impl Element {
    fn width(self) -> usize {
        match self {
            Self::I1 | Self::U1 | Self::Bool => 1,
            Self::I2 | Self::U2 => 2,
            Self::F4 | Self::I4 | Self::U4 => 4,
            Self::F8 | Self::I8 | Self::U8 => 8,
        }
    }

    fn parse(descr: &str) -> Option<Self> {
        let (order, kind) = descr.split_at_checked(1)?;
        let element = match kind {
            "f4" => Self::F4,
            "f8" => Self::F8,
            "i1" => Self::I1,
            "i2" => Self::I2,
            "i4" => Self::I4,
            "i8" => Self::I8,
            "u1" => Self::U1,
            "u2" => Self::U2,
            "u4" => Self::U4,
            "u8" => Self::U8,
            "b1" => Self::Bool,
            _ => return None,
        };
        let ordered = order == "<" || (order == "|" && element.width() == 1);
        ordered.then_some(element)
    }

    fn read(self, b: &[u8]) -> f64 {
        // chunks_exact gives slices of exactly `width` bytes
        match self {
            Self::F4 => f32::from_le_bytes([b[0], b[1], b[2], b[3]]).into(),
            Self::F8 => f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]),
            Self::I1 => (b[0] as i8).into(),
            Self::I2 => i16::from_le_bytes([b[0], b[1]]).into(),
            Self::I4 => i32::from_le_bytes([b[0], b[1], b[2], b[3]]).into(),
            Self::I8 => i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f64,
            Self::U1 | Self::Bool => b[0].into(),
            Self::U2 => u16::from_le_bytes([b[0], b[1]]).into(),
            Self::U4 => u32::from_le_bytes([b[0], b[1], b[2], b[3]]).into(),
            Self::U8 => u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f64,
        }
    }
}

/// Shape and values of a C-ordered array.
pub(super) fn parse(name: &str, bytes: &[u8]) -> Result<(Vec<usize>, Vec<f64>), InputError> {
    let bad = |reason: &'static str| InputError::Array {
        array: name.to_owned(),
        reason: reason.to_owned(),
    };
    let Some(rest) = bytes.strip_prefix(b"\x93NUMPY") else {
        return Err(bad("not a .npy array"));
    };
    let (len, header) = match rest {
        [1, _, a, b, rest @ ..] => (usize::from(u16::from_le_bytes([*a, *b])), rest),
        [2 | 3, _, a, b, c, d, rest @ ..] => {
            let len = usize::try_from(u32::from_le_bytes([*a, *b, *c, *d]));
            (len.map_err(|_| bad("header too long"))?, rest)
        }
        _ => return Err(bad("unknown .npy version")),
    };
    let (header, data) = header
        .split_at_checked(len)
        .ok_or_else(|| bad("truncated header"))?;
    let header = std::str::from_utf8(header).map_err(|_| bad("header is not text"))?;
    let field = |key: &str| {
        let at = header.find(&format!("'{key}'"))?;
        Some(header[at..].split_once(':')?.1.trim_start())
    };
    let descr = field("descr").and_then(|v| v.strip_prefix('\'')?.split_once('\''));
    let descr = descr
        .ok_or_else(|| bad("header without a plain 'descr'"))?
        .0;
    let element = Element::parse(descr).ok_or_else(|| InputError::Array {
        array: name.to_owned(),
        reason: format!("element type {descr:?}; expected little-endian floats or integers"),
    })?;
    if !field("fortran_order").is_some_and(|v| v.starts_with("False")) {
        return Err(bad("Fortran order; save a C-ordered array"));
    }
    let shape = field("shape").and_then(|v| v.strip_prefix('(')?.split_once(')'));
    let shape = shape.ok_or_else(|| bad("header without 'shape'"))?.0;
    let shape = shape.split(',').map(str::trim).filter(|d| !d.is_empty());
    let shape = shape
        .map(|d| d.parse::<usize>().ok())
        .collect::<Option<Vec<_>>>();
    let shape = shape
        .filter(|s| s.len() <= 16)
        .ok_or_else(|| bad("impossible shape"))?;
    let len = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    let len = len
        .filter(|&n| n <= MAX_ELEMENTS)
        .ok_or_else(|| bad("more than 2^28 elements"))?;
    if data.len() != len * element.width() {
        return Err(InputError::Array {
            array: name.to_owned(),
            reason: format!(
                "expected {} bytes of data, got {}",
                len * element.width(),
                data.len()
            ),
        });
    }
    Ok((
        shape,
        data.chunks_exact(element.width())
            .map(|b| element.read(b))
            .collect(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn reads_a_small_array() {
        let bytes = file(
            "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 1), }",
            &[1, 0, 255, 255],
        );
        assert_eq!(
            parse("x", &bytes).expect("valid"),
            (vec![2, 1], vec![1.0, -1.0])
        );
    }

    #[test]
    fn refuses_headers_that_lie() {
        for header in [
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 9999999999), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }",
            "{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }",
            "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
            "{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }",
            "{'descr': '<f4'",
            "",
        ] {
            assert!(parse("x", &file(header, &[0; 4])).is_err(), "{header}");
        }
        assert!(parse("x", b"\x93NUMPY\x02\x00\xff\xff\xff\xff").is_err());
    }
}
