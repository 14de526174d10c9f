//! # Plain text
//! What a model file says of itself (names of tensors) goes into the comments and documents of generated code. It must not end a comment, begin
//! a line or mean anything to whoever renders it.

/// The text with everything but ASCII letters, digits and `._/:-` replaced by a question mark.
pub(crate) fn plain(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._/:-".contains(c);
    text.chars()
        .map(|c| if is_plain(c) { c } else { '?' })
        .collect()
}
