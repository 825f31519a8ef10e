//! Packets in the body of one long-polling request or response.

/// Separator of the packets of one long-polling body (Engine.IO protocol 4).
pub(crate) const SEPARATOR: u8 = 0x1e;

/// Returns the number of event and ack packets of the main namespace in a long-polling body.
pub(crate) fn count_packets(body: &[u8]) -> usize {
    body.split(|byte| *byte == SEPARATOR).filter(|packet| is_main_message(packet)).count()
}

/// Returns whether a packet is an event or ack of the main namespace: `4` for a message, then `2`
/// for an event, `3` for an ack, `5N-` and `6N-` for the two with attachments; a `/` starts the
/// name of another namespace.
pub(crate) fn is_main_message(packet: &[u8]) -> bool {
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
    fn only_events_and_acks_of_main_namespace_are_counted() {
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
