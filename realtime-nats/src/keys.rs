//! Idempotency keys: one value for each, which is created before its record is sent.

use std::time::Duration;

use realtime_core::EventId;
use realtime_core::spi::RepeatKey;
use serde::{Deserialize, Serialize};

use crate::api::{self, Found};
use crate::clock;
use crate::deadline::Deadline;
use crate::error::Fault;
use crate::life::Life;
use crate::reader::{Reader, Start};
use crate::record;
use crate::store::Store;
use crate::streams::{MAX_KEYS_AGE, ensure, extend_age};

/// The most reads of a key whose first record is just being appended, and the pause between two of
/// them.
const LOOKS: (u32, Duration) = (8, Duration::from_millis(25));

/// The keys of a life, for one append.
pub(crate) struct Keys<'a> {
    pub(crate) store: &'a Store,
    pub(crate) life: &'a Life,
    pub(crate) deadline: Deadline,
}

/// A key as it is stored.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct KeyEntry {
    /// The id of the key's record.
    id: String,
    content: String,
    keep_ms: u64,
    /// A position before the record's.
    after: u64,
    /// The record's position, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
}

/// The state in which an append finds its key.
pub(crate) enum Claim {
    /// A key that is new, and now this record's.
    Ours { entry: KeyEntry, revision: u64 },
    /// A key whose record may be in the log or not.
    Open { entry: KeyEntry, revision: u64 },
    /// A key whose record is in the log.
    Repeat { position: u64, id: EventId },
    /// A key of other content.
    Reused,
}

impl KeyEntry {
    pub(crate) fn id(&self) -> Result<EventId, Fault> {
        record::id(&self.id).ok_or(Fault::Unexpected("a key without an id"))
    }

    pub(crate) fn set_id(&mut self, id: EventId) {
        self.id = id.to_string();
    }

    fn keep(&self) -> Duration {
        Duration::from_millis(self.keep_ms)
    }

    fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Keys<'_> {
    /// Creates the key for a record, or returns what it is.
    pub(crate) async fn claim(&self, key: &RepeatKey, id: EventId) -> Result<Claim, Fault> {
        let keep = key.keep.min(MAX_KEYS_AGE);
        let mut entry = KeyEntry {
            id: id.to_string(),
            content: hex(&key.content),
            keep_ms: u64::try_from(keep.as_millis()).unwrap_or(u64::MAX),
            after: self.life.extent.last(),
            position: None,
        };
        let subject = self.subject(key);
        let mut revision = 0;
        let mut looks = 0;
        self.make_room(keep).await?;
        loop {
            let stored =
                api::store_after(&self.store.link, &subject, revision, entry.to_json().into(), self.deadline.left());
            match stored.await {
                Ok(Some(revision)) => return Ok(Claim::Ours { entry, revision }),
                Ok(None) => {}
                Err(fault) if fault.is_missing_stream() => {
                    self.store.set_keys_age(Duration::ZERO);
                    self.make_room(keep).await?;
                    revision = 0;
                    continue;
                }
                Err(fault) => return Err(fault),
            }
            let found = api::last(&self.store.link, &self.store.names.keys, &subject).await?;
            let Some(found) = found else {
                revision = 0;
                continue;
            };
            let first: KeyEntry =
                serde_json::from_slice(&found.data).map_err(|_| Fault::Unexpected("a key that cannot be read"))?;
            if self.is_over(&found, &first).await? {
                revision = found.sequence;
                entry.after = self.life.extent.last();
                continue;
            }
            if first.content != entry.content {
                return Ok(Claim::Reused);
            }
            if let Some(position) = first.position {
                return Ok(Claim::Repeat { position, id: first.id()? });
            }
            looks += 1;
            if looks == LOOKS.0 || first.id == entry.id {
                return Ok(Claim::Open { entry: first, revision: found.sequence });
            }
            tokio::time::sleep(LOOKS.1).await;
        }
    }

    /// Looks for the record of a key whose position is not known.
    pub(crate) async fn search(&self, entry: &KeyEntry, id: EventId) -> Result<Option<(u64, EventId)>, Fault> {
        let info = self.store.extent(self.life).await?.ok_or(Fault::Lost)?;
        if info.state.start() > entry.after {
            // It may have been dropped: nothing tells.
            return Err(Fault::OutcomeExpired);
        }
        let connection = self.store.reads.connection()?;
        let stream = self.store.names.log(&self.life.name);
        let reader = Reader::open(connection, &stream, Start::After(entry.after), None).await?;
        for read in reader.read_present(usize::MAX).await? {
            let headers = read.message.headers.as_ref();
            if headers.is_some_and(|headers| record::message_id(headers) == Some(id)) {
                return Ok(Some((read.sequence, record::entry(&read).id)));
            }
        }
        Ok(None)
    }

    /// Notes where a key's record is. An error does not matter: then the record is looked for.
    pub(crate) async fn settle(&self, key: &RepeatKey, mut entry: KeyEntry, revision: u64, position: u64, id: EventId) {
        entry.position = Some(position);
        entry.set_id(id);
        let (subject, json) = (self.subject(key), entry.to_json().into());
        let noted = api::store_after(&self.store.link, &subject, revision, json, self.deadline.left());
        if let Err(error) = noted.await {
            tracing::debug!(%error, "the position of a key's record is not stored");
        }
    }

    fn subject(&self, key: &RepeatKey) -> String {
        self.store.names.key(&self.life.name, &hex(&key.key))
    }

    /// Lets the stream keep keys for this long.
    async fn make_room(&self, keep: Duration) -> Result<(), Fault> {
        if keep <= self.store.keys_age() {
            return Ok(());
        }
        let age = match extend_age(&self.store.link, &self.store.names.keys, keep).await {
            Err(fault) if fault.is_missing_stream() => {
                let [_, settings, ..] = self.store.names.shared(&self.store.config);
                ensure(&self.store.link, &settings).await?;
                extend_age(&self.store.link, &self.store.names.keys, keep).await?
            }
            age => age?,
        };
        self.store.set_keys_age(age);
        Ok(())
    }

    /// Returns whether the time of a key is over, by the server's clock.
    async fn is_over(&self, found: &Found, entry: &KeyEntry) -> Result<bool, Fault> {
        if entry.keep() >= self.store.keys_age() {
            return Ok(false);
        }
        Ok(clock::now(self.store).await? - found.time >= entry.keep())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
