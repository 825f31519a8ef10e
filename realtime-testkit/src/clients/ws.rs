use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::ClientError;

type Answer = dyn Fn(&WsEvent) -> Option<Value> + Send + Sync;

/// A client for the raw WebSocket transport that comes back with `?lastEventId=`: after the time that the message
/// `reconnect` told it, or 50 ms, and when it is answered 503 after `Retry-After`.
///
/// It reads from the wire only while it is asked. Pings are answered; asks are, once it is told how
/// ([`WsClient::answer_asks`]).
pub struct WsClient {
    url: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    wire: Option<WebSocketStream<MaybeTlsStream<TcpStream>>>,
    last_event_id: String,
    /// What the server said last, for one time.
    told: Option<Duration>,
    /// Not before this.
    back_at: Option<Instant>,
    /// It has been let in once.
    known: bool,
    deadline: Duration,
    reconnects: bool,
    next_ack: u64,
    answer: Option<Box<Answer>>,
    /// Events read while an answer was waited for; bounded, because that wait has a deadline and a count.
    early: VecDeque<WsEvent>,
}

/// How long it waits before it comes back, if it was not told.
const RETRY: Duration = Duration::from_millis(50);
/// Events kept while an answer is waited for.
const EARLY: usize = 100_000;

/// One message of the envelope `{"type","payload","id","ack"}`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct WsEvent {
    /// The event's name.
    #[serde(rename = "type")]
    pub event: String,
    /// Its payload; null if there is none.
    pub payload: Value,
    /// The place that came with it.
    pub id: Option<String>,
    /// The number to answer with, or that is answered.
    pub ack: Option<u64>,
}

impl WsEvent {
    /// The payload as a value.
    ///
    /// # Panics
    /// When it does not have this form.
    pub fn json<T: DeserializeOwned>(&self) -> T {
        T::deserialize(&self.payload)
            .unwrap_or_else(|error| panic!("the payload of \"{}\" does not fit: {error}", self.event))
    }
}

impl WsClient {
    /// Connects to a `ws://` address, and returns once the server has let it in.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the status, [`ClientError::Wire`], [`ClientError::Deadline`].
    pub async fn connect(url: impl Into<String>) -> Result<Self, ClientError> {
        let mut client = Self::new(url);
        client.open().await?;
        Ok(client)
    }

    /// A client that connects when first asked.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            headers: Vec::new(),
            wire: None,
            last_event_id: String::new(),
            told: None,
            back_at: None,
            known: false,
            deadline: Duration::from_secs(10),
            reconnects: true,
            next_ack: 1,
            answer: None,
            early: VecDeque::new(),
        }
    }

    /// With one more header, such as `authorization`.
    ///
    /// # Panics
    /// When it is no valid header.
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
        self.headers.push((name, HeaderValue::from_str(value).expect("a header's value")));
        self
    }

    /// Going on from this place.
    pub fn with_last_event_id(mut self, id: impl Into<String>) -> Self {
        self.last_event_id = id.into();
        self
    }

    /// With this deadline on every wait; default 10 s.
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Not coming back by itself: the end of the connection is [`ClientError::Closed`].
    pub fn without_reconnect(mut self) -> Self {
        self.reconnects = false;
        self
    }

    /// Answers asks with what this gives; an ask it gives nothing for is left to [`WsClient::next_event`].
    pub fn answer_asks(mut self, answer: impl Fn(&WsEvent) -> Option<Value> + Send + Sync + 'static) -> Self {
        self.answer = Some(Box::new(answer));
        self
    }

    /// Connects if it is not connected.
    ///
    /// # Errors
    /// As [`WsClient::connect`].
    pub async fn open(&mut self) -> Result<(), ClientError> {
        let deadline = Instant::now() + self.deadline;
        match timeout_at(deadline, self.dial()).await {
            Ok(result) => result,
            Err(_) => Err(self.too_late()),
        }
    }

    /// The next event; asks that are answered by themselves are read over.
    ///
    /// # Errors
    /// [`ClientError::Deadline`], [`ClientError::Refused`] when it is not let in again, [`ClientError::Closed`].
    pub async fn next_event(&mut self) -> Result<WsEvent, ClientError> {
        if let Some(event) = self.early.pop_front() {
            return Ok(event);
        }
        let deadline = Instant::now() + self.deadline;
        match timeout_at(deadline, self.read()).await {
            Ok(event) => event,
            Err(_) => Err(self.too_late()),
        }
    }

    /// The next event of this type; others are read over.
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

    /// Sends an event to be answered with this number, and does not wait: the answer comes as an event named `ack`.
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

    /// Sends an event and waits for its answer; what comes meanwhile is kept for [`WsClient::next_event`].
    ///
    /// # Errors
    /// [`ClientError::Protocol`] with the server's error; [`ClientError::Deadline`] and those of connecting.
    pub async fn request<T: Serialize + Sync + ?Sized>(
        &mut self,
        event: &str,
        payload: &T,
    ) -> Result<Value, ClientError> {
        let ack = self.next_ack;
        self.next_ack += 1;
        self.send_with_ack(event, payload, ack).await?;
        let deadline = Instant::now() + self.deadline;
        loop {
            let event = match timeout_at(deadline, self.read()).await {
                Ok(event) => event?,
                Err(_) => return Err(self.too_late()),
            };
            match event.event.as_str() {
                "ack" if event.ack == Some(ack) => return Ok(event.payload),
                "error" if event.ack == Some(ack) => return Err(ClientError::Protocol(event.payload.to_string())),
                _ if self.early.len() >= EARLY => return Err(ClientError::Protocol("too many events".to_owned())),
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
    /// [`ClientError::Deadline`] and those of connecting; [`ClientError::Wire`] when it could not be written.
    pub async fn send_raw(&mut self, message: Message) -> Result<(), ClientError> {
        self.open().await?;
        let deadline = Instant::now() + self.deadline;
        let Some(wire) = &mut self.wire else { return Err(ClientError::Wire("not connected".to_owned())) };
        match timeout_at(deadline, wire.send(message)).await {
            Ok(sent) => sent.map_err(|error| ClientError::Wire(error.to_string())),
            Err(_) => Err(self.too_late()),
        }
    }

    /// Says goodbye and reads until the server has answered.
    ///
    /// # Errors
    /// [`ClientError::Deadline`].
    pub async fn close(mut self) -> Result<(), ClientError> {
        let deadline = Instant::now() + self.deadline;
        let Some(mut wire) = self.wire.take() else { return Ok(()) };
        let goodbye = async {
            let _ = wire.close(None).await;
            while let Some(Ok(_)) = wire.next().await {}
        };
        timeout_at(deadline, goodbye).await.map_err(|_| self.too_late())
    }

    /// Drops the wire without a goodbye; the next wait comes back at once with the place it had.
    pub fn cut(&mut self) {
        self.wire = None;
    }

    /// The newest place it was told.
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// How long it waits before it comes back: what the server said with `reconnect` to this connection, else 50 ms.
    pub fn retry(&self) -> Duration {
        self.told.unwrap_or(RETRY)
    }

    async fn send_value(&mut self, value: Value) -> Result<(), ClientError> {
        self.send_raw(Message::text(value.to_string())).await
    }

    async fn read(&mut self) -> Result<WsEvent, ClientError> {
        loop {
            let Some(wire) = &mut self.wire else {
                match self.dial().await {
                    Ok(()) => {}
                    Err(ClientError::Wire(_)) if self.reconnects => self.come_back_after(RETRY),
                    // It was told when: the node goes down, or is full.
                    Err(ClientError::Refused { status: 503, .. })
                        if self.reconnects && self.known && self.back_at.is_some() => {}
                    Err(error) => return Err(error),
                }
                continue;
            };
            match wire.next().await {
                Some(Ok(Message::Text(text))) => {
                    let event: WsEvent = serde_json::from_str(&text)
                        .map_err(|error| ClientError::Protocol(format!("{error} in {text}")))?;
                    if let Some(id) = &event.id {
                        self.last_event_id.clone_from(id);
                    }
                    if event.event == "reconnect" {
                        self.told = event.payload["delayMs"].as_u64().map(Duration::from_millis);
                    }
                    if !self.answers(&event).await? {
                        return Ok(event);
                    }
                }
                Some(Ok(Message::Binary(bytes))) => {
                    return Err(ClientError::Protocol(format!("{} bytes outside the envelope", bytes.len())));
                }
                Some(Ok(Message::Close(frame))) => {
                    self.wire = None;
                    let code = frame.as_ref().map(|frame| u16::from(frame.code));
                    let reason = frame.map(|frame| frame.reason.to_string()).unwrap_or_default();
                    if !(self.reconnects && may_come_back(code)) {
                        return Err(ClientError::Closed { code, reason });
                    }
                    self.come_back_after(self.retry());
                }
                Some(Ok(_)) => {}
                ended => {
                    self.wire = None;
                    if !self.reconnects {
                        let reason = ended.map_or_else(|| "the wire ended".to_owned(), |ended| format!("{ended:?}"));
                        return Err(ClientError::Closed { code: None, reason });
                    }
                    self.come_back_after(self.retry());
                }
            }
        }
    }

    /// Answers an ask by itself, if it is one and it is told how.
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
        if let Some(at) = self.back_at {
            tokio::time::sleep_until(at).await;
            self.back_at = None;
        }
        let wrong = |error: tungstenite::Error| ClientError::Protocol(error.to_string());
        let mut request = self.resume_url().into_client_request().map_err(wrong)?;
        for (name, value) in &self.headers {
            request.headers_mut().insert(name, value.clone());
        }
        match tokio_tungstenite::connect_async(request).await {
            Ok((wire, _)) => {
                self.wire = Some(wire);
                self.known = true;
                self.told = None;
                Ok(())
            }
            Err(tungstenite::Error::Http(response)) => {
                let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
                if let Some(seconds) = after {
                    self.come_back_after(Duration::from_secs(seconds));
                }
                let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
                Err(ClientError::Refused { status: response.status().as_u16(), body })
            }
            Err(error) => Err(ClientError::Wire(error.to_string())),
        }
    }

    fn come_back_after(&mut self, time: Duration) {
        self.back_at = Some(Instant::now() + time);
    }

    fn resume_url(&self) -> String {
        if self.last_event_id.is_empty() {
            return self.url.clone();
        }
        let separator = if self.url.contains('?') { '&' } else { '?' };
        let id: String = form_urlencoded::byte_serialize(self.last_event_id.as_bytes()).collect();
        format!("{}{separator}lastEventId={id}", self.url)
    }

    fn too_late(&self) -> ClientError {
        ClientError::Deadline { last_event_id: self.last_event_id.clone() }
    }
}

impl std::fmt::Debug for WsClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WsClient")
            .field("url", &self.url)
            .field("connected", &self.wire.is_some())
            .field("last_event_id", &self.last_event_id)
            .finish_non_exhaustive()
    }
}

/// Whether a close code invites to come back: going away, restart, overload, a new token, a stall.
fn may_come_back(code: Option<u16>) -> bool {
    matches!(code, None | Some(1000 | 1001 | 1006 | 1011..=1014 | 4001..=4003))
}
