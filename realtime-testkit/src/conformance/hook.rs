use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use realtime_core::{CloseReason, ConnectionId, ConnectionInfo, Context, LifecycleHook};
use tokio::sync::watch;

/// What lifecycle hooks were told, in order; several hooks may share one log.
#[derive(Clone, Debug)]
pub struct HookLog {
    calls: Arc<Mutex<Vec<HookCall>>>,
    count: watch::Sender<usize>,
}

/// One call of a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookCall {
    /// The name the hook was made with.
    pub hook: &'static str,
    /// The connection it was told of.
    pub connection: ConnectionId,
    /// The user of that connection.
    pub user: Option<String>,
    /// Why it ended; `None` for the call that said it came.
    pub ended: Option<CloseReason>,
}

impl Default for HookLog {
    fn default() -> Self {
        Self { calls: Arc::default(), count: watch::Sender::new(0) }
    }
}

impl HookLog {
    /// A hook of this name that writes here.
    pub fn hook(&self, name: &'static str) -> impl LifecycleHook {
        Hook { name, log: self.clone() }
    }

    /// What has been told of this connection.
    pub fn of(&self, connection: ConnectionId) -> Vec<HookCall> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.iter().filter(|call| call.connection == connection).cloned().collect()
    }

    /// Waits until this many calls have told of this connection, and answers them.
    pub async fn wait_of(&self, connection: ConnectionId, calls: usize) -> Vec<HookCall> {
        // The sender lives in `self`, so the wait only ends when the condition holds.
        let _ = self.count.subscribe().wait_for(|_| self.of(connection).len() >= calls).await;
        self.of(connection)
    }

    fn add(&self, call: HookCall) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
        self.count.send_modify(|count| *count += 1);
    }
}

struct Hook {
    name: &'static str,
    log: HookLog,
}

impl Hook {
    fn told(&self, connection: &ConnectionInfo, ended: Option<CloseReason>) {
        let user = connection.identity.user_name().map(str::to_owned);
        self.log.add(HookCall { hook: self.name, connection: connection.id, user, ended });
    }
}

#[async_trait]
impl LifecycleHook for Hook {
    async fn connected(&self, cx: &Context) {
        self.told(cx.connection(), None);
    }

    async fn disconnected(&self, cx: &Context, reason: &CloseReason) {
        self.told(cx.connection(), Some(reason.clone()));
    }
}
