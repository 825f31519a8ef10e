use std::sync::{Arc, OnceLock, Weak};

use realtime_core::{CloseReason, Outlet, PROBE_TIMEOUT, Registration, SessionOutlet};
use tokio::runtime::Handle;

use crate::carrier::Carrier;
use crate::cause::Cause;
use crate::codec::SocketIoCodec;

/// Wakes the pump of one connection, and finds out whether its client is still there.
pub(crate) struct PumpOutlet {
    pub(crate) session: SessionOutlet,
    /// Weak, for both outlive what they carry as long as somebody keeps them.
    carrier: Weak<Carrier>,
    registration: Arc<OnceLock<Weak<Registration<SocketIoCodec>>>>,
}

impl PumpOutlet {
    pub(crate) fn new(carrier: &Arc<Carrier>) -> Self {
        Self { session: SessionOutlet::new(), carrier: Arc::downgrade(carrier), registration: Arc::default() }
    }

    /// The connection that it belongs to.
    pub(crate) fn belongs_to(&self, registration: &Arc<Registration<SocketIoCodec>>) {
        let _ = self.registration.set(Arc::downgrade(registration));
    }
}

impl Outlet for PumpOutlet {
    fn wake(&self) {
        self.session.wake();
    }

    fn probe(&self) {
        let (Some(carrier), Ok(runtime)) = (self.carrier.upgrade(), Handle::try_current()) else { return };
        let registration = Arc::clone(&self.registration);
        runtime.spawn(async move {
            if carrier.shows_life(PROBE_TIMEOUT).await {
                return;
            }
            // The session may have another connection by now, or none.
            if let Some(registration) = registration.get().and_then(Weak::upgrade) {
                carrier.close_for(Cause::Heartbeat);
                // The place is free at once, whatever becomes of the goodbye.
                registration.leave(CloseReason::HEARTBEAT);
            }
        });
    }
}
