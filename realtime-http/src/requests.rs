//! The requests of one connection, which waits for the next one while none is under way.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use http::StatusCode;
use hyper::body::{Frame, SizeHint};

use crate::pending::{Entered, Pending};
use crate::wire::Wire;

/// The requests of one connection.
pub(crate) struct Requests {
    wire: Arc<Wire>,
    /// The connections between two requests.
    idle: Arc<Pending>,
    /// The lock is held to read and change the fields only.
    state: Mutex<State>,
}

struct State {
    /// The number of requests without a response, and of responses that have not ended.
    under_way: usize,
    /// Set while none is: before the first one among the pending connections, then among the idle
    /// ones.
    waits: Option<Entered>,
    /// Set once the connection belongs to the code that upgraded it.
    is_upgraded: bool,
}

impl Requests {
    /// Creates those of a connection that is pending.
    pub(crate) fn new(wire: &Arc<Wire>, pending: Entered, idle: &Arc<Pending>) -> Arc<Self> {
        let state = State { under_way: 0, waits: Some(pending), is_upgraded: false };
        Arc::new(Self { wire: Arc::clone(wire), idle: Arc::clone(idle), state: Mutex::new(state) })
    }

    /// Counts a request, until the returned guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> UnderWay {
        let mut state = self.lock();
        state.under_way += 1;
        let waits = state.waits.take();
        drop(state);
        drop(waits);
        UnderWay(Arc::clone(self))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request, from its head to the end of its response.
pub(crate) struct UnderWay(Arc<Requests>);

impl UnderWay {
    /// Moves the guard into the body of the response; what is upgraded waits for no request.
    pub(crate) fn follow(self, response: Response) -> Response {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            self.0.lock().is_upgraded = true;
            return response;
        }
        response.map(|body| if body.is_end_stream() { body } else { Body::new(Followed { body, _request: self }) })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let Self(requests) = self;
        let mut state = requests.lock();
        state.under_way -= 1;
        if state.under_way == 0 && !state.is_upgraded {
            state.waits = Some(requests.idle.enter(&requests.wire));
        }
    }
}

/// A response's body with its guard.
struct Followed {
    body: Body,
    _request: UnderWay,
}

impl HttpBody for Followed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
