//! Mocks of the public traits.
//!
//! With `expect_…().returning(…)` the closure returns the value that an async method resolves
//! to, not a future.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use mockall::mock;
use realtime_core::spi::{
    AppendResult, Backplane, Directory, DirectoryChange, Entry, Epoch, Incarnation, LogState, Position, Record,
    RepeatKey, RoomTable, Runtime, Stored, Tail,
};
use realtime_core::{
    Acks, Authenticator, BoxError, Capabilities, CloseReason, ConnectRequest, ConnectionStats, Context, Drain, Event,
    EventId, Handler, HandlerError, Identity, Inbound, LifecycleHook, NodeId, NodeInfo, OfflineEvent, OfflineSink,
    OnlineCount, OnlineIn, OnlineUser, Payload, Presence, RealtimeBroadcast, RealtimeProvider, Receipt, Refusal,
    Result, RoomAccess, RoomMembership, RoomPolicy, SocketIoBroadcast, Stats, Target,
};

mock! {
    /// A mock of [`RealtimeBroadcast`](realtime_core::RealtimeBroadcast); `to_user` and its
    /// siblings are expected one by one and do not call `send`.
    pub RealtimeBroadcast {}

    #[async_trait]
    impl RealtimeBroadcast for RealtimeBroadcast {
        async fn send(&self, target: Target, event: Event) -> Result<Receipt>;
        async fn to_user(&self, user: &str, event: Event) -> Result<Receipt>;
        async fn to_user_in(&self, tenant: &str, user: &str, event: Event) -> Result<Receipt>;
        async fn to_tenant(&self, tenant: &str, event: Event) -> Result<Receipt>;
        async fn to_room(&self, room: &str, event: Event) -> Result<Receipt>;
        async fn to_room_in(&self, tenant: &str, room: &str, event: Event) -> Result<Receipt>;
        async fn to_all(&self, event: Event) -> Result<Receipt>;
    }
}

mock! {
    /// A mock of [`RoomMembership`](realtime_core::RoomMembership).
    pub RoomMembership {}

    #[async_trait]
    impl RoomMembership for RoomMembership {
        async fn join_room(&self, user: &str, room: &str) -> Result<()>;
        async fn leave_room(&self, user: &str, room: &str) -> Result<()>;
        async fn user_rooms(&self, user: &str) -> Result<Vec<String>>;
        async fn join_room_in(&self, tenant: &str, user: &str, room: &str) -> Result<()>;
        async fn leave_room_in(&self, tenant: &str, user: &str, room: &str) -> Result<()>;
        async fn user_rooms_in(&self, tenant: &str, user: &str) -> Result<Vec<String>>;
    }
}

mock! {
    /// A mock of [`SocketIoBroadcast`](realtime_core::SocketIoBroadcast), with the methods of its
    /// supertraits.
    pub SocketIoBroadcast {}

    #[async_trait]
    impl RealtimeBroadcast for SocketIoBroadcast {
        async fn send(&self, target: Target, event: Event) -> Result<Receipt>;
        async fn to_user(&self, user: &str, event: Event) -> Result<Receipt>;
        async fn to_user_in(&self, tenant: &str, user: &str, event: Event) -> Result<Receipt>;
        async fn to_tenant(&self, tenant: &str, event: Event) -> Result<Receipt>;
        async fn to_room(&self, room: &str, event: Event) -> Result<Receipt>;
        async fn to_room_in(&self, tenant: &str, room: &str, event: Event) -> Result<Receipt>;
        async fn to_all(&self, event: Event) -> Result<Receipt>;
    }

    #[async_trait]
    impl RoomMembership for SocketIoBroadcast {
        async fn join_room(&self, user: &str, room: &str) -> Result<()>;
        async fn leave_room(&self, user: &str, room: &str) -> Result<()>;
        async fn user_rooms(&self, user: &str) -> Result<Vec<String>>;
        async fn join_room_in(&self, tenant: &str, user: &str, room: &str) -> Result<()>;
        async fn leave_room_in(&self, tenant: &str, user: &str, room: &str) -> Result<()>;
        async fn user_rooms_in(&self, tenant: &str, user: &str) -> Result<Vec<String>>;
    }

    #[async_trait]
    impl SocketIoBroadcast for SocketIoBroadcast {
        async fn to_user_with_ack(&self, user: &str, event: Event, timeout: Duration) -> Result<Acks>;
        async fn to_room_with_ack(&self, room: &str, event: Event, timeout: Duration) -> Result<Acks>;
        async fn ask(&self, target: Target, event: Event, timeout: Duration) -> Result<Acks>;
    }
}

mock! {
    /// A mock of [`RealtimeProvider`](realtime_core::RealtimeProvider); see
    /// [`MockRealtimeProvider::named`].
    pub RealtimeProvider {}

    #[async_trait]
    impl RealtimeProvider for RealtimeProvider {
        fn name(&self) -> &'static str;
        fn capabilities(&self) -> Capabilities;
        fn is_bidirectional(&self) -> bool;
        async fn attach(&self, runtime: Runtime) -> Result<()>;
        fn broadcast(&self) -> Arc<dyn RealtimeBroadcast>;
        fn socket_io(&self) -> Option<Arc<dyn SocketIoBroadcast>>;
        fn rooms(&self) -> Option<Arc<dyn RoomMembership>>;
        async fn close(&self, target: Target, reason: CloseReason) -> Result<usize>;
        async fn drain(&self, drain: Drain);
        async fn shutdown(&self, drain: Drain);
        fn stats(&self) -> Stats;
        fn connections(&self, target: &Target) -> Vec<ConnectionStats>;
    }
}

impl MockRealtimeProvider {
    /// Creates a provider of this name with this sending side and without acks, as `"sse"` is. A
    /// service's sends to a room use it too.
    ///
    /// Everything but `close` is expected, any number of times; attach and shutdown do nothing.
    pub fn named(name: &'static str, broadcast: impl RealtimeBroadcast + 'static) -> Self {
        let mut provider = Self::quiet(name, Capabilities::none().with_resume(true).with_rooms(true));
        let broadcast: Arc<dyn RealtimeBroadcast> = Arc::new(broadcast);
        provider.expect_broadcast().returning(move || Arc::clone(&broadcast));
        provider.expect_socket_io().returning(|| None);
        provider.expect_rooms().returning(|| None);
        provider
    }

    /// Creates a provider of this name whose sending side has acks and rooms, as `"socket"` and
    /// `"ws"` are.
    ///
    /// Everything but `close` is expected, any number of times; attach and shutdown do nothing.
    pub fn named_with_socket_io(name: &'static str, broadcast: impl SocketIoBroadcast + 'static) -> Self {
        let capabilities = Capabilities::none().with_acks(true).with_bidirectional(true);
        let mut provider = Self::quiet(name, capabilities.with_resume(true).with_rooms(true));
        let broadcast: Arc<dyn SocketIoBroadcast> = Arc::new(broadcast);
        let (as_broadcast, as_rooms) = (Arc::clone(&broadcast), Arc::clone(&broadcast));
        provider.expect_broadcast().returning(move || Arc::clone(&as_broadcast) as _);
        provider.expect_rooms().returning(move || Some(Arc::clone(&as_rooms) as _));
        provider.expect_socket_io().returning(move || Some(Arc::clone(&broadcast)));
        provider
    }

    fn quiet(name: &'static str, capabilities: Capabilities) -> Self {
        let mut provider = Self::new();
        provider.expect_name().return_const(name);
        provider.expect_capabilities().return_const(capabilities);
        provider.expect_is_bidirectional().return_const(capabilities.bidirectional);
        provider.expect_attach().returning(|_| Ok(()));
        provider.expect_drain().returning(|_| ());
        provider.expect_shutdown().returning(|_| ());
        provider.expect_stats().returning(Stats::default);
        provider.expect_connections().returning(|_| Vec::new());
        provider
    }
}

mock! {
    /// A mock of [`Backplane`](realtime_core::spi::Backplane).
    pub Backplane {}

    #[async_trait]
    impl Backplane for Backplane {
        async fn append(&self, epoch: Epoch, record: Arc<Record>, key: Option<RepeatKey>) -> AppendResult;
        fn append_now(
            &self,
            epoch: Epoch,
            record: &Arc<Record>,
            key: Option<RepeatKey>,
        ) -> Option<AppendResult>;
        fn wake_tails(&self);
        fn tails(&self) -> usize;
        async fn range(&self, after: Position, most: usize) -> Result<Vec<Entry>>;
        fn tail(&self, after: Position) -> Tail;
        async fn state(&self) -> Result<LogState>;
        async fn renew(&self, seen: Epoch, position: Position, id: EventId) -> Result<LogState>;
        async fn rooms(&self, at: Position) -> Result<RoomTable>;
        async fn publish(&self, record: Arc<Record>, to: Option<NodeId>) -> Result<()>;
        async fn subscribe(&self, node: NodeId) -> Result<BoxStream<'static, Stored>>;
        async fn probe(&self) -> Result<()>;
    }
}

mock! {
    /// A mock of [`Directory`](realtime_core::spi::Directory).
    pub Directory {}

    #[async_trait]
    impl Directory for Directory {
        async fn update(&self, node: &NodeInfo, changes: &[DirectoryChange], lease: Duration) -> Result<Incarnation>;
        async fn nodes(&self) -> Result<Vec<NodeInfo>>;
        async fn of_user(&self, user: &str) -> Result<Vec<Presence>>;
        async fn users(
            &self,
            online: &OnlineIn,
            after: Option<OnlineUser>,
            most: usize,
        ) -> Result<Vec<OnlineUser>>;
        async fn count(&self, online: &OnlineIn) -> Result<OnlineCount>;
    }
}

mock! {
    /// A mock of [`Authenticator`](realtime_core::Authenticator); the closure gets the whole
    /// request.
    pub Authenticator {
        // Not in an `impl` of the trait: the macro cannot write an async method with a lifetime in
        // an argument.
        /// Returns what `expect_authenticate` returns for this request.
        pub fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal>;
    }
}

#[async_trait]
impl Authenticator for MockAuthenticator {
    async fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        MockAuthenticator::authenticate(self, request)
    }
}

mock! {
    /// A mock of [`RoomPolicy`](realtime_core::RoomPolicy).
    pub RoomPolicy {}

    #[async_trait]
    impl RoomPolicy for RoomPolicy {
        async fn access(&self, cx: &Context, room: &str) -> RoomAccess;
    }
}

mock! {
    /// A mock of [`Handler`](realtime_core::Handler).
    pub Handler {}

    #[async_trait]
    impl Handler for Handler {
        async fn call(&self, cx: Context, inbound: Inbound) -> Result<Option<Payload>, HandlerError>;
    }
}

mock! {
    /// A mock of [`OfflineSink`](realtime_core::OfflineSink).
    pub OfflineSink {}

    #[async_trait]
    impl OfflineSink for OfflineSink {
        async fn offline(&self, event: &OfflineEvent) -> Result<(), BoxError>;
    }
}

mock! {
    /// A mock of [`LifecycleHook`](realtime_core::LifecycleHook).
    pub LifecycleHook {}

    #[async_trait]
    impl LifecycleHook for LifecycleHook {
        async fn connected(&self, cx: &Context);
        async fn disconnected(&self, cx: &Context, reason: &CloseReason);
    }
}
