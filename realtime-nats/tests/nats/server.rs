use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use async_trait::async_trait;
use realtime_core::spi::{Directory, LogBounds};
use realtime_nats::{NatsBackplane, NatsConfig};
use realtime_testkit::brokers::{BrokerUnderTest, until_answering};
use realtime_testkit::in_time;
use realtime_ws::{WsConfig, WsProvider};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::support::connect_with;

/// A server in a directory of its own; it ends with this value.
pub(crate) struct Server {
    child: Child,
    directory: TempDir,
    port: u16,
}

impl Server {
    /// Starts a server with these settings; JetStream keeps its files in the server's directory.
    pub(crate) async fn start_with(settings: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let path = directory.path().display().to_string();
        let mut text = format!("listen: 127.0.0.1:{port}\n{}\n", settings);
        text = text.replace("jetstream {", &format!("jetstream {{\nstore_dir: \"{path}/store\"\n"));
        std::fs::write(directory.path().join("server.conf"), text).expect("the settings");
        let child = spawn(directory.path());
        let mut server = Self { child, directory, port };
        until_answering(&mut server.child, port, answers).await;
        server
    }

    /// Returns the server's URL, for a client without credentials.
    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the id of its process.
    pub(crate) fn id(&self) -> String {
        self.child.id().to_string()
    }

    /// Returns the directory of its files.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the states of its threads.
    fn threads(&self) -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("a process");
        let stats = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
        // Behind the name, which is in parentheses.
        stats.filter_map(|stat| stat.rsplit(')').next()?.split_whitespace().next().map(str::to_owned)).collect()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("signalled");
    }

    /// Sends a request to JetStream as an administrator does, and returns the answer.
    pub(crate) async fn ask(&self, what: &str, request: &str) -> serde_json::Value {
        let answer = self.send(&format!("$JS.API.{what}"), request).await;
        assert!(answer["error"].is_null(), "{what}: {answer}");
        answer
    }

    /// Stores a message, and returns the answer.
    pub(crate) async fn send(&self, subject: &str, payload: &str) -> serde_json::Value {
        let client = in_time("a connection", async_nats::connect(self.url())).await.unwrap();
        let answer = in_time("an answer", client.request(subject.to_owned(), payload.to_owned().into())).await;
        serde_json::from_slice(&answer.unwrap().payload).unwrap()
    }

    /// Returns the names of the streams.
    pub(crate) async fn streams(&self) -> Vec<String> {
        let answer = self.ask("STREAM.NAMES", "{}").await;
        serde_json::from_value(answer["streams"].clone()).unwrap_or_default()
    }

    /// Returns the number of messages of a stream.
    pub(crate) async fn count(&self, stream: &str) -> u64 {
        self.ask(&format!("STREAM.INFO.{stream}"), "{}").await["state"]["messages"].as_u64().unwrap()
    }
}

#[async_trait]
impl BrokerUnderTest for Server {
    type Backplane = NatsBackplane;
    type Provider = WsProvider;

    // The key is created before its record is sent.
    const APPENDS_WITH_KEY_AT_ONCE: bool = false;
    const KEEPS_RECORDS_OF_OLD_EPOCHS: bool = false;

    /// Starts a server that keeps its streams in files, and takes messages of 8 MiB.
    async fn start() -> Self {
        Self::start_with("max_payload: 8MB\njetstream {}").await
    }

    async fn connect(&self, bounds: LogBounds) -> NatsBackplane {
        connect_with(self, NatsConfig::default().with_records(bounds.records).with_keys(bounds.keys)).await
    }

    fn directory(log: &NatsBackplane) -> Arc<dyn Directory> {
        Arc::new(log.directory())
    }

    fn provider() -> WsProvider {
        WsProvider::new(WsConfig::default().with_traceparent(true))
    }

    fn files(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    fn process(&mut self) -> &mut Child {
        &mut self.child
    }

    async fn restart(&mut self) {
        self.child = spawn(self.directory.path());
        until_answering(&mut self.child, self.port, answers).await;
    }

    fn suspend(&self) {
        self.signal(Signal::STOP);
        // Its threads may still be running, on other processors.
        while !self.threads().iter().all(|state| state == "T") {
            std::thread::yield_now();
        }
    }

    fn resume(&self) {
        self.signal(Signal::CONT);
    }

    async fn wipe(&mut self) {
        self.kill();
        std::fs::remove_dir_all(self.files()).unwrap();
        self.restart().await;
    }

    async fn stored_keys(&self) -> usize {
        self.count("realtime_keys").await.try_into().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let (true, Ok(Some(status))) = (std::thread::panicking(), self.child.try_wait()) {
            let log = std::fs::read_to_string(self.directory.path().join("server.log")).unwrap_or_default();
            let from = log.char_indices().rev().nth(6000).map_or(0, |(at, _)| at);
            eprintln!("the server had ended by itself: {status}\n{}", &log[from..]);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(directory: &Path) -> Child {
    // Debian has it where only root's PATH leads.
    let of_debian = Path::new("/usr/sbin/nats-server");
    let found = if of_debian.exists() { of_debian.into() } else { "nats-server".into() };
    let binary = std::env::var_os("NATS_SERVER").unwrap_or(found);
    let log = std::fs::File::options().create(true).append(true).open(directory.join("server.log")).expect("a log");
    let mut command = Command::new(&binary);
    command.arg("-c").arg(directory.join("server.conf"));
    match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!("these tests need nats-server 2.9 or newer on the PATH; scripts/setup installs it")
        }
        Err(error) => panic!("{} does not start: {error}", binary.display()),
    }
}

/// Returns whether a server accepts connections.
async fn answers(mut stream: TcpStream) -> std::io::Result<bool> {
    let mut greeting = [0; 4];
    stream.read_exact(&mut greeting).await?;
    Ok(&greeting == b"INFO")
}
