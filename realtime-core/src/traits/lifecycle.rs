use async_trait::async_trait;

use crate::traits::context::Context;
use crate::values::close::CloseReason;

/// Observes the connections of a service. For one connection the calls are made in order and once
/// each; calls for different connections run concurrently.
#[async_trait]
pub trait LifecycleHook: Send + Sync + 'static {
    /// Observes the registration of a connection: sends reach it from this moment on. Its handlers
    /// do not wait for the hook.
    async fn connected(&self, cx: &Context) {
        let _ = cx;
    }

    /// Observes the close of a connection, after the last of its handlers has finished. Sends still
    /// work, also during a shutdown of the service.
    async fn disconnected(&self, cx: &Context, reason: &CloseReason) {
        let _ = (cx, reason);
    }
}
