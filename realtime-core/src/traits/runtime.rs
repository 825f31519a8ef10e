use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use crate::admission::limits::Admission;
use crate::log::backplane::Backplane;
use crate::log::directory::{Directory, NodeId};
use crate::log::handle::Log;
use crate::log::memory::{MemoryBackplane, MemoryDirectory};
use crate::log::tracker::Tracker;
use crate::traits::auth::{Anonymous, Authenticator, ConnectRequest};
use crate::traits::lifecycle::LifecycleHook;
use crate::traits::outgoing::Sends;
use crate::traits::policy::{DenyRooms, RoomPolicy};
use crate::traits::router::Router;
use crate::values::identity::Identity;
use crate::values::refusal::{Refusal, RefusalKind};
use crate::values::states::States;

/// What a service gives each of its providers.
#[derive(Clone)]
#[non_exhaustive]
pub struct Runtime {
    /// This node.
    pub node: NodeId,
    /// The log of all providers, and the pipe between nodes.
    pub log: Log,
    /// Who is connecting.
    pub authenticator: Arc<dyn Authenticator>,
    /// Which rooms clients may enter by themselves.
    pub policy: Arc<dyn RoomPolicy>,
    /// Who is online where: this node's side of the directory.
    pub tracker: Tracker,
    /// The handlers for events of clients, whichever bidirectional provider they come through; a provider's own win.
    pub router: Router,
    /// What handlers, hooks and policies find in their context.
    pub states: States,
    /// What handlers, hooks and policies send over: a service sets itself, so that providers that are not attached to the log
    /// are reached too. The log where there is none.
    pub sends: Option<Arc<dyn Sends>>,
    /// Told of connections that come and go.
    pub hooks: Vec<Arc<dyn LifecycleHook>>,
    /// The places that each user has with all providers of the service.
    pub places: Arc<Admission>,
    /// The largest payload of an event in bytes, whatever a provider's own limit is.
    pub max_event_bytes: usize,
    /// How long the authenticator may take, and the room policy for all rooms that one request names.
    pub decision_timeout: Duration,
}

/// How long an authenticator or a room policy may take by default.
pub const DECISION_TIMEOUT: Duration = Duration::from_secs(10);

impl Runtime {
    /// Creates a runtime in memory for anonymous clients: what tests start from.
    pub fn in_memory() -> Self {
        Self::new(Log::new(Arc::new(MemoryBackplane::default())), Arc::new(Anonymous))
    }

    /// Creates a runtime over this log with a new node id: a directory in memory, no rooms by the
    /// clients' own choice, no handlers, no limits but the providers'.
    pub fn new(log: Log, authenticator: Arc<dyn Authenticator>) -> Self {
        Self {
            node: NodeId::random(),
            log,
            authenticator,
            policy: Arc::new(DenyRooms),
            tracker: Tracker::new(Arc::new(MemoryDirectory::new())),
            router: Router::new(),
            states: States::default(),
            sends: None,
            hooks: Vec::new(),
            places: Admission::of_service(Some(usize::MAX)),
            max_event_bytes: usize::MAX,
            decision_timeout: DECISION_TIMEOUT,
        }
    }

    /// Asks the authenticator about a request, for as long as `decision_timeout`, and checks the identity.
    ///
    /// # Errors
    /// The authenticator's [`Refusal`]; [`RefusalKind::Internal`] when it panicked, [`RefusalKind::Unavailable`] when it took too
    /// long, both logged; what an identity that cannot connect is refused with.
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
                return Err(Refusal::new(RefusalKind::Unavailable, "not available now"));
            }
        };
        identity.check()?;
        Ok(identity)
    }

    /// With this authenticator.
    pub fn with_authenticator(mut self, authenticator: impl Authenticator) -> Self {
        self.authenticator = Arc::new(authenticator);
        self
    }

    /// With this backplane.
    pub fn with_backplane(mut self, backplane: impl Backplane) -> Self {
        self.log = Log::new(Arc::new(backplane));
        self
    }

    /// With this directory.
    pub fn with_directory(mut self, directory: impl Directory) -> Self {
        self.tracker = Tracker::new(Arc::new(directory));
        self
    }

    /// With this room policy.
    pub fn with_policy(mut self, policy: impl RoomPolicy) -> Self {
        self.policy = Arc::new(policy);
        self
    }

    /// With this time for the authenticator and the room policy.
    pub fn with_decision_timeout(mut self, most: Duration) -> Self {
        self.decision_timeout = most;
        self
    }

    /// With these handlers for every bidirectional provider.
    pub fn with_router(mut self, router: Router) -> Self {
        self.router = router;
        self
    }

    /// With this state.
    pub fn with_state<T: Send + Sync + 'static>(mut self, state: T) -> Self {
        self.states = self.states.with(state);
        self
    }

    /// With one more hook.
    pub fn with_hook(mut self, hook: impl LifecycleHook) -> Self {
        self.hooks.push(Arc::new(hook));
        self
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("node", &self.node).finish_non_exhaustive()
    }
}
