use std::num::NonZeroU32;
use std::time::Duration;

use crate::values::error::{Error, Result};

/// The rate at which events and bytes are taken from clients, on one connection or of one tenant.
/// Above it reading pauses, so that nothing is lost. A zero is rejected when the provider is
/// attached, or the service built.
///
/// The default is that of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboundRate {
    pub(crate) events_per_second: Option<u32>,
    pub(crate) events_burst: Option<u32>,
    pub(crate) bytes_per_second: Option<usize>,
    pub(crate) bytes_burst: Option<usize>,
    pub(crate) patience: Duration,
}

/// The unit in which bytes are counted: what is less waits for the next message.
pub(crate) const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

impl Default for InboundRate {
    fn default() -> Self {
        Self {
            events_per_second: Some(500),
            events_burst: None,
            bytes_per_second: Some(4 * MIB),
            bytes_burst: None,
            patience: Duration::from_secs(30),
        }
    }
}

setters! {
    impl InboundRate {
        /// Sets the number of messages per second; default 500 of a connection and 20,000 of a
        /// tenant, `None` for any number.
        ///
        /// Every message of a client counts: events, answers, what enters and leaves rooms,
        /// refreshes, raw messages, control frames, empty fragments and packets of Engine.IO. An
        /// answer to a question of the server's and a pong for its ping do not.
        with_events_per_second(events_per_second: impl Into<Option<u32>>);
        /// Sets how many messages may come at once after a quiet time; default two seconds' worth.
        with_events_burst(events_burst: u32);
        /// Sets the number of bytes per second, in whole KiB; default 4 MiB of a connection and
        /// 64 MiB of a tenant, `None` for any number.
        with_bytes_per_second(bytes_per_second: impl Into<Option<usize>>);
        /// Sets how many bytes may come at once after a quiet time; default one second's worth, and
        /// of a connection `max_message_bytes` more.
        with_bytes_burst(bytes_burst: usize);
        /// Sets how long a connection may be held back to its rate without a break of a second;
        /// default 30 s, then it is closed (1008, `rate_limited`). A tenant's rate only holds back.
        with_patience(patience: Duration);
    }
}

impl InboundRate {
    /// Returns the default of a tenant on a node: 20,000 messages and 64 MiB per second.
    #[must_use]
    pub fn of_tenant() -> Self {
        Self { events_per_second: Some(20_000), bytes_per_second: Some(64 * MIB), ..Self::default() }
    }

    /// Returns a rate without a bound.
    #[must_use]
    pub fn unlimited() -> Self {
        Self { events_per_second: None, bytes_per_second: None, ..Self::default() }
    }

    /// Returns the number of messages per second.
    #[must_use]
    pub fn events_per_second(&self) -> Option<u32> {
        self.events_per_second
    }

    /// Returns the number of bytes per second.
    #[must_use]
    pub fn bytes_per_second(&self) -> Option<usize> {
        self.bytes_per_second
    }

    /// Returns how long a connection may be held back without a break.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Returns whether neither messages nor bytes have a bound.
    pub(crate) fn is_unlimited(&self) -> bool {
        self.events_per_second.is_none() && self.bytes_per_second.is_none()
    }

    /// Returns the rate of messages and its burst.
    pub(crate) fn events(&self) -> Option<(NonZeroU32, NonZeroU32)> {
        let rate = self.events_per_second?;
        Some((at_least_one(rate), at_least_one(self.events_burst.unwrap_or(rate.saturating_mul(2)))))
    }

    /// Returns the rate of KiB and its burst, in which the largest message has room too.
    pub(crate) fn kibibytes(&self, max_message_bytes: usize) -> Option<(NonZeroU32, NonZeroU32)> {
        let rate = self.bytes_per_second?;
        let burst = self.bytes_burst.unwrap_or(rate.saturating_add(max_message_bytes));
        let kib = |bytes: usize| at_least_one(u32::try_from(bytes.div_ceil(KIB)).unwrap_or(u32::MAX));
        Some((kib(rate), kib(burst)))
    }

    /// Returns the time after which an empty budget is full again, in whole seconds.
    pub(crate) fn refill_time(&self) -> Duration {
        let seconds = |(rate, burst): (NonZeroU32, NonZeroU32)| burst.get().div_ceil(rate.get());
        let slowest = [self.events(), self.kibibytes(0)].into_iter().flatten().map(seconds).max();
        Duration::from_secs(slowest.unwrap_or_default().into())
    }

    /// Rejects a number that is zero.
    ///
    /// # Errors
    /// [`Error::Config`] that names the field of this setting.
    pub fn check(&self, setting: &str) -> Result<()> {
        match self.zero_field() {
            Some(field) => Err(Error::Config(format!("{setting}.{field} is zero"))),
            None => Ok(()),
        }
    }

    /// Returns the field that is zero, if one is.
    pub(crate) fn zero_field(&self) -> Option<&'static str> {
        [
            ("events_per_second", self.events_per_second == Some(0)),
            ("events_burst", self.events_burst == Some(0)),
            ("bytes_per_second", self.bytes_per_second == Some(0)),
            ("bytes_burst", self.bytes_burst == Some(0)),
            ("patience", self.patience.is_zero()),
        ]
        .into_iter()
        .find_map(|(field, is_zero)| is_zero.then_some(field))
    }
}

/// Describes what is exceeded, for the client and the log.
impl std::fmt::Display for InboundRate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.events_per_second, self.bytes_per_second) {
            (Some(events), Some(bytes)) => write!(f, "{events} messages or {bytes} bytes per second"),
            (Some(events), None) => write!(f, "{events} messages per second"),
            (None, Some(bytes)) => write!(f, "{bytes} bytes per second"),
            (None, None) => f.write_str("any number of messages"),
        }
    }
}

fn at_least_one(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}
