//! Protobuf on the wire: what it takes to change a model without describing ONNX's messages again.
//!
//! A field that occurs twice is merged by every reader: repeated fields grow, messages merge, the last number or string wins. So a message is
//! changed by appending to it.

/// A field of bytes, text or a message.
pub fn bytes(field: u8, bytes: &[u8]) -> Vec<u8> {
    assert!(field < 16, "a key of one byte");
    let mut out = vec![field << 3 | 2];
    let mut rest = bytes.len();
    while rest > 127 {
        out.push((rest & 127) as u8 | 128);
        rest >>= 7;
    }
    out.push(rest as u8);
    out.extend_from_slice(bytes);
    out
}

/// A field of a small number.
pub fn number(field: u8, value: u8) -> Vec<u8> {
    assert!(value < 128, "one byte");
    vec![field << 3, value]
}

/// Changes the `index`-th element of field `wanted`, itself a message, of a message.
pub fn change(
    message: &[u8],
    wanted: u8,
    index: usize,
    change: impl Fn(&[u8]) -> Vec<u8>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 64);
    let (mut at, mut seen) = (0, 0);
    while at < message.len() {
        let start = at;
        let key = varint(message, &mut at);
        let len = match key & 7 {
            0 => {
                varint(message, &mut at);
                0
            }
            1 => 8,
            2 => varint(message, &mut at) as usize,
            5 => 4,
            other => panic!("wire type {other}"),
        };
        let begin = at;
        at += len;
        let is_wanted = key == u64::from(wanted) << 3 | 2;
        if is_wanted && seen == index {
            out.extend(bytes(wanted, &change(&message[begin..at])));
        } else {
            out.extend_from_slice(&message[start..at]);
        }
        seen += usize::from(is_wanted);
    }
    assert!(
        seen > index,
        "field {wanted} has {seen} elements, not more than {index}"
    );
    out
}

fn varint(bytes: &[u8], at: &mut usize) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes[*at];
        *at += 1;
        value |= u64::from(byte & 127) << shift;
        if byte < 128 {
            break;
        }
    }
    value
}
