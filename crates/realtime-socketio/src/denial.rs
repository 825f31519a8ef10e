//! The answer to a CONNECT to the main namespace that was refused: with data, which socketioxide's own has not, so that
//! ours takes its place on the way to the client.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use realtime_core::{Refusal, one_line_json};
use serde_json::{Value, json};

use crate::carrier::Carrier;
use crate::post::SEPARATOR;
use crate::scan::whole_frame;

/// The first byte of a text that is one frame (RFC 6455 §5.2).
const TEXT: u8 = 0x81;
/// What the packet begins with; another namespace's goes on with its name.
const ANSWER: &[u8] = b"44{";

/// The answers of one session that have not gone out yet, in the order of those of socketioxide's.
#[derive(Default)]
pub(crate) struct Denials(Mutex<VecDeque<String>>);

impl Denials {
    fn lock(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The session's part of it.
impl Carrier {
    /// Has the answer to a CONNECT to the main namespace ready; to be called right before socketioxide's answer with this
    /// message.
    pub(crate) fn deny(&self, refusal: &Refusal) -> String {
        let message = format!("{}: {}", refusal.kind().code(), refusal.message());
        self.denials.lock().push_back(packet(refusal, &message));
        message
    }

    /// Whether there is one that has not gone out.
    pub(crate) fn denies(&self) -> bool {
        !self.denials.lock().is_empty()
    }

    /// The next one, for the next answer of socketioxide's.
    pub(crate) fn next_denial(&self) -> Option<String> {
        self.denials.lock().pop_front()
    }

    /// The packets of a long-polling answer with those that are ours; none when there are none to exchange.
    pub(crate) fn with_denials(&self, packets: &[u8]) -> Option<Bytes> {
        if !self.denies() {
            return None;
        }
        let mut exchanged = false;
        let packets: Vec<_> = packets
            .split(|byte| *byte == SEPARATOR)
            .map(|packet| match packet.starts_with(ANSWER).then(|| self.next_denial()).flatten() {
                Some(ours) => {
                    exchanged = true;
                    ours.into_bytes()
                }
                None => packet.to_vec(),
            })
            .collect();
        exchanged.then(|| packets.join(&SEPARATOR).into())
    }
}

fn packet(refusal: &Refusal, message: &str) -> String {
    let mut data = json!({ "code": refusal.kind().code() });
    if let Some(after) = refusal.retry_after() {
        data["retryAfterMs"] = u64::try_from(after.as_millis()).map_or(Value::Null, Value::from);
    }
    let answer = json!({ "message": message, "data": data }).to_string();
    format!("44{}", String::from_utf8_lossy(&one_line_json(answer.as_bytes())))
}

/// Where socketioxide's answer is among whole frames that are written: its begin and its end.
pub(crate) fn find(frames: &[u8]) -> Option<(usize, usize)> {
    let mut at = 0;
    while let Some((first, payload, len)) = whole_frame(&frames[at..]) {
        if first == TEXT && payload.starts_with(ANSWER) {
            return Some((at, at + len));
        }
        at += len;
    }
    None
}

/// The payload of the text that these frames begin with, and how many bytes its frame has; none if it is not whole.
pub(crate) fn first_text(frames: &[u8]) -> Option<(&[u8], usize)> {
    whole_frame(frames).filter(|(first, ..)| *first == TEXT).map(|(_, payload, len)| (payload, len))
}

/// A text as a frame that is not masked (RFC 6455 §5.2).
pub(crate) fn frame(text: &str) -> Vec<u8> {
    let mut frame = vec![TEXT];
    match text.len() {
        len @ 0..=125 => frame.push(len as u8),
        len @ 126..=0xffff => {
            frame.push(126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(text.as_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use realtime_core::RefusalKind;
    use std::time::Duration;

    #[test]
    fn an_answer_has_its_code_and_the_time_after_which_to_come_back() {
        let known = |text: String| serde_json::from_str::<Value>(text.strip_prefix("44").unwrap()).unwrap();
        let refusal = Refusal::forbidden("not \"you\"");
        assert_eq!(
            known(packet(&refusal, "forbidden: not \"you\"")),
            json!({"message": "forbidden: not \"you\"", "data": {"code": "forbidden"}})
        );
        assert!(packet(&refusal, "a\u{2028}b").contains(r#""a\u2028b""#));
        let refusal = Refusal::new(RefusalKind::UserLimit, "").with_retry_after(Duration::from_micros(5_000_900));
        assert_eq!(known(packet(&refusal, ""))["data"], json!({"code": "user_limit", "retryAfterMs": 5000}));
    }

    #[test]
    fn each_answer_of_the_main_namespace_is_exchanged_in_its_turn_and_no_other() {
        let carrier = Carrier::default();
        let theirs =
            "2\u{1e}44/own,{\"message\":\"a\"}\u{1e}44{\"message\":\"b\"}\u{1e}42[\"44{\"]\u{1e}44{\"message\":\"c\"}";
        assert_eq!(carrier.with_denials(theirs.as_bytes()), None);
        assert_eq!(carrier.deny(&Refusal::forbidden("b")), "forbidden: b");
        assert_eq!(carrier.with_denials(b"2\x1e44/own,{\"message\":\"a\"}"), None);
        carrier.deny(&Refusal::unauthorized("c"));
        let ours =
            ["forbidden", "unauthorized"].into_iter().zip(["b", "c"]).fold(theirs.to_owned(), |text, (code, m)| {
                let ours = json!({"message": format!("{code}: {m}"), "data": {"code": code}});
                text.replace(&format!("{{\"message\":\"{m}\"}}"), &ours.to_string())
            });
        assert_eq!(carrier.with_denials(theirs.as_bytes()).unwrap(), ours);
        assert!(!carrier.denies());
    }

    #[test]
    fn an_answer_is_found_among_frames_of_all_lengths() {
        for len in [0, 125, 126, 65_536] {
            let answer = frame(&format!("44{{{}", "x".repeat(len)));
            let before = [frame("44/own,{}"), frame(&"y".repeat(len)), vec![0x82, 3], b"44{".to_vec(), vec![0x89, 0]];
            let before = before.concat();
            let frames = [&before[..], &answer, &frame("2")].concat();
            assert_eq!(find(&frames), Some((before.len(), before.len() + answer.len())), "{len}");
            assert_eq!(find(&frames[before.len()..]), Some((0, answer.len())), "{len}");
            assert_eq!(find(&frames[..before.len() + answer.len() - 1]), None, "{len}");
            assert_eq!(find(&before), None, "{len}");
        }
        assert_eq!(find(&[&[0x81, 127][..], &[0xff; 8]].concat()), None);
    }
}
