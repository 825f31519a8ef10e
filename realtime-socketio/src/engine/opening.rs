//! Engine.IO's opening packet. engineioxide's is replaced, whose id, times and limits are not for clients.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use socketioxide::socket::Sid;

use crate::engine::sessions::secret::Secret;
use crate::engine::settings::Heartbeat;
use crate::packet::frame::{first_text, text_frame};

/// Contents of the opening packet of a session.
#[derive(Clone, Copy)]
pub(crate) struct Greeting {
    pub(crate) secret: Secret,
    pub(crate) heartbeat: Heartbeat,
    /// Bytes of one message.
    pub(crate) max_message: usize,
}

/// engineioxide's opening packet, and what replaces it.
pub(crate) struct Opening {
    /// The session's id inside engineioxide.
    pub(crate) sid: Sid,
    pub(crate) packet: String,
}

/// Fields in the order of npm's server: a client that parses them by hand expects the session's id first.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Packet<'a> {
    sid: &'a str,
    upgrades: &'a Value,
    ping_interval: u64,
    ping_timeout: u64,
    max_payload: usize,
}

impl Opening {
    /// Reads engineioxide's packet; none when it is no opening packet.
    pub(crate) fn read(packet: &[u8], greeting: &Greeting) -> Option<Self> {
        let theirs: Value = serde_json::from_slice(packet.strip_prefix(b"0")?).ok()?;
        let sid = theirs.get("sid")?.as_str()?.parse().ok()?;
        let Greeting { secret, heartbeat, max_message } = greeting;
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let ours = Packet {
            sid: secret.as_str(),
            upgrades: theirs.get("upgrades")?,
            ping_interval: millis(heartbeat.interval),
            ping_timeout: millis(heartbeat.timeout),
            max_payload: *max_message,
        };
        Some(Self { sid, packet: format!("0{}", serde_json::to_string(&ours).ok()?) })
    }

    /// Returns what replaces the first frame of a websocket that opens a session, and the length of that frame.
    ///
    /// None when the frame is not whole, or no opening packet.
    pub(crate) fn frame(frames: &[u8], greeting: &Greeting) -> Option<(Vec<u8>, usize)> {
        let (payload, end) = first_text(frames)?;
        Some((text_frame(&Self::read(payload, greeting)?.packet), end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting() -> Greeting {
        let [interval, timeout, busy] = [25, 60, 300].map(Duration::from_secs);
        Greeting { secret: Secret::new(), heartbeat: Heartbeat { interval, timeout, busy }, max_message: 12_345 }
    }

    const THEIRS: &str =
        r#"0{"sid":"AAAAAAAAAAAAAAAA","upgrades":[],"pingInterval":31536000000,"maxPayload":4294967295}"#;

    #[test]
    fn the_client_learns_the_secret_and_the_true_times_and_limit() {
        let greeting = greeting();
        let Opening { sid, packet } = Opening::read(THEIRS.as_bytes(), &greeting).unwrap();
        assert_eq!(sid.as_str(), "AAAAAAAAAAAAAAAA");
        let open: Value = serde_json::from_str(&packet[1..]).unwrap();
        let expected = serde_json::json!({
            "sid": greeting.secret.as_str(), "upgrades": [], "pingInterval": 25_000, "pingTimeout": 60_000,
            "maxPayload": 12_345,
        });
        assert_eq!(open, expected);
        assert!(packet.starts_with("0{\"sid\":"), "{packet}");
        for other in ["", "0", "0{}", "40{\"sid\":\"AAAAAAAAAAAAAAAA\"}", "2"] {
            assert!(Opening::read(other.as_bytes(), &greeting).is_none(), "{other}");
        }
    }

    #[test]
    fn the_first_frame_is_exchanged_when_it_is_whole() {
        let theirs = [text_frame(THEIRS), text_frame("2")].concat();
        let (ours, of) = Opening::frame(&theirs, &greeting()).unwrap();
        assert_eq!(of, theirs.len() - 3);
        assert!(String::from_utf8_lossy(&ours).contains("12345"));
        assert!(Opening::frame(&theirs[..of - 1], &greeting()).is_none());
    }
}
