//! Requests of long polling that come again.
//!
//! Browsers send a request again by themselves when a connection that they had used before breaks without an answer
//! (RFC 9110 §9.2.2 lets them). The session's part of the answer was in the first one: what the client gets for the second
//! has a gap before it, and a POST would be read twice. So the session has to end, and the client resumes from its place.
//!
//! Engine.IO has nothing that tells a request from the one before but the `t` in its query, "to ensure that the request is
//! not cached" (protocol 4). Those of the clients that browsers run are different each time. Others send the time: seconds
//! (SocketIOClient of .NET), milliseconds (socket_io_client of Dart), or an application has put one of its own there.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use realtime_http::Wire;

/// What was asked last, of one session.
#[derive(Default)]
pub(crate) struct Repeats {
    /// The marks of the request that opened it: those that come again are the application's.
    opening: OnceLock<Vec<String>>,
    /// Marks have been seen to come again from a client that had the answer: they tell nothing.
    coarse: AtomicBool,
    get: Mutex<Option<Asked>>,
    post: Mutex<Option<Asked>>,
}

/// A request.
struct Asked {
    mark: u64,
    /// The connection that it came on; none under a listener of somebody else's.
    wire: Option<Arc<Wire>>,
}

impl Repeats {
    pub(crate) fn opened(&self, marks: Vec<String>) {
        let _ = self.opening.set(marks);
    }

    /// Whether this GET, or POST, is the last one once more, sent by a client that cannot have seen the answer to the first.
    ///
    /// It can have seen what came on the same connection. On another one the mark tells, if it is one that each request has
    /// for itself: what the first connection's socket has taken may still have been lost, on the network or behind a proxy.
    /// If it is not, the first connection tells, when it is known to have broken.
    ///
    /// That the first answer went out whole tells nothing: it did so to the proxy in front, whose connection to the
    /// client then broke, and only the browser's repeat shows it. With such an answer taken for seen, its packets would
    /// be lost without a word; an answer that did not go out whole has ended the session by itself
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

/// How far a client's clock may be off, for a text to be known as its time.
const OFF: Duration = Duration::from_secs(24 * 60 * 60);

/// Whether a mark is only the time: a number of seconds or less, or milliseconds to the base 36 that are near now.
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
