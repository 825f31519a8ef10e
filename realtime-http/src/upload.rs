//! A request's body with a timeout.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    BoxError,
    body::{Bytes, HttpBody},
    response::{IntoResponse as _, Response},
};
use http::{StatusCode, header::CONNECTION};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::refusal::error_response;

/// The body of a request, which fails when the client sends no byte for too long while the body is
/// read.
pub(crate) struct Upload {
    body: Incoming,
    limit: Duration,
    /// The timer, which runs while a reader waits.
    sleep: Option<Pin<Box<Sleep>>>,
    late: Late,
}

/// A flag that is set when a body has timed out.
#[derive(Clone, Default)]
pub(crate) struct Late(Arc<AtomicBool>);

impl Upload {
    pub(crate) fn new(body: Incoming, limit: Duration) -> Self {
        Self { body, limit, sleep: None, late: Late::default() }
    }

    pub(crate) fn late(&self) -> Late {
        self.late.clone()
    }
}

impl Late {
    /// Returns the response: 408 if the body has timed out and the handler failed, or else the
    /// handler's.
    pub(crate) fn answer(&self, response: Response) -> Response {
        let failed = response.status().is_client_error() || response.status().is_server_error();
        if failed && self.0.load(SeqCst) {
            // The rest of the body is useless, so the connection is closed.
            let late = error_response(StatusCode::REQUEST_TIMEOUT, "body_timeout", "the body did not come in time");
            return ([(CONNECTION, "close")], late).into_response();
        }
        response
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if !this.late.0.load(SeqCst) {
            if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
                this.sleep = None;
                return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
            }
            let limit = this.limit;
            std::task::ready!(this.sleep.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(cx));
            this.sleep = None;
            this.late.0.store(true, SeqCst);
        }
        let error = io::Error::new(io::ErrorKind::TimedOut, "the body did not come in time");
        Poll::Ready(Some(Err(error.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
