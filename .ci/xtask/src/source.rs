//! Reads Rust-like source (Rust, Solidity, protobuf) far enough to tell code, comments and string literals apart.

/// What [`blank`] replaces by spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blank {
    Comments,
    CommentsAndStrings,
}

/// `text` with comments (and strings) turned into spaces; line breaks stay, so line numbers do too.
pub(crate) fn blank(text: &str, what: Blank) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (length, hidden) = token(rest, out.chars().next_back());
        let (piece, after) = rest.split_at(length);
        let hide = match hidden {
            Kind::Comment => true,
            Kind::String => what == Blank::CommentsAndStrings,
            Kind::Code => false,
        };
        out.extend(
            piece
                .chars()
                .map(|c| if hide && c != '\n' { ' ' } else { c }),
        );
        rest = after;
    }
    out
}

/// The 1-based numbers of the lines of `text` that hold one of `words` as a whole identifier, with the word.
pub(crate) fn lines_with<'w>(text: &str, words: &[&'w str]) -> Vec<(usize, &'w str)> {
    text.lines()
        .enumerate()
        .flat_map(|(index, line)| {
            let identifiers: Vec<&str> = line.split(|c: char| !is_identifier(c)).collect();
            words
                .iter()
                .filter(move |word| identifiers.contains(word))
                .map(move |word| (index + 1, *word))
        })
        .collect()
}

fn is_identifier(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

enum Kind {
    Code,
    Comment,
    String,
}

/// The length in bytes and the kind of the token that `rest` begins with; `before` is the character in front of it.
fn token(rest: &str, before: Option<char>) -> (usize, Kind) {
    let first = rest.chars().next().map_or(1, char::len_utf8);
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), Kind::Comment);
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), Kind::Comment);
    }
    if rest.starts_with('"') {
        return (quoted(rest, '"'), Kind::String);
    }
    if rest.starts_with('r') && !before.is_some_and(is_identifier) || rest.starts_with("br") {
        let prefix = if rest.starts_with("br") { 2 } else { 1 };
        let hashes = rest[prefix..].bytes().take_while(|b| *b == b'#').count();
        if rest[prefix + hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = prefix + hashes + 1;
            return (
                rest[body..]
                    .find(&end)
                    .map_or(rest.len(), |at| body + at + end.len()),
                Kind::String,
            );
        }
    }
    if let Some(length) = character(rest) {
        return (length, Kind::String);
    }
    (first, Kind::Code)
}

/// `'x'` or `'\n'`, and not the lifetime `'x`.
fn character(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix('\'')?;
    if body.starts_with('\\') {
        return Some(quoted(rest, '\''));
    }
    let c = body.chars().next()?;
    body[c.len_utf8()..]
        .starts_with('\'')
        .then(|| 2 + c.len_utf8())
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0usize, 0usize);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_told_from_code() {
        let text = "a // b\n/* c /* d */ e */ f \"g \\\" h\" r#\"i \" j\"# 'k' '\\'' &'l m";
        assert_eq!(
            blank(text, Blank::CommentsAndStrings)
                .split_whitespace()
                .collect::<Vec<_>>(),
            ["a", "f", "&'l", "m"]
        );
        assert!(blank(text, Blank::Comments).contains("g \\\" h"));
        assert_eq!(blank(text, Blank::Comments).lines().count(), 2);
    }

    #[test]
    fn words_are_whole_identifiers() {
        assert_eq!(
            lines_with("Convert\nx: Conv;\nConv2", &["Conv"]),
            [(2, "Conv")]
        );
    }
}
