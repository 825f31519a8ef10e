//! Engine.IO's open packet. engineioxide's is replaced, because its id, times and limits are not
//! for clients.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use socketioxide::socket::Sid;

use crate::engine::sessions::secret::Secret;
use crate::engine::settings::Heartbeat;
use crate::packet::frame::{first_text, text_frame};

/// Contents of the open packet of a session.
#[derive(Clone, Copy)]
pub(crate) struct HandshakeData {
    pub(crate) secret: Secret,
    pub(crate) heartbeat: Heartbeat,
    /// The largest message, in bytes.
    pub(crate) max_message: usize,
}

/// engineioxide's open packet, parsed, and its replacement.
pub(crate) struct OpenPacket {
    /// The session's id inside engineioxide.
    pub(crate) sid: Sid,
    /// The replacement.
    pub(crate) packet: String,
}

/// Fields in the order of npm's server: a client that parses them by hand expects the session's id
/// first.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Packet<'a> {
    sid: &'a str,
    upgrades: &'a Value,
    ping_interval: u64,
    ping_timeout: u64,
    max_payload: usize,
}

impl OpenPacket {
    /// Parses engineioxide's packet; none when it is not an open packet.
    pub(crate) fn read(packet: &[u8], handshake: &HandshakeData) -> Option<Self> {
        let original: Value = serde_json::from_slice(packet.strip_prefix(b"0")?).ok()?;
        let sid = original.get("sid")?.as_str()?.parse().ok()?;
        let HandshakeData { secret, heartbeat, max_message } = handshake;
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let replacement = Packet {
            sid: secret.as_str(),
            upgrades: original.get("upgrades")?,
            ping_interval: millis(heartbeat.interval),
            ping_timeout: millis(heartbeat.timeout),
            max_payload: *max_message,
        };
        Some(Self { sid, packet: format!("0{}", serde_json::to_string(&replacement).ok()?) })
    }

    /// Returns the replacement of the first frame of a websocket that opens a session, and the
    /// length of the original frame.
    ///
    /// None when the frame is incomplete or not an open packet.
    pub(crate) fn frame(frames: &[u8], handshake: &HandshakeData) -> Option<(Vec<u8>, usize)> {
        let (payload, end) = first_text(frames)?;
        Some((text_frame(&Self::read(payload, handshake)?.packet), end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake() -> HandshakeData {
        let [interval, timeout, busy] = [25, 60, 300].map(Duration::from_secs);
        HandshakeData { secret: Secret::new(), heartbeat: Heartbeat { interval, timeout, busy }, max_message: 12_345 }
    }

    const ORIGINAL: &str =
        r#"0{"sid":"AAAAAAAAAAAAAAAA","upgrades":[],"pingInterval":31536000000,"maxPayload":4294967295}"#;

    #[test]
    fn open_packet_has_secret_and_configured_times_and_limit() {
        let handshake = handshake();
        let OpenPacket { sid, packet } = OpenPacket::read(ORIGINAL.as_bytes(), &handshake).unwrap();
        assert_eq!(sid.as_str(), "AAAAAAAAAAAAAAAA");
        let open: Value = serde_json::from_str(&packet[1..]).unwrap();
        let expected = serde_json::json!({
            "sid": handshake.secret.as_str(), "upgrades": [], "pingInterval": 25_000, "pingTimeout": 60_000,
            "maxPayload": 12_345,
        });
        assert_eq!(open, expected);
        assert!(packet.starts_with("0{\"sid\":"), "{packet}");
        for other in ["", "0", "0{}", "40{\"sid\":\"AAAAAAAAAAAAAAAA\"}", "2"] {
            assert!(OpenPacket::read(other.as_bytes(), &handshake).is_none(), "{other}");
        }
    }

    #[test]
    fn first_frame_is_replaced_once_complete() {
        let frames = [text_frame(ORIGINAL), text_frame("2")].concat();
        let (replacement, len) = OpenPacket::frame(&frames, &handshake()).unwrap();
        assert_eq!(len, frames.len() - 3);
        assert!(String::from_utf8_lossy(&replacement).contains("12345"));
        assert!(OpenPacket::frame(&frames[..len - 1], &handshake()).is_none());
    }
}
