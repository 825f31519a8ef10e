/// Cause for which this side closed a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The session was not connected in time.
    ConnectTimeout,
    /// The client sent too much before it was connected, or repeated its CONNECT too often.
    Flood,
    /// The client gave no sign of life in time, after a ping of the heartbeat or when its user
    /// needed the slot.
    Heartbeat,
    /// A request of long polling, or the response to one, did not arrive.
    Lost,
    /// The client sent a frame or a packet that could not be read.
    Malformed,
    /// The client sent more per second than its rate, for longer than the patience.
    RateLimited,
    /// The client sent a message larger than `max_message_bytes`.
    TooLarge,
    /// No slot of the client's user became free while its CONNECT waited.
    UserLimit,
    /// The client read nothing for `write_stall` while data waited for it.
    WriteStall,
}

/// Fault of a client.
pub(crate) struct Fault {
    /// The code by which the fault is counted: that of the error that the client is sent, if it is
    /// sent one.
    pub(crate) code: &'static str,
    /// The setting that decides on it.
    pub(crate) setting: Option<&'static str>,
}

impl Cause {
    /// Returns the fault of the client; none for causes that are logged as refusals.
    pub(crate) fn fault(self) -> Option<Fault> {
        let (code, setting) = match self {
            Self::Malformed => ("protocol_error", None),
            Self::RateLimited => ("rate_limited", Some("limits.inbound_per_connection")),
            Self::TooLarge => ("too_large", Some("max_message_bytes")),
            Self::WriteStall => ("write_stall", Some("write_stall")),
            Self::ConnectTimeout | Self::Flood | Self::Heartbeat | Self::Lost | Self::UserLimit => return None,
        };
        Some(Fault { code, setting })
    }

    /// Returns the last frames on a websocket: the close frame with its code (RFC 6455 §7.4.1). A
    /// fault is sent as an event first, because Socket.IO's clients do not show the code of a close
    /// frame.
    pub(crate) fn last_frames(self) -> &'static [u8] {
        match self {
            // 1013 with a reason.
            Self::ConnectTimeout => b"\x88\x11\x03\xf5connect_timeout",
            // 1008 with a reason.
            Self::Flood => b"\x88\x07\x03\xf0flood",
            // 4002
            Self::Heartbeat => b"\x88\x02\x0f\xa2",
            // 1011
            Self::Lost => b"\x88\x02\x03\xf3",
            // The event, then 1002.
            Self::Malformed => {
                b"\x81\x4c42[\"error\",{\"code\":\"protocol_error\",\"message\":\"a packet could not be read\"}]\
                \x88\x02\x03\xea"
            }
            // The event, Socket.IO's DISCONNECT, upon which no client reconnects by itself, then
            // 1008 with a reason.
            Self::RateLimited => {
                b"\x81\x5542[\"error\",{\"code\":\"rate_limited\",\"message\":\"more messages per second than allowed\"}]\
                \x81\x0241\x88\x0e\x03\xf0rate_limited"
            }
            // The event, then 1009.
            Self::TooLarge => {
                b"\x81\x4e42[\"error\",{\"code\":\"too_large\",\"message\":\"a message was larger than allowed\"}]\
                \x88\x02\x03\xf1"
            }
            // The event, then 1013 with a reason.
            Self::UserLimit => {
                b"\x81\x5042[\"error\",{\"code\":\"user_limit\",\"message\":\"this user has too many connections\"}]\
                \x88\x0c\x03\xf5user_limit"
            }
            // 4003
            Self::WriteStall => b"\x88\x02\x0f\xa3",
        }
    }

    /// Returns the last packets on long polling. Without any the next request fails with 400, upon
    /// which each client reconnects.
    ///
    /// Two causes end with Engine.IO's close packet, `1`. A client that has waited for a slot is
    /// not connected yet, and socket.io-client would report a failed request as `connect_error`. A
    /// client that has sent a malformed packet would send it again, and python-socketio does not
    /// reconnect after `1`.
    pub(crate) fn last_packets(self) -> Option<&'static [u8]> {
        match self {
            Self::UserLimit => {
                Some(b"42[\"error\",{\"code\":\"user_limit\",\"message\":\"this user has too many connections\"}]\x1e1")
            }
            Self::Malformed => {
                Some(b"42[\"error\",{\"code\":\"protocol_error\",\"message\":\"a packet could not be read\"}]\x1e1")
            }
            // The DISCONNECT before the close packet.
            Self::RateLimited => Some(
                b"42[\"error\",{\"code\":\"rate_limited\",\"message\":\"more messages per second than allowed\"}]\x1e41\x1e1",
            ),
            // Without the close packet: the client does not send the same message again by itself.
            Self::TooLarge => {
                Some(b"42[\"error\",{\"code\":\"too_large\",\"message\":\"a message was larger than allowed\"}]")
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Splits off the first frame, which is not masked and has a short payload.
    fn split(frames: &[u8]) -> ((u8, &[u8]), &[u8]) {
        let (payload, rest) = frames[2..].split_at(frames[1].into());
        ((frames[0], payload), rest)
    }

    #[test]
    fn last_frame_is_close_frame_with_code() {
        use Cause::*;
        for (cause, code) in [
            (ConnectTimeout, 1013),
            (Flood, 1008),
            (Heartbeat, 4002),
            (Lost, 1011),
            (Malformed, 1002),
            (RateLimited, 1008),
            (TooLarge, 1009),
            (UserLimit, 1013),
            (WriteStall, 4003),
        ] {
            let mut frames = cause.last_frames();
            let mut last = (0, frames);
            while !frames.is_empty() {
                (last, frames) = split(frames);
            }
            let (code_bytes, reason) = last.1.split_at(2);
            assert_eq!((last.0, code_bytes), (0x88, &u16::to_be_bytes(code)[..]), "{cause:?}");
            assert!(reason.iter().all(|byte| byte.is_ascii_lowercase() || *byte == b'_'), "{cause:?}");
        }
    }

    #[test]
    fn fault_is_sent_as_event_before_close_frame() {
        for (cause, code, message) in [
            (Cause::Malformed, "protocol_error", "a packet could not be read"),
            (Cause::TooLarge, "too_large", "a message was larger than allowed"),
        ] {
            let event = format!("42{}", serde_json::json!(["error", realtime_core::HandlerError::new(code, message)]));
            let (frame, close) = split(cause.last_frames());
            assert_eq!(frame, (0x81, event.as_bytes()), "{cause:?}");
            assert_eq!(close.len(), 4, "{cause:?}");
        }
    }

    #[test]
    fn user_limit_is_sent_as_event_on_both_transports() {
        let error = realtime_core::HandlerError::new("user_limit", "this user has too many connections");
        let event = format!("42{}", serde_json::json!(["error", error]));
        let ((opcode, payload), close) = split(Cause::UserLimit.last_frames());
        assert_eq!((opcode, payload), (0x81, event.as_bytes()));
        assert_eq!(split(close), ((0x88, &b"\x03\xf5user_limit"[..]), &[][..]));
        assert_eq!(Cause::UserLimit.last_packets(), Some(format!("{event}\u{1e}1").as_bytes()));
    }
}
