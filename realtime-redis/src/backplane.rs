use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use realtime_core::spi::{
    AppendError, AppendResult, Appended, Backplane, CursorKey, Entry, Epoch, LogState, Position, Record, RepeatKey,
    Revocation, RoomEdit, RoomTable, Stored, Tail,
};
use realtime_core::{Error, EventId, LogSize, NodeId, Result};
use redis::Value;
use tokio::task::JoinHandle;

use crate::config::RedisConfig;
use crate::connector::Connector;
use crate::directory::RedisDirectory;
use crate::entries::{into_array, into_bytes, into_changes, into_id, into_position, into_records, into_text};
use crate::error::Fault;
use crate::keys::Keys;
use crate::limit::RESPONSE;
use crate::link::Link;
use crate::script::{AGE, APPEND, BEGIN, LOOK};
use crate::{pipe, revoked, server_check, tail};

/// The version of the keys and of what they hold.
const FORMAT: u32 = 1;
/// The most records of one answer to a range.
const PAGE: usize = 512;
/// The longest time for an answer with many records.
const READ: Duration = Duration::from_secs(5);
/// The shortest and the longest interval at which old records are dropped while nothing is
/// appended.
const AGE_INTERVAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// The entries of the probe's stream.
const PROBES_KEPT: usize = 16;

/// The log of several nodes, in Redis: records, idempotency keys, users' rooms and cursors outlive
/// every node. Cheap to clone; all clones, and all backplanes with the same server and prefix, are
/// one log.
///
/// `Ok` means that the primary has the record. What is lost with a failure of the primary is up to
/// its own settings: with `appendfsync always` nothing. With `everysec` up to two seconds, also
/// when only its process is killed: Redis holds its writes back while a sync is under way. A log
/// that has lost records begins a new epoch, so that no client resumes from a record that is gone.
///
/// While Redis cannot be reached, appends are rejected at once; those under way have an unknown
/// outcome after 1.5 s. Connections are made again without end.
#[derive(Clone, Debug)]
pub struct RedisBackplane(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    connector: Connector,
    keys: Arc<Keys>,
    config: RedisConfig,
    link: Arc<Link>,
    /// For the answers with many records, which would hold up others.
    reads: Link,
    aging: JoinHandle<()>,
}

impl RedisBackplane {
    /// Connects to a primary, `redis://[user:password@]host[:port][/database]`, or `rediss://` for
    /// TLS, and creates the log if there is none. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Config`](realtime_core::Error::Config) for a URL or prefix that cannot be used, a
    /// server older than version 7, a replica, a `maxmemory-policy` other than `noeviction`, or a
    /// log that another build wrote; [`Error::Backplane`](realtime_core::Error::Backplane) when
    /// Redis cannot be reached.
    pub async fn connect(url: &str, config: RedisConfig) -> Result<Self> {
        Self::connect_to(Connector::new(url)?, config).await
    }

    /// Connects to the primary that sentinels know, and to the next one after a failover. The host
    /// in the URL of the primary is the name by which they know it, as in
    /// `redis://:password@mymaster/0`; its other parts are for the primary, and those of the
    /// sentinels' URLs for them.
    ///
    /// A failover that loses records begins a new epoch, so that no client resumes from one that is
    /// gone; `min-replicas-to-write 1` bounds what can be lost.
    ///
    /// # Errors
    /// Those of [`RedisBackplane::connect`]; [`Error::Config`](realtime_core::Error::Config)
    /// without a sentinel, or when none knows the primary.
    pub async fn connect_sentinel(sentinels: &[&str], primary: &str, config: RedisConfig) -> Result<Self> {
        Self::connect_to(Connector::of_sentinels(sentinels, primary)?, config).await
    }

    /// Connects to a cluster, of which any of these servers can be asked: to the primary of the
    /// shard that has the log's keys, all of which have one slot. The parts of the first URL that
    /// answers are for that primary too.
    ///
    /// # Errors
    /// Those of [`RedisBackplane::connect_sentinel`].
    pub async fn connect_cluster(servers: &[&str], config: RedisConfig) -> Result<Self> {
        let key = Keys::new(&config.prefix, 0)?.meta().to_owned();
        Self::connect_to(Connector::of_cluster(servers, &key)?, config).await
    }

    async fn connect_to(connector: Connector, config: RedisConfig) -> Result<Self> {
        config.check()?;
        let keys = Arc::new(Keys::new(&config.prefix, connector.database)?);
        let link = Arc::new(Link::new(connector.clone(), connector.connect().await?, RESPONSE));
        server_check::check(&link, &connector.address).await?;
        let reads = Link::new(connector.clone(), connector.connect().await?, READ);
        let aging = tokio::spawn(age(Arc::clone(&link), Arc::clone(&keys), config.clone()));
        let backplane = Self(Arc::new(Handle { connector, keys, config, link, reads, aging }));
        backplane.state().await?;
        Ok(backplane)
    }

    /// Creates the directory beside the log, with its connection and prefix.
    #[must_use]
    pub fn directory(&self) -> RedisDirectory {
        RedisDirectory::new(Arc::clone(&self.0.link), Arc::clone(&self.0.keys))
    }

    /// Returns the state, and whether the record with this id is missing from its position; `None`
    /// when there is no state.
    async fn look(&self, position: Position, id: EventId) -> Result<Option<(LogState, bool)>, Fault> {
        let keys = [self.0.keys.meta(), self.0.keys.records()];
        let call = LOOK.call(&keys).arg(position.get()).arg(&id.to_bytes()[..]);
        let mut answer = into_array(self.0.link.call(call).await?)?;
        let is_lost = answer.pop() == Some(Value::Int(1));
        Ok(self.read_state(answer)?.map(|state| (state, is_lost)))
    }

    /// Begins an epoch if there is none, or if the seen one has lost a record.
    async fn begin(&self, seen: Option<(Epoch, Position, EventId)>) -> Result<LogState, Fault> {
        let new = LogState::begin();
        let (epoch, position, id) = seen.map_or((String::new(), Position::START, None), |(epoch, position, id)| {
            (text(epoch), position, Some(id.to_bytes()))
        });
        let call = BEGIN.call(&self.0.keys.log).arg(FORMAT).arg(text(new.epoch)).arg(&new.key.as_bytes()[..]);
        let call = call.arg(epoch).arg(position.get()).arg(id.as_ref().map_or(&[][..], |id| &id[..]));
        let answer = into_array(self.0.link.call(call).await?)?;
        let state = self.read_state(answer)?.ok_or(Fault::Unexpected("no state"))?;
        if state.epoch == new.epoch {
            tracing::info!(prefix = self.0.keys.prefix, epoch = new.epoch.get(), "the log begins an epoch");
        }
        Ok(state)
    }

    /// Reads format, epoch, key, last and start; `None` when one of them is missing or unreadable.
    fn read_state(&self, answer: Vec<Value>) -> Result<Option<LogState>, Fault> {
        let [format, epoch, key, last, start]: [Value; 5] =
            answer.try_into().map_err(|_| Fault::Unexpected("wrong number of fields in the state"))?;
        let format = into_text(format)?;
        if !format.is_empty() && format != FORMAT.to_string() {
            return Err(Fault::Format { prefix: self.0.keys.prefix.clone(), found: format, known: FORMAT });
        }
        let epoch = into_text(epoch).ok().filter(|epoch| epoch.len() == 16);
        let epoch = epoch.and_then(|epoch| u64::from_str_radix(&epoch, 16).ok());
        let key = CursorKey::try_from(&into_bytes(key)?[..]).ok();
        let (Some(epoch), Some(key), Ok(last), Ok(start)) = (epoch, key, into_position(last), into_position(start))
        else {
            return Ok(None);
        };
        let mut state = LogState::begin();
        (state.epoch, state.key, state.last, state.start) = (Epoch::new(epoch), key, last, start);
        Ok(Some(state))
    }

    async fn try_append(
        &self,
        epoch: Epoch,
        record: &Record,
        key: Option<RepeatKey>,
    ) -> std::result::Result<Appended, AppendError> {
        let change = record.room_edit().map(|edit| serde_json::to_vec(&edit)).transpose();
        let change = change.map_err(|error| AppendError::Refused(error.into()))?.unwrap_or_default();
        let (id, config) = (record.id(), &self.0.config);
        let mut call = APPEND.call(&self.0.keys.log).arg(text(epoch)).arg(&id.to_bytes()[..]).arg(&record.bytes()[..]);
        call = call.arg(change).arg(config.bounds.records).arg(config.bounds.bytes).arg(millis(config.age()));
        if let Some(key) = key {
            call = call.arg(&key.key[..]).arg(&key.content[..]).arg(millis(key.keep)).arg(config.bounds.keys);
        }
        let mut answer = into_array(self.0.link.call(call).await?)?.into_iter();
        let mut next = || answer.next().ok_or(Fault::Unexpected("an answer without a part"));
        match into_text(next()?)?.as_str() {
            "appended" => Ok(Appended::new(into_position(next()?)?, id)),
            "repeated" => {
                let position = into_position(next()?)?;
                Ok(Appended::new(position, into_id(next()?)?).as_repeated())
            }
            "epoch" => Err(AppendError::Epoch),
            "reused" => Err(AppendError::KeyReused),
            _ => Err(Fault::Unexpected("an unknown outcome").into()),
        }
    }

    /// Writes an entry into a stream beside the log, as an append does, and reads it back.
    async fn try_probe(&self) -> Result<(), Fault> {
        let probe = &self.0.keys.probe;
        let mut command = redis::cmd("XADD");
        command.arg(probe).arg("MAXLEN").arg(PROBES_KEPT).arg("*").arg("at").arg("probe");
        let id = into_text(self.0.link.command(&command).await?)?;
        let mut command = redis::cmd("XRANGE");
        command.arg(probe).arg(&id).arg(&id);
        let found = into_array(self.0.reads.command(&command).await?)?;
        if found.is_empty() { Err(Fault::Unexpected("a probe that is not there")) } else { Ok(()) }
    }

    /// Reads what the log holds, and how old the oldest record is by the server's clock.
    async fn try_size(&self) -> Result<Option<LogSize>, Fault> {
        let mut both = redis::pipe();
        both.cmd("HMGET").arg(self.0.keys.meta()).arg(&["last", "start", "bytes", "since"]).cmd("TIME");
        let [known, time]: [Value; 2] =
            self.0.reads.pipeline(&both).await?.try_into().map_err(|_| Fault::Unexpected("other answers"))?;
        let number = |value: Value| into_text(value).ok()?.parse::<u64>().ok();
        let mut known = into_array(known)?.into_iter().map(number);
        let mut next = || known.next().flatten();
        let (Some(last), Some(start), Some(bytes)) = (next(), next(), next()) else { return Ok(None) };
        let (records, since) = (last.saturating_sub(start), next());
        let mut time = into_array(time)?.into_iter().map(number);
        let now =
            time.next().flatten().map(|seconds| seconds * 1000 + time.next().flatten().unwrap_or_default() / 1000);
        let age = now.zip(since).filter(|_| records > 0).map(|(now, since)| now.saturating_sub(since));
        Ok(Some(LogSize::new(records, bytes, age.map(Duration::from_millis))))
    }

    async fn try_range(&self, after: Position, most: usize) -> Result<Vec<Entry>, Fault> {
        let mut entries: Vec<Entry> = Vec::new();
        while entries.len() < most {
            let from = entries.last().map_or(after, |entry| entry.position);
            let count = (most - entries.len()).min(PAGE);
            let mut command = redis::cmd("XRANGE");
            command.arg(self.0.keys.records()).arg(format!("({}-{}", from.get(), u64::MAX)).arg("+");
            command.arg("COUNT").arg(count);
            let page = into_records(self.0.reads.command(&command).await?)?;
            let is_last = page.len() < count;
            for read in page {
                // The log can have been trimmed between two pages, and there is no gap in a range.
                if entries.last().is_some_and(|last| last.position.next() != read.entry.position) {
                    return Ok(entries);
                }
                entries.push(read.entry);
            }
            if is_last {
                break;
            }
        }
        Ok(entries)
    }

    async fn try_rooms(&self, at: Position) -> Result<RoomTable, Fault> {
        let keys = &self.0.keys;
        let mut both = redis::pipe();
        both.atomic().cmd("HGETALL").arg(keys.rooms());
        both.cmd("XRANGE").arg(keys.changes()).arg("-").arg(format!("{}-{}", at.get(), u64::MAX));
        let [stored, changes]: [Value; 2] =
            self.0.reads.pipeline(&both).await?.try_into().map_err(|_| Fault::Unexpected("other answers"))?;
        let mut rooms = RoomTable::default();
        let mut stored = into_array(stored)?.into_iter();
        while let (Some(user), Some(json)) = (stored.next(), stored.next()) {
            let user = into_text(user)?;
            let of_user = serde_json::from_slice(&into_bytes(json)?);
            rooms.restore(&user, of_user.map_err(|_| Fault::Unexpected("rooms that cannot be read"))?);
        }
        for (position, json) in into_changes(changes)? {
            let edit: RoomEdit =
                serde_json::from_slice(&json).map_err(|_| Fault::Unexpected("a change that cannot be read"))?;
            rooms.edit(position, &edit);
        }
        Ok(rooms)
    }
}

#[async_trait]
impl Backplane for RedisBackplane {
    async fn append(&self, epoch: Epoch, record: Arc<Record>, key: Option<RepeatKey>) -> AppendResult {
        self.try_append(epoch, &record, key).await
    }

    async fn range(&self, after: Position, most: usize) -> Result<Vec<Entry>> {
        Ok(self.try_range(after, most).await?)
    }

    fn tail(&self, after: Position) -> Tail {
        tail::tail(self.0.connector.clone(), self.0.keys.records().to_owned(), after)
    }

    async fn state(&self) -> Result<LogState> {
        match self.look(Position::START, EventId::from_bytes([0; 16])).await? {
            Some((state, _)) => Ok(state),
            None => Ok(self.begin(None).await?),
        }
    }

    async fn renew(&self, seen: Epoch, position: Position, id: EventId) -> Result<LogState> {
        match self.look(position, id).await? {
            Some((state, is_lost)) if state.epoch != seen || !is_lost => Ok(state),
            _ => Ok(self.begin(Some((seen, position, id))).await?),
        }
    }

    async fn rooms(&self, at: Position) -> Result<RoomTable> {
        Ok(self.try_rooms(at).await?)
    }

    async fn revoke(&self, revocation: &Revocation, most: usize) -> Result<()> {
        let is_revoked = revoked::revoke(&self.0.link, &self.0.keys, revocation, most).await?;
        if is_revoked { Ok(()) } else { Err(Error::TooManyRevocations { most }) }
    }

    async fn revoked(&self) -> Result<Vec<Revocation>> {
        Ok(revoked::all(&self.0.reads, &self.0.keys).await?)
    }

    async fn publish(&self, record: Arc<Record>, to: Option<NodeId>) -> Result<()> {
        let keys = &self.0.keys;
        let channel = to.map_or_else(|| keys.pipe.clone(), |node| keys.pipe_of(node));
        let mut command = redis::cmd("PUBLISH");
        command.arg(channel).arg(&record.bytes()[..]);
        self.0.link.command(&command).await?;
        Ok(())
    }

    async fn subscribe(&self, node: NodeId) -> Result<BoxStream<'static, Stored>> {
        let keys = &self.0.keys;
        Ok(pipe::subscribe(self.0.connector.clone(), vec![keys.pipe.clone(), keys.pipe_of(node)]).await?)
    }

    async fn probe(&self) -> Result<()> {
        Ok(self.try_probe().await?)
    }

    async fn size(&self) -> Result<Option<LogSize>> {
        Ok(self.try_size().await?)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.aging.abort();
    }
}

/// Drops old records and keys while nothing is appended.
async fn age(link: Arc<Link>, keys: Arc<Keys>, config: RedisConfig) {
    let interval = config.age().clamp(AGE_INTERVAL.0, AGE_INTERVAL.1);
    loop {
        tokio::time::sleep(interval).await;
        // An error shows elsewhere, and the next minute tries again.
        while {
            let call =
                AGE.call(&keys.log).arg(config.bounds.records).arg(config.bounds.bytes).arg(millis(config.age()));
            matches!(link.call(call).await, Ok(Value::Int(1)))
        } {}
    }
}

/// Writes an epoch as the log stores it.
fn text(epoch: Epoch) -> String {
    format!("{:016x}", epoch.get())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
