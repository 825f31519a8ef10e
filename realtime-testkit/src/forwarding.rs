use std::sync::Arc;

use async_trait::async_trait;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::FutureExt;
use futures_util::future::ready;
use realtime_core::spi::{
    AppendResult, Backplane, Entry, Epoch, LogState, Position, Record, RepeatKey, Revocation, RoomTable, Stored, Tail,
};
use realtime_core::{EventId, LogSize, NodeId, Result};

type BeforeAppendNow<B> = dyn Fn(&B, Epoch) + Send + Sync;
type BeforeRenew<B> = dyn Fn(&B) + Send + Sync;
type MapState = dyn Fn(Result<LogState>) -> BoxFuture<'static, Result<LogState>> + Send + Sync;
type MapTail = dyn Fn(Tail) -> Tail + Send + Sync;

/// A backplane that forwards every call to another one, with callbacks where a test interferes.
pub struct Forwarding<B> {
    inner: B,
    before_append_now: Box<BeforeAppendNow<B>>,
    before_renew: Box<BeforeRenew<B>>,
    map_state: Box<MapState>,
    map_tail: Box<MapTail>,
}

impl<B: Backplane> Forwarding<B> {
    /// Creates a backplane that forwards to `inner` and has no callbacks yet.
    pub fn new(inner: B) -> Self {
        Self {
            inner,
            before_append_now: Box::new(|_, _| ()),
            before_renew: Box::new(|_| ()),
            map_state: Box::new(|state| ready(state).boxed()),
            map_tail: Box::new(|tail| tail),
        }
    }

    /// Sets what runs before each [`Backplane::append_now`].
    #[must_use]
    pub fn before_append_now(mut self, callback: impl Fn(&B, Epoch) + Send + Sync + 'static) -> Self {
        self.before_append_now = Box::new(callback);
        self
    }

    /// Sets what runs before each [`Backplane::renew`].
    #[must_use]
    pub fn before_renew(mut self, callback: impl Fn(&B) + Send + Sync + 'static) -> Self {
        self.before_renew = Box::new(callback);
        self
    }

    /// Sets what each result of [`Backplane::state`] is changed with, or held by.
    #[must_use]
    pub fn map_state(
        mut self,
        map: impl Fn(Result<LogState>) -> BoxFuture<'static, Result<LogState>> + Send + Sync + 'static,
    ) -> Self {
        self.map_state = Box::new(map);
        self
    }

    /// Sets what each [`Backplane::tail`] is changed with.
    #[must_use]
    pub fn map_tail(mut self, map: impl Fn(Tail) -> Tail + Send + Sync + 'static) -> Self {
        self.map_tail = Box::new(map);
        self
    }
}

impl<B: std::fmt::Debug> std::fmt::Debug for Forwarding<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forwarding").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[async_trait]
impl<B: Backplane> Backplane for Forwarding<B> {
    async fn append(&self, epoch: Epoch, record: Arc<Record>, key: Option<RepeatKey>) -> AppendResult {
        self.inner.append(epoch, record, key).await
    }

    fn append_now(&self, epoch: Epoch, record: &Arc<Record>, key: Option<RepeatKey>) -> Option<AppendResult> {
        (self.before_append_now)(&self.inner, epoch);
        self.inner.append_now(epoch, record, key)
    }

    fn wake_tails(&self) {
        self.inner.wake_tails();
    }

    fn tails(&self) -> usize {
        self.inner.tails()
    }

    async fn range(&self, after: Position, most: usize) -> Result<Vec<Entry>> {
        self.inner.range(after, most).await
    }

    fn tail(&self, after: Position) -> Tail {
        (self.map_tail)(self.inner.tail(after))
    }

    async fn state(&self) -> Result<LogState> {
        (self.map_state)(self.inner.state().await).await
    }

    async fn renew(&self, seen: Epoch, position: Position, id: EventId) -> Result<LogState> {
        (self.before_renew)(&self.inner);
        self.inner.renew(seen, position, id).await
    }

    async fn rooms(&self, at: Position) -> Result<RoomTable> {
        self.inner.rooms(at).await
    }

    async fn revoke(&self, revocation: &Revocation, most: usize) -> Result<()> {
        self.inner.revoke(revocation, most).await
    }

    async fn revoked(&self) -> Result<Vec<Revocation>> {
        self.inner.revoked().await
    }

    async fn publish(&self, record: Arc<Record>, to: Option<NodeId>) -> Result<()> {
        self.inner.publish(record, to).await
    }

    async fn subscribe(&self, node: NodeId) -> Result<BoxStream<'static, Stored>> {
        self.inner.subscribe(node).await
    }

    async fn probe(&self) -> Result<()> {
        self.inner.probe().await
    }

    async fn size(&self) -> Result<Option<LogSize>> {
        self.inner.size().await
    }
}
