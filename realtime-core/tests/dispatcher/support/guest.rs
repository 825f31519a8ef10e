use realtime_core::spi::Cursor;
use realtime_core::{ConnectionId, RealtimeBroadcast};
use realtime_testkit::conformance::{ClientUnderTest, Ended, Received, Visitor};
use serde_json::{Value, json};

use super::{Client, CoreProvider, in_time, note};

/// A client that has read its `connected` event, with a deadline on each wait.
pub struct Guest {
    pub client: Client,
    pub id: ConnectionId,
    pub welcome: Value,
    pub cursor: String,
}

impl Guest {
    /// Connects through `connect_sink`.
    pub async fn by_sink(provider: &CoreProvider, visitor: Visitor) -> Self {
        let admitted = provider.admit(visitor).await.unwrap();
        Self::welcome(Client::by_sink(&provider.dispatcher, admitted)).await
    }

    /// Connects through a session in both directions.
    pub async fn by_session(provider: &CoreProvider, visitor: Visitor) -> Self {
        let admitted = provider.admit(visitor).await.unwrap();
        Self::welcome(Client::by_session(&provider.dispatcher, admitted)).await
    }

    /// Connects through `connect_sink`, disconnects, and returns the cursor.
    pub async fn left(provider: &CoreProvider, visitor: Visitor) -> String {
        Self::by_sink(provider, visitor).await.cursor
    }

    async fn welcome(mut client: Client) -> Self {
        let first = in_time("the connected event", client.next()).await.unwrap();
        assert_eq!(first.name, "connected");
        let id = first.payload["connectionId"].as_str().unwrap().parse().unwrap();
        Self { client, id, welcome: first.payload, cursor: first.cursor.unwrap() }
    }

    /// Returns the next event, and updates the cursor.
    pub async fn next(&mut self) -> Received {
        let received = in_time("an event", self.client.next()).await.unwrap();
        if let Some(cursor) = &received.cursor {
            self.cursor.clone_from(cursor);
        }
        received
    }

    /// Returns the texts of the events before the one with the text `last`, without bare cursors
    /// and `reconnect` events.
    pub async fn texts_until(&mut self, last: &str) -> Vec<String> {
        let mut texts = Vec::new();
        loop {
            let received = self.next().await;
            if received.name == "cursor" || received.name == "reconnect" {
                continue;
            }
            let text = received.payload.as_str().map_or_else(|| received.payload.to_string(), str::to_owned);
            if text == last {
                return texts;
            }
            texts.push(text);
        }
    }

    /// Returns the texts of the events so far, as [`Self::texts_until`] does for one sent now.
    pub async fn texts(&mut self, provider: &CoreProvider) -> Vec<String> {
        provider.dispatcher.to_all(note("end")).await.unwrap();
        self.texts_until("end").await
    }

    /// Returns the next event, or how the connection was closed.
    pub async fn next_or_close(&mut self) -> Result<Received, Ended> {
        in_time("an event or the close", self.client.next()).await
    }

    /// Reads all events until the connection is closed, and returns how.
    pub async fn closed(&mut self) -> Ended {
        loop {
            if let Err(ended) = in_time("the close", self.client.next()).await {
                return ended;
            }
        }
    }

    /// Returns the position in the client's cursor.
    pub fn position(&self) -> u64 {
        self.cursor.parse::<Cursor>().unwrap().position().get()
    }
}

/// Returns whether a client with this cursor resumes, and the reason in its `connected` event.
pub async fn outcome(provider: &CoreProvider, cursor: &str) -> (bool, String) {
    let guest = Guest::by_sink(provider, Visitor::user("ann").with_cursor(cursor)).await;
    (guest.welcome["resumed"] == json!(true), guest.welcome["reason"].as_str().unwrap().to_owned())
}

/// Returns an [`outcome`] to compare with.
pub fn expected(resumed: bool, reason: &str) -> (bool, String) {
    (resumed, reason.to_owned())
}
