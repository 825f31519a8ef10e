use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::ClientError;

/// The time before a reconnect if the server named none.
pub(super) const RETRY: Duration = Duration::from_millis(50);

/// The part that the test clients share: where and with what they connect, how long they wait, and
/// when they reconnect.
pub(super) struct Dialer {
    pub(super) url: String,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) last_event_id: String,
    pub(super) deadline: Duration,
    pub(super) reconnects: bool,
    /// The earliest time of the next connection attempt.
    not_before: Option<Instant>,
}

impl Dialer {
    pub(super) fn new(url: String) -> Self {
        Self {
            url,
            headers: Vec::new(),
            last_event_id: String::new(),
            deadline: Duration::from_secs(10),
            reconnects: true,
            not_before: None,
        }
    }

    /// Adds a header.
    ///
    /// # Panics
    /// If it is no valid header.
    pub(super) fn add_header(&mut self, name: &str, value: &str) {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a valid header name");
        self.headers.push((name, HeaderValue::from_str(value).expect("a valid header value")));
    }

    /// Returns the end of a wait that begins now.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.deadline
    }

    /// Returns the error of a wait whose time is over.
    pub(super) fn timed_out(&self) -> ClientError {
        ClientError::Deadline { last_event_id: self.last_event_id.clone() }
    }

    /// Runs a step that does not need the client, until the deadline.
    pub(super) async fn until<T>(&self, deadline: Instant, step: impl Future<Output = T>) -> Result<T, ClientError> {
        timeout_at(deadline, step).await.map_err(|_| self.timed_out())
    }

    /// Delays the next connection attempt. A wait that is cancelled does not make it come earlier.
    pub(super) fn reconnect_after(&mut self, time: Duration) {
        self.not_before = Some(Instant::now() + time);
    }

    /// Returns whether the next connection attempt has to wait for a time that was set.
    pub(super) fn is_delayed(&self) -> bool {
        self.not_before.is_some()
    }

    /// Waits until a connection attempt may be made.
    pub(super) async fn ready(&mut self) {
        if let Some(at) = self.not_before {
            sleep_until(at).await;
            self.not_before = None;
        }
    }
}

/// Without the headers, which may hold credentials.
impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer")
            .field("url", &self.url)
            .field("last_event_id", &self.last_event_id)
            .finish_non_exhaustive()
    }
}

/// Gives a client that has a `dialer: Dialer` and a `dial` the methods that both clients have.
macro_rules! client_methods {
    ($client:ident, $address:literal) => {
        impl $client {
            #[doc = concat!("Connects to ", $address, ", and returns when the server has accepted the connection.")]
            ///
            /// # Errors
            /// [`ClientError::Refused`] with the status, [`ClientError::Wire`],
            /// [`ClientError::Deadline`].
            pub async fn connect(url: impl Into<String>) -> Result<Self, ClientError> {
                let mut client = Self::new(url);
                client.open().await?;
                Ok(client)
            }

            /// Adds a header, such as `authorization`.
            ///
            /// # Panics
            /// If it is no valid header.
            pub fn with_header(mut self, name: &str, value: &str) -> Self {
                self.dialer.add_header(name, value);
                self
            }

            /// Sets the cursor that the client resumes from.
            pub fn with_last_event_id(mut self, id: impl Into<String>) -> Self {
                self.dialer.last_event_id = id.into();
                self
            }

            /// Sets the deadline of every wait; default 10 s.
            pub fn with_deadline(mut self, deadline: Duration) -> Self {
                self.dialer.deadline = deadline;
                self
            }

            /// Disables reconnects: the end of the connection is [`ClientError::Closed`].
            pub fn without_reconnect(mut self) -> Self {
                self.dialer.reconnects = false;
                self
            }

            /// Connects if the client is not connected.
            ///
            /// # Errors
            /// As [`Self::connect`].
            pub async fn open(&mut self) -> Result<(), ClientError> {
                let deadline = self.dialer.deadline();
                match timeout_at(deadline, self.dial()).await {
                    Ok(result) => result,
                    Err(_) => Err(self.dialer.timed_out()),
                }
            }

            /// Returns the newest cursor that the client has received.
            pub fn last_event_id(&self) -> &str {
                &self.dialer.last_event_id
            }
        }
    };
}

pub(super) use client_methods;
