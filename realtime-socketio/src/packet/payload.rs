//! Packets of one long-polling body.

/// Separator of the packets of one long-polling body (Engine.IO protocol 4).
pub(crate) const SEPARATOR: u8 = 0x1e;

/// Returns the number of event and ack packets of the main namespace in a long-polling body.
pub(crate) fn count_packets(body: &[u8]) -> usize {
    body.split(|byte| *byte == SEPARATOR).filter(|packet| is_ours(packet)).count()
}

/// Returns whether a packet is an event or ack of the main namespace: `4` message, then `2` event, `3` ack, `5N-` and `6N-` the same
/// with attachments; a `/` starts the name of another namespace.
pub(crate) fn is_ours(packet: &[u8]) -> bool {
    let rest = match packet {
        [b'4', b'2' | b'3', rest @ ..] => rest,
        [b'4', b'5' | b'6', rest @ ..] => match rest.iter().position(|byte| *byte == b'-') {
            Some(at) => &rest[at + 1..],
            None => return false,
        },
        _ => return false,
    };
    rest.first() != Some(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_packets_of_the_main_namespace_count() {
        let body = [
            "40{\"sid\":\"x\"}",
            "2",
            "42[\"a\"]",
            "4212[\"a\"]",
            "430[]",
            "451-[\"a\",{}]",
            "bAAAA",
            "462-3[{},{}]",
            "42/chat,[\"a\"]",
            "451-/chat,[\"a\",{}]",
            "44{}",
            "6",
            "",
        ];
        assert_eq!(count_packets(body.join("\u{1e}").as_bytes()), 5);
    }
}
