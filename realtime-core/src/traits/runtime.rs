use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use crate::admission::handshakes::Handshakes;
use crate::admission::limits::Admission;
use crate::admission::tenants::Tenants;
use crate::log::backplane::Backplane;
use crate::log::directory::Directory;
use crate::log::handle::Log;
use crate::log::memory::MemoryBackplane;
use crate::log::propagator::Propagator;
use crate::log::tracker::Tracker;
use crate::traits::auth::{Anonymous, Authenticator, ConnectRequest};
use crate::traits::lifecycle::LifecycleHook;
use crate::traits::outgoing::Sends;
use crate::traits::policy::{DenyRooms, RoomPolicy};
use crate::traits::router::Router;
use crate::values::cursor_secret::CursorSecret;
use crate::values::identity::Identity;
use crate::values::inbound_rate::InboundRate;
use crate::values::refusal::{Refusal, RefusalKind};
use crate::values::service_limits::ServiceLimits;
use crate::values::states::States;

/// The environment that a service gives each of its providers.
#[derive(Clone)]
#[non_exhaustive]
pub struct Runtime {
    /// The log of all providers, and the pipe between nodes.
    pub log: Log,
    /// The authenticator, which identifies the user behind a request to connect.
    pub authenticator: Arc<dyn Authenticator>,
    /// The policy that decides which rooms clients may enter by naming them.
    pub policy: Arc<dyn RoomPolicy>,
    /// This node's side of the directory of connections.
    pub tracker: Tracker,
    /// The handlers for events of clients, for every bidirectional provider; a provider's own
    /// handlers take precedence.
    pub router: Router,
    /// The states that handlers, hooks and policies find in their context.
    pub states: States,
    /// The sender for handlers, hooks and policies: a service sets itself, so that providers that
    /// are not attached to the log are reached too. The log if there is none.
    pub sends: Option<Arc<dyn Sends>>,
    /// The hooks that are notified of connections.
    pub hooks: Vec<Arc<dyn LifecycleHook>>,
    /// The slots of each user, tenant and client address over all providers of the service.
    pub slots: Arc<Admission>,
    /// The rates of handshakes over all providers of the service.
    pub handshakes: Arc<Handshakes>,
    /// The budgets of the tenants, over all providers of the service.
    pub tenants: Arc<Tenants>,
    /// The largest payload of an event in bytes, in addition to a provider's own limit.
    pub max_event_bytes: usize,
    /// The most tokens that are revoked at a time.
    pub max_revocations: usize,
    /// The most bytes of a token in a refresh.
    pub max_token_bytes: usize,
    /// The most refreshes that wait for other nodes.
    pub max_waiting_refreshes: usize,
    /// The secret from which the keys of cursors are derived; without one the log has the key.
    pub cursor_secret: Option<CursorSecret>,
    /// The longest time that the authenticator may take, and that the room policy may take for all
    /// rooms of one request.
    pub decision_timeout: Duration,
}

/// The default of [`Runtime::decision_timeout`].
pub const DECISION_TIMEOUT: Duration = Duration::from_secs(10);

/// The default of [`Runtime::max_revocations`].
pub const MAX_REVOCATIONS: usize = 10_000;

/// The default of [`Runtime::max_token_bytes`].
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// The default of [`Runtime::max_waiting_refreshes`].
pub const MAX_WAITING_REFRESHES: usize = 1_000;

impl Runtime {
    /// Creates a runtime in memory for anonymous clients, as a start for tests.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::new(Log::new(Arc::new(MemoryBackplane::default())), Arc::new(Anonymous))
    }

    /// Creates a runtime over this log: no rooms that clients may name, no handlers, no limits
    /// except the providers'.
    pub fn new(log: Log, authenticator: Arc<dyn Authenticator>) -> Self {
        Self {
            tracker: Tracker::new(Arc::clone(log.directory())),
            log,
            authenticator,
            policy: Arc::new(DenyRooms),
            router: Router::new(),
            states: States::default(),
            sends: None,
            hooks: Vec::new(),
            slots: Admission::of_service(ServiceLimits::none()),
            handshakes: Handshakes::new(ServiceLimits::none()),
            tenants: Tenants::new(InboundRate::unlimited()),
            max_event_bytes: usize::MAX,
            max_revocations: MAX_REVOCATIONS,
            max_token_bytes: MAX_TOKEN_BYTES,
            max_waiting_refreshes: MAX_WAITING_REFRESHES,
            cursor_secret: None,
            decision_timeout: DECISION_TIMEOUT,
        }
    }

    /// Asks the authenticator about a request, for at most `decision_timeout`, and checks the
    /// identity.
    ///
    /// # Errors
    /// The authenticator's [`Refusal`]; [`RefusalKind::Internal`] when it panicked,
    /// [`RefusalKind::Unavailable`] when it timed out, both logged; the refusal of an identity that
    /// cannot connect.
    pub async fn identify(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        // The call itself may panic too.
        let asked = AssertUnwindSafe(async { self.authenticator.authenticate(request).await }).catch_unwind();
        let identity = match tokio::time::timeout(self.decision_timeout, asked).await {
            Ok(Ok(decided)) => decided?,
            Ok(Err(_)) => {
                tracing::error!(provider = request.provider(), "the authenticator panicked");
                return Err(Refusal::new(RefusalKind::Internal, "internal error"));
            }
            Err(_) => {
                let limit = self.decision_timeout;
                tracing::error!(setting = "decision_timeout", ?limit, "the authenticator did not answer in time");
                return Err(Refusal::new(RefusalKind::Unavailable, "temporarily unavailable"));
            }
        };
        identity.check()?;
        Ok(identity)
    }

    /// Sets the authenticator.
    #[must_use]
    pub fn with_authenticator(mut self, authenticator: impl Authenticator) -> Self {
        self.authenticator = Arc::new(authenticator);
        self
    }

    /// Sets the limits over all providers.
    #[must_use]
    pub fn with_limits(mut self, limits: ServiceLimits) -> Self {
        self.slots = Admission::of_service(limits);
        self.handshakes = Handshakes::new(limits);
        self
    }

    /// Sets the secret from which the keys of cursors are derived.
    #[must_use]
    pub fn with_cursor_secret(mut self, secret: CursorSecret) -> Self {
        self.cursor_secret = Some(secret);
        self
    }

    /// Sets the backplane.
    #[must_use]
    pub fn with_backplane(mut self, backplane: impl Backplane) -> Self {
        self.set_log(Arc::new(backplane), Arc::clone(self.log.directory()));
        self
    }

    /// Sets the directory.
    #[must_use]
    pub fn with_directory(mut self, directory: impl Directory) -> Self {
        self.set_log(Arc::clone(self.log.backplane()), Arc::new(directory));
        self
    }

    fn set_log(&mut self, backplane: Arc<dyn Backplane>, directory: Arc<dyn Directory>) {
        self.tracker = Tracker::new(Arc::clone(&directory));
        let log = Log::of_node(self.log.node().clone(), backplane, directory);
        self.log =
            self.log.propagator().into_iter().fold(log, |log, propagator| log.with_propagator(Arc::clone(propagator)));
    }

    /// Sets the propagator of traces, unless there is one.
    #[must_use]
    pub fn with_propagator(mut self, propagator: impl Propagator) -> Self {
        self.log = self.log.with_propagator(Arc::new(propagator));
        self
    }

    /// Sets the room policy.
    #[must_use]
    pub fn with_policy(mut self, policy: impl RoomPolicy) -> Self {
        self.policy = Arc::new(policy);
        self
    }

    /// Sets the longest time that the authenticator and the room policy may take.
    #[must_use]
    pub fn with_decision_timeout(mut self, most: Duration) -> Self {
        self.decision_timeout = most;
        self
    }

    /// Sets the rate at which messages and bytes are taken from the clients of each tenant.
    #[must_use]
    pub fn with_inbound_per_tenant(mut self, rate: InboundRate) -> Self {
        self.tenants = Tenants::new(rate);
        self
    }

    /// Sets the handlers for every bidirectional provider.
    #[must_use]
    pub fn with_router(mut self, router: Router) -> Self {
        self.router = router;
        self
    }

    /// Adds a state, which replaces an earlier one of its type.
    #[must_use]
    pub fn with_state<T: Send + Sync + 'static>(mut self, state: T) -> Self {
        self.states = self.states.with(state);
        self
    }

    /// Adds a hook.
    #[must_use]
    pub fn with_hook(mut self, hook: impl LifecycleHook) -> Self {
        self.hooks.push(Arc::new(hook));
        self
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("node", self.log.node()).finish_non_exhaustive()
    }
}
