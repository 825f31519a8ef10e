//! The relay: what is committed goes to the log, one row after the other, and is then marked.

use std::sync::Arc;
use std::time::Duration;

use realtime_unified::{BoxError, Error, Event, NotificationService, Receipt, Result, Target};
use tokio::sync::Notify;

use crate::store::{Row, Store};

/// The delay before a row is tried again, and before the table is looked at without a notice.
const PAUSE: Duration = Duration::from_millis(500);

/// A point at which the program stands still, for a test that kills it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Halt {
    /// After a row was committed, before it is sent.
    BeforeSend,
    /// After a row was sent, before it is marked.
    BeforeMark,
}

/// Sends the rows of the outbox in their order, for as long as the program runs.
pub(crate) struct Relay {
    pub(crate) service: NotificationService,
    pub(crate) store: Store,
    /// Notified after each commit.
    pub(crate) committed: Arc<Notify>,
    pub(crate) halt: Option<Halt>,
    /// The number of rows that go through before the halt.
    pub(crate) halt_after: u64,
}

impl Relay {
    pub(crate) async fn run(mut self) {
        loop {
            match self.send_next().await {
                Ok(true) => {}
                Ok(false) => drop(tokio::time::timeout(PAUSE, self.committed.notified()).await),
                Err(error) => {
                    tracing::warn!(%error, "the outbox waits");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Sends the next row and marks it; returns whether there was one.
    async fn send_next(&mut self) -> Result<bool, BoxError> {
        let Some(row) = self.store.next().await? else { return Ok(false) };
        let halts = self.halt_after == 0;
        self.halt_after = self.halt_after.saturating_sub(1);
        self.halt_at(Halt::BeforeSend, halts).await;
        let refused = match self.send(&row).await {
            Ok(_) => None,
            // Nothing that a repeat would change: the rows behind it must not wait for ever.
            Err(error) if is_of_the_row(&error) => {
                tracing::error!(row = row.id, %error, "a row cannot be sent");
                Some(error.to_string())
            }
            // The row stays, and is sent again with the same key.
            Err(error) => return Err(error.into()),
        };
        self.halt_at(Halt::BeforeMark, halts).await;
        self.store.mark(row.id, refused).await?;
        Ok(true)
    }

    /// Sends a row with its number as the key: however often this is done, the log has it once.
    async fn send(&self, row: &Row) -> Result<Receipt> {
        let event = Event::raw_json(&row.event, row.payload.clone())?;
        let event = event.with_idempotency_key(format!("outbox-{}", row.id));
        self.service.send(Target::user(&row.user), event).await
    }

    async fn halt_at(&self, point: Halt, halts: bool) {
        if halts && self.halt == Some(point) {
            println!("halted");
            std::future::pending::<()>().await;
        }
    }
}

/// Returns whether the row itself cannot be sent, now or later.
fn is_of_the_row(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidName { .. }
            | Error::InvalidPayload(_)
            | Error::KeyReused { .. }
            | Error::ReservedName { .. }
            | Error::TooLarge { .. }
            | Error::Unsupported { .. }
    )
}
