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
use tokio::time::{Instant, Sleep, sleep};

use crate::config::WireConfig;
use crate::ended::Ended;
use crate::refusal::error_response;
use crate::wire::Wire;

/// The body of a request, which fails when the client sends it too slowly while it is read.
pub(crate) struct Upload<B = Incoming> {
    body: B,
    pace: Pace,
    wire: Arc<Wire>,
    /// The moment since when a reader waits, and the timer of that wait.
    wait: Option<(Instant, Pin<Box<Sleep>>)>,
    late: Late,
}

/// The time that a body may take. Only that counts for which its reader has waited.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// The longest time without a byte, and the time besides that of the rate.
    limit: Duration,
    /// The bytes per second on average, if that is bounded.
    rate: Option<u32>,
    /// The bytes so far.
    received: u64,
    /// The time that readers have waited for them.
    waited: Duration,
}

impl Pace {
    /// Returns the pace of a configuration, if bodies are bounded at all.
    pub(crate) fn of(config: &WireConfig) -> Option<Self> {
        let limit = config.body_read_timeout?;
        Some(Self { limit, rate: config.body_min_rate, received: 0, waited: Duration::ZERO })
    }

    /// Returns for how long a reader may wait from now on.
    fn patience(&self) -> Duration {
        let Some(rate) = self.rate else { return self.limit };
        let millis = self.received.saturating_mul(1000) / u64::from(rate.max(1));
        let in_all = self.limit.saturating_add(Duration::from_millis(millis));
        self.limit.min(in_all.saturating_sub(self.waited))
    }

    /// Notes the end of a wait, with the bytes that it was for.
    fn note(&mut self, waited: Duration, received: usize) {
        self.waited = self.waited.saturating_add(waited);
        self.received = self.received.saturating_add(received as u64);
    }
}

/// A flag that is set when a body has timed out.
#[derive(Clone, Default)]
pub(crate) struct Late(Arc<AtomicBool>);

impl<B> Upload<B> {
    pub(crate) fn new(body: B, pace: Pace, wire: Arc<Wire>) -> Self {
        Self { body, pace, wire, wait: None, late: Late::default() }
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

impl<B> HttpBody for Upload<B>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if !this.late.0.load(SeqCst) {
            if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
                let waited = this.wait.take().map_or(Duration::ZERO, |(since, _)| since.elapsed());
                let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
                this.pace.note(waited, data.map_or(0, Bytes::len));
                return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
            }
            let patience = this.pace.patience();
            let (_, sleep) = this.wait.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(patience))));
            std::task::ready!(sleep.as_mut().poll(cx));
            this.wait = None;
            this.late.0.store(true, SeqCst);
            this.wire.count(Ended::BodyTimeout);
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use futures_util::{StreamExt as _, stream};
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;
    use crate::guard::Guard;

    const LIMIT: Duration = Duration::from_secs(30);

    /// Reads a body of pieces of this size, each after this pause; returns the bytes that came in
    /// time, and whether all did.
    async fn read(pieces: usize, size: usize, pause: Duration, rate: Option<u32>) -> (usize, bool) {
        let config = WireConfig::default().with_body_read_timeout(LIMIT).with_body_min_rate(rate);
        let body = stream::iter(0..pieces).then(|_| async move {
            tokio::time::sleep(pause).await;
            Ok::<_, std::io::Error>(Frame::data(Bytes::from(vec![b'x'; size])))
        });
        let guard = Guard::new(&config);
        let stream = guard.wrap(tokio::io::duplex(1).0, SocketAddr::from(([127, 0, 0, 1], 7)));
        let pace = Pace::of(&config).unwrap();
        let mut upload = Upload::new(StreamBody::new(Box::pin(body)), pace, Arc::clone(stream.wire()));
        let mut bytes = 0;
        while let Some(frame) = upload.frame().await {
            let Ok(frame) = frame else {
                assert_eq!(guard.stats().ended["body_timeout"], 1);
                return (bytes, false);
            };
            bytes += frame.into_data().unwrap().len();
        }
        assert_eq!(guard.stats().ended["body_timeout"], 0);
        (bytes, true)
    }

    #[tokio::test(start_paused = true)]
    async fn body_that_drips_is_late() {
        let begun = Instant::now();
        assert_eq!(read(16_384, 1, Duration::from_secs(29), Some(500)).await, (1, false));
        assert!(begun.elapsed() < 2 * LIMIT, "{:?}", begun.elapsed());
        assert!(read(16, 1024, Duration::from_millis(2_100), Some(500)).await.1, "30 s more are for all");
        assert!(!read(1024, 1024, Duration::from_millis(2_100), Some(500)).await.1);
        assert_eq!(read(1024, 1024, Duration::from_secs(2), Some(500)).await, (1 << 20, true));
        assert_eq!(read(100, 1, Duration::from_secs(29), None).await, (100, true), "no rate");
        assert_eq!(read(1, 1, Duration::from_secs(31), None).await, (0, false));
    }

    /// A reader that takes its time, as while its handlers are busy, is not the client's fault.
    #[tokio::test(start_paused = true)]
    async fn time_without_a_reader_does_not_count() {
        let pieces = stream::iter((0..10).map(|_| Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"x")))));
        let config = WireConfig::default();
        let stream = Guard::new(&config).wrap(tokio::io::duplex(1).0, SocketAddr::from(([127, 0, 0, 1], 7)));
        let pace = Pace::of(&config).unwrap();
        let mut upload = Upload::new(StreamBody::new(pieces), pace, Arc::clone(stream.wire()));
        for _ in 0..10 {
            tokio::time::sleep(2 * LIMIT).await;
            assert!(upload.frame().await.unwrap().is_ok());
        }
    }
}
