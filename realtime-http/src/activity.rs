//! What goes on on one HTTP/2 connection, by which it is known to be idle or stuck.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, sleep_until};

use crate::config::WireConfig;

/// The most bytes that are handed on at a time: a slow client that reads at all comes back for more in time, however large
/// the pieces of a response are. HTTP/2 sends no larger frames by default.
const PIECE: usize = 16 * 1024;

/// The requests of a connection that are under way, and those of its responses that wait for the client.
pub(crate) struct Activity {
    write_stall: Duration,
    idle: Option<Duration>,
    /// Held for a few reads and writes of its fields only.
    state: Mutex<State>,
}

struct State {
    /// Requests without an answer, and answers that have not ended.
    under_way: usize,
    /// Answers of which a piece was handed on, and no more was asked for.
    waiting: usize,
    /// When the last request ended; of use while none is under way.
    idle_since: Instant,
    /// When one of those that wait was asked for more, or the first began to wait; of use while one waits.
    taken_at: Instant,
}

/// What is wrong with a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It had no request under way for the whole time.
    Idle,
    /// No response has taken a byte for the whole time while one waits.
    Stalled,
}

impl Activity {
    pub(crate) fn new(config: &WireConfig) -> Arc<Self> {
        let now = Instant::now();
        let state = State { under_way: 0, waiting: 0, idle_since: now, taken_at: now };
        Arc::new(Self { write_stall: config.write_stall, idle: config.http2_idle_timeout, state: Mutex::new(state) })
    }

    /// Counts a request, until what is returned is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> UnderWay {
        self.with(|state| state.under_way += 1);
        UnderWay { activity: Arc::clone(self), waits: false }
    }

    /// Waits until something is wrong.
    ///
    /// Nobody wakes it: it looks once in the shorter of its times, so that it knows each deadline before that is over.
    pub(crate) async fn watch(&self) -> Verdict {
        loop {
            let now = Instant::now();
            let limit = self.idle.map_or(self.write_stall, |idle| idle.min(self.write_stall));
            let (stall, idle) = self.with(|state| {
                let stall = (state.waiting > 0).then(|| state.taken_at.checked_add(self.write_stall)).flatten();
                let since = (state.under_way == 0).then_some(state.idle_since);
                (stall, since.zip(self.idle).and_then(|(since, idle)| since.checked_add(idle)))
            });
            if stall.is_some_and(|at| at <= now) {
                return Verdict::Stalled;
            }
            if idle.is_some_and(|at| at <= now) {
                // Whoever goes on in spite of it is idle anew.
                self.with(|state| state.idle_since = now);
                return Verdict::Idle;
            }
            // A time past the end of the clock never comes.
            match [stall, idle, now.checked_add(limit)].into_iter().flatten().min() {
                Some(next) => sleep_until(next).await,
                None => std::future::pending().await,
            }
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One request, from its head to the end of its response.
pub(crate) struct UnderWay {
    activity: Arc<Activity>,
    /// A piece of its response was handed on, and no more was asked for.
    waits: bool,
}

impl UnderWay {
    /// Keeps it with the body of its response.
    pub(crate) fn follow(self, body: Body) -> Body {
        if body.is_end_stream() { body } else { Body::new(Followed { body, rest: Bytes::new(), under_way: self }) }
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

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.activity.with(|state| {
            // Given up is not taken: the others wait as before.
            state.waiting -= usize::from(self.waits);
            state.under_way -= 1;
            if state.under_way == 0 {
                state.idle_since = Instant::now();
            }
        });
    }
}

/// A response's body that tells how it gets on: hyper asks it for more when the client has taken the piece before.
struct Followed {
    body: Body,
    /// Of a large piece, what has not been handed on.
    rest: Bytes,
    under_way: UnderWay,
}

impl HttpBody for Followed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        this.under_way.taken();
        if this.rest.is_empty() {
            match std::task::ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Ok(data) => this.rest = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                end => return Poll::Ready(end),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        this.under_way.waits();
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

    const STALL: Duration = Duration::from_secs(30);
    const IDLE: Duration = Duration::from_secs(60);

    fn activity() -> Arc<Activity> {
        Activity::new(&WireConfig::default().with_write_stall(STALL).with_http2_idle_timeout(IDLE))
    }

    async fn verdict(activity: &Activity) -> (Verdict, Duration) {
        let begun = Instant::now();
        let verdict = activity.watch().await;
        // To the timer's grain.
        (verdict, Duration::from_secs(begun.elapsed().as_secs_f64().round() as u64))
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_only_without_requests() {
        let activity = activity();
        assert_eq!(verdict(&activity).await, (Verdict::Idle, IDLE));
        let request = activity.begin();
        assert!(tokio::time::timeout(20 * IDLE, activity.watch()).await.is_err(), "a handler is at work");
        let mut body = request.follow(Body::from("x"));
        assert!(tokio::time::timeout(20 * IDLE, activity.watch()).await.is_err(), "the response has not begun");
        body.frame().await.unwrap().unwrap();
        drop(body);
        assert_eq!(verdict(&activity).await, (Verdict::Idle, IDLE));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_takes_keeps_the_one_that_waits() {
        let activity = activity();
        let mut stuck = activity.begin().follow(Body::from("x"));
        stuck.frame().await.unwrap().unwrap();
        let mut neighbour = activity.begin().follow(Body::from(vec![0; 10 * PIECE]));
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
    async fn the_length_of_a_body_stays_known() {
        let mut body = activity().begin().follow(Body::from(vec![0; PIECE + 5]));
        assert_eq!(body.size_hint().exact(), Some(PIECE as u64 + 5));
        body.frame().await.unwrap().unwrap();
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(5), false));
        body.frame().await.unwrap().unwrap();
        assert!(body.is_end_stream());
    }
}
