use async_trait::async_trait;

use crate::traits::context::Context;
use crate::values::close::CloseReason;

/// Told when connections come and go. For one connection the calls come in order and once each;
/// different connections' calls run side by side.
#[async_trait]
pub trait LifecycleHook: Send + Sync + 'static {
    /// A connection is registered: sends reach it from now on. Its handlers do not wait for the hook.
    async fn connected(&self, cx: &Context) {
        let _ = cx;
    }

    /// A connection is gone, and the last of its handlers has ended. Sends still work, also while the service goes down.
    async fn disconnected(&self, cx: &Context, reason: &CloseReason) {
        let _ = (cx, reason);
    }
}
