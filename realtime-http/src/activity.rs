//! The activity on one HTTP/2 connection, from which an idle or a stalled one is detected.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::config::WireConfig;
use crate::pending::{Entered, Pending};
use crate::wire::Wire;

/// The largest number of bytes passed on at a time: for a slow client that reads at all, the next
/// piece is asked for in time, however large the pieces of a response are. HTTP/2 sends no larger
/// frames by default.
const PIECE: usize = 16 * 1024;

/// The open requests of a connection, and those of its responses that wait for the client.
pub(crate) struct Activity {
    wire: Arc<Wire>,
    /// The connections between two requests.
    among_idle: Arc<Pending>,
    write_stall: Duration,
    idle: Option<Duration>,
    /// Notified when the connection is to end with its open responses.
    finish: Notify,
    /// The counters; the lock is held for a few reads and writes of the fields only.
    state: Mutex<State>,
}

struct State {
    /// The number of requests without a response, and of responses that have not ended.
    open: usize,
    /// The number of responses of which a piece was passed on, and no more was asked for.
    waiting: usize,
    /// The end of the last request; used while none is open.
    idle_since: Instant,
    /// The place among the idle connections, after the first request and while none is open.
    place: Option<Entered>,
    /// The time when one of the waiting responses was asked for more, or the first began to wait;
    /// used while one waits.
    taken_at: Instant,
}

/// A problem of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No open request for the whole time.
    Idle,
    /// A waiting response, and no progress of any response for the whole time.
    Stalled,
}

impl Activity {
    pub(crate) fn new(config: &WireConfig, wire: &Arc<Wire>, among_idle: &Arc<Pending>) -> Arc<Self> {
        let now = Instant::now();
        let state = State { open: 0, waiting: 0, idle_since: now, place: None, taken_at: now };
        Arc::new(Self {
            wire: Arc::clone(wire),
            among_idle: Arc::clone(among_idle),
            write_stall: config.write_stall,
            idle: config.http2_idle_timeout,
            finish: Notify::new(),
            state: Mutex::new(state),
        })
    }

    /// Counts a request, until the returned guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> OpenRequest {
        // Left after the lock is released.
        let _place = self.with(|state| {
            state.open += 1;
            state.place.take()
        });
        OpenRequest { activity: Arc::clone(self), waits: false, is_last: false }
    }

    /// Waits for the end of a response that is to be the connection's last one.
    pub(crate) async fn finishing(&self) {
        self.finish.notified().await;
    }

    /// Waits for a problem.
    ///
    /// Nothing wakes the watch: it checks once in the shorter of the two limits, so that it knows
    /// each deadline before the deadline has passed.
    pub(crate) async fn watch(&self) -> Verdict {
        loop {
            let now = Instant::now();
            let limit = self.idle.map_or(self.write_stall, |idle| idle.min(self.write_stall));
            let (stall, idle) = self.with(|state| {
                let stall = (state.waiting > 0).then(|| state.taken_at.checked_add(self.write_stall)).flatten();
                let since = (state.open == 0).then_some(state.idle_since);
                (stall, since.zip(self.idle).and_then(|(since, idle)| since.checked_add(idle)))
            });
            if stall.is_some_and(|at| at <= now) {
                return Verdict::Stalled;
            }
            if idle.is_some_and(|at| at <= now) {
                // A caller that goes on in spite of it waits for another idle time.
                self.with(|state| state.idle_since = now);
                return Verdict::Idle;
            }
            // A deadline beyond the clock's range is never reached.
            match [stall, idle, now.checked_add(limit)].into_iter().flatten().min() {
                Some(next) => sleep_until(next).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Enters the connection among the idle ones.
    fn enter(&self) {
        // A connection that has ended takes no other one's place.
        if self.wire.closed() || self.wire.broken() {
            return;
        }
        let place = self.among_idle.enter(&self.wire);
        // A request may have begun meanwhile. What is not kept is left after the lock is released.
        let _unused = self.with(|state| if state.open == 0 { state.place.replace(place) } else { Some(place) });
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One request, from its head to the end of its response.
pub(crate) struct OpenRequest {
    activity: Arc<Activity>,
    /// Set while a piece of the response was passed on, and no more was asked for.
    waits: bool,
    /// Set if the connection is to end with the response.
    is_last: bool,
}

impl OpenRequest {
    /// Moves the guard into the body of the response, with whose end the connection is to end if
    /// `is_last`.
    pub(crate) fn follow(mut self, body: Body, is_last: bool) -> Body {
        self.is_last = is_last;
        if body.is_end_stream() {
            self.end();
            return body;
        }
        Body::new(Followed { body, rest: Bytes::new(), request: self })
    }

    /// Notes that the response has ended in order.
    fn end(&self) {
        if self.is_last {
            self.activity.finish.notify_one();
        }
    }

    fn waits(&mut self) {
        self.waits = true;
        self.activity.with(|state| {
            if state.waiting == 0 {
                state.taken_at = Instant::now();
            }
            state.waiting += 1;
        });
    }

    fn taken(&mut self) {
        if std::mem::take(&mut self.waits) {
            self.activity.with(|state| {
                state.waiting -= 1;
                state.taken_at = Instant::now();
            });
        }
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let is_idle = self.activity.with(|state| {
            // An aborted response has not progressed: the others wait as before.
            state.waiting -= usize::from(self.waits);
            state.open -= 1;
            if state.open == 0 {
                state.idle_since = Instant::now();
            }
            state.open == 0
        });
        if is_idle {
            self.activity.enter();
        }
    }
}

/// A response's body that reports its progress: hyper asks for more when the client has taken the
/// previous piece.
struct Followed {
    body: Body,
    /// The rest of a large piece, which has not been passed on.
    rest: Bytes,
    request: OpenRequest,
}

impl HttpBody for Followed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        this.request.taken();
        if this.rest.is_empty() {
            match std::task::ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Ok(data) => this.rest = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                end => {
                    if end.is_none() {
                        this.request.end();
                    }
                    return Poll::Ready(end);
                }
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        this.request.waits();
        if this.is_end_stream() {
            this.request.end();
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::guard::Guard;

    const STALL: Duration = Duration::from_secs(30);
    const IDLE: Duration = Duration::from_secs(60);

    fn activity() -> Arc<Activity> {
        let config = WireConfig::default().with_write_stall(STALL).with_http2_idle_timeout(IDLE);
        let guard = Guard::new(&config);
        let stream = guard.wrap(tokio::io::duplex(1).0, ([127, 0, 0, 1], 7).into());
        Activity::new(&config, stream.wire(), guard.idle())
    }

    async fn verdict(activity: &Activity) -> (Verdict, Duration) {
        let started_at = Instant::now();
        let verdict = activity.watch().await;
        // Rounded to the timer's granularity.
        (verdict, Duration::from_secs(started_at.elapsed().as_secs_f64().round() as u64))
    }

    #[tokio::test(start_paused = true)]
    async fn connection_is_idle_only_without_requests() {
        let activity = activity();
        assert_eq!(verdict(&activity).await, (Verdict::Idle, IDLE));
        let request = activity.begin();
        assert!(tokio::time::timeout(20 * IDLE, activity.watch()).await.is_err(), "a handler is running");
        let mut body = request.follow(Body::from("x"), false);
        assert!(tokio::time::timeout(20 * IDLE, activity.watch()).await.is_err(), "the response has not begun");
        body.frame().await.unwrap().unwrap();
        drop(body);
        assert_eq!(verdict(&activity).await, (Verdict::Idle, IDLE));
    }

    #[tokio::test]
    async fn connection_has_a_place_among_the_idle_while_it_is_open() {
        let config = WireConfig::default();
        let guard = Guard::new(&config);
        let stream = guard.wrap(tokio::io::duplex(1).0, ([127, 0, 0, 1], 7).into());
        let activity = Activity::new(&config, stream.wire(), guard.idle());
        let idle = || guard.stats().idle;
        let (one, two) = (activity.begin(), activity.begin());
        drop(one);
        assert_eq!(idle(), 0, "a request is open");
        drop(two);
        assert_eq!(idle(), 1);
        let three = activity.begin();
        assert_eq!(idle(), 0);
        drop(stream);
        drop(three);
        assert_eq!(idle(), 0, "it has ended");
    }

    #[tokio::test(start_paused = true)]
    async fn progress_of_one_response_keeps_a_waiting_one() {
        let activity = activity();
        let mut stuck = activity.begin().follow(Body::from("x"), false);
        stuck.frame().await.unwrap().unwrap();
        let mut neighbour = activity.begin().follow(Body::from(vec![0; 10 * PIECE]), false);
        let taking = async {
            let mut pieces = 0;
            while let Some(piece) = neighbour.frame().await {
                assert_eq!(piece.unwrap().into_data().unwrap().len(), PIECE);
                pieces += 1;
                tokio::time::sleep(STALL / 2).await;
            }
            assert_eq!(pieces, 10);
        };
        tokio::select! {
            verdict = activity.watch() => panic!("{verdict:?}"),
            () = taking => {}
        }
        drop(neighbour);
        assert_eq!(verdict(&activity).await, (Verdict::Stalled, STALL));
        drop(stuck);
        assert_eq!(verdict(&activity).await, (Verdict::Idle, IDLE));
    }

    #[tokio::test(start_paused = true)]
    async fn size_hint_of_a_body_is_kept() {
        let mut body = activity().begin().follow(Body::from(vec![0; PIECE + 5]), false);
        assert_eq!(body.size_hint().exact(), Some(PIECE as u64 + 5));
        body.frame().await.unwrap().unwrap();
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(5), false));
        body.frame().await.unwrap().unwrap();
        assert!(body.is_end_stream());
    }
}
