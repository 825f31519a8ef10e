//! Answers to refused CONNECTs (`connect_error`) with data. socketioxide's have a message only, so they are replaced on the
//! way to the client. Those of the application's own namespaces are counted and logged here too, because socketioxide
//! reports none.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use realtime_core::spi::one_line_json;
use realtime_core::{Refusal, RefusalKind};
use serde_json::{Value, json};

use crate::packet::frame::{TEXT, text_frame, whole_frame};
use crate::packet::payload::SEPARATOR;

/// First bytes of the packet, of the main namespace and of another one, whose name follows.
const MAIN: &[u8] = b"44{";
const OWN: &[u8] = b"44/";
/// socketioxide's message, as npm's server's, for a namespace that does not exist.
const UNKNOWN: &str = "Invalid namespace";

/// Answers for the main namespace that have not been sent yet, in the order of socketioxide's.
#[derive(Default)]
pub(crate) struct ConnectErrors(Mutex<VecDeque<String>>);

/// `report` is called for each refusal by one of the application's own namespaces.
impl ConnectErrors {
    /// Queues the answer to a CONNECT to the main namespace. Called right before socketioxide answers with the returned message.
    pub(crate) fn deny(&self, refusal: &Refusal) -> String {
        let message = format!("{}: {}", refusal.kind().code(), refusal.message());
        self.lock().push_back(packet_of("44", refusal, &message));
        message
    }

    /// Returns what replaces this answer of socketioxide's, which is about to be sent.
    fn replacement(&self, packet: &[u8], report: impl FnOnce(Refusal)) -> Option<String> {
        if packet.starts_with(MAIN) {
            return self.lock().pop_front();
        }
        let (namespace, message) = read_own(packet)?;
        // Logged without the application's word for it, which is for the client.
        let refusal = match message.as_str() {
            UNKNOWN => Refusal::new(RefusalKind::Namespace, format!("there is no namespace {namespace:?}")),
            _ => Refusal::forbidden(format!("the namespace {namespace:?} does not let this client in"))
                .with_setting("namespace middleware"),
        };
        let answer = packet_of(&format!("44{namespace},"), &refusal, &message);
        report(refusal);
        Some(answer)
    }

    /// Returns what replaces socketioxide's answers at the start of these frames, and how many bytes those have. All are
    /// written at once, as they came: what is not sent yet when a flood ends the session is lost.
    pub(crate) fn replace_in_frames(&self, frames: &[u8], report: impl Fn(Refusal)) -> (Vec<u8>, usize) {
        let (mut ours, mut of) = (Vec::new(), 0);
        while let Some((TEXT, payload, len)) = whole_frame(&frames[of..]) {
            if !is_answer(payload) {
                break;
            }
            match self.replacement(payload, &report) {
                Some(text) => ours.extend(text_frame(&text)),
                None => ours.extend_from_slice(&frames[of..of + len]),
            }
            of += len;
        }
        (ours, of)
    }

    /// Returns the packets of a long-polling response with the answers replaced, or none if there are none to replace.
    pub(crate) fn replace_in_payload(&self, packets: &[u8], report: impl Fn(Refusal)) -> Option<Bytes> {
        if !packets.split(|byte| *byte == SEPARATOR).any(is_answer) {
            return None;
        }
        let mut exchanged = false;
        let packets: Vec<_> = packets
            .split(|byte| *byte == SEPARATOR)
            .map(|packet| match self.replacement(packet, &report) {
                Some(ours) => {
                    exchanged = true;
                    ours.into_bytes()
                }
                None => packet.to_vec(),
            })
            .collect();
        exchanged.then(|| packets.join(&SEPARATOR).into())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_answer(packet: &[u8]) -> bool {
    packet.starts_with(MAIN) || packet.starts_with(OWN)
}

/// Reads the namespace and the message of an answer from one of the application's own.
fn read_own(packet: &[u8]) -> Option<(&str, String)> {
    let text = std::str::from_utf8(packet.strip_prefix(b"44")?).ok().filter(|text| text.starts_with('/'))?;
    let (namespace, answer) = text.split_once(',')?;
    match serde_json::from_str::<Value>(answer).ok()?.get_mut("message")?.take() {
        Value::String(message) => Some((namespace, message)),
        _ => None,
    }
}

fn packet_of(head: &str, refusal: &Refusal, message: &str) -> String {
    let mut data = json!({ "code": refusal.kind().code() });
    if let Some(after) = refusal.retry_after() {
        data["retryAfterMs"] = u64::try_from(after.as_millis()).map_or(Value::Null, Value::from);
    }
    let answer = json!({ "message": message, "data": data }).to_string();
    format!("{head}{}", String::from_utf8_lossy(&one_line_json(answer.as_bytes())))
}

/// Returns the position of the first whole answer of socketioxide's among these frames.
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
    fn an_answer_has_its_code_and_the_time_after_which_to_come_back() {
        let known = |refusal: &Refusal, message: &str| {
            let text = packet_of("44", refusal, message);
            serde_json::from_str::<Value>(text.strip_prefix("44").unwrap()).unwrap()
        };
        let refusal = Refusal::forbidden("not \"you\"");
        assert_eq!(
            known(&refusal, "forbidden: not \"you\""),
            json!({"message": "forbidden: not \"you\"", "data": {"code": "forbidden"}})
        );
        assert!(packet_of("44", &refusal, "a\u{2028}b").contains(r#""a\u2028b""#));
        let refusal = Refusal::new(RefusalKind::UserLimit, "").with_retry_after(Duration::from_micros(5_000_900));
        assert_eq!(known(&refusal, "")["data"], json!({"code": "user_limit", "retryAfterMs": 5000}));
    }

    #[test]
    fn each_answer_is_exchanged_in_its_turn_and_nothing_else() {
        let connect_errors = ConnectErrors::default();
        let others = "2\u{1e}42[\"44{\"]\u{1e}40/own,{}\u{1e}44\u{1e}44/own\u{1e}44/own,[]";
        assert_eq!(connect_errors.replace_in_payload(others.as_bytes(), drop), None);
        assert_eq!(connect_errors.replace_in_payload(b"44{\"message\":\"a\"}", drop), None, "not ours");
        let theirs = [
            r#"44/own,{"message":"a"}"#,
            r#"44{"message":"b"}"#,
            "2",
            r#"44/x"y,{"message":"Invalid namespace"}"#,
            r#"44{"message":"c"}"#,
            r#"44{"message":"d"}"#,
        ]
        .join("\u{1e}");
        assert_eq!(connect_errors.deny(&Refusal::forbidden("b")), "forbidden: b");
        connect_errors.deny(&Refusal::unauthorized("c"));
        let answer = |message: &str, code: &str| json!({"message": message, "data": {"code": code}});
        let expected = format!(
            "44/own,{}\u{1e}44{}\u{1e}2\u{1e}44/x\"y,{}\u{1e}44{}\u{1e}44{{\"message\":\"d\"}}",
            answer("a", "forbidden"),
            answer("forbidden: b", "forbidden"),
            answer("Invalid namespace", "namespace"),
            answer("unauthorized: c", "unauthorized")
        );
        assert_eq!(connect_errors.replace_in_payload(theirs.as_bytes(), drop).unwrap(), expected);
    }

    #[test]
    fn answers_that_are_written_together_go_together() {
        let connect_errors = ConnectErrors::default();
        connect_errors.deny(&Refusal::forbidden("a"));
        let texts = ["44{\"message\":\"forbidden: a\"}", "44{\"message\":\"b\"}", "44/own,{\"message\":\"c\"}"];
        let theirs = [&texts.map(text_frame).concat()[..], &text_frame("2"), &text_frame(texts[2])].concat();
        let (ours, of) = connect_errors.replace_in_frames(&theirs, drop);
        assert_eq!(of, texts.map(text_frame).concat().len());
        let data = "\"data\":{\"code\":\"forbidden\"}";
        let expected = [
            &format!("44{{{data},\"message\":\"forbidden: a\"}}"),
            texts[1],
            &format!("44/own,{{{data},\"message\":\"c\"}}"),
        ];
        assert_eq!(ours, expected.map(text_frame).concat());
        assert_eq!(connect_errors.replace_in_frames(&theirs[of..], drop), (Vec::new(), 0));
    }

    #[test]
    fn an_answer_is_found_among_frames_of_all_lengths() {
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
