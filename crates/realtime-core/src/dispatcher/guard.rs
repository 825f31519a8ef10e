//! Code of the application's, which may panic.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

use crate::name::shorten;
use crate::stats::add;
use crate::{Codec, Dispatcher};

impl<C: Codec> Dispatcher<C> {
    /// Runs code of the application's of this kind and name; none when it panicked, which is counted and logged.
    pub(super) async fn guard<T>(&self, kind: &'static str, name: &str, run: impl Future<Output = T>) -> Option<T> {
        let done = AssertUnwindSafe(run).catch_unwind().await;
        if done.is_err() {
            add(&self.counters.panics, 1);
            tracing::error!(name = ?shorten(name), "a {kind} panicked");
        }
        done.ok()
    }
}
