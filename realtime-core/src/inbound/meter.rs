//! The meter of what one client sends: reading pauses while the client is over its rate, or its
//! tenant over the tenant's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::admission::by_tenant::OfTenant;
use crate::admission::rate::{Budget, Owed};
use crate::admission::tenants::TenantBudget;
use crate::values::inbound_rate::InboundRate;
use crate::values::throttles::{By, MeteredKind, Throttles};

/// The meter of one connection, or of one session of a transport.
///
/// What has been read is always accepted: what the budget does not have is owed, and reading is
/// held back until it is paid.
pub struct Meter {
    own: Option<Budget>,
    rate: InboundRate,
    tenant: Option<Arc<OfTenant<TenantBudget>>>,
    throttles: Arc<Throttles>,
    state: Mutex<State>,
    /// The session's task while reading is held back.
    reader: AtomicWaker,
    calls: MeterCalls,
}

/// The callbacks of a meter.
pub struct MeterCalls {
    on_free: Option<OnFree>,
    on_exceeded: Box<dyn Fn(&InboundRate) + Send + Sync>,
}

type OnFree = Arc<dyn Fn() + Send + Sync>;

/// Short: held for a count or a payment.
#[derive(Default)]
struct State {
    own: Owed,
    of_tenant: Owed,
    /// The number of messages that the server asked for, and that do not count.
    given: u32,
    /// The kind of what was read last.
    kind: Option<MeteredKind>,
    /// Set while reading is held back.
    held: bool,
    /// The task that pays.
    payer: Option<AbortHandle>,
    /// Set while reading is held back to the client's own rate, and not only to its tenant's.
    own_held: bool,
    /// The beginning of the time in which the client was held back to its own rate without a
    /// break, and the end of the last such hold.
    since: Option<Instant>,
    last_hold: Option<Instant>,
    on_free: Option<OnFree>,
}

/// The shortest hold: a flood wakes its connection no more often.
const MIN_HOLD: Duration = Duration::from_millis(10);
/// The time without a hold after which the client's patience begins anew.
const BREAK: Duration = Duration::from_secs(1);

impl Meter {
    pub(crate) fn new(
        own: Option<(InboundRate, usize)>,
        tenant: Option<Arc<OfTenant<TenantBudget>>>,
        throttles: Arc<Throttles>,
        calls: MeterCalls,
    ) -> Option<Arc<Self>> {
        let own = own.filter(|(rate, _)| !rate.is_unlimited());
        if own.is_none() && tenant.is_none() {
            return None;
        }
        let rate = own.map_or_else(InboundRate::unlimited, |(rate, _)| rate);
        Some(Arc::new(Self {
            own: own.map(|(rate, max_message_bytes)| Budget::new(&rate, max_message_bytes)),
            rate,
            tenant,
            throttles,
            state: Mutex::default(),
            reader: AtomicWaker::new(),
            calls,
        }))
    }

    /// Counts messages that were read, of one kind and of so many bytes; `false` asks the transport
    /// to read no more until [`Meter::poll_free`].
    pub fn charge(self: &Arc<Self>, kind: MeteredKind, messages: u32, bytes: usize) -> bool {
        let mut state = self.lock();
        state.kind = Some(kind);
        let given = state.given.min(messages);
        state.given -= given;
        if self.own.is_some() {
            state.own.add(messages - given, bytes);
        }
        if self.tenant.is_some() {
            state.of_tenant.add(messages - given, bytes);
        }
        if !state.held && !self.try_pay(&mut state) {
            state.held = true;
            state.payer = Some(tokio::spawn(Arc::clone(self).hold()).abort_handle());
        }
        !state.held
    }

    /// Takes one message off that was counted and is not to count, because the server asked for it.
    pub fn give_back(&self) {
        let mut state = self.lock();
        state.given = state.given.saturating_add(1);
    }

    /// Returns whether reading is held back.
    pub fn is_held(&self) -> bool {
        self.lock().held
    }

    /// Ready when reading may resume.
    pub fn poll_free(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.reader.register(cx.waker());
        if self.is_held() { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Sets a callback for each time that reading may resume, as
    /// [`MeterCalls::with_on_free`].
    pub(crate) fn on_free(&self, call: OnFree) {
        self.lock().on_free = Some(call);
    }

    /// Ends a hold without a call: the connection is closed.
    pub fn stop(&self) {
        let payer = self.lock().payer.take();
        payer.inspect(AbortHandle::abort);
    }

    /// Pays what is owed, and counts what begins to hold the client back. Returns whether all is
    /// paid.
    fn try_pay(&self, state: &mut State) -> bool {
        let own = self.own.as_ref().and_then(|own| own.pay(&mut state.own)).is_none();
        let of_tenant = self.tenant.as_ref().is_none_or(|tenant| tenant.try_pay(&mut state.of_tenant));
        if !own {
            self.begin_own(state);
        } else if !of_tenant {
            self.throttles.count(By::Tenant, state.kind());
        }
        own && of_tenant
    }

    /// Counts the begin of a hold to the client's own rate.
    fn begin_own(&self, state: &mut State) {
        let now = Instant::now();
        if state.last_hold.is_none_or(|last| now.saturating_duration_since(last) > BREAK) {
            state.since = Some(now);
        }
        state.own_held = true;
        self.throttles.count(By::Connection, state.kind());
    }

    /// Pays what is owed as the budgets fill, then lets reading resume; or gives up.
    async fn hold(self: Arc<Self>) {
        let _counted = self.throttles.hold();
        loop {
            if !self.pay_own().await {
                return (self.calls.on_exceeded)(&self.rate);
            }
            self.pay_tenant().await;
            if let Some(on_free) = self.try_free() {
                self.reader.wake();
                for call in on_free.iter().chain(&self.calls.on_free) {
                    call();
                }
                return;
            }
        }
    }

    /// Waits until the client's own debt is paid; `false` if its patience has ended before.
    async fn pay_own(&self) -> bool {
        let Some(own) = &self.own else { return true };
        loop {
            let (wait, since) = {
                let mut state = self.lock();
                let wait = own.pay(&mut state.own);
                match (wait, state.own_held) {
                    // More was read while only the tenant held the client back.
                    (Some(_), false) => self.begin_own(&mut state),
                    (None, true) => {
                        state.own_held = false;
                        state.last_hold = Some(Instant::now());
                    }
                    _ => {}
                }
                (wait, state.since)
            };
            let Some(wait) = wait else { return true };
            let next = Instant::now() + wait.max(MIN_HOLD);
            match since.and_then(|since| since.checked_add(self.rate.patience)) {
                Some(end) if end <= next => {
                    sleep_until(end).await;
                    return false;
                }
                _ => sleep_until(next).await,
            }
        }
    }

    /// Waits until the debt to the tenant's budget is paid, in turn with its other connections.
    async fn pay_tenant(&self) {
        let Some(tenant) = &self.tenant else { return };
        if tenant.try_pay(&mut self.lock().of_tenant) {
            return;
        }
        let turn = tenant.turn().await;
        loop {
            let wait = turn.pay(&mut self.lock().of_tenant);
            match wait {
                Some(wait) => sleep(wait).await,
                None => return,
            }
        }
    }

    /// Lets reading resume, unless more is owed by now; returns the callback then.
    fn try_free(&self) -> Option<Option<OnFree>> {
        let mut state = self.lock();
        let own = self.own.as_ref().and_then(|own| own.pay(&mut state.own)).is_none();
        let of_tenant = self.tenant.as_ref().is_none_or(|tenant| tenant.try_pay(&mut state.of_tenant));
        if !(own && of_tenant) {
            return None;
        }
        state.held = false;
        state.payer = None;
        Some(state.on_free.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns the kind by which a hold that begins now is counted.
    fn kind(&self) -> MeteredKind {
        self.kind.unwrap_or(MeteredKind::Event)
    }
}

impl MeterCalls {
    /// Creates the calls of a meter: `on_exceeded` is called once, with the rate, when the client
    /// was held back to it for longer than the patience. Reading stays held back.
    pub fn new(on_exceeded: impl Fn(&InboundRate) + Send + Sync + 'static) -> Self {
        Self { on_free: None, on_exceeded: Box::new(on_exceeded) }
    }

    /// Sets a callback for each time that reading may resume, for transports whose reader does not
    /// poll.
    #[must_use]
    pub fn with_on_free(mut self, call: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_free = Some(Arc::new(call));
        self
    }
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meter").field("rate", &self.rate).field("held", &self.is_held()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for MeterCalls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MeterCalls").finish_non_exhaustive()
    }
}
