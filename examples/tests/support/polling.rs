use std::collections::VecDeque;

use reqwest::Client;
use serde_json::Value;

use super::{http, within};

/// A minimal Socket.IO client over long polling (Engine.IO 4, Socket.IO 5).
pub(crate) struct Polling {
    http: Client,
    /// The URL of the session, its id included.
    url: String,
    /// The packets that arrived together with a requested one.
    waiting: VecDeque<String>,
}

/// An event from the server: the number of its ack if it wants one, and its arguments.
pub(crate) struct Emitted {
    pub(crate) ack: Option<u64>,
    pub(crate) arguments: Vec<Value>,
}

impl Polling {
    /// Opens a session and connects to the main namespace; the next event is `connected`.
    pub(crate) async fn connect(base: &str, auth: &Value) -> Self {
        let http = http();
        let url = format!("{base}/socket.io/?EIO=4&transport=polling");
        let opened = within("the handshake", async { http.get(&url).send().await?.text().await }).await.unwrap();
        let opened: Value = serde_json::from_str(opened.strip_prefix('0').expect("an open packet")).unwrap();
        let url = format!("{url}&sid={}", opened["sid"].as_str().unwrap());
        let mut client = Self { http, url, waiting: VecDeque::new() };
        client.send(format!("40{auth}")).await;
        let answer = client.packet().await;
        assert!(answer.starts_with("40"), "{answer}");
        client
    }

    /// Emits an event; with a number, the server answers it.
    pub(crate) async fn emit(&self, ack: Option<u64>, arguments: &Value) {
        let number = ack.map(|ack| ack.to_string()).unwrap_or_default();
        self.send(format!("42{number}{arguments}")).await;
    }

    /// Answers an event that had a number.
    pub(crate) async fn answer(&self, ack: u64, arguments: &Value) {
        self.send(format!("43{ack}{arguments}")).await;
    }

    /// Returns the next event of this name; skips others before it.
    pub(crate) async fn event(&mut self, name: &str) -> Emitted {
        loop {
            let packet = self.packet().await;
            let Some(body) = packet.strip_prefix("42") else { continue };
            let (ack, mut arguments) = numbered(body);
            if arguments.first().is_some_and(|first| first == name) {
                return Emitted { ack, arguments: arguments.split_off(1) };
            }
        }
    }

    /// Returns the server's answer to the event with this number.
    pub(crate) async fn answered(&mut self, number: u64) -> Vec<Value> {
        loop {
            let packet = self.packet().await;
            let Some(body) = packet.strip_prefix("43") else { continue };
            let (ack, arguments) = numbered(body);
            if ack == Some(number) {
                return arguments;
            }
        }
    }

    /// Returns the next packet that is not part of the heartbeat.
    async fn packet(&mut self) -> String {
        loop {
            while let Some(packet) = self.waiting.pop_front() {
                match packet.as_str() {
                    "2" => self.send("3".to_owned()).await,
                    _ => return packet,
                }
            }
            let answer =
                within("a packet", async { self.http.get(&self.url).send().await?.text().await }).await.unwrap();
            self.waiting.extend(answer.split('\u{1e}').map(str::to_owned));
        }
    }

    async fn send(&self, packets: String) {
        let answer = within("an answer to packets", self.http.post(&self.url).body(packets).send()).await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }
}

/// Splits a packet into its number, if it has one, and its list.
fn numbered(body: &str) -> (Option<u64>, Vec<Value>) {
    let list = body.find('[').unwrap();
    (body[..list].parse().ok(), serde_json::from_str(&body[list..]).unwrap())
}
