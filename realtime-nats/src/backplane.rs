use std::sync::Arc;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use realtime_core::spi::{
    AppendResult, Backplane, Entry, Epoch, LogState, Position, Record, RepeatKey, Revocation, RoomTable, Stored, Tail,
};
use realtime_core::{Error, EventId, LogSize, NodeId, Result};
use tokio::task::JoinHandle;

use crate::api::StreamInfo;
use crate::config::NatsConfig;
use crate::connector::Connector;
use crate::directory::NatsDirectory;
use crate::error::Fault;
use crate::link::Link;
use crate::reader::{Reader, Start};
use crate::store::Store;
use crate::{append, clock, life, pipe, record, revoked, rooms, server_check, tail, upkeep};

/// The log of several nodes, in NATS JetStream: records, idempotency keys, users' rooms and cursors
/// outlive every node. Cheap to clone; all clones, and all backplanes with the same server and
/// prefix, are one log.
///
/// `Ok` means that JetStream has stored the record: in its file, or with replicas at a majority of
/// them. A single server that is killed loses nothing; one that loses power lacks what it had not
/// synced, which by default happens every two minutes (`sync_interval`). A log that has lost
/// records begins a new epoch, so that no client resumes from a record that is gone.
///
/// While NATS cannot be reached, appends are rejected at once; those under way have an unknown
/// outcome after 1.5 s. Connections are made again without end.
#[derive(Clone, Debug)]
pub struct NatsBackplane(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    store: Arc<Store>,
    upkeep: JoinHandle<()>,
}

impl NatsBackplane {
    /// Connects to a server, `nats://[user:password@]host[:port]`, `tls://` with TLS, or to one of
    /// several that are separated by commas, and creates the log if there is none. Needs a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`Error::Config`](realtime_core::Error::Config) for a URL, prefix or file that cannot be
    /// used, a server older than 2.9, without JetStream, with a `max_payload` that is too small or
    /// without room for the log, or a log that another build wrote;
    /// [`Error::Backplane`](realtime_core::Error::Backplane) when NATS cannot be reached, or
    /// rejects the credentials.
    pub async fn connect(urls: &str, config: NatsConfig) -> Result<Self> {
        config.check()?;
        let connector = Connector::new(urls, &config)?;
        let connection = connector.connect().await?;
        server_check::check(&connection, &config)?;
        let link = Link::new(connector.clone(), connection);
        let reads = Link::new(connector.clone(), connector.connect().await?);
        let age = config.bounds.age;
        let store = Arc::new(Store::new(connector, link, reads, config));
        store.prepare().await?;
        let upkeep = tokio::spawn(upkeep::run(Arc::downgrade(&store), age));
        Ok(Self(Arc::new(Handle { store, upkeep })))
    }

    /// Creates the directory beside the log, with its connections and prefix; what one process
    /// creates shares one copy of the entries if it is cloned.
    #[must_use]
    pub fn directory(&self) -> NatsDirectory {
        NatsDirectory::new(Arc::clone(&self.0.store))
    }

    async fn try_range(&self, after: Position, most: usize) -> Result<Vec<Entry>, Fault> {
        let store = &self.0.store;
        let life = store.life().await?;
        let stream = store.names.log(&life.name);
        let reader = Reader::open(store.reads.connection()?, &stream, Start::After(after.get()), None).await?;
        let mut entries: Vec<Entry> = Vec::new();
        for read in reader.read_present(most).await? {
            // The log can have been trimmed meanwhile, and there is no gap in a range.
            if entries.last().is_some_and(|last| last.position.next().get() != read.sequence) {
                break;
            }
            if read.sequence > after.get() {
                entries.push(record::entry(&read));
            }
        }
        Ok(entries)
    }

    /// Asks what the log holds, and how old the oldest record is by the server's clock.
    async fn try_size(&self) -> Result<Option<LogSize>, Fault> {
        let store = &self.0.store;
        let life = store.life().await?;
        let Some(StreamInfo { state, .. }) = store.extent(&life).await? else { return Ok(None) };
        let now = clock::now(store).await?;
        let oldest = state.first_time().filter(|_| state.messages > 0);
        let age = oldest.and_then(|oldest| (now - oldest).try_into().ok());
        Ok(Some(LogSize::new(state.messages, state.bytes, age)))
    }

    async fn try_publish(&self, record: &Record, to: Option<NodeId>) -> Result<(), Fault> {
        let store = &self.0.store;
        let connection = store.link.connection()?;
        let headers = store.numbers.next();
        connection.check_size(Some(&headers), record.bytes().len())?;
        let subject = to.map_or_else(|| store.names.pipe.clone(), |node| store.names.pipe_to(node));
        let published = connection.client.publish_with_headers(subject, headers, record.bytes().clone()).await;
        published.map_err(|error| Fault::of_publish(&error, connection.address()))?;
        pipe::round_trip(&connection, &store.names.pipe).await
    }
}

impl Store {
    /// Creates what is missing, and gives what is there the bounds of the configuration.
    async fn prepare(&self) -> Result<(), Fault> {
        life::ensure_shared(&self.link, &self.names, &self.config).await?;
        self.state(None).await?;
        let life = self.life().await?;
        life::ensure_log(&self.link, &self.names, &self.config, &life).await?;
        life::clean_up(&self.link, &self.names, &life).await
    }
}

#[async_trait]
impl Backplane for NatsBackplane {
    async fn append(&self, epoch: Epoch, record: Arc<Record>, key: Option<RepeatKey>) -> AppendResult {
        append::append(&self.0.store, epoch, &record, key).await
    }

    async fn range(&self, after: Position, most: usize) -> Result<Vec<Entry>> {
        Ok(self.try_range(after, most).await?)
    }

    fn tail(&self, after: Position) -> Tail {
        tail::tail(Arc::clone(&self.0.store), after)
    }

    async fn state(&self) -> Result<LogState> {
        Ok(self.0.store.state(None).await?)
    }

    async fn renew(&self, seen: Epoch, position: Position, id: EventId) -> Result<LogState> {
        Ok(self.0.store.state(Some((seen, position, id))).await?)
    }

    async fn rooms(&self, at: Position) -> Result<RoomTable> {
        Ok(rooms::table(&self.0.store, at).await?)
    }

    async fn revoke(&self, revocation: &Revocation, most: usize) -> Result<()> {
        let is_revoked = revoked::revoke(&self.0.store, revocation, most).await?;
        if is_revoked { Ok(()) } else { Err(Error::TooManyRevocations { most }) }
    }

    async fn revoked(&self) -> Result<Vec<Revocation>> {
        Ok(revoked::all(&self.0.store).await?)
    }

    async fn publish(&self, record: Arc<Record>, to: Option<NodeId>) -> Result<()> {
        Ok(self.try_publish(&record, to).await?)
    }

    async fn subscribe(&self, node: NodeId) -> Result<BoxStream<'static, Stored>> {
        let names = &self.0.store.names;
        let subjects = vec![names.pipe.clone(), names.pipe_to(node)];
        Ok(pipe::subscribe(self.0.store.connector.clone(), subjects).await?)
    }

    async fn probe(&self) -> Result<()> {
        Ok(clock::now(&self.0.store).await.map(drop)?)
    }

    async fn size(&self) -> Result<Option<LogSize>> {
        Ok(self.try_size().await?)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.upkeep.abort();
    }
}
