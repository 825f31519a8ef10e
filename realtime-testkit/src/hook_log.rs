use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use realtime_core::{CloseReason, ConnectionId, ConnectionInfo, Context, LifecycleHook};
use tokio::sync::watch;

use crate::in_time;

/// A record of the calls of lifecycle hooks, in order; several hooks may share one, and clones are
/// the same record.
#[derive(Clone, Debug)]
pub struct HookLog {
    calls: Arc<Mutex<Vec<HookCall>>>,
    count: watch::Sender<usize>,
}

/// One call of a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HookCall {
    /// The name that the hook was created with.
    pub hook: &'static str,
    /// The connection.
    pub connection: ConnectionId,
    /// The connection's user.
    pub user: Option<String>,
    /// The close reason; `None` for the call after the connect.
    pub ended: Option<CloseReason>,
}

impl Default for HookLog {
    fn default() -> Self {
        Self { calls: Arc::default(), count: watch::Sender::new(0) }
    }
}

impl HookLog {
    /// Creates a hook of this name that records its calls here.
    #[must_use]
    pub fn hook(&self, name: &'static str) -> impl LifecycleHook + use<> {
        RecordingHook { name, log: self.clone() }
    }

    /// Returns all calls, oldest first.
    #[must_use]
    pub fn calls(&self) -> Vec<HookCall> {
        self.lock().clone()
    }

    /// Returns the calls for this connection.
    #[must_use]
    pub fn of(&self, connection: ConnectionId) -> Vec<HookCall> {
        self.lock().iter().filter(|call| call.connection == connection).cloned().collect()
    }

    /// Waits until there are this many calls for this connection, and returns them.
    pub async fn wait_of(&self, connection: ConnectionId, calls: usize) -> Vec<HookCall> {
        // The sender lives in `self`, so the wait only ends when the condition holds.
        let _ = self.count.subscribe().wait_for(|_| self.of(connection).len() >= calls).await;
        self.of(connection)
    }

    /// Returns how many calls reported a connect of this user; with one hook, the number of its
    /// connections so far.
    #[must_use]
    pub fn connects(&self, user: &str) -> usize {
        self.lock().iter().filter(|call| call.user.as_deref() == Some(user) && call.ended.is_none()).count()
    }

    /// Returns the close reasons that were reported for this user's connections, oldest first.
    #[must_use]
    pub fn closes(&self, user: &str) -> Vec<CloseReason> {
        let calls = self.lock();
        calls.iter().filter(|call| call.user.as_deref() == Some(user)).filter_map(|call| call.ended.clone()).collect()
    }

    /// Waits until a connection of this user is closed, and returns the first close reason.
    ///
    /// # Panics
    /// If that takes longer than [`DEADLINE`](crate::DEADLINE).
    pub async fn close_of(&self, user: &str) -> CloseReason {
        let closed = async {
            let _ = self.count.subscribe().wait_for(|_| !self.closes(user).is_empty()).await;
        };
        in_time(format!("a close of {user}'s connection"), closed).await;
        self.closes(user).swap_remove(0)
    }

    fn add(&self, call: HookCall) {
        self.lock().push(call);
        self.count.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<HookCall>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct RecordingHook {
    name: &'static str,
    log: HookLog,
}

impl RecordingHook {
    fn record(&self, connection: &ConnectionInfo, ended: Option<CloseReason>) {
        let user = connection.identity.user_name().map(str::to_owned);
        self.log.add(HookCall { hook: self.name, connection: connection.id, user, ended });
    }
}

#[async_trait]
impl LifecycleHook for RecordingHook {
    async fn connected(&self, cx: &Context) {
        self.record(cx.connection(), None);
    }

    async fn disconnected(&self, cx: &Context, reason: &CloseReason) {
        self.record(cx.connection(), Some(reason.clone()));
    }
}
