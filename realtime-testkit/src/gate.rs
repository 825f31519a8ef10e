use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use realtime_core::Context;
use serde_json::Value;
use tokio::sync::Semaphore;

/// A gate at which handlers wait until a test lets them through; cheap to clone.
#[derive(Clone, Debug)]
pub struct Gate {
    permits: Arc<Semaphore>,
    passed: Arc<AtomicUsize>,
}

impl Gate {
    /// Creates a gate that lets nobody through yet.
    #[must_use]
    pub fn new() -> Self {
        Self { permits: Arc::new(Semaphore::new(0)), passed: Arc::default() }
    }

    /// Lets this many through, who wait or come later.
    pub fn let_through(&self, count: usize) {
        self.permits.add_permits(count);
    }

    /// Returns how many have passed.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.passed.load(Ordering::SeqCst)
    }

    /// Waits at the gate.
    pub async fn pass(&self) {
        // The gate is never closed for good.
        if let Ok(permit) = self.permits.acquire().await {
            permit.forget();
        }
        self.passed.fetch_add(1, Ordering::SeqCst);
    }

    /// Returns a handler that passes the gate and answers nothing.
    pub fn handler(&self) -> impl Fn(Context, Value) -> BoxFuture<'static, ()> + Send + Sync + use<> {
        let gate = self.clone();
        move |_, _| {
            let gate = gate.clone();
            async move { gate.pass().await }.boxed()
        }
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}
