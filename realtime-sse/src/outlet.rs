//! How a stream's outbox reaches the server's task, and the TCP connection under it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use realtime_core::spi::{Outlet, PROBE_TIMEOUT, SessionOutlet};
use realtime_http::Wire;

/// The TCP connection under a stream, where the listener tells of it.
pub(crate) struct Under {
    /// It knows why a client that stopped reading was cut.
    pub(crate) wire: Arc<Wire>,
    /// Whether it carries nothing but this stream (HTTP/1).
    pub(crate) alone: bool,
    /// Whether it frames each piece of the stream (HTTP/1.1).
    pub(crate) chunked: bool,
    /// Whether its other end is the client, as far as is known: a proxy would answer for it.
    pub(crate) direct: bool,
}

/// Wakes the stream's task, and ends a connection whose server waits in a write: the body is not asked for more then.
pub(crate) struct BodyOutlet {
    session: SessionOutlet,
    under: Option<Under>,
    /// How often the client was probed.
    probes: Arc<AtomicUsize>,
}

/// The kernel looks at the time for acknowledgements a little after it is over.
const LATE: Duration = Duration::from_secs(1);

impl BodyOutlet {
    pub(crate) fn new(under: Option<Under>) -> Self {
        Self { session: SessionOutlet::new(), under, probes: Arc::default() }
    }

    pub(crate) fn session(&self) -> &SessionOutlet {
        &self.session
    }

    /// Whether what the client sends beside its request is not to be kept for later: this is the connection's last response.
    pub(crate) fn ignore_requests(&self, ignore: bool) {
        if let Some(under) = self.under.as_ref().filter(|under| under.alone) {
            under.wire.ignore_requests(ignore);
        }
    }

    /// Whether the connection was cut because its client had stopped reading.
    pub(crate) fn has_stalled(&self) -> bool {
        self.under.as_ref().is_some_and(|under| under.wire.stalled())
    }
}

impl Outlet for BodyOutlet {
    fn wake(&self) {
        self.session.wake();
    }

    fn cut(&self) {
        if let Some(under) = self.under.as_ref().filter(|under| under.alone) {
            under.wire.kill();
        }
    }

    /// The client itself says nothing; its host acknowledges what it is sent.
    fn probe(&self) {
        let Some(Under { wire, alone, .. }) = self.under.as_ref().filter(|under| under.direct) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        wire.set_ack_timeout(Some(PROBE_TIMEOUT));
        self.session.probe();
        let (wire, alone, probes) = (Arc::clone(wire), *alone, Arc::clone(&self.probes));
        let probe = probes.fetch_add(1, Ordering::SeqCst) + 1;
        runtime.spawn(async move {
            tokio::time::sleep(PROBE_TIMEOUT).await;
            // What was on its way before is sent again ever more rarely, and its time is looked at only then.
            if alone && wire.write_waits().is_some_and(|waits| waits >= PROBE_TIMEOUT) {
                return wire.kill();
            }
            tokio::time::sleep(LATE).await;
            if probes.load(Ordering::SeqCst) == probe {
                wire.set_ack_timeout(None);
            }
        });
    }
}
