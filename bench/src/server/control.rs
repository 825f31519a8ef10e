//! The control port: one JSON command a line, one JSON answer a line; and `p`, which publishes and
//! is not answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep};

use super::{Audience, Counters, Publisher, steady, user_name};
use crate::Result;
use crate::payload::{numbered, payload};

/// The time between two questions for a server's counters.
const ASK: Duration = Duration::from_millis(20);
/// The line that publishes the prepared event.
const PUBLISH: &str = "p";

/// A command to a server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    /// Publish this many events, one after the other, as fast as possible.
    Burst {
        /// The number of events.
        count: u32,
        /// Bytes of JSON in each.
        size: usize,
        /// The audience.
        to: Audience,
    },
    /// Join users to a room.
    Join {
        /// The room.
        room: String,
        /// The users.
        users: Vec<String>,
    },
    /// Publish numbered events: the next one of each series in turn, until each has `count`.
    Numbered {
        /// The number of events of each series.
        count: u64,
        /// The events of each series a second; as fast as possible if `None`.
        rate: Option<u32>,
        /// The audience and the number of the first event of each series.
        series: Vec<(Audience, u64)>,
        /// Bytes of JSON in each event.
        size: usize,
    },
    /// Prepare the event that each line `p` on this connection publishes.
    Prepare {
        /// Bytes of JSON in it.
        size: usize,
        /// The number of users of [`user_name`] to send to, one after the other, each publish
        /// awaited; one publish to everyone if `None`.
        users: Option<usize>,
    },
    /// Return the counters.
    Report,
    /// Publish events at a steady rate, however long each takes.
    Steady {
        /// The number of events.
        count: u64,
        /// The events a second.
        rate: u32,
        /// Bytes of JSON in each.
        size: usize,
        /// The number of users of [`user_name`] to send to, one event to each in turn; every event
        /// to everyone if `None`.
        users: Option<usize>,
    },
}

/// The answer to a command, unless it failed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Answer {
    /// The number of events published.
    pub published: u64,
    /// The answer to [`Command::Report`].
    pub report: Option<Counters>,
}

/// The other end of a control connection.
#[derive(Debug)]
pub struct Control {
    lines: Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
}

impl Control {
    /// Connects to a server's control port.
    ///
    /// # Errors
    /// When no server listens there.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        Ok(Self { lines: BufReader::new(reader).lines(), writer })
    }

    /// Calls a command, and waits for its answer.
    ///
    /// # Errors
    /// When it fails there, or the server is gone.
    pub async fn call(&mut self, command: &Command) -> Result<Answer> {
        let line = serde_json::to_string(command)? + "\n";
        self.writer.write_all(line.as_bytes()).await?;
        let answer = self.lines.next_line().await?.ok_or("the server is gone")?;
        let answer: Result<Answer, String> = serde_json::from_str(&answer)?;
        Ok(answer?)
    }

    /// Returns the server's counters.
    ///
    /// # Errors
    /// When the server is gone.
    pub async fn report(&mut self) -> Result<Counters> {
        self.call(&Command::Report).await?.report.ok_or_else(|| "a report was expected".into())
    }

    /// Waits until the server's counters meet a condition.
    ///
    /// # Errors
    /// When they do not within `limit`, or the server is gone; `what` names the condition.
    pub async fn until(&mut self, limit: Duration, what: &str, holds: impl Fn(&Counters) -> bool) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            let counters = self.report().await?;
            if holds(&counters) {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(format!("not within {limit:?}: {what}: {counters:?}").into());
            }
            sleep(ASK).await;
        }
    }

    /// Publishes the prepared event, without waiting for it.
    ///
    /// # Errors
    /// When the server is gone.
    pub async fn publish_prepared(&mut self) -> Result<()> {
        Ok(self.writer.write_all(format!("{PUBLISH}\n").as_bytes()).await?)
    }
}

/// Accepts commands until the process ends.
pub(super) async fn serve(listener: TcpListener, publisher: Arc<dyn Publisher>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let publisher = Arc::clone(&publisher);
        tokio::spawn(async move {
            if let Err(error) = obey(stream, &publisher).await {
                eprintln!("control: {error}");
            }
        });
    }
}

async fn obey(stream: TcpStream, publisher: &Arc<dyn Publisher>) -> Result<()> {
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    let (mut prepared, mut audiences) = (Bytes::new(), Arc::default());
    while let Some(line) = lines.next_line().await? {
        if line == PUBLISH {
            // In a task, so that several are under way at a time.
            tokio::spawn(publish_prepared(Arc::clone(publisher), Arc::clone(&audiences), prepared.clone()));
            continue;
        }
        let answer = match serde_json::from_str(&line) {
            Ok(Command::Prepare { size, users }) => {
                prepared = payload(size);
                audiences = match users {
                    Some(count) => (0..count).map(|number| Audience::User(user_name(number))).collect(),
                    None => Arc::from([Audience::All]),
                };
                Ok(Answer::default())
            }
            Ok(Command::Steady { count, rate, size, users }) => {
                let published = steady::publish(publisher, (count, rate), size, users).await;
                published.map(|()| Answer { published: count, report: None })
            }
            Ok(command) => obey_one(command, publisher.as_ref()).await,
            Err(error) => Err(error.into()),
        };
        let answer = answer.map_err(|error| error.to_string());
        writer.write_all((serde_json::to_string(&answer)? + "\n").as_bytes()).await?;
    }
    Ok(())
}

async fn publish_prepared(publisher: Arc<dyn Publisher>, audiences: Arc<[Audience]>, json: Bytes) {
    for audience in audiences.iter() {
        if let Err(error) = publisher.publish(audience, json.clone()).await {
            eprintln!("publish: {error}");
        }
    }
}

async fn obey_one(command: Command, publisher: &dyn Publisher) -> Result<Answer> {
    let mut answer = Answer::default();
    match command {
        Command::Burst { count, size, to } => {
            for _ in 0..count {
                publisher.publish(&to, payload(size)).await?;
                answer.published += 1;
            }
        }
        Command::Join { room, users } => {
            for user in users {
                publisher.join(&user, &room).await?;
            }
        }
        Command::Numbered { count, rate, series, size } => {
            let mut tick = rate.map(steps);
            for number in 0..count {
                if let Some(tick) = &mut tick {
                    tick.tick().await;
                }
                for (to, first) in &series {
                    publisher.publish(to, numbered(size, first + number)).await?;
                    answer.published += 1;
                }
                // A send that is applied immediately does not wait: the sessions run between two.
                tokio::task::yield_now().await;
            }
        }
        // They need more than a publisher, and are obeyed before.
        Command::Prepare { .. } | Command::Steady { .. } => {}
        Command::Report => answer.report = Some(publisher.report()),
    }
    Ok(answer)
}

/// Returns an interval of this many steps a second; late ones are caught up.
fn steps(rate: u32) -> Interval {
    let mut tick = interval(Duration::from_secs(1) / rate.max(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    tick
}
