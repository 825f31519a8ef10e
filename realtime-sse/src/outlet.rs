//! The outlet of a stream: wakes the server's task, and acts on the TCP connection below.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use realtime_core::spi::{Outlet, PROBE_TIMEOUT, SessionOutlet};
use realtime_http::Wire;

/// The TCP connection below a stream, where the listener provides it.
pub(crate) struct Transport {
    /// The handle, which also knows whether a client that stopped reading was disconnected.
    pub(crate) wire: Arc<Wire>,
    /// `true` if the connection carries nothing but this stream (HTTP/1).
    pub(crate) exclusive: bool,
    /// `true` if each piece of the stream is framed (HTTP/1.1).
    pub(crate) chunked: bool,
    /// `true` if the peer is the client, as far as is known: a proxy would acknowledge for the
    /// client.
    pub(crate) direct: bool,
}

/// The outlet that wakes the stream's task, and ends a connection whose server is blocked in a
/// write: the body is not asked for more then.
pub(crate) struct BodyOutlet {
    session: SessionOutlet,
    transport: Option<Transport>,
    /// The number of probes of the client.
    probes: Arc<AtomicUsize>,
}

/// The extra time before a probe ends: the kernel checks its acknowledgement timeout with some
/// delay.
const KERNEL_DELAY: Duration = Duration::from_secs(1);

impl BodyOutlet {
    pub(crate) fn new(transport: Option<Transport>) -> Self {
        Self { session: SessionOutlet::new(), transport, probes: Arc::default() }
    }

    pub(crate) fn session(&self) -> &SessionOutlet {
        &self.session
    }

    /// Sets whether further requests of the client are discarded: this stream is the connection's
    /// last response.
    pub(crate) fn ignore_requests(&self, ignore: bool) {
        if let Some(wire) = self.exclusive_wire() {
            wire.ignore_requests(ignore);
        }
    }

    /// Returns whether the client was disconnected because it had stopped reading.
    pub(crate) fn has_stalled(&self) -> bool {
        self.transport.as_ref().is_some_and(|transport| transport.wire.stalled())
    }

    /// Returns the TCP connection if it carries nothing but this stream.
    fn exclusive_wire(&self) -> Option<&Wire> {
        self.transport.as_ref().filter(|transport| transport.exclusive).map(|transport| &*transport.wire)
    }
}

impl Outlet for BodyOutlet {
    fn wake(&self) {
        self.session.wake();
    }

    fn cut(&self) {
        if let Some(wire) = self.exclusive_wire() {
            wire.kill();
        }
    }

    /// Probes by a comment: an event stream's client sends nothing, but its host acknowledges what
    /// it receives.
    fn probe(&self) {
        let Some(transport) = self.transport.as_ref().filter(|transport| transport.direct) else { return };
        let (wire, exclusive) = (Arc::clone(&transport.wire), transport.exclusive);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        wire.set_ack_timeout(Some(PROBE_TIMEOUT));
        self.session.probe();
        let probes = Arc::clone(&self.probes);
        let probe = probes.fetch_add(1, Ordering::SeqCst) + 1;
        runtime.spawn(async move {
            tokio::time::sleep(PROBE_TIMEOUT).await;
            // Earlier bytes are retransmitted ever more rarely, and the kernel checks its timeout
            // only then.
            if exclusive && wire.write_waits().is_some_and(|waits| waits >= PROBE_TIMEOUT) {
                return wire.kill();
            }
            tokio::time::sleep(KERNEL_DELAY).await;
            if probes.load(Ordering::SeqCst) == probe {
                wire.set_ack_timeout(None);
            }
        });
    }
}
