//! Answers to refused CONNECTs (`connect_error`) with data. socketioxide's answers have a message
//! only, so they are replaced on the way to the client. Refusals by custom namespaces, those of the
//! application, are counted and logged here too, because socketioxide reports none.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use realtime_core::spi::one_line_json;
use realtime_core::{Refusal, RefusalKind};
use serde_json::{Value, json};

use crate::packet::frame::{TEXT, text_frame, whole_frame};
use crate::packet::payload::SEPARATOR;

/// First bytes of the packet of the main namespace.
const MAIN: &[u8] = b"44{";
/// First bytes of the packet of a custom namespace, whose name follows.
const CUSTOM: &[u8] = b"44/";
/// Message of socketioxide, and of npm's server, for a namespace that does not exist.
const UNKNOWN: &str = "Invalid namespace";

/// Answers for the main namespace that have not been sent yet, in the order of socketioxide's
/// answers.
#[derive(Default)]
pub(crate) struct ConnectErrors(Mutex<VecDeque<String>>);

/// `report` is called for each refusal by a custom namespace.
impl ConnectErrors {
    /// Queues the answer to a CONNECT to the main namespace. Called right before socketioxide
    /// answers with the returned message.
    pub(crate) fn queue(&self, refusal: &Refusal) -> String {
        let message = format!("{}: {}", refusal.code(), refusal.message());
        self.lock().push_back(packet_of("44", refusal, &message));
        message
    }

    /// Returns the replacement of this answer of socketioxide, which is about to be sent.
    fn replacement(&self, packet: &[u8], report: impl FnOnce(Refusal)) -> Option<String> {
        if packet.starts_with(MAIN) {
            return self.lock().pop_front();
        }
        let (namespace, message) = read_custom(packet)?;
        // Logged without the application's message, which is for the client.
        let refusal = match message.as_str() {
            UNKNOWN => Refusal::new(RefusalKind::Namespace, format!("there is no namespace {namespace:?}")),
            _ => Refusal::forbidden(format!("the namespace {namespace:?} refused this client"))
                .with_setting("namespace middleware"),
        };
        let answer = packet_of(&format!("44{namespace},"), &refusal, &message);
        report(refusal);
        Some(answer)
    }

    /// Returns the replacement of socketioxide's answers at the start of these frames, and the
    /// length of those answers. All are replaced together: an answer that is not sent yet when a
    /// flood closes the session is lost.
    pub(crate) fn replace_in_frames(&self, frames: &[u8], report: impl Fn(Refusal)) -> (Vec<u8>, usize) {
        let (mut replacement, mut replaced) = (Vec::new(), 0);
        while let Some((TEXT, payload, len)) = whole_frame(&frames[replaced..]) {
            if !is_answer(payload) {
                break;
            }
            match self.replacement(payload, &report) {
                Some(text) => replacement.extend(text_frame(&text)),
                None => replacement.extend_from_slice(&frames[replaced..replaced + len]),
            }
            replaced += len;
        }
        (replacement, replaced)
    }

    /// Returns the packets of a long-polling response with the answers replaced, or none if there
    /// are none to replace.
    pub(crate) fn replace_in_payload(&self, packets: &[u8], report: impl Fn(Refusal)) -> Option<Bytes> {
        if !packets.split(|byte| *byte == SEPARATOR).any(is_answer) {
            return None;
        }
        let mut replaced = false;
        let packets: Vec<_> = packets
            .split(|byte| *byte == SEPARATOR)
            .map(|packet| match self.replacement(packet, &report) {
                Some(replacement) => {
                    replaced = true;
                    replacement.into_bytes()
                }
                None => packet.to_vec(),
            })
            .collect();
        replaced.then(|| packets.join(&SEPARATOR).into())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_answer(packet: &[u8]) -> bool {
    packet.starts_with(MAIN) || packet.starts_with(CUSTOM)
}

/// Parses the namespace and the message of an answer from a custom namespace.
fn read_custom(packet: &[u8]) -> Option<(&str, String)> {
    let text = std::str::from_utf8(packet.strip_prefix(b"44")?).ok().filter(|text| text.starts_with('/'))?;
    let (namespace, answer) = text.split_once(',')?;
    match serde_json::from_str::<Value>(answer).ok()?.get_mut("message")?.take() {
        Value::String(message) => Some((namespace, message)),
        _ => None,
    }
}

fn packet_of(head: &str, refusal: &Refusal, message: &str) -> String {
    let mut data = json!({ "code": refusal.code() });
    if let Some(after) = refusal.retry_after() {
        data["retryAfterMs"] = u64::try_from(after.as_millis()).map_or(Value::Null, Value::from);
    }
    let answer = json!({ "message": message, "data": data }).to_string();
    format!("{head}{}", String::from_utf8_lossy(&one_line_json(answer.as_bytes())))
}

/// Returns the position of socketioxide's first complete answer among these frames.
pub(crate) fn find(frames: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some((first, payload, len)) = whole_frame(&frames[at..]) {
        if first == TEXT && is_answer(payload) {
            return Some(at);
        }
        at += len;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn answer_has_code_and_retry_delay() {
        let parsed = |refusal: &Refusal, message: &str| {
            let text = packet_of("44", refusal, message);
            serde_json::from_str::<Value>(text.strip_prefix("44").unwrap()).unwrap()
        };
        let refusal = Refusal::forbidden("not \"you\"");
        assert_eq!(
            parsed(&refusal, "forbidden: not \"you\""),
            json!({"message": "forbidden: not \"you\"", "data": {"code": "forbidden"}})
        );
        assert!(packet_of("44", &refusal, "a\u{2028}b").contains(r#""a\u2028b""#));
        let refusal = Refusal::new(RefusalKind::UserLimit, "").with_retry_after(Duration::from_micros(5_000_900));
        assert_eq!(parsed(&refusal, "")["data"], json!({"code": "user_limit", "retryAfterMs": 5000}));
    }

    #[test]
    fn answers_in_payload_are_replaced_in_order() {
        let connect_errors = ConnectErrors::default();
        let others = "2\u{1e}42[\"44{\"]\u{1e}40/own,{}\u{1e}44\u{1e}44/own\u{1e}44/own,[]";
        assert_eq!(connect_errors.replace_in_payload(others.as_bytes(), drop), None);
        assert_eq!(connect_errors.replace_in_payload(b"44{\"message\":\"a\"}", drop), None, "nothing is queued");
        let original = [
            r#"44/own,{"message":"a"}"#,
            r#"44{"message":"b"}"#,
            "2",
            r#"44/x"y,{"message":"Invalid namespace"}"#,
            r#"44{"message":"c"}"#,
            r#"44{"message":"d"}"#,
        ]
        .join("\u{1e}");
        assert_eq!(connect_errors.queue(&Refusal::forbidden("b")), "forbidden: b");
        connect_errors.queue(&Refusal::unauthorized("c"));
        let answer = |message: &str, code: &str| json!({"message": message, "data": {"code": code}});
        let expected = format!(
            "44/own,{}\u{1e}44{}\u{1e}2\u{1e}44/x\"y,{}\u{1e}44{}\u{1e}44{{\"message\":\"d\"}}",
            answer("a", "forbidden"),
            answer("forbidden: b", "forbidden"),
            answer("Invalid namespace", "namespace"),
            answer("unauthorized: c", "unauthorized")
        );
        assert_eq!(connect_errors.replace_in_payload(original.as_bytes(), drop).unwrap(), expected);
    }

    #[test]
    fn consecutive_answers_in_frames_are_replaced_together() {
        let connect_errors = ConnectErrors::default();
        connect_errors.queue(&Refusal::forbidden("a"));
        let texts = ["44{\"message\":\"forbidden: a\"}", "44{\"message\":\"b\"}", "44/own,{\"message\":\"c\"}"];
        let original = [&texts.map(text_frame).concat()[..], &text_frame("2"), &text_frame(texts[2])].concat();
        let (replacement, replaced) = connect_errors.replace_in_frames(&original, drop);
        assert_eq!(replaced, texts.map(text_frame).concat().len());
        let data = "\"data\":{\"code\":\"forbidden\"}";
        let expected = [
            &format!("44{{{data},\"message\":\"forbidden: a\"}}"),
            texts[1],
            &format!("44/own,{{{data},\"message\":\"c\"}}"),
        ];
        assert_eq!(replacement, expected.map(text_frame).concat());
        assert_eq!(connect_errors.replace_in_frames(&original[replaced..], drop), (Vec::new(), 0));
    }

    #[test]
    fn answer_is_found_among_frames_of_all_lengths() {
        for len in [0, 125, 126, 65_536] {
            for begin in ["44{", "44/own,{"] {
                let answer = text_frame(&format!("{begin}{}", "x".repeat(len)));
                let before = [
                    text_frame("43/own,{}"),
                    text_frame(&"y".repeat(len)),
                    vec![0x82, 3],
                    b"44{".to_vec(),
                    vec![0x89, 0],
                ];
                let before = before.concat();
                let frames = [&before[..], &answer, &text_frame("2")].concat();
                assert_eq!(find(&frames), Some(before.len()), "{len}");
                assert_eq!(find(&frames[before.len()..]), Some(0), "{len}");
                assert_eq!(find(&frames[..before.len() + answer.len() - 1]), None, "{len}");
                assert_eq!(find(&before), None, "{len}");
            }
        }
        assert_eq!(find(&[&[0x81, 127][..], &[0xff; 8]].concat()), None);
    }
}
