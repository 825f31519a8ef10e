//! The meters of what clients send.

use std::sync::Arc;

use crate::delivery::connection::Connection;
use crate::delivery::dispatcher::Dispatcher;
use crate::inbound::meter::{Meter, MeterCalls};
use crate::traits::codec::Codec;
use crate::values::close::CloseReason;
use crate::values::handler_error::HandlerError;
use crate::values::inbound_rate::InboundRate;

impl<C: Codec> Dispatcher<C> {
    /// Returns the meter of a session by the rate of a connection, for a transport whose sessions
    /// have more than the connection or less; none if there is no rate.
    #[must_use]
    pub fn session_meter(&self, calls: MeterCalls) -> Option<Arc<Meter>> {
        Meter::new(Some(self.own_rate()), None, Arc::clone(&self.counters.throttles), calls)
    }

    /// Returns the meter of a connection, by its own rate and that of its tenant.
    pub(crate) fn meter(self: &Arc<Self>, connection: &Arc<Connection<C::Frame>>) -> Option<Arc<Meter>> {
        let own = (!self.config.meters_sessions).then(|| self.own_rate());
        let tenant = connection.info.identity.tenant_name();
        let tenant = self.runtime.get().and_then(|runtime| runtime.tenants.budget_of(tenant));
        let (dispatcher, closed) = (self.unowned(), Arc::downgrade(connection));
        let on_exceeded = move |rate: &InboundRate| {
            if let Some(connection) = closed.upgrade() {
                dispatcher.close_for_rate(&connection, rate);
            }
        };
        Meter::new(own, tenant, Arc::clone(&self.counters.throttles), MeterCalls::new(on_exceeded))
    }

    /// Closes the connection of a client that was over its rate for too long.
    fn close_for_rate(&self, connection: &Connection<C::Frame>, rate: &InboundRate) {
        let text = format!("more than {rate} for {:?}", rate.patience);
        connection.fault.get_or_init(|| text.as_str().into());
        let error = HandlerError::new("rate_limited", text);
        self.count_rejected(&error);
        if let Some(frame) = self.codec.error(&error, None) {
            self.hub.push_side(connection, frame, false, tokio::time::Instant::now());
        }
        connection.close(CloseReason::rate_limited(rate));
    }

    fn own_rate(&self) -> (InboundRate, usize) {
        (self.config.delivery.limits.inbound_per_connection, self.config.max_message_bytes)
    }
}
