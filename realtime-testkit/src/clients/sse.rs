use std::time::Duration;

use reqwest::header::{ACCEPT, HeaderName, HeaderValue};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use super::{ClientError, SseItem, SseParser};

/// A client for server-sent events over HTTP/1.1 that comes back with `Last-Event-ID` after the time it was told with
/// `retry:`, as a browser's `EventSource`; like that it gives up when it is answered with another status than 200.
///
/// It reads from the wire only while it is asked.
#[derive(Debug)]
pub struct SseClient {
    http: reqwest::Client,
    url: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    response: Option<reqwest::Response>,
    parser: SseParser,
    last_event_id: String,
    retry: Duration,
    /// Not before this.
    back_at: Option<Instant>,
    deadline: Duration,
    reconnects: bool,
}

/// One event of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// Its type; `message` if the stream named none.
    pub event: String,
    /// The last event id after it.
    pub id: String,
    /// Its data, lines joined with LF.
    pub data: String,
}

impl SseEvent {
    /// The data as a value.
    ///
    /// # Panics
    /// When it is not JSON of this form.
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.data)
            .unwrap_or_else(|error| panic!("the data of \"{}\" does not fit: {error}", self.event))
    }
}

impl SseClient {
    /// Connects, and returns once the server has let it in.
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
        // Loopback needs no proxy, and the environment's must not decide a test.
        let http = reqwest::Client::builder().no_proxy().http1_only().build();
        Self {
            http: http.expect("a plain client can always be built"),
            url: url.into(),
            headers: Vec::new(),
            response: None,
            parser: SseParser::default(),
            last_event_id: String::new(),
            retry: Duration::from_millis(50),
            back_at: None,
            deadline: Duration::from_secs(10),
            reconnects: true,
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

    /// Not coming back by itself: the end of the stream is [`ClientError::Closed`].
    pub fn without_reconnect(mut self) -> Self {
        self.reconnects = false;
        self
    }

    /// Connects if it is not connected.
    ///
    /// # Errors
    /// As [`SseClient::connect`].
    pub async fn open(&mut self) -> Result<(), ClientError> {
        let deadline = Instant::now() + self.deadline;
        match timeout_at(deadline, self.request()).await {
            Ok(result) => result,
            Err(_) => Err(self.too_late()),
        }
    }

    /// The next event; comments and bare ids are read over.
    ///
    /// # Errors
    /// [`ClientError::Deadline`], [`ClientError::Refused`] when it is not let in again, [`ClientError::Closed`].
    pub async fn next(&mut self) -> Result<SseEvent, ClientError> {
        let deadline = Instant::now() + self.deadline;
        loop {
            if let SseItem::Event(event) = self.item(deadline).await? {
                return Ok(event);
            }
        }
    }

    /// The next thing on the wire, bare ids, comments and `retry` included.
    ///
    /// # Errors
    /// As [`SseClient::next`].
    pub async fn next_item(&mut self) -> Result<SseItem, ClientError> {
        self.item(Instant::now() + self.deadline).await
    }

    /// The next event of this type; others are read over.
    ///
    /// # Errors
    /// As [`SseClient::next`].
    pub async fn next_of(&mut self, event: &str) -> Result<SseEvent, ClientError> {
        let deadline = Instant::now() + self.deadline;
        loop {
            if let SseItem::Event(found) = self.item(deadline).await?
                && found.event == event
            {
                return Ok(found);
            }
        }
    }

    /// Drops the wire; the next wait comes back at once with the place it had.
    pub fn cut(&mut self) {
        self.response = None;
    }

    /// The newest place it was told.
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// How long it waits before it comes back: what the server said with `retry:`, 50 ms before that.
    pub fn retry(&self) -> Duration {
        self.retry
    }

    /// The headers of the answer, while connected.
    pub fn response_headers(&self) -> Option<&reqwest::header::HeaderMap> {
        self.response.as_ref().map(reqwest::Response::headers)
    }

    async fn item(&mut self, deadline: Instant) -> Result<SseItem, ClientError> {
        match timeout_at(deadline, self.read()).await {
            Ok(item) => item,
            Err(_) => Err(self.too_late()),
        }
    }

    async fn read(&mut self) -> Result<SseItem, ClientError> {
        loop {
            let Some(response) = &mut self.response else {
                match self.request().await {
                    Ok(()) => {}
                    Err(ClientError::Wire(_)) if self.reconnects => self.come_back_later(),
                    Err(error) => return Err(error),
                }
                continue;
            };
            if let Some(item) = self.parser.next_item() {
                match &item {
                    SseItem::Event(SseEvent { id, .. }) | SseItem::Id(id) => self.last_event_id.clone_from(id),
                    SseItem::Retry(retry) => self.retry = *retry,
                    SseItem::Comment(_) => {}
                }
                return Ok(item);
            }
            match response.chunk().await {
                Ok(Some(chunk)) => self.parser.push(&chunk),
                ended => {
                    self.response = None;
                    if !self.reconnects {
                        let reason =
                            ended.err().map_or_else(|| "the stream ended".to_owned(), |error| error.to_string());
                        return Err(ClientError::Closed { code: None, reason });
                    }
                    self.come_back_later();
                }
            }
        }
    }

    async fn request(&mut self) -> Result<(), ClientError> {
        if self.response.is_some() {
            return Ok(());
        }
        if let Some(at) = self.back_at {
            tokio::time::sleep_until(at).await;
            self.back_at = None;
        }
        let mut request = self.http.get(&self.url).header(ACCEPT, "text/event-stream");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if !self.last_event_id.is_empty() {
            request = request.header("last-event-id", &self.last_event_id);
        }
        let response = request.send().await.map_err(|error| ClientError::Wire(error.to_string()))?;
        let status = response.status().as_u16();
        if status != 200 {
            let body = response.text().await.unwrap_or_default();
            return Err(ClientError::Refused { status, body });
        }
        let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok());
        if !content_type.is_some_and(|value| value.starts_with("text/event-stream")) {
            return Err(ClientError::Protocol(format!("content-type {content_type:?}")));
        }
        self.parser = SseParser::new(self.last_event_id.clone());
        self.response = Some(response);
        Ok(())
    }

    fn come_back_later(&mut self) {
        self.back_at = Some(Instant::now() + self.retry);
    }

    fn too_late(&self) -> ClientError {
        ClientError::Deadline { last_event_id: self.last_event_id.clone() }
    }
}
