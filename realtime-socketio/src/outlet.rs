use std::sync::{Arc, OnceLock, Weak};

use realtime_core::CloseReason;
use realtime_core::spi::{Outlet, PROBE_TIMEOUT, Registration, SessionOutlet};
use tokio::runtime::Handle;

use crate::codec::SocketIoCodec;
use crate::engine::session::EngineSession;
use crate::engine::session::cause::Cause;

/// Outlet of one connection: wakes the session's task, and checks whether the client is still
/// connected.
pub(crate) struct ConnectionOutlet {
    pub(crate) base: SessionOutlet,
    /// Weak, because the outlet may outlive both.
    session: Weak<EngineSession>,
    registration: Arc<OnceLock<Weak<Registration<SocketIoCodec>>>>,
}

impl ConnectionOutlet {
    pub(crate) fn new(session: &Arc<EngineSession>) -> Self {
        Self { base: SessionOutlet::new(), session: Arc::downgrade(session), registration: Arc::default() }
    }

    /// Sets the connection that the outlet belongs to.
    pub(crate) fn set_registration(&self, registration: &Arc<Registration<SocketIoCodec>>) {
        let _ = self.registration.set(Arc::downgrade(registration));
    }
}

impl Outlet for ConnectionOutlet {
    fn wake(&self) {
        self.base.wake();
    }

    fn probe(&self) {
        let (Some(session), Ok(runtime)) = (self.session.upgrade(), Handle::try_current()) else { return };
        let registration = Arc::clone(&self.registration);
        runtime.spawn(async move {
            if session.is_alive(PROBE_TIMEOUT).await {
                return;
            }
            // The session may have another connection meanwhile, or none.
            if let Some(registration) = registration.get().and_then(Weak::upgrade) {
                session.close_for(Cause::Heartbeat);
                // Frees the slot immediately, even if the close is never sent.
                registration.leave(CloseReason::HEARTBEAT);
            }
        });
    }
}
