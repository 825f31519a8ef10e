//! The test clients as clients of the provider suite.

use std::time::Duration;

use async_trait::async_trait;
use realtime_core::ConnectionId;
use serde_json::Value;

use super::{ClientUnderTest, Ended, Received, Refused, Visitor};
use crate::clients::{ClientError, SseClient, SseItem, WsClient};

/// Longer than any wait of the suite, whose own deadlines name what was expected.
const LONGEST: Duration = Duration::from_secs(120);

impl SseClient {
    /// Connects a visitor of the provider suite to a `http://` address without a query.
    ///
    /// # Errors
    /// The refusal.
    ///
    /// # Panics
    /// If the server cannot be reached.
    pub async fn visit(url: &str, visitor: &Visitor) -> Result<Self, Refused> {
        let client = Self::new(format!("{url}?{}", visitor.query()));
        let mut client = client.without_reconnect().with_deadline(LONGEST);
        refused(client.open().await)?;
        Ok(client)
    }
}

impl WsClient {
    /// Connects a visitor of the provider suite to a `ws://` address without a query.
    ///
    /// # Errors
    /// The refusal.
    ///
    /// # Panics
    /// If the server cannot be reached.
    pub async fn visit(url: &str, visitor: &Visitor) -> Result<Self, Refused> {
        let client = Self::new(format!("{url}?{}", visitor.query()));
        let mut client = client.without_reconnect().with_deadline(LONGEST);
        refused(client.open().await)?;
        Ok(client)
    }
}

fn refused(opened: Result<(), ClientError>) -> Result<(), Refused> {
    match opened {
        Ok(()) => Ok(()),
        Err(ClientError::Refused { status, .. }) => Err(Refused::with_status(status)),
        Err(error) => panic!("expected an accepted connection or a refusal, got: {error}"),
    }
}

#[async_trait]
impl ClientUnderTest for SseClient {
    async fn next(&mut self) -> Result<Received, Ended> {
        loop {
            let before = self.last_event_id().to_owned();
            match self.next_item().await {
                Ok(SseItem::Event(event)) => {
                    // A block without an id of its own has the previous one.
                    let cursor = (event.id != before).then(|| event.id.clone());
                    return Ok(Received::new(event.event.clone(), event.json()).with_cursor(cursor));
                }
                Ok(SseItem::Id(id)) => return Ok(Received::new("cursor", Value::Null).with_cursor(Some(id))),
                Ok(SseItem::Comment(_) | SseItem::Retry(_)) => {}
                Err(ClientError::Closed { code, .. }) => return Err(Ended { code }),
                Err(error) => panic!("expected an event or a close, got: {error}"),
            }
        }
    }

    async fn refresh(&mut self, connection: ConnectionId, token: &str) -> Option<Result<Value, String>> {
        let (status, answer) = self.refresh_credentials(&connection.to_string(), token).await;
        let code = || answer["error"]["code"].as_str().unwrap_or_default().to_owned();
        Some(if status == 200 { Ok(answer) } else { Err(code()) })
    }
}

#[async_trait]
impl ClientUnderTest for WsClient {
    async fn next(&mut self) -> Result<Received, Ended> {
        match self.next_event().await {
            Ok(event) => Ok(Received::new(event.event, event.payload).with_cursor(event.id).with_ack(event.ack)),
            Err(ClientError::Closed { code, .. }) => Err(Ended { code }),
            Err(error) => panic!("expected an event or a close, got: {error}"),
        }
    }

    async fn send(&mut self, name: &str, payload: &Value, ack: Option<u64>) {
        let sent = match ack {
            Some(ack) => self.send_with_ack(name, payload, ack).await,
            None => Self::send(self, name, payload).await,
        };
        sent.unwrap_or_else(|error| panic!("expected a message to be sent, got: {error}"));
    }

    async fn answer(&mut self, ack: u64, payload: &Value) {
        Self::answer(self, ack, payload)
            .await
            .unwrap_or_else(|error| panic!("expected a message to be sent, got: {error}"));
    }
}
