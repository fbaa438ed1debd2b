//! Text that comes from a stranger: bounded, and harmless on a terminal.

/// At most `bytes_max` bytes of `text`, with control characters and those that reorder a line escaped.
pub(super) fn printable(text: &str, bytes_max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(bytes_max));
    for c in text.chars() {
        let width = if is_harmless(c) { c.len_utf8() } else { c.escape_default().count() };
        if out.len() + width > bytes_max {
            break;
        }
        if is_harmless(c) {
            out.push(c);
        } else {
            out.extend(c.escape_default());
        }
    }
    out
}

/// The name that a misspelt one was probably meant to be.
pub(super) fn nearest<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    let near = known.iter().map(|name| (strsim::damerau_levenshtein(found, name), *name)).min();
    near.filter(|(distance, _)| *distance <= (found.len() / 3).max(1)).map(|(_, name)| name)
}

/// Whether a character neither drives a terminal nor changes the order in which others are shown
/// (Unicode Technical Report 36, bidirectional text spoofing).
fn is_harmless(c: char) -> bool {
    let reorders = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !(c.is_control() || reorders)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_drives_a_terminal_is_escaped() {
        assert_eq!(printable("a\u{1b}[31mb\n", 64), "a\\u{1b}[31mb\\n");
        assert_eq!(printable("x\u{202e}y", 64), "x\\u{202e}y");
        assert_eq!(printable("naïve 市場", 64), "naïve 市場");
    }

    proptest! {
        #[test]
        fn the_bound_holds_and_nothing_harmful_is_left(text in ".{0,80}", bytes_max in 0_usize..64) {
            let shown = printable(&text, bytes_max);
            prop_assert!(shown.len() <= bytes_max);
            prop_assert!(shown.chars().all(is_harmless));
        }
    }
}
