//! The control port: one JSON command a line, one JSON answer a line; and `p`, which publishes and is not answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{Audience, Publisher, Report, user_name};
use crate::payload::{numbered, payload};
use crate::{Error, Result};

/// The line that publishes the prepared event.
const PUBLISH: &str = "p";

/// What a server can be told to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    /// Publish this many events, one after the other, as fast as that goes.
    Burst {
        /// How many.
        count: u32,
        /// Bytes of JSON in each.
        size: usize,
        /// For whom.
        to: Audience,
    },
    /// Join users to a room.
    Join {
        /// The room.
        room: String,
        /// The users.
        users: Vec<String>,
    },
    /// Publish numbered events: the next one of each series in turn, until each has so many.
    Numbered {
        /// How many of each series.
        count: u64,
        /// How many of each series a second; as fast as that goes if `None`.
        rate: Option<u32>,
        /// For whom, and the number of the first event.
        series: Vec<(Audience, u64)>,
        /// Bytes of JSON in each event.
        size: usize,
    },
    /// Prepare the event that each line `p` on this connection publishes.
    Prepare {
        /// Bytes of JSON in it.
        size: usize,
        /// For how many users of [`user_name`], one after the other, each publish awaited; one for everyone if `None`.
        users: Option<usize>,
    },
    /// Say what was seen so far.
    Report,
}

/// What a command came to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Answer {
    /// Why it failed, if it did.
    pub error: Option<String>,
    /// Events published.
    pub published: u64,
    /// For [`Command::Report`].
    pub report: Option<Report>,
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
    /// When nobody listens there.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        Ok(Self { lines: BufReader::new(reader).lines(), writer })
    }

    /// Has a command done.
    ///
    /// # Errors
    /// When it fails there, or the server is gone.
    pub async fn call(&mut self, command: &Command) -> Result<Answer> {
        let line = serde_json::to_string(command)? + "\n";
        self.writer.write_all(line.as_bytes()).await?;
        let answer = self.lines.next_line().await?.ok_or("the server is gone")?;
        let answer: Answer = serde_json::from_str(&answer)?;
        match answer.error {
            Some(error) => Err(error.into()),
            None => Ok(answer),
        }
    }

    /// What the server has seen so far.
    ///
    /// # Errors
    /// When the server is gone.
    pub async fn report(&mut self) -> Result<Report> {
        self.call(&Command::Report).await?.report.ok_or_else(|| "a report was expected".into())
    }

    /// Has the prepared event published, without waiting for it.
    ///
    /// # Errors
    /// When the server is gone.
    pub async fn publish_prepared(&mut self) -> Result<()> {
        Ok(self.writer.write_all(format!("{PUBLISH}\n").as_bytes()).await?)
    }
}

/// Takes commands until the process ends.
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
                Answer::default()
            }
            Ok(command) => obey_one(command, publisher.as_ref()).await.unwrap_or_else(Answer::failed),
            Err(error) => Answer::failed(error.into()),
        };
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
                // A send that is applied at once waits for nobody: the sessions take their turns between two.
                tokio::task::yield_now().await;
            }
        }
        Command::Prepare { .. } => {}
        Command::Report => answer.report = Some(publisher.report()),
    }
    Ok(answer)
}

/// So many steps a second; late ones are made up for.
fn steps(rate: u32) -> Interval {
    let mut tick = interval(Duration::from_secs(1) / rate.max(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    tick
}

impl Answer {
    #[expect(clippy::needless_pass_by_value, reason = "used with unwrap_or_else")]
    fn failed(error: Error) -> Self {
        Self { error: Some(error.to_string()), ..Self::default() }
    }
}
