use std::time::Duration;

use reqwest::header::ACCEPT;
use tokio::time::{Instant, timeout_at};

use super::dialer::{Dialer, RETRY, client_methods};
use super::{ClientError, SseEvent, SseItem, SseParser};

/// A client for server-sent events over HTTP/1.1 that reconnects with `Last-Event-ID` after the
/// time in the server's `retry:`, as a browser's `EventSource` does; as there, any status other
/// than 200 is final.
///
/// It reads from the connection only while a method waits.
#[derive(Debug)]
pub struct SseClient {
    dialer: Dialer,
    http: reqwest::Client,
    response: Option<reqwest::Response>,
    parser: SseParser,
    retry: Duration,
}

client_methods!(SseClient, "an `http://` address");

impl SseClient {
    /// Creates a client that connects when it is first asked for an event.
    pub fn new(url: impl Into<String>) -> Self {
        // Loopback needs no proxy, and the environment's must not decide a test.
        let http = reqwest::Client::builder().no_proxy().http1_only().build();
        Self {
            dialer: Dialer::new(url.into()),
            http: http.expect("a plain client can always be built"),
            response: None,
            parser: SseParser::default(),
            retry: RETRY,
        }
    }

    /// Refreshes the credentials of a connection with `POST` beside the stream, and returns the
    /// status and the body of the answer.
    ///
    /// # Panics
    /// If the server cannot be reached, or does not answer with JSON.
    pub async fn refresh_credentials(&self, connection: &str, token: &str) -> (u16, serde_json::Value) {
        let stream = self.dialer.url.split('?').next().unwrap_or_default();
        let body = serde_json::json!({ "connectionId": connection, "token": token }).to_string();
        let answer = self.http.post(format!("{}/refresh", stream.trim_end_matches('/'))).body(body).send().await;
        let answer = answer.expect("the server can be reached");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("expected json, got {text:?}")))
    }

    /// Returns the next event; comments and bare ids are skipped.
    ///
    /// # Errors
    /// [`ClientError::Deadline`], [`ClientError::Refused`] if a reconnect is not accepted,
    /// [`ClientError::Closed`].
    pub async fn next(&mut self) -> Result<SseEvent, ClientError> {
        self.find(|_| true).await
    }

    /// Returns the next event of this type; others are skipped.
    ///
    /// # Errors
    /// As [`SseClient::next`].
    pub async fn next_of(&mut self, event: &str) -> Result<SseEvent, ClientError> {
        self.find(|found| found.event == event).await
    }

    /// Returns the next item of the stream, bare ids, comments and `retry` included.
    ///
    /// # Errors
    /// As [`SseClient::next`].
    pub async fn next_item(&mut self) -> Result<SseItem, ClientError> {
        self.item(self.dialer.deadline()).await
    }

    /// Drops the connection; the next wait reconnects immediately with the cursor.
    pub fn cut(&mut self) {
        self.response = None;
    }

    /// Returns the time before a reconnect: that of the server's last `retry:`, or 50 ms.
    #[must_use]
    pub fn retry(&self) -> Duration {
        self.retry
    }

    /// Returns the headers of the response, while connected.
    pub fn response_headers(&self) -> Option<&reqwest::header::HeaderMap> {
        self.response.as_ref().map(reqwest::Response::headers)
    }

    async fn find(&mut self, matches: impl Fn(&SseEvent) -> bool) -> Result<SseEvent, ClientError> {
        let deadline = self.dialer.deadline();
        loop {
            if let SseItem::Event(event) = self.item(deadline).await?
                && matches(&event)
            {
                return Ok(event);
            }
        }
    }

    async fn item(&mut self, deadline: Instant) -> Result<SseItem, ClientError> {
        match timeout_at(deadline, self.read()).await {
            Ok(item) => item,
            Err(_) => Err(self.dialer.timed_out()),
        }
    }

    async fn read(&mut self) -> Result<SseItem, ClientError> {
        loop {
            let Some(response) = &mut self.response else {
                match self.dial().await {
                    Ok(()) => {}
                    Err(ClientError::Wire(_)) if self.dialer.reconnects => self.dialer.reconnect_after(self.retry),
                    Err(error) => return Err(error),
                }
                continue;
            };
            if let Some(item) = self.parser.next_item() {
                match &item {
                    SseItem::Event(SseEvent { id, .. }) | SseItem::Id(id) => {
                        self.dialer.last_event_id.clone_from(id);
                    }
                    SseItem::Retry(retry) => self.retry = *retry,
                    SseItem::Comment(_) => {}
                }
                return Ok(item);
            }
            match response.chunk().await {
                Ok(Some(chunk)) => self.parser.push(&chunk),
                ended => {
                    self.response = None;
                    if !self.dialer.reconnects {
                        let reason =
                            ended.err().map_or_else(|| "the stream ended".to_owned(), |error| error.to_string());
                        return Err(ClientError::Closed { code: None, reason });
                    }
                    self.dialer.reconnect_after(self.retry);
                }
            }
        }
    }

    async fn dial(&mut self) -> Result<(), ClientError> {
        if self.response.is_some() {
            return Ok(());
        }
        self.dialer.ready().await;
        let mut request = self.http.get(&self.dialer.url).header(ACCEPT, "text/event-stream");
        for (name, value) in &self.dialer.headers {
            request = request.header(name, value);
        }
        if !self.last_event_id().is_empty() {
            request = request.header("last-event-id", self.last_event_id());
        }
        let response = request.send().await.map_err(|error| ClientError::Wire(error.to_string()))?;
        let status = response.status().as_u16();
        if status != 200 {
            let body = response.text().await.unwrap_or_default();
            return Err(ClientError::Refused { status, body });
        }
        let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok());
        if !content_type.is_some_and(|value| value.starts_with("text/event-stream")) {
            let got = content_type.unwrap_or("none");
            return Err(ClientError::Protocol(format!("expected content-type text/event-stream, got {got}")));
        }
        self.parser = SseParser::new(self.last_event_id());
        self.response = Some(response);
        Ok(())
    }
}
