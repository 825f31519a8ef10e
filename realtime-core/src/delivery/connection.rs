use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;
use tokio::time::Instant;

use tokio::sync::oneshot;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::admission::limits::Ticket;
use crate::admission::work::Work;
use crate::delivery::credentials::Credentials;
use crate::delivery::cuts::InFlight;
use crate::delivery::outbox::Outbox;
use crate::inbound::inbox::Inbox;
use crate::inbound::meter::Meter;
use crate::log::feed::Wake;
use crate::traits::codec::Frame;
use crate::traits::outlet::Outlet;
use crate::values::close::CloseReason;
use crate::values::connection::{ConnectionId, ConnectionInfo};
use crate::values::connection_data::ConnectionData;
use crate::values::counted::Counted;
use crate::values::cursor::Epoch;
use crate::values::position::Position;
use crate::values::stamp::AtomicStamp;
use crate::values::target::Target;

/// One live connection, as its node sees it.
pub(crate) struct Connection<F> {
    /// The identity in it is the first one: its user and tenant stay.
    pub(crate) info: ConnectionInfo,
    /// The credentials, if they can end.
    pub(crate) credentials: Option<Box<Credentials>>,
    /// The client's previous connection, if this one resumes from it.
    pub(crate) former: Option<ConnectionId>,
    pub(crate) connected_at: Instant,
    /// The last applied position at the registration: earlier asks are not for this connection.
    pub(crate) registered_at: Position,
    pub(crate) opening: Opening,
    pub(crate) outbox: Outbox<F>,
    /// Created, with its worker, by the first event from the client.
    pub(crate) inbox: OnceLock<Arc<Inbox>>,
    /// Created by the first message from the client; `None` in it if there is no rate.
    pub(crate) meter: OnceLock<Option<Arc<Meter>>>,
    /// Created when the first policy, hook or handler is called for the connection.
    pub(crate) data: OnceLock<ConnectionData>,
    /// Only locked by a take that found something, and at the end.
    pub(crate) in_flight: Mutex<InFlight>,
    /// When the oldest timed event was sent that was taken and not written.
    pub(crate) unwritten: AtomicStamp,
    /// Taken once, when the connection leaves the hub.
    pub(crate) resources: Mutex<Option<Resources>>,
    /// Set once the client was asked to reconnect.
    pub(crate) reconnect_sent: AtomicBool,
    /// The client's fault that closes the connection, in words.
    pub(crate) fault: OnceLock<Box<str>>,
    /// The span of the connection's handlers and hooks.
    pub(crate) span: tracing::Span,
    pub(crate) outlet: Arc<dyn Outlet>,
}

/// The beginning of a connection, for explanations.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) at: SystemTime,
    /// The epoch that its positions are of.
    pub(crate) epoch: Epoch,
    /// The position after which it reads.
    pub(crate) from: Position,
    /// The `reason` in `connected`.
    pub(crate) reason: &'static str,
}

/// The resources that a connection holds while it is registered.
pub(crate) struct Resources {
    /// The slot that is counted against the limits.
    pub(crate) ticket: Ticket,
    /// The token that shutdown waits for.
    pub(crate) _task: TaskTrackerToken,
    /// The task that runs the lifecycle hooks and waits for the close reason, if there are any.
    pub(crate) hooks: Option<oneshot::Sender<Disconnected>>,
}

/// The end of a connection, for its hooks: it counts as one that still has some to run.
pub(crate) struct Disconnected {
    pub(crate) reason: CloseReason,
    pub(crate) _lingers: Counted,
}

impl<F: Frame> Connection<F> {
    /// Returns the metadata with the current identity.
    pub(crate) fn current_info(&self) -> ConnectionInfo {
        match &self.credentials {
            Some(credentials) => ConnectionInfo { identity: credentials.identity(), ..self.info.clone() },
            None => self.info.clone(),
        }
    }

    /// Returns the number of the current identity, from 0 on.
    pub(crate) fn identity_version(&self) -> u64 {
        self.credentials.as_ref().map_or(0, |credentials| credentials.version())
    }

    /// Returns whether a target's tenant and exceptions let this connection through.
    pub(crate) fn is_addressed_by(&self, target: &Target) -> bool {
        target.admits(self.info.id, &self.info.identity) && self.former.is_none_or(|former| !target.excludes(former))
    }

    /// Returns whether the connection has been unregistered and its inbox, if there was one,
    /// closed.
    pub(crate) fn has_left(&self) -> bool {
        self.resources.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Drops the queue and resets the TCP connection of a session that may be blocked in a write.
    pub(crate) fn cut(&self) {
        self.outbox.clear();
        self.outlet.cut();
    }

    /// Asks the session to close the connection; the first reason stays. A live connection still
    /// gets what is queued. Returns `false` if it was asked before.
    pub(crate) fn close(&self, reason: CloseReason) -> bool {
        self.close_after(Position::START, reason)
    }

    /// Asks the session to close the connection, which first reads the window up to `last_call` if
    /// it is behind; returns `false` if it was asked before.
    pub(crate) fn close_after(&self, last_call: Position, reason: CloseReason) -> bool {
        self.close_with(last_call, reason, None)
    }

    /// Asks the session to close the connection after a last frame, as [`Connection::close`] does.
    pub(crate) fn close_with(&self, last_call: Position, reason: CloseReason, last_frame: Option<F>) -> bool {
        let keeps_inbound = reason.keeps_inbound();
        let is_first = self.outbox.close_with(reason, last_call, last_frame);
        if is_first {
            if !keeps_inbound && let Some(inbox) = self.inbox.get() {
                // Here and not in the session, which may not notice the close for some time.
                inbox.abandon();
            }
            self.outlet.wake();
        }
        is_first
    }

    /// Asks the client for a sign of life.
    pub(crate) fn probe(&self) {
        self.outlet.probe();
    }

    /// Returns what the worker needs to run handlers.
    pub(crate) fn work(&self) -> Work {
        let resources = self.resources.lock().unwrap_or_else(PoisonError::into_inner);
        let tenant = self.info.identity.tenant_name();
        resources.as_ref().map(|resources| Work::of(&resources.ticket, tenant)).unwrap_or_default()
    }
}

impl<F: Frame> Wake for Connection<F> {
    fn wake(&self) {
        self.outlet.wake();
    }
}
