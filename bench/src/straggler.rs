//! A client that stalls for a while and then catches up.

use std::time::Duration;

use realtime_wire::ConnectOptions;
use tokio::time::{Instant, timeout};

use crate::client::{Client, Dial};
use crate::sequence::Sequence;
use crate::{Error, Result};

/// The time that it may take to catch up.
const LATE: Duration = Duration::from_secs(30);
/// The time for which it reads on when it has all that it should have, for what should not come.
const STAY: Duration = Duration::from_millis(300);

/// A connected client that reads nothing after `connected` until it catches up.
#[derive(Debug)]
pub struct Straggler {
    client: Client,
    sequence: Sequence,
}

impl Straggler {
    /// Connects a client whose first event will have this number.
    ///
    /// # Errors
    /// When it is rejected, or not connected in time.
    pub async fn connect(dial: &Dial, first: u64) -> Result<Self> {
        let mut sequence = Sequence::from(first);
        let observe = |name: &str, data: &[u8]| sequence.observe(name, data);
        let client = Client::connect_with(dial, &ConnectOptions::default(), observe).await?;
        Ok(Self { client, sequence })
    }

    /// Reads until it has the event before the number `end`, and a little longer; returns what it
    /// received in all, and how long it took to have that event.
    ///
    /// # Errors
    /// When the connection closes, or it has not caught up within 30 s.
    pub async fn catch_up(self, end: u64) -> Result<(Sequence, Duration)> {
        let Self { mut client, mut sequence } = self;
        let started = Instant::now();
        let read = async {
            while sequence.next < end {
                client.receive(|name, data| sequence.observe(name, data)).await?;
            }
            Ok::<_, Error>(())
        };
        timeout(LATE, read).await.map_err(|_| "a client has not caught up in time")??;
        let caught_up = started.elapsed();
        let more = async { while client.receive(|name, data| sequence.observe(name, data)).await.is_ok() {} };
        // The timeout ends it, or the end of the connection.
        let _ = timeout(STAY, more).await;
        Ok((sequence, caught_up))
    }
}
