use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use realtime_testkit::in_time;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A server in a directory of its own; it ends with this value.
pub(crate) struct Server {
    child: Child,
    directory: TempDir,
    port: u16,
    arguments: Vec<String>,
}

impl Server {
    /// Starts a server that keeps an append-only file.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts a server that has each write in its file before it answers. One that syncs every
    /// second holds writes back while a sync is under way, so that `kill -9` can lose some that were
    /// answered.
    pub(crate) async fn start_synced() -> Self {
        Self::start_with(&["--appendfsync", "always"]).await
    }

    /// Starts a server with further arguments.
    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let port = free_port();
        let child = spawn(port, directory.path(), &arguments);
        let mut server = Self { child, directory, port, arguments };
        server.wait().await;
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

    /// Returns the directory of its files.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Kills the server: it writes nothing more.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }

    /// Starts the server again, with the files that it has.
    pub(crate) async fn restart(&mut self) {
        self.child = spawn(self.port, self.directory.path(), &self.arguments);
        self.wait().await;
    }

    /// Stops the process, which then neither answers nor ends.
    pub(crate) fn suspend(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("signalled");
    }

    /// Waits until the server has read its files and answers.
    async fn wait(&mut self) {
        let answers = async {
            while !answers(self.port).await {
                if let Ok(Some(status)) = self.child.try_wait() {
                    panic!("the server on port {} ended: {status}", self.port);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        in_time("a server that answers", answers).await;
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

async fn answers(port: u16) -> bool {
    let ping = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"PING\r\n").await?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await?;
        // A server with a password answers too, with an error.
        std::io::Result::Ok(&answer == b"+PONG" || answer.starts_with(b"-NOA"))
    };
    ping.await.unwrap_or(false)
}
