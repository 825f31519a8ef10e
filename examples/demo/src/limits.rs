use realtime_unified::NotificationServiceBuilder;
use realtime_unified::config::{InboundRate, Limits};

/// The limits over all transports; absent: the defaults of the library.
#[derive(Debug, clap::Args)]
pub(crate) struct LimitArgs {
    /// The connections that one client address may have; default 1,000, except on this machine. A
    /// number that is given holds for 127.0.0.1 too.
    #[arg(long, value_name = "NUMBER")]
    connections_per_address: Option<usize>,
    /// The connections that one tenant may have; default: half of what each transport accepts,
    /// 50,000.
    #[arg(long, value_name = "NUMBER")]
    connections_per_tenant: Option<usize>,
    /// The attempts to connect per second that are accepted, four times as many of them at once;
    /// default 5,000.
    #[arg(long, value_name = "NUMBER")]
    handshakes_per_second: Option<u32>,
    /// The attempts to connect per second from one client address, five times as many of them at
    /// once; default 100, except on this machine. A number that is given holds for 127.0.0.1 too.
    #[arg(long, value_name = "NUMBER")]
    handshakes_per_address: Option<u32>,
    /// Take this many messages per second from one connection, twice as many at once, and close a
    /// client that sends more for 30 seconds; default 500, 0 for any number.
    #[arg(long, value_name = "MESSAGES")]
    inbound_per_connection: Option<u32>,
    /// Take this many messages per second from all clients of one tenant together; default 20,000,
    /// 0 for any number.
    #[arg(long, value_name = "MESSAGES")]
    inbound_per_tenant: Option<u32>,
}

impl LimitArgs {
    /// Sets the limits that are given.
    pub(crate) fn apply(&self, mut builder: NotificationServiceBuilder) -> NotificationServiceBuilder {
        if let Some(most) = self.connections_per_address {
            builder = builder.connections_per_address(most);
        }
        if let Some(most) = self.connections_per_tenant {
            builder = builder.connections_per_tenant(most);
        }
        if let Some(most) = self.handshakes_per_second {
            builder = builder.handshakes_per_second(most);
        }
        if let Some(most) = self.handshakes_per_address {
            builder = builder.handshakes_per_address(most);
        }
        builder.inbound_per_tenant(with_messages(InboundRate::of_tenant(), self.inbound_per_tenant))
    }

    /// Returns the limits of each transport.
    pub(crate) fn of_provider(&self) -> Limits {
        let rate = with_messages(InboundRate::default(), self.inbound_per_connection);
        Limits::default().with_inbound_per_connection(rate)
    }
}

fn with_messages(rate: InboundRate, per_second: Option<u32>) -> InboundRate {
    match per_second {
        Some(0) => rate.with_events_per_second(None),
        Some(messages) => rate.with_events_per_second(messages),
        None => rate,
    }
}
