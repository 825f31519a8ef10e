//! The payload of every measured event: a JSON object with the time at which it was sent.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

/// The event's name with all servers.
pub const EVENT: &str = "tick";

const AT: &[u8] = b"\"at\":";
const NUMBER: &[u8] = b"\"n\":";

/// Creates a JSON object of about `size` bytes (at least 36), sent now.
pub(crate) fn payload(size: usize) -> Bytes {
    padded(format!("{{\"at\":{:016},\"pad\":\"", now()), size)
}

/// Creates one with a number in it.
pub(crate) fn numbered(size: usize, number: u64) -> Bytes {
    padded(format!("{{\"at\":{:016},\"n\":{number},\"pad\":\"", now()), size)
}

fn padded(head: String, size: usize) -> Bytes {
    let pad = size.saturating_sub(head.len() + 2);
    format!("{head}{}\"}}", "x".repeat(pad)).into()
}

/// Returns the microseconds of the machine's clock, which all processes share.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Returns the time at which the payload in these bytes was sent, in microseconds.
pub(crate) fn sent_at(data: &[u8]) -> Option<u64> {
    number_after(AT, data)
}

/// Returns the number of the payload in these bytes, if it has one.
#[must_use]
pub fn number_of(data: &[u8]) -> Option<u64> {
    number_after(NUMBER, data)
}

/// Returns the number after a label in these bytes.
#[must_use]
pub fn number_after(label: &[u8], data: &[u8]) -> Option<u64> {
    let start = data.windows(label.len()).position(|window| window == label)? + label.len();
    let digits = data[start..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_is_json_of_its_size_with_its_time() {
        let before = now();
        let bytes = payload(1024);
        assert_eq!(bytes.len(), 1024);
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["at"].as_u64(), sent_at(&bytes));
        assert!((before..=now()).contains(&sent_at(&bytes).unwrap()));
        assert_eq!(sent_at(b"{}"), None);
        assert_eq!(number_of(&bytes), None);
    }

    #[test]
    fn numbered_payload_has_the_same_size_and_its_number() {
        let bytes = numbered(1024, 1_000_042);
        assert_eq!(bytes.len(), 1024);
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((value["at"].as_u64(), value["n"].as_u64()), (sent_at(&bytes), number_of(&bytes)));
        assert_eq!(number_of(&bytes), Some(1_000_042));
    }
}
