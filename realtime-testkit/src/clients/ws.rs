use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::ClientError;
use super::dialer::{Dialer, RETRY, client_methods};

type Answer = dyn Fn(&WsEvent) -> Option<Value> + Send + Sync;

/// A client for the raw WebSocket transport that reconnects with `?lastEventId=`: after the time in
/// the message `reconnect`, or 50 ms; and after a 503, after its `Retry-After`.
///
/// It reads from the connection only while a method waits. Pings are answered; asks are, if
/// [`WsClient::answer_asks`] says how.
pub struct WsClient {
    dialer: Dialer,
    wire: Option<WebSocketStream<MaybeTlsStream<TcpStream>>>,
    /// The delay in the current connection's last `reconnect`.
    announced_delay: Option<Duration>,
    /// Set when the server has accepted a connection.
    was_accepted: bool,
    next_ack: u64,
    answer: Option<Box<Answer>>,
    /// Events that were read during a request; bounded, because a request has a deadline and a
    /// count.
    early: VecDeque<WsEvent>,
}

/// The most events that are kept during a request.
const EARLY: usize = 100_000;

/// One message of the envelope `{"type","payload","id","ack","traceparent"}`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct WsEvent {
    /// The event's name.
    #[serde(rename = "type")]
    pub event: String,
    /// The payload; null if there is none.
    pub payload: Value,
    /// The cursor of the event.
    pub id: Option<String>,
    /// The number of the ask or of the answer.
    pub ack: Option<u64>,
    /// The event's trace, from a server that tells its clients.
    pub traceparent: Option<String>,
}

impl WsEvent {
    /// Returns the payload as a value.
    ///
    /// # Panics
    /// If it does not have this form.
    #[must_use]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        T::deserialize(&self.payload).unwrap_or_else(|error| {
            let expected = std::any::type_name::<T>();
            panic!(
                "the payload of \"{}\" is not a {expected}: {error} in {:.200}",
                self.event,
                self.payload.to_string()
            )
        })
    }
}

client_methods!(WsClient, "a `ws://` address");

impl WsClient {
    /// Creates a client that connects when it is first used.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            dialer: Dialer::new(url.into()),
            wire: None,
            announced_delay: None,
            was_accepted: false,
            next_ack: 1,
            answer: None,
            early: VecDeque::new(),
        }
    }

    /// Sets the function that answers asks; an ask for which it returns `None` is left to
    /// [`WsClient::next_event`].
    #[must_use]
    pub fn answer_asks(mut self, answer: impl Fn(&WsEvent) -> Option<Value> + Send + Sync + 'static) -> Self {
        self.answer = Some(Box::new(answer));
        self
    }

    /// Returns the next event; asks that the client answers itself are skipped.
    ///
    /// # Errors
    /// [`ClientError::Deadline`], [`ClientError::Refused`] if a reconnect is not accepted,
    /// [`ClientError::Closed`].
    pub async fn next_event(&mut self) -> Result<WsEvent, ClientError> {
        if let Some(event) = self.early.pop_front() {
            return Ok(event);
        }
        let deadline = self.dialer.deadline();
        match timeout_at(deadline, self.read()).await {
            Ok(event) => event,
            Err(_) => Err(self.dialer.timed_out()),
        }
    }

    /// Returns the next event of this type; others are skipped.
    ///
    /// # Errors
    /// As [`WsClient::next_event`].
    pub async fn next_of(&mut self, event: &str) -> Result<WsEvent, ClientError> {
        loop {
            let found = self.next_event().await?;
            if found.event == event {
                return Ok(found);
            }
        }
    }

    /// Sends an event.
    ///
    /// # Errors
    /// [`ClientError::Deadline`] and those of connecting.
    pub async fn send<T: Serialize + Sync + ?Sized>(&mut self, event: &str, payload: &T) -> Result<(), ClientError> {
        self.send_value(json!({ "type": event, "payload": payload })).await
    }

    /// Sends an event with this ack number, and does not wait for the answer, which arrives as an
    /// event named `ack`.
    ///
    /// # Errors
    /// [`ClientError::Deadline`] and those of connecting.
    pub async fn send_with_ack<T: Serialize + Sync + ?Sized>(
        &mut self,
        event: &str,
        payload: &T,
        ack: u64,
    ) -> Result<(), ClientError> {
        self.send_value(json!({ "type": event, "payload": payload, "ack": ack })).await
    }

    /// Sends an event and waits for its answer; other events are kept for [`WsClient::next_event`].
    ///
    /// # Errors
    /// [`ClientError::Protocol`] with the server's error; [`ClientError::Deadline`] and those of
    /// connecting.
    pub async fn request<T: Serialize + Sync + ?Sized>(
        &mut self,
        event: &str,
        payload: &T,
    ) -> Result<Value, ClientError> {
        let ack = self.next_ack;
        self.next_ack += 1;
        self.send_with_ack(event, payload, ack).await?;
        let deadline = self.dialer.deadline();
        loop {
            let event = match timeout_at(deadline, self.read()).await {
                Ok(event) => event?,
                Err(_) => return Err(self.dialer.timed_out()),
            };
            match event.event.as_str() {
                "ack" if event.ack == Some(ack) => return Ok(event.payload),
                "error" if event.ack == Some(ack) => return Err(ClientError::Protocol(event.payload.to_string())),
                _ if self.early.len() >= EARLY => {
                    return Err(ClientError::Protocol(format!("expected an answer, got {EARLY} other events")));
                }
                _ => self.early.push_back(event),
            }
        }
    }

    /// Answers an ask.
    ///
    /// # Errors
    /// [`ClientError::Deadline`] and those of connecting.
    pub async fn answer<T: Serialize + Sync + ?Sized>(&mut self, ack: u64, payload: &T) -> Result<(), ClientError> {
        self.send_value(json!({ "type": "ack", "ack": ack, "payload": payload })).await
    }

    /// Sends any message.
    ///
    /// # Errors
    /// [`ClientError::Deadline`] and those of connecting; [`ClientError::Wire`] if the write
    /// failed.
    pub async fn send_raw(&mut self, message: Message) -> Result<(), ClientError> {
        self.open().await?;
        let deadline = self.dialer.deadline();
        let Some(wire) = &mut self.wire else { return Err(ClientError::Wire("not connected".to_owned())) };
        let sent = self.dialer.until(deadline, wire.send(message)).await?;
        sent.map_err(|error| ClientError::Wire(error.to_string()))
    }

    /// Sends a close frame and reads until the server has closed the connection.
    ///
    /// # Errors
    /// [`ClientError::Deadline`].
    pub async fn close(mut self) -> Result<(), ClientError> {
        let deadline = self.dialer.deadline();
        let Some(mut wire) = self.wire.take() else { return Ok(()) };
        let close = async {
            let _ = wire.close(None).await;
            while let Some(Ok(_)) = wire.next().await {}
        };
        self.dialer.until(deadline, close).await
    }

    /// Drops the connection without a close frame; the next wait reconnects immediately with the
    /// cursor.
    pub fn cut(&mut self) {
        self.wire = None;
    }

    /// Returns the time before a reconnect: that of the message `reconnect` on this connection, or
    /// 50 ms.
    pub fn retry(&self) -> Duration {
        self.announced_delay.unwrap_or(RETRY)
    }

    async fn send_value(&mut self, value: Value) -> Result<(), ClientError> {
        self.send_raw(Message::text(value.to_string())).await
    }

    async fn read(&mut self) -> Result<WsEvent, ClientError> {
        loop {
            let Some(wire) = &mut self.wire else {
                match self.dial().await {
                    Ok(()) => {}
                    Err(ClientError::Wire(_)) if self.dialer.reconnects => self.dialer.reconnect_after(RETRY),
                    // The node is shutting down or full, and has said when to reconnect.
                    Err(ClientError::Refused { status: 503, .. })
                        if self.dialer.reconnects && self.was_accepted && self.dialer.is_delayed() => {}
                    Err(error) => return Err(error),
                }
                continue;
            };
            match wire.next().await {
                Some(Ok(Message::Text(text))) => {
                    let event: WsEvent = serde_json::from_str(&text)
                        .map_err(|error| ClientError::Protocol(format!("{error} in {text}")))?;
                    if let Some(id) = &event.id {
                        self.dialer.last_event_id.clone_from(id);
                    }
                    if event.event == "reconnect" {
                        self.announced_delay = event.payload["delayMs"].as_u64().map(Duration::from_millis);
                    }
                    if !self.answers(&event).await? {
                        return Ok(event);
                    }
                }
                Some(Ok(Message::Binary(bytes))) => {
                    return Err(ClientError::Protocol(format!("expected text, got {} bytes", bytes.len())));
                }
                Some(Ok(Message::Close(frame))) => {
                    self.wire = None;
                    let code = frame.as_ref().map(|frame| u16::from(frame.code));
                    let reason = frame.map(|frame| frame.reason.to_string()).unwrap_or_default();
                    if !(self.dialer.reconnects && may_reconnect(code)) {
                        return Err(ClientError::Closed { code, reason });
                    }
                    self.dialer.reconnect_after(self.retry());
                }
                Some(Ok(_)) => {}
                ended => {
                    self.wire = None;
                    if !self.dialer.reconnects {
                        let reason =
                            ended.map_or_else(|| "the connection ended".to_owned(), |ended| format!("{ended:?}"));
                        return Err(ClientError::Closed { code: None, reason });
                    }
                    self.dialer.reconnect_after(self.retry());
                }
            }
        }
    }

    /// Answers an ask with the application's function; returns whether it did.
    async fn answers(&mut self, event: &WsEvent) -> Result<bool, ClientError> {
        let Some(ack) = event.ack.filter(|_| !matches!(event.event.as_str(), "ack" | "error")) else {
            return Ok(false);
        };
        let Some(payload) = self.answer.as_ref().and_then(|answer| answer(event)) else { return Ok(false) };
        Box::pin(self.answer(ack, &payload)).await?;
        Ok(true)
    }

    async fn dial(&mut self) -> Result<(), ClientError> {
        if self.wire.is_some() {
            return Ok(());
        }
        self.dialer.ready().await;
        let wrong = |error: tungstenite::Error| ClientError::Protocol(error.to_string());
        let mut request = self.resume_url().into_client_request().map_err(wrong)?;
        for (name, value) in &self.dialer.headers {
            request.headers_mut().insert(name, value.clone());
        }
        match tokio_tungstenite::connect_async(request).await {
            Ok((wire, _)) => {
                self.wire = Some(wire);
                self.was_accepted = true;
                self.announced_delay = None;
                Ok(())
            }
            Err(tungstenite::Error::Http(response)) => {
                let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
                if let Some(seconds) = after {
                    self.dialer.reconnect_after(Duration::from_secs(seconds));
                }
                let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
                Err(ClientError::Refused { status: response.status().as_u16(), body })
            }
            Err(error) => Err(ClientError::Wire(error.to_string())),
        }
    }

    fn resume_url(&self) -> String {
        let (url, cursor) = (&self.dialer.url, &self.dialer.last_event_id);
        if cursor.is_empty() {
            return url.clone();
        }
        let separator = if url.contains('?') { '&' } else { '?' };
        let cursor: String = form_urlencoded::byte_serialize(cursor.as_bytes()).collect();
        format!("{url}{separator}lastEventId={cursor}")
    }
}

impl std::fmt::Debug for WsClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WsClient")
            .field("dialer", &self.dialer)
            .field("connected", &self.wire.is_some())
            .finish_non_exhaustive()
    }
}

/// Returns whether a client reconnects after this close code: going away, restart, overload, an
/// expired identity, a missed heartbeat or a write stall.
fn may_reconnect(code: Option<u16>) -> bool {
    matches!(code, None | Some(1000 | 1001 | 1006 | 1011..=1014 | 4001..=4003))
}
