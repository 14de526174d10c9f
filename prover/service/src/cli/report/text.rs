//! Text on the page: names made harmless, numbers made readable.

/// A name as text of an element or of a quoted attribute. Names come from model files: what could end the text is written as a
/// character reference, and what is not shown or turns the direction of writing becomes a replacement character.
pub(super) fn escape(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '&' => text += "&amp;",
            '<' => text += "&lt;",
            '>' => text += "&gt;",
            '"' => text += "&quot;",
            '\'' => text += "&#39;",
            '`' => text += "&#96;",
            _ if c.is_control() || is_invisible(c) => text.push('\u{fffd}'),
            _ => text.push(c),
        }
    }
    text
}

/// Marks of direction and joining, and the characters that are no text.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// The first `most` characters of a name, or its two ends.
pub(super) fn shortened(name: &str, most: usize) -> String {
    let n_chars = name.chars().count();
    if n_chars <= most {
        return name.to_owned();
    }
    let tail = most / 2;
    let head = most - tail - 1;
    let start: String = name.chars().take(head).collect();
    let end: String = name.chars().skip(n_chars - tail).collect();
    format!("{start}…{end}")
}

/// A whole number with its thousands apart.
pub(super) fn whole(n: impl Into<i128>) -> String {
    let n = n.into();
    let digits = n.unsigned_abs().to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if n < 0 { format!("−{text}") } else { text }
}

/// A count.
pub(super) fn count(n: usize) -> String {
    whole(n as i128)
}

/// A real number with three digits that matter.
pub(super) fn real(x: f64) -> String {
    let size = x.abs();
    let text = if x == 0.0 {
        "0".to_owned()
    } else if !(1e-4..1e6).contains(&size) {
        format!("{x:.2e}")
    } else {
        // 1e-4 has 6 decimals, 1 has 2, 100 and more has none
        let decimals = (2 - size.log10().floor() as i32).clamp(0, 6) as usize;
        format!("{x:.decimals$}")
    };
    text.replace('-', "−")
}

/// A share of 1 in percent.
pub(super) fn percent(share: f64) -> String {
    let x = 100.0 * share;
    match x {
        _ if x == 0.0 => "0 %".to_owned(),
        _ if x == 100.0 => "100 %".to_owned(),
        _ if x.abs() < 0.01 => "< 0.01 %".to_owned(),
        _ if x.abs() < 1.0 => format!("{x:.2} %"),
        // almost all must not read as all
        _ if (99.9..100.0).contains(&x) => format!("{:.2} %", (100.0 * x).floor() / 100.0),
        _ => format!("{x:.1} %"),
    }
}

/// A coordinate of a drawing: a tenth is finer than any screen shows.
pub(super) fn at(x: f64) -> String {
    let text = format!("{x:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// Dimensions.
pub(super) fn shape(dimensions: &[usize]) -> String {
    if dimensions.is_empty() {
        return "scalar".to_owned();
    }
    let each: Vec<String> = dimensions.iter().map(usize::to_string).collect();
    each.join(" × ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_place() {
        let hostile = "\"><script>alert('1')</script>&`\u{0}\u{202e}\n";
        let text = escape(hostile);
        assert!(
            !text.contains(['<', '>', '"', '\'', '`', '\u{0}', '\u{202e}', '\n']),
            "{text}"
        );
        assert!(text.starts_with("&quot;&gt;&lt;script&gt;"), "{text}");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [whole(0), whole(999), whole(-1234567)],
            ["0", "999", "−1,234,567"]
        );
        assert_eq!([real(0.0), real(1.0), real(123.4)], ["0", "1.00", "123"]);
        assert_eq!([real(-0.01234), real(1e-9)], ["−0.0123", "1.00e−9"]);
        assert_eq!(
            [0.5, 0.00123, 0.0, 1.0, 0.9996].map(percent),
            ["50.0 %", "0.12 %", "0 %", "100 %", "99.96 %"]
        );
        assert_eq!(shortened("abcdefghij", 5), "ab…ij");
        assert_eq!([at(1.0), at(1.26)], ["1", "1.3"]);
    }
}
