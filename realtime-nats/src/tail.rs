use std::sync::Arc;

use futures_util::{StreamExt, stream};
use realtime_core::Error;
use realtime_core::spi::{Entry, Position, Tail};

use crate::error::Fault;
use crate::reader::{Reader, Start};
use crate::record::{check_gapless, entry};
use crate::store::Store;

/// A reader of all records after a position, on a connection of its own.
struct Follower {
    store: Arc<Store>,
    reader: Option<Reader>,
    after: u64,
    /// `true` once a record was read: the next one follows it.
    has_read: bool,
}

/// Returns every record of the log after a position; ends with the first error, also when the
/// connection breaks: its reader then asks whether the log still has what it has read.
pub(crate) fn tail(store: Arc<Store>, after: Position) -> Tail {
    let follower = Follower { store, reader: None, after: after.get(), has_read: false };
    stream::try_unfold(follower, |mut follower| async move {
        let entries = follower.next().await.map_err(Error::from)?;
        Ok(Some((entries, follower)))
    })
    .boxed()
}

impl Follower {
    async fn next(&mut self) -> Result<Vec<Entry>, Fault> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => {
                let connection = self.store.connector.connect().await?;
                let life = self.store.life().await?;
                let stream = self.store.names.log(&life.name);
                none.insert(Reader::open(connection, &stream, Start::After(self.after), None).await?)
            }
        };
        let messages = reader.next().await?;
        if !self.has_read
            && let Some(first) = messages.first()
            && first.sequence > self.after
        {
            // What was dropped before the tail began is not missing.
            (self.after, self.has_read) = (first.sequence - 1, true);
        }
        self.after = check_gapless(self.after, &messages)?;
        Ok(messages.iter().map(entry).collect())
    }
}
