//! # Bytes from hexadecimal text, when a crate is compiled
//! A damaged text does not build.

/// The bytes of lower-case hexadecimal digits; one line feed may follow them.
///
/// # Panics
/// If they are not `N` bytes, which fails the compilation of a constant.
pub(crate) const fn decode_hex<const N: usize>(text: &str) -> [u8; N] {
    const fn digit(byte: u8) -> u8 {
        match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => panic!("not lower-case hexadecimal"),
        }
    }
    let text = text.as_bytes();
    assert!(
        text.len() == 2 * N || (text.len() == 2 * N + 1 && text[2 * N] == b'\n'),
        "the text has another length than the bytes"
    );
    let mut bytes = [0; N];
    let mut i = 0;
    while i < N {
        bytes[i] = digit(text[2 * i]) << 4 | digit(text[2 * i + 1]);
        i += 1;
    }
    bytes
}
