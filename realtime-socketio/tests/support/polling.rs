use std::collections::VecDeque;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;

use super::{Closed, Packet, in_time};

/// Engine.IO client on long polling; it sends a GET only when a packet is awaited.
pub struct Polling {
    pub http: reqwest::Client,
    pub url: String,
    read: VecDeque<Packet>,
}

impl Polling {
    /// Opens a session, whose open packet is still to be read.
    pub async fn open(address: SocketAddr, path: &str) -> Result<Self, StatusCode> {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut polling = Self { http, url: format!("http://{address}{path}"), read: VecDeque::new() };
        polling.get().await.map_err(|refused| refused.unwrap())?;
        Ok(polling)
    }

    /// Sets the session that the requests are for.
    pub fn set_sid(&mut self, sid: &str) {
        self.url = format!("{}&sid={sid}", self.url);
    }

    /// Returns the session's path and query.
    pub fn path(&self) -> &str {
        &self.url[self.url.find("/socket.io").unwrap()..]
    }

    pub async fn next(&mut self) -> Result<Packet, Closed> {
        while self.read.is_empty() {
            if self.get().await.is_err() {
                return Err(Closed { code: None });
            }
        }
        Ok(self.read.pop_front().unwrap())
    }

    /// Removes and returns the packets that were received and not taken.
    pub fn take(&mut self) -> VecDeque<Packet> {
        std::mem::take(&mut self.read)
    }

    /// Returns the packets that were received and not taken.
    pub fn into_read(self) -> VecDeque<Packet> {
        self.read
    }

    pub async fn send(&mut self, packets: Vec<Packet>) {
        let packets = packets.into_iter().map(|packet| match packet {
            Packet::Text(text) => text,
            Packet::Binary(bytes) => format!("b{}", STANDARD.encode(bytes)),
        });
        self.post(packets.collect::<Vec<_>>().join("\u{1e}")).await;
    }

    /// Sends a POST. Returns the response's status; none when the connection broke.
    pub async fn post(&self, body: impl Into<reqwest::Body>) -> Option<StatusCode> {
        let sent = in_time("an answer", self.http.post(&self.url).body(body).send()).await;
        sent.ok().map(|answer| answer.status())
    }

    /// Sends one GET. The error is the response's status, or none when the connection broke.
    pub async fn get(&mut self) -> Result<(), Option<StatusCode>> {
        let answer = self.http.get(&self.url).send().await.map_err(|_| None)?;
        let status = answer.status();
        let body = answer.text().await.map_err(|_| None)?;
        if status != StatusCode::OK {
            return Err(Some(status));
        }
        self.read.extend(body.split('\u{1e}').filter(|packet| !packet.is_empty()).map(|packet| {
            match packet.strip_prefix('b') {
                Some(base64) => Packet::Binary(STANDARD.decode(base64).unwrap().into()),
                None => Packet::Text(packet.to_owned()),
            }
        }));
        Ok(())
    }
}
