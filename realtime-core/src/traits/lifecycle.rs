use async_trait::async_trait;

use crate::values::close::CloseReason;
use crate::values::connection::ConnectionInfo;

/// Told when connections come and go. For one connection the calls come in order and once each;
/// different connections' calls run side by side.
#[async_trait]
pub trait LifecycleHook: Send + Sync + 'static {
    /// A connection is registered: sends reach it from now on.
    async fn connected(&self, connection: &ConnectionInfo) {
        let _ = connection;
    }

    /// A connection is gone, and the last of its handlers has ended.
    async fn disconnected(&self, connection: &ConnectionInfo, reason: &CloseReason) {
        let _ = (connection, reason);
    }
}
