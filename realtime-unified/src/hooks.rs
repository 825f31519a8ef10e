//! Closures as lifecycle hooks.

use std::future::Future;

use async_trait::async_trait;
use realtime_core::{CloseReason, ConnectionInfo, LifecycleHook};

pub(crate) struct OnConnected<F>(pub(crate) F);
pub(crate) struct OnDisconnected<F>(pub(crate) F);

#[async_trait]
impl<F, Fut> LifecycleHook for OnConnected<F>
where
    F: Fn(ConnectionInfo) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    async fn connected(&self, connection: &ConnectionInfo) {
        (self.0)(connection.clone()).await;
    }
}

#[async_trait]
impl<F, Fut> LifecycleHook for OnDisconnected<F>
where
    F: Fn(ConnectionInfo, CloseReason) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    async fn disconnected(&self, connection: &ConnectionInfo, reason: &CloseReason) {
        (self.0)(connection.clone(), reason.clone()).await;
    }
}
