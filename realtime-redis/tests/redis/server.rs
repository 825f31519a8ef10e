use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use async_trait::async_trait;
use realtime_core::spi::{Directory, LogBounds};
use realtime_redis::{RedisBackplane, RedisConfig};
use realtime_testkit::brokers::{BrokerUnderTest, until_answering};
use realtime_testkit::in_time;
use realtime_ws::{WsConfig, WsProvider};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::connect_with;

/// A server in a directory of its own; it ends with this value.
pub(crate) struct Server {
    child: Child,
    directory: TempDir,
    port: u16,
    arguments: Vec<String>,
}

impl Server {
    /// Starts a server with further arguments.
    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let port = free_port();
        let child = spawn(port, directory.path(), &arguments);
        let mut server = Self { child, directory, port, arguments };
        until_answering(&mut server.child, port, answers).await;
        server
    }

    /// Returns the server's URL, for a client without a password.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns what follows an argument.
    pub(crate) fn argument(&self, name: &str) -> &str {
        let at = self.arguments.iter().position(|argument| argument == name).expect("the argument");
        &self.arguments[at + 1]
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("signalled");
    }

    /// Sends a command of words, and returns its answer.
    pub(crate) async fn command(&self, words: &str) -> redis::Value {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = in_time("a connection", client.get_multiplexed_async_connection()).await.unwrap();
        let mut words = words.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            command.arg(word);
        });
        in_time("an answer", command.query_async(&mut connection)).await.unwrap()
    }
}

#[async_trait]
impl BrokerUnderTest for Server {
    type Backplane = RedisBackplane;
    type Provider = WsProvider;

    const APPENDS_WITH_KEY_AT_ONCE: bool = true;
    const KEEPS_RECORDS_OF_OLD_EPOCHS: bool = true;

    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// A server that syncs every second holds writes back while a sync is under way, so that
    /// `kill -9` can lose some that were answered.
    async fn start_synced() -> Self {
        Self::start_with(&["--appendfsync", "always"]).await
    }

    async fn connect(&self, bounds: LogBounds) -> RedisBackplane {
        connect_with(self, RedisConfig::default().with_records(bounds.records).with_keys(bounds.keys)).await
    }

    fn directory(log: &RedisBackplane) -> Arc<dyn Directory> {
        Arc::new(log.directory())
    }

    fn provider() -> WsProvider {
        WsProvider::new(WsConfig::default().with_traceparent(true))
    }

    fn files(&self) -> PathBuf {
        self.directory.path().join("appendonlydir")
    }

    fn process(&mut self) -> &mut Child {
        &mut self.child
    }

    async fn restart(&mut self) {
        self.child = spawn(self.port, self.directory.path(), &self.arguments);
        until_answering(&mut self.child, self.port, answers).await;
    }

    fn suspend(&self) {
        self.signal(Signal::STOP);
    }

    fn resume(&self) {
        self.signal(Signal::CONT);
    }

    async fn wipe(&mut self) {
        self.command("FLUSHALL").await;
    }

    async fn stored_keys(&self) -> usize {
        let keys = self.command("HLEN {realtime}:keys").await;
        assert_eq!(self.command("LLEN {realtime}:order").await, keys, "the order of the keys");
        let redis::Value::Int(keys) = keys else { panic!("expected a number") };
        keys.try_into().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a port that is free now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port()
}

fn spawn(port: u16, directory: &Path, arguments: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--bind", "127.0.0.1"]);
    command.arg("--port").arg(port.to_string()).arg("--dir").arg(directory).args(arguments);
    match command.stdin(Stdio::null()).stdout(Stdio::null()).spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!("these tests need redis-server 7 or newer on the PATH; scripts/setup installs it")
        }
        Err(error) => panic!("redis-server does not start: {error}"),
    }
}

/// Returns whether a server has read its files.
async fn answers(mut stream: TcpStream) -> std::io::Result<bool> {
    stream.write_all(b"PING\r\n").await?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await?;
    // A server with a password answers too, with an error.
    Ok(&answer == b"+PONG" || answer.starts_with(b"-NOA"))
}
