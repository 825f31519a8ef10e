//! A client that stalls for a while and then catches up.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::client::{Client, Dial, Wish};
use crate::sequence::Sequence;
use crate::{Error, Result};

/// How long it may take to catch up.
const LATE: Duration = Duration::from_secs(30);
/// How long it is listened to when it has all it should have, for what should not come.
const STAY: Duration = Duration::from_millis(300);

/// A connected client that reads nothing after `connected` until it catches up.
#[derive(Debug)]
pub struct Straggler {
    client: Client,
    sequence: Sequence,
}

impl Straggler {
    /// Connects one whose first event will have this number.
    ///
    /// # Errors
    /// When it is refused, or not connected in time.
    pub async fn connect(dial: &Dial, first: u64) -> Result<Self> {
        let mut sequence = Sequence::from(first);
        let client = Client::connect_with(dial, &Wish::default(), |name, data| sequence.hear(name, data)).await?;
        Ok(Self { client, sequence })
    }

    /// Reads until it has the event before the number `end`, and a little longer; answers what it received in all, and
    /// how long it took to have that event.
    ///
    /// # Errors
    /// When the connection ends, or it has not caught up within 30 s.
    pub async fn catch_up(self, end: u64) -> Result<(Sequence, Duration)> {
        let Self { mut client, mut sequence } = self;
        let started = Instant::now();
        let read = async {
            while sequence.next < end {
                client.hear(|name, data| sequence.hear(name, data)).await?;
            }
            Ok::<_, Error>(())
        };
        timeout(LATE, read).await.map_err(|_| "a client has not caught up in time")??;
        let caught_up = started.elapsed();
        let more = async { while client.hear(|name, data| sequence.hear(name, data)).await.is_ok() {} };
        // It ends by the time, or because the connection does.
        let _ = timeout(STAY, more).await;
        Ok((sequence, caught_up))
    }
}
