//! Handlers for what clients send, whichever transport it comes through, and what they are given.

use std::any::type_name;

use realtime_core::{Handlers, Router};

use crate::builder::NotificationServiceBuilder;

impl Handlers for NotificationServiceBuilder {
    fn map_router(mut self, change: impl FnOnce(Router) -> Router) -> Self {
        self.router = change(self.router);
        self
    }
}

impl NotificationServiceBuilder {
    /// Adds a value of the application's, which handlers, hooks and policies read by its type with
    /// [`Context::state`](crate::Context::state). Two of the same type are rejected by `build`.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use realtime_unified::prelude::*;
    ///
    /// struct Db(AtomicU64);
    ///
    /// NotificationService::builder()
    ///     .state(Db(AtomicU64::new(0)))
    ///     .on("count", async |cx: Context, by: u64| {
    ///         let db = cx.state::<Db>()?;
    ///         Ok::<_, HandlerError>(Reply(db.0.fetch_add(by, Ordering::Relaxed) + by))
    ///     });
    /// ```
    pub fn state<T: Send + Sync + 'static>(mut self, state: T) -> Self {
        if self.states.has::<T>() {
            self.router.refuse(format!("two states of the type {}: only one would be found", type_name::<T>()));
        }
        self.states = self.states.with(state);
        self
    }
}
