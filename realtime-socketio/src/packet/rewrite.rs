//! Rewriting of the part of a Socket.IO packet before its arguments, so that socketioxide can read
//! it.
//!
//! Clients send names with escapes (Python escapes all but ASCII), names that are numbers, and
//! answers without a valid id. socketioxide ends the session upon each of them.

use realtime_core::spi::replace_lone_surrogates;

/// Marker that is inserted before a name of the main namespace that socketioxide cannot read: an
/// empty name, which it can. The marker is inserted before an empty name too, so that an empty
/// first element is always a marker.
const MARKER: &[u8] = b"\"\",";
/// Marker for an event whose id is not an `i64`; the id is removed.
const NO_ID_MARKER: &[u8] = b"\"\",null,";
/// Id that no ask has, for answers without a valid id.
const NO_ASK: i64 = i64::MAX;

/// Upper bound of a name that is read to decide, in bytes as sent; a longer one is marked.
const MAX_NAME: usize = 256;
/// The same bound in a custom namespace: an escape of six bytes for each byte of a name.
const MAX_CUSTOM_NAME: usize = 6 * MAX_NAME;
/// Upper bound of a namespace, a number or white space that is read to decide, in bytes.
const MAX_PART: usize = 256;

/// Upper bound of the bytes by which rewriting makes a packet longer: each escape of a name may
/// become U+FFFD.
pub(crate) const MAX_GROWTH: usize = MAX_CUSTOM_NAME;

/// Returns the number of bytes by which an event's list is longer than sent.
pub(crate) fn growth_of(list: &str) -> usize {
    if list.strip_prefix('[').is_some_and(|items| items.as_bytes().starts_with(MARKER)) { MARKER.len() } else { 0 }
}

/// Decision on a packet from its first bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rewrite {
    /// More bytes are needed.
    Incomplete,
    /// The first bytes, this number of them, are replaced by these.
    Replaced(usize, Vec<u8>),
    /// The packet is not rewritten.
    Unchanged,
}

/// Decides on a text packet of Engine.IO from its first bytes; a few thousand always suffice.
pub(crate) fn decide(packet: &[u8]) -> Rewrite {
    Reader { packet, at: 0 }.decide().unwrap_or(Rewrite::Incomplete)
}

/// Reader of a packet's first bytes; its methods return none at the end of the bytes.
struct Reader<'a> {
    packet: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn decide(&mut self) -> Option<Rewrite> {
        if self.next()? != b'4' {
            return Some(Rewrite::Unchanged);
        }
        let kind = self.next()?;
        match kind {
            b'2' | b'3' => {}
            b'5' | b'6' => {
                self.skip(|byte| byte.is_ascii_digit())?;
                if self.next()? != b'-' {
                    return Some(Rewrite::Unchanged);
                }
            }
            _ => return Some(Rewrite::Unchanged),
        }
        let namespace = self.at;
        if self.peek()? == b'/' {
            self.skip(|byte| byte != b',')?;
            if self.next()? != b',' {
                return Some(Rewrite::Unchanged);
            }
        }
        let is_main = matches!(&self.packet[namespace..self.at], b"" | b"/,");
        let id = self.at;
        self.skip(|byte| byte.is_ascii_digit())?;
        let is_valid_id = std::str::from_utf8(&self.packet[id..self.at]).is_ok_and(|id| id.parse::<i64>().is_ok());
        let has_id = self.at > id;
        if self.next()? != b'[' {
            return Some(Rewrite::Unchanged);
        }
        if matches!(kind, b'3' | b'6') {
            let for_no_ask =
                || Rewrite::Replaced(self.at, [&self.packet[..id], NO_ASK.to_string().as_bytes(), b"["].concat());
            return Some(if is_valid_id { Rewrite::Unchanged } else { for_no_ask() });
        }
        if is_main && has_id && !is_valid_id {
            return Some(Rewrite::Replaced(self.at, [&self.packet[..id], b"[", NO_ID_MARKER].concat()));
        }
        if is_main { self.decide_main_name() } else { self.decide_custom_name() }
    }

    /// Decides on a name of the main namespace, which this crate parses itself, behind
    /// socketioxide.
    fn decide_main_name(&mut self) -> Option<Rewrite> {
        let list = self.at;
        let mark = || Rewrite::Replaced(list, [&self.packet[..list], MARKER].concat());
        self.skip(|byte| byte.is_ascii_whitespace())?;
        match self.next()? {
            b'"' if self.peek()? == b'"' => Some(mark()),
            b'"' => loop {
                match self.peek() {
                    Some(b'"') => return Some(Rewrite::Unchanged),
                    Some(b'\\') => return Some(mark()),
                    _ if self.at - list > MAX_NAME => return Some(mark()),
                    byte => {
                        byte?;
                        self.at += 1;
                    }
                }
            },
            b'-' | b'0'..=b'9' => Some(mark()),
            _ => Some(Rewrite::Unchanged),
        }
    }

    /// Decides on a name of a custom namespace, which is rewritten without escapes. Characters that
    /// need an escape are replaced: a handler of such a name cannot be called.
    fn decide_custom_name(&mut self) -> Option<Rewrite> {
        let list = self.at;
        self.skip(|byte| byte.is_ascii_whitespace())?;
        let begin = self.at;
        let name = match self.next()? {
            b'"' => {
                let mut escaped = false;
                loop {
                    match self.peek() {
                        Some(b'"') if !escaped => return Some(Rewrite::Unchanged),
                        Some(b'"') => break,
                        _ if self.at - begin > MAX_CUSTOM_NAME => return Some(Rewrite::Unchanged),
                        Some(b'\\') => {
                            escaped = true;
                            self.at += 2;
                        }
                        byte => {
                            byte?;
                            self.at += 1;
                        }
                    }
                }
                self.at += 1;
                let written = std::str::from_utf8(&self.packet[begin..self.at]).ok();
                let name = written.and_then(|name| serde_json::from_str::<String>(&replace_lone_surrogates(name)).ok());
                let Some(name) = name else { return Some(Rewrite::Unchanged) };
                name.replace(|c: char| c < ' ' || c == '"' || c == '\\', "\u{fffd}").into_bytes()
            }
            b'-' | b'0'..=b'9' => {
                self.skip(|byte| matches!(byte, b'+' | b'-' | b'.' | b'0'..=b'9' | b'E' | b'e'))?;
                self.packet[begin..self.at].to_vec()
            }
            _ => return Some(Rewrite::Unchanged),
        };
        Some(Rewrite::Replaced(self.at, [&self.packet[..list], b"\"", &name, b"\""].concat()))
    }

    fn peek(&self) -> Option<u8> {
        self.packet.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Skips bytes of this kind, up to [`MAX_PART`].
    fn skip(&mut self, is_of: impl Fn(u8) -> bool) -> Option<()> {
        let begin = self.at;
        while self.at - begin <= MAX_PART && is_of(self.peek()?) {
            self.at += 1;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the packet as socketioxide gets it, and checks that each start of the packet that is
    /// long enough gives the same.
    fn rewritten(packet: &str) -> String {
        let whole = |rewrite| match rewrite {
            Rewrite::Replaced(replaced_len, bytes) => {
                String::from_utf8([&bytes, &packet.as_bytes()[replaced_len..]].concat()).unwrap()
            }
            Rewrite::Incomplete | Rewrite::Unchanged => packet.to_owned(),
        };
        let result = whole(decide(packet.as_bytes()));
        for split in 0..packet.len() {
            let part = decide(&packet.as_bytes()[..split]);
            assert!(part == Rewrite::Incomplete || whole(part) == result, "{packet} {split}");
        }
        result
    }

    #[test]
    fn unreadable_names_of_main_namespace_are_marked() {
        for (packet, expected) in [
            (r#"42["gr\u00fcn",1]"#, r#"42["","gr\u00fcn",1]"#),
            (r#"421["a\"b"]"#, r#"421["","a\"b"]"#),
            (r#"451-/,9[ "\n",{}]"#, r#"451-/,9["", "\n",{}]"#),
            (r#"42["",1]"#, r#"42["","",1]"#),
            ("42[7]", r#"42["",7]"#),
            ("421[-1.5e3,2]", r#"421["",-1.5e3,2]"#),
        ] {
            assert_eq!(rewritten(packet), expected);
        }
        let long = format!("42[\"{}\"]", "x".repeat(MAX_NAME + 1));
        assert_eq!(rewritten(&long), long.replacen('[', "[\"\",", 1), "not read to its end");
    }

    #[test]
    fn names_of_custom_namespaces_are_unescaped() {
        for (packet, expected) in [
            (r#"42/own,1["gr\u00fcn",1]"#, r#"42/own,1["grün",1]"#),
            (r#"42/own,["a\"b\\\n",1]"#, "42/own,[\"a\u{fffd}b\u{fffd}\u{fffd}\",1]"),
            (r#"42/own,["\ud83d"]"#, "42/own,[\"\u{fffd}\"]"),
            ("450-/own,[7]", "450-/own,[\"7\"]"),
        ] {
            assert_eq!(rewritten(packet), expected);
        }
    }

    #[test]
    fn invalid_ids_are_marked_or_replaced() {
        for (packet, expected) in [
            (r#"429223372036854775808["a",1]"#, r#"42["",null,"a",1]"#),
            ("43[1]", "439223372036854775807[1]"),
            ("461-/own,99999999999999999999[{}]", "461-/own,9223372036854775807[{}]"),
        ] {
            assert_eq!(rewritten(packet), expected);
        }
    }

    #[test]
    fn packet_growth_is_bounded() {
        let escapes = r"\n".repeat(MAX_CUSTOM_NAME / 2 - 1);
        for packet in [
            format!("42/own,[\"{escapes}\",1]"),
            format!("42/own,[\"{}\",1]", r"\u0001".repeat(MAX_CUSTOM_NAME / 6 - 1)),
            "42/own,[7]".to_owned(),
            "43[1]".to_owned(),
            format!("429223372036854775808[{}]", "\"a\""),
            r#"42["\n"]"#.to_owned(),
        ] {
            let grown = rewritten(&packet);
            assert!(grown != packet && grown.len() <= packet.len() + MAX_GROWTH, "{packet}");
        }
        assert_eq!((growth_of(r#"["","\n"]"#), growth_of(r#"["a",1]"#), growth_of("")), (3, 0, 0));
    }

    #[test]
    fn readable_packets_are_unchanged() {
        let digits = "9".repeat(1000);
        for packet in [
            r#"42["a","\u00e4"]"#,
            r#"429223372036854775807["ä"]"#,
            "439223372036854775807[1]",
            "42[]",
            "42[null]",
            "42{}",
            "42",
            "45x-[7]",
            "40{\"a\":7}",
            "2probe",
            "bNDJbN10=",
            "42/own,[\"\"]",
            r#"42/own,["\x"]"#,
            &format!("42{digits}[7]"),
            &format!("42/{}", "x".repeat(1000)),
            &format!("42/own,[\"{}\"]", "x".repeat(MAX_CUSTOM_NAME + 2)),
        ] {
            assert_eq!(rewritten(packet), packet);
        }
    }

    #[test]
    fn decision_needs_at_most_4096_bytes() {
        for filler in ["x", "\\u0061", "9", " ", "\""] {
            let filler = filler.repeat(10_000);
            for start in ["4", "42", "45", "42/", "42[", "42[\"", "42/own,[", "42/own,[\"", "42/own,[1", "45", "43"] {
                assert_ne!(decide(&format!("{start}{filler}").as_bytes()[..4096]), Rewrite::Incomplete, "{start}");
            }
        }
    }
}
