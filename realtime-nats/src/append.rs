//! Appending records, each once for its key.

use realtime_core::EventId;
use realtime_core::spi::{AppendError, Appended, Epoch, Position, Record, RepeatKey};

use crate::api::{self, Stored};
use crate::deadline::Deadline;
use crate::error::Fault;
use crate::keys::{Claim, Keys};
use crate::life::Life;
use crate::record;
use crate::rooms;
use crate::store::Store;

/// Appends a record in an epoch.
pub(crate) async fn append(
    store: &Store,
    epoch: Epoch,
    record: &Record,
    key: Option<RepeatKey>,
) -> Result<Appended, AppendError> {
    let deadline = Deadline::new();
    // Until the record itself is sent, every error is a certain one.
    let refused = |fault: Fault| AppendError::Refused(Box::new(fault));
    let life = deadline.within(store, store.life_of(epoch)).await.map_err(refused)?.ok_or(AppendError::Epoch)?;
    let appended = match key {
        None => {
            let stored = send(store, &life, record, record.id(), deadline).await;
            stored.map(|stored| appended(stored, record.id())).map_err(AppendError::from)
        }
        Some(key) => append_keyed(store, &life, record, key, deadline).await,
    };
    match appended {
        Ok(appended) => {
            life.extent.note_last(appended.position.get());
            if let Some(edit) = record.room_edit()
                && !appended.repeated
                && let Err(error) = rooms::insert(store, &life, appended.position, &edit, deadline).await
            {
                // The record is in the log, from where the next look at the rooms has it.
                tracing::debug!(%error, position = %appended.position, "a change of rooms is not stored yet");
            }
            Ok(appended)
        }
        Err(AppendError::Refused(error)) => {
            // The stream of an earlier life is gone.
            match deadline.within(store, store.load()).await {
                Ok(Some(current)) if current.epoch != epoch => Err(AppendError::Epoch),
                Ok(None) => Err(AppendError::Epoch),
                _ => Err(AppendError::Refused(error)),
            }
        }
        Err(error) => Err(error),
    }
}

/// Sends a record as the message with an id.
async fn send(
    store: &Store,
    life: &Life,
    record: &Record,
    message: EventId,
    deadline: Deadline,
) -> Result<Stored, Fault> {
    let stream = store.names.log(&life.name);
    let headers = record::headers(record, message, &stream);
    let subject = record::subject(record, &store.names, &life.name);
    api::store(&store.link, &subject, headers, record.bytes().clone(), deadline.left()).await
}

fn appended(stored: Stored, id: EventId) -> Appended {
    Appended::new(Position::new(stored.sequence), id)
}

async fn append_keyed(
    store: &Store,
    life: &Life,
    record: &Record,
    key: RepeatKey,
    deadline: Deadline,
) -> Result<Appended, AppendError> {
    let keys = Keys { store, life, deadline };
    let refused = |fault: Fault| AppendError::Refused(Box::new(fault));
    let claim = deadline.within(store, keys.claim(&key, record.id())).await.map_err(refused)?;
    let (mut entry, revision, message) = match claim {
        Claim::Repeat { position, id } => return Ok(Appended::new(Position::new(position), id).as_repeated()),
        Claim::Reused => return Err(AppendError::KeyReused),
        Claim::Ours { entry, revision } => (entry, revision, record.id()),
        Claim::Open { entry, revision } => {
            // Its append has an unknown outcome: it may be in the log, or under way.
            let first = entry.id().map_err(refused)?;
            if let Some((position, id)) = deadline.within(store, keys.search(&entry, first)).await? {
                keys.settle(&key, entry, revision, position, id).await;
                return Ok(Appended::new(Position::new(position), id).as_repeated());
            }
            (entry, revision, first)
        }
    };
    let stored = send(store, life, record, message, deadline).await?;
    let mut id = record.id();
    if stored.duplicate {
        // Another record was faster under this message's id.
        let found = api::message(&store.link, &store.names.log(&life.name), stored.sequence).await;
        id = found.ok().flatten().map_or(message, |found| record::id_of(|name| found.header(name)));
    }
    entry.set_id(id);
    keys.settle(&key, entry, revision, stored.sequence, id).await;
    let appended = appended(stored, id);
    Ok(if id == record.id() { appended } else { appended.as_repeated() })
}
