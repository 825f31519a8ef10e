use std::sync::Arc;
use std::time::Duration;

use realtime_core::spi::{
    Backplane, CONNECTION_LIVES, CursorSecret, DECISION_TIMEOUT, Directory, Log, MAX_REVOCATIONS, MAX_TOKEN_BYTES,
    MAX_WAITING_REFRESHES, OfflineWorker, Publisher, Runtime, ServiceLimits, States,
};
use realtime_core::{
    Anonymous, Authenticator, Capabilities, DenyRooms, Drain, Error, InboundRate, LifecycleHook, MemoryBackplane,
    MemoryDirectory, NodeId, NodeInfo, OfflineConfig, OfflineSink, Propagator, RealtimeProvider, Result, RoomPolicy,
    Router,
};
use realtime_http::{HttpProvider, Origins};

use crate::context::{Everywhere, Slot};
use crate::registry::{Entry, Registry};
use crate::service::NotificationService;
use crate::ticket::{TicketConfig, TicketIssuer};

/// The default of the largest payload of an event, in bytes.
const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// A builder of a [`NotificationService`].
#[derive(Default)]
#[must_use = "nothing runs before build()"]
pub struct NotificationServiceBuilder {
    entries: Vec<Entry>,
    authenticator: Option<Arc<dyn Authenticator>>,
    anonymous: bool,
    origins: Option<Origins>,
    policy: Option<(Arc<dyn RoomPolicy>, &'static str)>,
    backplane: Option<Arc<dyn Backplane>>,
    directory: Option<Arc<dyn Directory>>,
    node_name: Option<String>,
    cursor_secret: Option<Vec<u8>>,
    tickets: Option<TicketConfig>,
    offline_sink: Option<Arc<dyn OfflineSink>>,
    offline_config: OfflineConfig,
    publishes: bool,
    pub(crate) hooks: Vec<Arc<dyn LifecycleHook>>,
    pub(crate) router: Router,
    pub(crate) states: States,
    decision_timeout: Option<Duration>,
    limits: ServiceLimits,
    max_event_bytes: Option<usize>,
    max_revocations: Option<usize>,
    connection_lives: Option<usize>,
    propagator: Option<Arc<dyn Propagator>>,
    max_token_bytes: Option<usize>,
    waiting_refreshes: Option<usize>,
    inbound_per_tenant: Option<InboundRate>,
}

impl NotificationService {
    /// Creates a builder.
    pub fn builder() -> NotificationServiceBuilder {
        NotificationServiceBuilder::default()
    }

    /// Creates a builder of a service for a process that only publishes, such as a worker or a cron
    /// job: it sends, asks, joins and closes by the names "sse", "ws" and "socket", or over all of
    /// them, on the nodes that share this backplane. It has no providers, no port and no lease, and
    /// does not read the log.
    ///
    /// Answers to asks, and counts of closes, need the nodes' directory:
    ///
    /// ```no_run
    /// # #[cfg(feature = "redis")]
    /// # async fn publisher() -> realtime_unified::Result<()> {
    /// use realtime_unified::redis::{RedisBackplane, RedisConfig};
    /// use realtime_unified::NotificationService;
    ///
    /// let redis = RedisBackplane::connect("redis://localhost", RedisConfig::default()).await?;
    /// let directory = redis.directory();
    /// let service = NotificationService::publisher(redis).directory(directory).build().await?;
    /// service.to_user("ann", "report:ready", &7).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Its receipts have no counts. The rooms of a user, and the users of a room, are for nodes
    /// that read the log.
    pub fn publisher(backplane: impl Backplane) -> NotificationServiceBuilder {
        let logged = Capabilities::none().with_resume(true).with_rooms(true);
        let both_ways = logged.with_acks(true).with_bidirectional(true).with_binary(true);
        let names = [("sse", logged), ("ws", both_ways), ("socket", both_ways)];
        let publishers = names.map(|(name, capabilities)| Publisher::new(name, capabilities));
        let builder = NotificationServiceBuilder { publishes: true, ..Self::builder() }.backplane(backplane);
        publishers.into_iter().fold(builder, |builder, publisher| builder.custom(Arc::new(publisher)))
    }
}

impl NotificationServiceBuilder {
    /// Adds a provider with routes.
    pub fn provider(mut self, provider: impl HttpProvider) -> Self {
        self.entries.push(Entry::http(provider));
        self
    }

    /// Adds any other provider: a mock, a recorder, one of the application's own.
    pub fn custom(mut self, provider: Arc<dyn RealtimeProvider>) -> Self {
        self.entries.push(Entry::custom(provider));
        self
    }

    /// Sets the authenticator: a type that implements [`Authenticator`], or an async closure.
    /// Without one `build` demands [`NotificationServiceBuilder::allow_anonymous`].
    pub fn authenticator(mut self, authenticator: impl Authenticator) -> Self {
        self.authenticator = Some(Arc::new(authenticator));
        self
    }

    /// Accepts every client as anonymous: such connections get what is sent to everyone, and
    /// nothing that is sent to a user or tenant.
    pub fn allow_anonymous(mut self) -> Self {
        self.anonymous = true;
        self
    }

    /// Sets which web pages may connect, with every provider whose own configuration does not set
    /// it; default: those of the same host and port. A dev server on another port is another
    /// origin: `.origins(Origins::same_host().and("http://localhost:5173"))`.
    pub fn origins(mut self, origins: Origins) -> Self {
        self.origins = Some(origins);
        self
    }

    /// Sets which rooms clients may enter by naming them, by a type that implements [`RoomPolicy`]
    /// or an async closure; default: none.
    pub fn room_policy<P: RoomPolicy>(mut self, policy: P) -> Self {
        self.policy = Some((Arc::new(policy), std::any::type_name::<P>()));
        self
    }

    /// Sets how long the authenticator may take, and the room policy for all rooms that a client
    /// names together; default 10 s. After that the client is rejected with 503 (`unavailable`),
    /// and an error is logged. Zero is rejected.
    pub fn decision_timeout(mut self, most: Duration) -> Self {
        self.decision_timeout = Some(most);
        self
    }

    /// Sets how many connections one user, of one tenant, may have with all providers, on all nodes
    /// together; default 30, and as many as with any one of them. Each provider has a limit of its
    /// own in addition
    /// ([`Limits::with_connections_per_user`](realtime_core::Limits::with_connections_per_user)).
    /// Zero is rejected.
    pub fn connections_per_user(mut self, most: usize) -> Self {
        self.limits = self.limits.with_connections_per_user(most);
        self
    }

    /// Sets how many connections one tenant may have with all providers on this node together;
    /// default: with each provider half of its
    /// [`Limits::with_connections`](realtime_core::Limits::with_connections), so 50,000, which
    /// leaves the others room when one tenant has all it may. One more gets 429 (`tenant_limit`).
    /// Connections without a tenant do not count. Zero is rejected, `usize::MAX` is no limit, as
    /// for an application that has one tenant.
    pub fn connections_per_tenant(mut self, most: usize) -> Self {
        self.limits = self.limits.with_connections_per_tenant(most);
        self
    }

    /// Sets how many connections may come from one client address, of IPv6 from one /64, with all
    /// providers on this node together; default 1,000. One more gets 429 (`address_limit`). Zero is
    /// rejected, `usize::MAX` is no limit.
    ///
    /// Behind a proxy the address is the proxy's, unless the providers' `with_trusted_proxies`
    /// names it. The default does not hold for addresses of this host, so that a proxy here that is
    /// not named does not have all clients share one limit; a number that is set holds for every
    /// address.
    pub fn connections_per_address(mut self, most: usize) -> Self {
        self.limits = self.limits.with_connections_per_address(most);
        self
    }

    /// Sets how many handshakes this node accepts per second, four times as many of which may come
    /// at once; default 5,000 and 20,000. One more gets 429 (`handshake_rate`) with the time to
    /// retry after, before the authenticator is asked. Zero is rejected, `u32::MAX` is no limit.
    ///
    /// A handshake is a request for an event stream, a WebSocket or a session of Socket.IO, a
    /// refresh of a stream's credentials, and a request for a ticket.
    pub fn handshakes_per_second(mut self, most: u32) -> Self {
        self.limits = self.limits.with_handshakes_per_second(most);
        self
    }

    /// Sets how many handshakes one client address may make per second, of IPv6 one /64, five times
    /// as many of which may come at once; default 100 and 500, which does not hold for addresses of
    /// this host. Zero is rejected, `u32::MAX` is no limit. Proxies count as for
    /// [`connections_per_address`](Self::connections_per_address).
    ///
    /// At most 65,536 addresses are counted at a time; those beyond are bounded by the rate of the
    /// node alone.
    pub fn handshakes_per_address(mut self, most: u32) -> Self {
        self.limits = self.limits.with_handshakes_per_address(most);
        self
    }

    /// Sets the largest payload of an event from the server, in bytes; default 1 MiB. A provider's
    /// own limit counts where it is lower. Zero is rejected.
    pub fn max_event_bytes(mut self, bytes: usize) -> Self {
        self.max_event_bytes = Some(bytes);
        self
    }

    /// Sets how many tokens are revoked at a time
    /// ([`NotificationService::revoke_token`]); default 10,000. One more is an error. Zero is
    /// rejected.
    pub fn revocations(mut self, most: usize) -> Self {
        self.max_revocations = Some(most);
        self
    }

    /// Sets how many connections this node keeps after their end, to explain what became of an
    /// event for them ([`NotificationService::explain`]), and how many answers to asks; default
    /// 10,000. A connection takes 0.5 KiB, and up to 7 KiB with the longest names. 0 keeps none.
    pub fn connection_lives(mut self, most: usize) -> Self {
        self.connection_lives = Some(most);
        self
    }

    /// Sets the longest token in a refresh, in bytes; default 8 KiB. The body of a request for one
    /// may have twice as many. Longer ones are rejected. Zero is rejected.
    pub fn max_token_bytes(mut self, bytes: usize) -> Self {
        self.max_token_bytes = Some(bytes);
        self
    }

    /// Sets how many refreshes wait for other nodes at a time; default 1,000. One more is rejected
    /// with 503. Zero is rejected.
    pub fn waiting_refreshes(mut self, most: usize) -> Self {
        self.waiting_refreshes = Some(most);
        self
    }

    /// Sets the rate at which messages and bytes are taken from all clients of one tenant together,
    /// on this node and over all providers; default 20,000 and 64 MiB per second
    /// ([`InboundRate::of_tenant`]). While a tenant sends more, its clients are read more slowly,
    /// each in its turn, and no other tenant's. Clients without a tenant have no such bound.
    pub fn inbound_per_tenant(mut self, rate: InboundRate) -> Self {
        self.inbound_per_tenant = Some(rate);
        self
    }

    /// Sets the log and what connects this node to others; default: one node, in memory.
    pub fn backplane(mut self, backplane: impl Backplane) -> Self {
        self.backplane = Some(Arc::new(backplane));
        self
    }

    /// Sets the directory of users that are online; default: this node's connections, in memory.
    pub fn directory(mut self, directory: impl Directory) -> Self {
        self.directory = Some(Arc::new(directory));
        self
    }

    /// Sets a secret of the application's own, of 16 bytes at least, from which the keys that sign
    /// cursors are derived; the same on all nodes. Without it they are stored in the log, so that
    /// who can read the log can make cursors. A changed secret makes earlier cursors `invalid`.
    pub fn cursor_secret(mut self, secret: impl AsRef<[u8]>) -> Self {
        self.cursor_secret = Some(secret.as_ref().to_vec());
        self
    }

    /// Adds the route of one-time tickets, `POST /ticket`, with which a client connects that can
    /// send no header: `.tickets(TicketConfig::default())`.
    pub fn tickets(mut self, tickets: TicketConfig) -> Self {
        self.tickets = Some(tickets);
        self
    }

    /// Sets the sink that is called for events whose users are offline, such as pushes to their
    /// phones: a type that implements [`OfflineSink`], or an async closure. Every node that has
    /// connections should have it; one of them calls it. `docs/offline.md` has the exact rule.
    pub fn offline_sink(mut self, sink: impl OfflineSink) -> Self {
        self.offline_sink = Some(Arc::new(sink));
        self
    }

    /// Sets when users count as offline, and how the sink is called.
    pub fn offline_config(mut self, config: OfflineConfig) -> Self {
        self.offline_config = config;
        self
    }

    /// Sets the name of this node, by which logs and [`NotificationService::nodes`] show it;
    /// default: its random id.
    pub fn node_name(mut self, name: impl Into<String>) -> Self {
        self.node_name = Some(name.into());
        self
    }

    /// Sets what connects the spans of this node to those of other nodes, of clients and of the
    /// application; default: nothing, and records carry no trace. With the feature `otel` there is
    /// one for OpenTelemetry: `.propagator(OtelPropagator::default())`.
    pub fn propagator(mut self, propagator: impl Propagator) -> Self {
        self.propagator = Some(Arc::new(propagator));
        self
    }

    /// Attaches the providers and returns the service, ready to send.
    ///
    /// # Errors
    /// [`Error::Config`] without an authenticator, with one in addition to
    /// [`NotificationServiceBuilder::allow_anonymous`], without a provider, with two of one name or
    /// path, with handlers or a configuration that cannot work, whose field it names;
    /// [`Error::Backplane`] when the log cannot be read.
    pub async fn build(self) -> Result<NotificationService> {
        if self.publishes && self.entries.iter().any(|entry| entry.http.is_some()) {
            return Err(Error::Config("a publisher has no providers: use builder()".to_owned()));
        }
        self.check_fields()?;
        let authenticator = choose_authenticator(self.authenticator, self.anonymous || self.publishes)?;
        if self.entries.is_empty() {
            return Err(Error::Config("no provider: call provider(…) at least once".to_owned()));
        }
        let cursor_secret = self.cursor_secret.map(CursorSecret::new).transpose()?;
        let registry = Registry::new(self.entries)?;
        if let Some(origins) = &self.origins {
            origins.verify()?;
            let own = registry.iter().filter_map(|entry| entry.http.as_ref()?.origins());
            own.for_each(|own| own.set_default(origins));
        }
        registry.check(self.tickets.as_ref().map(TicketConfig::path))?;
        self.router.check()?;
        let (policy, policy_name) = self.policy.unwrap_or((Arc::new(DenyRooms), "none: clients cannot name rooms"));
        let slot = Slot::default();
        let mut node = NodeInfo::new(NodeId::random());
        node.name = self.node_name;
        node.offline_sink = self.offline_sink.is_some();
        let backplane = self.backplane.unwrap_or_else(|| Arc::new(MemoryBackplane::default()));
        let directory = self.directory.unwrap_or_else(|| Arc::new(MemoryDirectory::new()));
        let log = Log::of_node(node, backplane, directory);
        let log = self.propagator.into_iter().fold(log, Log::with_propagator);
        log.keep_lives(self.connection_lives.unwrap_or(CONNECTION_LIVES));
        let tickets = self
            .tickets
            .map(|config| TicketIssuer::new(config, Arc::clone(&authenticator), log.clone(), cursor_secret.clone()));
        let authenticator = match &tickets {
            Some(tickets) => Arc::new(tickets.clone()) as _,
            None => authenticator,
        };
        let mut runtime = Runtime::new(log.clone(), authenticator).with_limits(self.limits);
        runtime.sends = Some(Arc::new(Everywhere { slot: slot.clone(), log }));
        runtime.policy = policy;
        runtime.router = self.router;
        runtime.states = self.states.with(slot.clone());
        runtime.hooks = self.hooks;
        runtime.max_event_bytes = self.max_event_bytes.unwrap_or(MAX_EVENT_BYTES);
        runtime.decision_timeout = self.decision_timeout.unwrap_or(DECISION_TIMEOUT);
        runtime.max_revocations = self.max_revocations.unwrap_or(MAX_REVOCATIONS);
        runtime.max_token_bytes = self.max_token_bytes.unwrap_or(MAX_TOKEN_BYTES);
        runtime.max_waiting_refreshes = self.waiting_refreshes.unwrap_or(MAX_WAITING_REFRESHES);
        runtime = runtime.with_inbound_per_tenant(self.inbound_per_tenant.unwrap_or_else(InboundRate::of_tenant));
        runtime.cursor_secret = cursor_secret;
        let origins = self.origins.unwrap_or_default();
        // Before the log is read: it has to note what is in it for users.
        let offline = self.offline_sink.map(|sink| OfflineWorker::start(&runtime.log, sink, self.offline_config));
        let service = NotificationService::new(registry, Some(runtime.clone()), origins, tickets, offline);
        // Before a client can connect and a handler can ask for the service.
        slot.fill(&service);
        attach_all(&service, &runtime).await?;
        service.begin_offline().await;
        service.registry().log_start(policy_name);
        Ok(service)
    }

    /// Rejects a number that is zero, and tickets or an offline sink that cannot work.
    fn check_fields(&self) -> Result<()> {
        if self.publishes && self.offline_sink.is_some() {
            return Err(Error::Config(
                "offline_sink() is not supported on a publisher: set it on the nodes".to_owned(),
            ));
        }
        self.offline_config.check()?;
        for (field, is_zero) in [
            ("decision_timeout", self.decision_timeout == Some(Duration::ZERO)),
            ("max_event_bytes", self.max_event_bytes == Some(0)),
            ("revocations", self.max_revocations == Some(0)),
            ("max_token_bytes", self.max_token_bytes == Some(0)),
            ("waiting_refreshes", self.waiting_refreshes == Some(0)),
        ] {
            if is_zero {
                return Err(Error::Config(format!("{field} is zero")));
            }
        }
        self.inbound_per_tenant.map_or(Ok(()), |rate| rate.check("inbound_per_tenant"))?;
        self.limits.check()?;
        self.tickets.as_ref().map_or(Ok(()), TicketConfig::check)
    }
}

/// Attaches all providers, or none.
async fn attach_all(service: &NotificationService, runtime: &Runtime) -> Result<()> {
    for (at, entry) in service.registry().iter().enumerate() {
        if let Err(error) = entry.provider.attach(runtime.clone()).await {
            // Those that run already would continue without a service.
            for earlier in service.registry().iter().take(at) {
                earlier.provider.shutdown(Drain::now()).await;
            }
            return Err(error);
        }
    }
    Ok(())
}

/// Returns the authenticator: exactly one way to identify clients has to be chosen.
fn choose_authenticator(chosen: Option<Arc<dyn Authenticator>>, anonymous: bool) -> Result<Arc<dyn Authenticator>> {
    let text = match (chosen, anonymous) {
        (Some(authenticator), false) => return Ok(authenticator),
        (None, true) => return Ok(Arc::new(Anonymous)),
        (Some(_), true) => "authenticator(…) and allow_anonymous() are both set: remove one",
        (None, false) => "no authenticator: call authenticator(…), or allow_anonymous() to accept every client",
    };
    Err(Error::Config(text.to_owned()))
}

impl std::fmt::Debug for NotificationServiceBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.entries.iter().map(Entry::name).collect();
        f.debug_struct("NotificationServiceBuilder").field("providers", &names).finish_non_exhaustive()
    }
}
