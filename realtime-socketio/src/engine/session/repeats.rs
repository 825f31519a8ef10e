//! Detection of repeated requests on long polling.
//!
//! Browsers repeat a request by themselves when a reused connection breaks without a response (RFC
//! 9110 §9.2.2 allows it). The packets were in the first response, so that the second one has a
//! gap before it, and a POST would be read twice. So the session has to be closed, and the client
//! resumes from its cursor.
//!
//! Only the parameter `t` in the query distinguishes two requests of Engine.IO; its purpose is "to
//! ensure that the request is not cached" (protocol 4). Clients in browsers send a different value
//! each time. Others send the time in seconds (SocketIOClient of .NET) or milliseconds
//! (socket_io_client of Dart), and an application may have added a `t` of its own.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use realtime_http::Wire;

/// The last requests of one session.
#[derive(Default)]
pub(crate) struct Repeats {
    /// Values of `t` of the request that opened the session: values that occur again are the
    /// application's.
    opening: OnceLock<Vec<String>>,
    /// Set when a client that had the response has sent the same values again, which then prove
    /// nothing.
    not_unique: AtomicBool,
    get: Mutex<Option<LastRequest>>,
    post: Mutex<Option<LastRequest>>,
}

/// The last request of one method.
struct LastRequest {
    /// Hash of the values of `t`.
    t_hash: u64,
    /// TCP connection of the request; none if the listener does not report it.
    wire: Option<Arc<Wire>>,
}

impl Repeats {
    /// Sets the values of `t` of the request that opened the session.
    pub(crate) fn opened(&self, t_values: Vec<String>) {
        let _ = self.opening.set(t_values);
    }

    /// Returns whether this GET, or POST, repeats the last one of a client that cannot have seen
    /// the first response.
    ///
    /// A client can have seen a response on the same connection. On another connection the value of
    /// `t` decides, if it is unique to the request: bytes that the first connection's socket
    /// accepted may still have been lost, on the network or behind a proxy. If the value is not
    /// unique, the request counts as a repeat when the first connection is known to have broken.
    ///
    /// A first response that was sent completely proves nothing: a reverse proxy may have accepted
    /// it, whose connection to the client then broke, which only the browser's repeat shows. If
    /// that response counted as seen, its packets would be lost without notice. A response that was
    /// not sent completely has closed the session by itself
    /// ([`ResponseBody`](crate::engine::polling::response_body::ResponseBody)).
    pub(crate) fn is_repeat(&self, get: bool, t_values: &[String], wire: Option<Arc<Wire>>) -> bool {
        if t_values.is_empty() {
            return false;
        }
        let mut hasher = DefaultHasher::new();
        t_values.hash(&mut hasher);
        let (t_hash, second) = (hasher.finish(), wire.clone());
        let slot = if get { &self.get } else { &self.post };
        let last = slot.lock().unwrap_or_else(PoisonError::into_inner).replace(LastRequest { t_hash, wire });
        let Some(LastRequest { wire: first, .. }) = last.filter(|last| last.t_hash == t_hash) else { return false };
        if let (Some(first), Some(second)) = (&first, &second)
            && Arc::ptr_eq(first, second)
        {
            self.not_unique.store(true, Ordering::Relaxed);
            return false;
        }
        let constant = self.opening.get().map_or(&[][..], Vec::as_slice);
        let now = SystemTime::now();
        let is_unique = !self.not_unique.load(Ordering::Relaxed)
            && t_values.iter().any(|value| !constant.contains(value) && !is_time(value, now));
        is_unique || first.is_some_and(|first| first.broken())
    }
}

/// Deviation of a client's clock up to which a number counts as its time.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns whether a value is only the time: a decimal number of seconds or smaller units, or
/// milliseconds in base 36 close to now.
fn is_time(value: &str, now: SystemTime) -> bool {
    if value.len() >= 10 && value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return true;
    }
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    u64::from_str_radix(value, 36).is_ok_and(|millis| now.abs_diff(millis.into()) < MAX_CLOCK_SKEW.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_recognised_in_every_client_format() {
        let now = UNIX_EPOCH + Duration::from_millis(1_700_000_000_000);
        for time in ["1700000000", "1600000000", "1700000000000", "1700000000.123456", "loyw3v28", "LOYW3V28"] {
            assert!(is_time(time, now), "{time}");
        }
        // Values of engine.io-client since 6.6 and before, and of applications.
        for other in ["w3v28abc", "OlFt2yp", "OlFt2yp.0", "acme", "17", "0", "", "a1700000000", "-1700000000"] {
            assert!(!is_time(other, now), "{other}");
        }
    }

    fn is_new(repeats: &Repeats, get: bool, value: &str) -> bool {
        !repeats.is_repeat(get, &[value.to_owned()], None)
    }

    #[test]
    fn repeated_unique_value_is_a_repeat() {
        let repeats = Repeats::default();
        assert!(is_new(&repeats, true, "a") && is_new(&repeats, true, "b"));
        assert!(is_new(&repeats, false, "b"), "each method is checked separately");
        assert!(is_new(&repeats, true, "a") && !is_new(&repeats, true, "a"));
    }

    #[test]
    fn time_and_constant_value_are_no_repeat() {
        let repeats = Repeats::default();
        repeats.opened(vec!["acme".to_owned(), "m0".to_owned()]);
        for mark in ["acme", "1700000000", "m0"] {
            assert!((0..3).all(|_| is_new(&repeats, true, mark)), "{mark}");
        }
        let both = ["acme".to_owned(), "m1".to_owned()];
        assert!(!repeats.is_repeat(true, &both, None));
        assert!(repeats.is_repeat(true, &both, None));
        for _ in 0..3 {
            assert!(!Repeats::default().is_repeat(true, &[], None));
        }
    }
}
