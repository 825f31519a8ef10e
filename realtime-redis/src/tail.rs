use std::time::Duration;

use futures_util::{StreamExt, stream};
use realtime_core::spi::{Entry, Position, Tail};
use realtime_core::{Error, EventId};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, Value};
use tokio::time::Instant;

use crate::connector::Connector;
use crate::entries::{Read, into_array, into_records};
use crate::error::Fault;

/// The time for which Redis holds a read when there is nothing new, in milliseconds.
const BLOCK: u64 = 1000;
/// The most records of one read.
const COUNT: usize = 512;
/// The longest time for one read.
const ANSWER: Duration = Duration::from_secs(3);

/// The interval at which a reader that gets nothing looks for the primary.
const CHECK_INTERVAL: Duration = Duration::from_secs(3);

/// A reader of all records after a position, on a connection of its own, which a blocking read
/// occupies.
struct Reader {
    connector: Connector,
    key: String,
    connection: Option<MultiplexedConnection>,
    /// The address of the server, and when it was last known to be the primary's.
    address: String,
    checked: Instant,
    after: Position,
    /// The id of the record at `after`, if it is known.
    id: Option<EventId>,
}

/// Returns every record of a stream after a position; ends with the first error.
pub(crate) fn tail(connector: Connector, key: String, after: Position) -> Tail {
    let reader =
        Reader { connector, key, connection: None, address: String::new(), checked: Instant::now(), after, id: None };
    stream::try_unfold(reader, |mut reader| async move {
        loop {
            let entries = reader.next().await.map_err(Error::from)?;
            if !entries.is_empty() {
                return Ok(Some((entries, reader)));
            }
        }
    })
    .boxed()
}

impl Reader {
    async fn next(&mut self) -> Result<Vec<Entry>, Fault> {
        if self.connection.is_none() {
            let (address, connection) = self.connector.connect_at().await?;
            (self.address, self.connection) = (address, Some(connection));
            self.id = self.find_id().await?;
        }
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(COUNT).arg("BLOCK").arg(BLOCK).arg("STREAMS").arg(&self.key);
        // The position is the first part of an id, and this is the last possible id with it.
        command.arg(format!("{}-{}", self.after.get(), u64::MAX));
        match self.ask(&command).await? {
            Value::Nil => {
                self.check_primary().await?;
                Ok(Vec::new())
            }
            answer => {
                let stream = into_array(answer)?.into_iter().next().ok_or(Fault::Unexpected("no stream"))?;
                let records = into_array(stream)?.into_iter().nth(1).ok_or(Fault::Unexpected("no records"))?;
                into_records(records)?.into_iter().map(|read| self.follow(read)).collect()
            }
        }
    }

    /// Fails when the log has moved to another server, since a primary that was cut off from the
    /// others answers without its records.
    async fn check_primary(&mut self) -> Result<(), Fault> {
        if !self.connector.can_move() || self.checked.elapsed() < CHECK_INTERVAL {
            return Ok(());
        }
        self.checked = Instant::now();
        let address = self.connector.locate().await?.addr().to_string();
        if address != self.address { Err(Fault::Moved(address)) } else { Ok(()) }
    }

    /// Returns the id of the record after which the tail begins, if the log still has it.
    async fn find_id(&mut self) -> Result<Option<EventId>, Fault> {
        let mut command = redis::cmd("XRANGE");
        let after = self.after.get();
        command.arg(&self.key).arg(format!("{after}-0")).arg(format!("{after}-{}", u64::MAX));
        Ok(into_records(self.ask(&command).await?)?.first().map(|read| read.entry.id))
    }

    async fn ask(&mut self, command: &Cmd) -> Result<Value, Fault> {
        let connection = self.connection.as_mut().ok_or(Fault::Unexpected("no connection"))?;
        let answer = async { connection.req_packed_command(command).await.and_then(Value::extract_error) };
        self.connector.within(ANSWER, answer).await
    }

    /// Checks that a record is the one after the last: a log that was rolled back has others.
    fn follow(&mut self, Read { entry, previous }: Read) -> Result<Entry, Fault> {
        if self.id.is_some() {
            if previous != self.id {
                return Err(if entry.position == self.after.next() { Fault::Lost } else { Fault::Trimmed });
            }
            if entry.position != self.after.next() {
                return Err(Fault::Lost);
            }
        }
        (self.after, self.id) = (entry.position, Some(entry.id));
        Ok(entry)
    }
}
