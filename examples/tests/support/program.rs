use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use tokio::io::AsyncReadExt;

use super::within;

/// A running program, which is killed when this is dropped, on every exit path of a test.
pub(crate) struct Program {
    child: Child,
    /// The URL: `http://` and the address.
    pub(crate) url: String,
    /// The line to try that the program prints.
    pub(crate) attempt: String,
}

impl Program {
    /// Starts a program on a free port and waits until it prints its address.
    pub(crate) async fn start(binary: &str, arguments: &[&str]) -> Self {
        let child = command(binary, arguments).stdout(Stdio::piped()).spawn().unwrap();
        // Guarded before anything can fail.
        let mut program = Self { child, url: String::new(), attempt: String::new() };
        let lines = BufReader::new(program.child.stdout.take().unwrap()).lines();
        let both = tokio::task::spawn_blocking(move || lines.take(2).collect::<Result<Vec<_>, _>>());
        let lines = within("the program's address", both).await.unwrap().unwrap();
        program.url = lines[0].strip_prefix("listening on ").expect("an address").to_owned();
        program.attempt = lines[1].strip_prefix("try: ").expect("what to try").to_owned();
        program
    }

    /// Returns the same URL for WebSocket.
    pub(crate) fn ws_url(&self) -> String {
        self.url.replacen("http", "ws", 1)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // An error means that the program has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program that ends by itself with an error, and returns what it printed.
pub(crate) async fn refused(binary: &str, arguments: &[&str]) -> String {
    let mut program = Program {
        child: command(binary, arguments).stderr(Stdio::piped()).spawn().unwrap(),
        url: String::new(),
        attempt: String::new(),
    };
    let errors = program.child.stderr.take().unwrap();
    let read = tokio::task::spawn_blocking(move || std::io::read_to_string(errors));
    let printed = within("the program's end", read).await.unwrap().unwrap();
    assert!(!program.child.wait().unwrap().success(), "{printed}");
    printed
}

fn command(binary: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary);
    command.args(["--listen", "127.0.0.1:0"]).args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    // A developer's own settings are no part of the test.
    command.env_remove("NOTIFY_PROVIDER").env_remove("RUST_LOG");
    command
}

/// Runs a line in a shell until its output has this text, or it ends; returns the output.
pub(crate) async fn shell(line: &str, text: &str) -> String {
    let mut child = tokio::process::Command::new("sh")
        .args(["-c", line])
        .kill_on_drop(true)
        .process_group(0)
        .env("no_proxy", "*")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut output = child.stdout.take().unwrap();
    let mut shown = Vec::new();
    while !String::from_utf8_lossy(&shown).contains(text) && output.read_buf(&mut shown).await.unwrap() > 0 {}
    String::from_utf8_lossy(&shown).into_owned()
}
