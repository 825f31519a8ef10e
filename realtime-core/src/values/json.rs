use std::borrow::Cow;

use crate::values::handler_error::HandlerError;

/// The default nesting limit of arrays and objects from clients.
pub const DEFAULT_MAX_DEPTH: usize = 64;

/// Rejects JSON text whose arrays and objects are nested deeper than `most`; does not otherwise
/// check the text.
///
/// # Errors
/// A [`HandlerError`] with code `too_deep`.
pub fn check_depth(json: &[u8], most: usize) -> Result<(), HandlerError> {
    let mut depth = 0usize;
    let mut in_string = false;
    let mut escaped = false;
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > most {
                    return Err(HandlerError::new("too_deep", format!("nested deeper than {most}")));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// Escapes U+0085, U+2028 and U+2029 in JSON text, which may hold them unescaped (RFC 8259 §7):
/// client libraries that split a text at Unicode's line ends would split it there. The value stays
/// the same; a text without them is not copied.
pub fn one_line_json(json: &[u8]) -> Cow<'_, [u8]> {
    let Some(mut found) = next_line_end(json) else { return Cow::Borrowed(json) };
    let mut escaped = Vec::with_capacity(json.len() + 64);
    let mut rest = json;
    loop {
        let LineEnd { at, len, escape } = found;
        escaped.extend_from_slice(&rest[..at]);
        escaped.extend_from_slice(escape);
        rest = &rest[at + len..];
        match next_line_end(rest) {
            Some(next) => found = next,
            None => break,
        }
    }
    escaped.extend_from_slice(rest);
    Cow::Owned(escaped)
}

/// A Unicode line end in JSON text, which can only occur within a string.
struct LineEnd {
    at: usize,
    /// The length of its UTF-8 encoding, in bytes.
    len: usize,
    escape: &'static [u8],
}

fn next_line_end(text: &[u8]) -> Option<LineEnd> {
    // The bytes that line ends begin with; most texts hold few of them or none.
    memchr::memchr2_iter(0xc2, 0xe2, text).find_map(|at| match text[at..] {
        [0xc2, 0x85, ..] => Some(LineEnd { at, len: 2, escape: br"\u0085" }),
        [0xe2, 0x80, 0xa8, ..] => Some(LineEnd { at, len: 3, escape: br"\u2028" }),
        [0xe2, 0x80, 0xa9, ..] => Some(LineEnd { at, len: 3, escape: br"\u2029" }),
        _ => None,
    })
}

/// Replaces each unpaired half of a surrogate pair in JSON text (`\ud83d`) by the replacement
/// character U+FFFD.
///
/// JavaScript and Python write such halves when a string was split within a character, and Rust's
/// strings cannot hold them. The text keeps its length; text that is not JSON is left unchanged.
pub fn replace_lone_surrogates(json: &str) -> Cow<'_, str> {
    let mut replaced: Option<String> = None;
    let mut at = 0;
    while let Some(found) = json.get(at..).and_then(|rest| rest.find('\\')) {
        let escape = at + found;
        at = match surrogate(json, escape) {
            // The other escapes have one character, which may be of any length where the text is
            // not JSON.
            None => escape + 1 + json[escape + 1..].chars().next().map_or(0, char::len_utf8),
            Some(0xd800..=0xdbff) if matches!(surrogate(json, escape + ESCAPE), Some(0xdc00..=0xdfff)) => {
                escape + 2 * ESCAPE
            }
            Some(_) => {
                replaced.get_or_insert_with(|| json.to_owned()).replace_range(escape..escape + ESCAPE, "\\ufffd");
                escape + ESCAPE
            }
        };
    }
    replaced.map_or(Cow::Borrowed(json), Cow::Owned)
}

/// The number of bytes of an escaped UTF-16 unit.
const ESCAPE: usize = 6;

/// Returns the half of a surrogate pair that is escaped at this index, if there is one.
fn surrogate(json: &str, at: usize) -> Option<u16> {
    let digits = json.get(at..at + ESCAPE)?.strip_prefix("\\u")?;
    let unit =
        digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())??;
    (0xd800..=0xdfff).contains(&unit).then_some(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_line_ends_of_unicode_are_escaped() {
        let escaped = |json: &str| String::from_utf8(one_line_json(json.as_bytes()).into_owned()).unwrap();
        assert_eq!(escaped("\"a\u{2028}b\u{2029}\u{85}c\""), r#""a\u2028b\u2029\u0085c""#);
        assert_eq!(escaped("\"\\\\\u{2028}\""), r#""\\\u2028""#);
        for json in ["", "1", "\"\u{2027}\u{202a}\u{a0}\u{c2}ä€😀 \\u2028\"", "[\n\r]"] {
            assert!(
                matches!(one_line_json(json.as_bytes()), Cow::Borrowed(text) if text == json.as_bytes()),
                "{json:?}"
            );
        }
        // Text that is not UTF-8 is left unchanged, and not read past its end.
        for bytes in [&b"\xe2"[..], b"\xe2\x80", b"\xc2", b"\xc2\xe2\x80\xff"] {
            assert_eq!(*one_line_json(bytes), *bytes);
        }
        let text: String = ["x", "\u{2028}", "\u{85}", "\u{2029}", "é"].repeat(50).concat();
        let json = serde_json::to_string(&text).unwrap();
        assert_eq!(serde_json::from_str::<String>(&escaped(&json)).unwrap(), text);
    }

    #[test]
    fn nesting_is_counted_outside_of_strings_only() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(check_depth(nested(64).as_bytes(), 64).is_ok());
        assert_eq!(check_depth(nested(65).as_bytes(), 64).unwrap_err().code(), "too_deep");
        assert!(check_depth(br#"["[[[[\"[[[[", [], [], {}]"#, 2).is_ok());
    }

    #[test]
    fn only_lone_surrogates_are_replaced() {
        for (json, expected) in [
            (r#""\ud83d""#, r#""\ufffd""#),
            (r#""\uDE00x""#, r#""\ufffdx""#),
            (r#""\ud83d\ud83d\ude00\ude00""#, r#""\ufffd\ud83d\ude00\ufffd""#),
            (r#""\ud83d\n\\\udc00""#, r#""\ufffd\n\\\ufffd""#),
        ] {
            assert_eq!(replace_lone_surrogates(json), expected);
            assert!(serde_json::from_str::<String>(json).is_err() && serde_json::from_str::<String>(expected).is_ok());
        }
        for json in [r#""\ud83d\ude00 \u00e4""#, r#""\\ud83d""#, r#""\uffff""#, "\"ä\"", "\\", "\\é\\ud8", "\\u+d8d"]
        {
            assert!(matches!(replace_lone_surrogates(json), Cow::Borrowed(_)), "{json}");
        }
    }
}
