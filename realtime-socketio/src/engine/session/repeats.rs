//! Detection of repeated requests on long polling.
//!
//! Browsers repeat a request by themselves when a reused connection breaks without a response (RFC 9110 §9.2.2 allows it).
//! The packets were in the first response, so that the second one has a gap before it, and a POST would be read twice.
//! So the session has to end, and the client resumes from its cursor.
//!
//! Only the `t` in the query distinguishes two requests of Engine.IO, which is there "to ensure that the request is not cached"
//! (protocol 4). Clients in browsers send a different one each time. Others send the time in seconds (SocketIOClient of .NET)
//! or milliseconds (socket_io_client of Dart), and an application may have put a `t` of its own there.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use realtime_http::Wire;

/// Last requests of one session.
#[derive(Default)]
pub(crate) struct Repeats {
    /// Marks (values of `t`) of the request that opened the session: those that come again are the application's.
    opening: OnceLock<Vec<String>>,
    /// Set when a client that had the response has sent the same marks again: its marks prove nothing.
    coarse: AtomicBool,
    get: Mutex<Option<Asked>>,
    post: Mutex<Option<Asked>>,
}

/// A request.
struct Asked {
    mark: u64,
    /// TCP connection of the request; none if the listener does not report it.
    wire: Option<Arc<Wire>>,
}

impl Repeats {
    pub(crate) fn opened(&self, marks: Vec<String>) {
        let _ = self.opening.set(marks);
    }

    /// Returns whether this GET, or POST, repeats the last one of a client that cannot have seen the first response.
    ///
    /// A client can have seen a response on the same connection. On another connection the mark decides, if it is made for one
    /// request: what the first connection's socket has taken may still have been lost, on the network or behind a proxy. If it is
    /// not, the request counts as a repeat when the first connection is known to have broken.
    ///
    /// A first response that was sent as a whole proves nothing: a reverse proxy may have taken it, whose connection to the client
    /// then broke, which only the browser's repeat shows. If that response counted as seen, its packets would be lost without
    /// notice. A response that was not sent as a whole has ended the session by itself
    /// ([`ResponseBody`](crate::engine::polling::response_body::ResponseBody)).
    pub(crate) fn is_unanswered(&self, get: bool, marks: &[String], wire: Option<Arc<Wire>>) -> bool {
        if marks.is_empty() {
            return false;
        }
        let mut hasher = DefaultHasher::new();
        marks.hash(&mut hasher);
        let (mark, second) = (hasher.finish(), wire.clone());
        let newest = if get { &self.get } else { &self.post };
        let last = newest.lock().unwrap_or_else(PoisonError::into_inner).replace(Asked { mark, wire });
        let Some(Asked { wire: first, .. }) = last.filter(|last| last.mark == mark) else { return false };
        if let (Some(first), Some(second)) = (&first, &second)
            && Arc::ptr_eq(first, second)
        {
            self.coarse.store(true, Ordering::Relaxed);
            return false;
        }
        let own = self.opening.get().map_or(&[][..], Vec::as_slice);
        let now = SystemTime::now();
        let tells =
            !self.coarse.load(Ordering::Relaxed) && marks.iter().any(|mark| !own.contains(mark) && !is_time(mark, now));
        tells || first.is_some_and(|first| first.broken())
    }
}

/// Deviation of a client's clock up to which a number counts as its time.
const OFF: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns whether a mark is only the time: a decimal number of seconds or smaller units, or milliseconds in base 36 close to now.
fn is_time(mark: &str, now: SystemTime) -> bool {
    if mark.len() >= 10 && mark.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return true;
    }
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    u64::from_str_radix(mark, 36).is_ok_and(|millis| now.abs_diff(millis.into()) < OFF.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_known_however_clients_write_it() {
        let now = UNIX_EPOCH + Duration::from_millis(1_700_000_000_000);
        for time in ["1700000000", "1600000000", "1700000000000", "1700000000.123456", "loyw3v28", "LOYW3V28"] {
            assert!(is_time(time, now), "{time}");
        }
        // Of engine.io-client since 6.6 and before, and of applications.
        for other in ["w3v28abc", "OlFt2yp", "OlFt2yp.0", "acme", "17", "0", "", "a1700000000", "-1700000000"] {
            assert!(!is_time(other, now), "{other}");
        }
    }

    fn heard(repeats: &Repeats, get: bool, mark: &str) -> bool {
        !repeats.is_unanswered(get, &[mark.to_owned()], None)
    }

    #[test]
    fn a_mark_that_each_request_has_for_itself_tells_a_repeat() {
        let repeats = Repeats::default();
        assert!(heard(&repeats, true, "a") && heard(&repeats, true, "b"));
        assert!(heard(&repeats, false, "b"), "each method has marks of its own");
        assert!(heard(&repeats, true, "a") && !heard(&repeats, true, "a"));
    }

    #[test]
    fn the_time_and_what_was_there_from_the_beginning_tell_none() {
        let repeats = Repeats::default();
        repeats.opened(vec!["acme".to_owned(), "m0".to_owned()]);
        for mark in ["acme", "1700000000", "m0"] {
            assert!((0..3).all(|_| heard(&repeats, true, mark)), "{mark}");
        }
        let both = ["acme".to_owned(), "m1".to_owned()];
        assert!(!repeats.is_unanswered(true, &both, None));
        assert!(repeats.is_unanswered(true, &both, None));
        for _ in 0..3 {
            assert!(!Repeats::default().is_unanswered(true, &[], None));
        }
    }
}
