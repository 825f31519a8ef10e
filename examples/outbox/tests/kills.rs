//! The process is killed again and again where it hurts, while its clients listen and resume.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Stdio;

use realtime_testkit::{WsClient, in_time};
use reqwest::StatusCode;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinSet;

/// The chains of processes, each with files of its own, that are killed side by side.
const CHAINS: usize = 4;
/// The kills of each.
const KILLS: usize = 50;

/// A process, which is killed when this is dropped.
struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    address: String,
}

impl Program {
    async fn start(data: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_realtime-outbox"))
            .args(["--listen", "127.0.0.1:0", "--data", data])
            .args(arguments)
            .env("RUST_LOG", "off")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut program = Self { child, lines, address: String::new() };
        program.address = program.until("listening on http://").await;
        program
    }

    /// Returns the rest of the next line with this beginning.
    async fn until(&mut self, beginning: &str) -> String {
        loop {
            let line = in_time(beginning, self.lines.next_line()).await.unwrap().expect("the program runs");
            if let Some(rest) = line.strip_prefix(beginning) {
                return rest.to_owned();
            }
        }
    }

    async fn order(&self, item: &str) -> StatusCode {
        let url = format!("http://{}/orders?user=ann&item={item}", self.address);
        in_time("an answer", reqwest::Client::builder().no_proxy().build().unwrap().post(url).send())
            .await
            .unwrap()
            .status()
    }

    /// Connects with the cursor of the last process' client.
    async fn client(&self, cursor: Option<&str>) -> WsClient {
        let client = WsClient::new(format!("ws://{}/ws?user=ann", self.address)).without_reconnect();
        let mut client = cursor.into_iter().fold(client, |client, cursor| client.with_last_event_id(cursor));
        let connected = in_time("a connection", client.next_of("connected")).await.unwrap();
        assert_eq!(connected.payload["resumed"], cursor.is_some(), "{connected:?}");
        client
    }

    /// Kills the process, as `kill -9` does.
    async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// Reads events until the connection ends, or this one has come; returns their items and the last
/// cursor.
async fn read(client: &mut WsClient, last: &str, items: &mut Vec<String>) {
    while items.last().is_none_or(|item| item != last) {
        let Ok(event) = in_time("an event, or the end", client.next_event()).await else { return };
        if event.event == "order:paid" {
            items.push(event.payload["item"].as_str().unwrap().to_owned());
        }
    }
}

/// Runs a chain of processes; returns what was committed, and what the client got.
async fn chain() -> (Vec<String>, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let (mut committed, mut got, mut cursor) = (Vec::new(), Vec::new(), None::<String>);
    for kill in 0..KILLS {
        let point = if kill % 2 == 0 { "before-send" } else { "before-mark" };
        // One row was left by the process before. This one dies with the last of its own.
        let (left, rows) = (usize::from(kill > 0), kill % 3 + 1);
        let through = (left + rows - 1).to_string();
        let mut program = Program::start(data, &["--halt", point, "--halt-after", &through]).await;
        let mut client = program.client(cursor.as_deref()).await;
        for row in 0..rows {
            let item = format!("{kill}-{row}");
            let status = program.order(&item).await;
            assert_eq!(status, StatusCode::OK);
            committed.push(item);
            assert_eq!(program.order(&format!("sold%20out-{kill}-{row}")).await, StatusCode::CONFLICT);
        }
        program.until("halted").await;
        program.kill().await;
        read(&mut client, "none", &mut got).await;
        cursor = Some(client.last_event_id().to_owned());
    }
    let program = Program::start(data, &[]).await;
    let mut client = program.client(cursor.as_deref()).await;
    assert_eq!(program.order("the last").await, StatusCode::OK);
    committed.push("the last".to_owned());
    read(&mut client, "the last", &mut got).await;
    (committed, got)
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_process_sends_each_committed_row_once() {
    let mut chains: JoinSet<_> = std::iter::repeat_with(chain).take(CHAINS).collect();
    while let Some(ended) = chains.join_next().await {
        let (committed, got) = ended.unwrap();
        assert!(committed.len() > KILLS);
        assert_eq!(got, committed, "once each, in their order, and none that was rolled back");
    }
}
