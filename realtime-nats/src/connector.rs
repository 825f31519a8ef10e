use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, HeaderMap, Message, ServerAddr};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::api::{RESPONSE, Request, Requests};
use crate::config::{Credentials, NatsConfig};
use crate::error::Fault;

/// The interval between the pings that notice a broken connection; the third without an answer
/// ends it.
const PING: Duration = Duration::from_secs(1);
/// The requests that wait to be written to a connection before their callers wait.
const QUEUE: usize = 1024;
/// The longest delay between two attempts to connect.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// The way to one or several servers. Printed as hosts and ports, without the credentials.
#[derive(Clone)]
pub(crate) struct Connector(Arc<Way>);

struct Way {
    servers: Vec<ServerAddr>,
    config: NatsConfig,
    /// Hosts and ports, for messages.
    address: String,
}

/// One connection. It is not made again when it breaks: what waits to be written ends with it,
/// rather than being sent when its sender has long given up.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    address: Arc<str>,
    broken: watch::Receiver<bool>,
}

impl Connector {
    /// Reads the URLs of one or several servers, separated by commas.
    pub(crate) fn new(urls: &str, config: &NatsConfig) -> Result<Self, Fault> {
        // What the library says of a URL is not repeated, so that no part of a password can be in
        // it.
        let invalid = || Fault::Config("the URL of NATS cannot be read; expected nats://host:port".to_owned());
        let servers: Vec<ServerAddr> = urls
            .split(',')
            .map(|url| url.trim().parse::<ServerAddr>().map_err(|_| invalid()))
            .collect::<Result<_, _>>()?;
        if servers.iter().any(|server| server.host().is_empty() || !matches!(server.scheme(), "nats" | "tls")) {
            return Err(invalid());
        }
        let mut config = config.clone();
        if let (Credentials::None, Some(in_url)) = (&config.credentials, servers.iter().find_map(credentials)) {
            config.credentials = in_url;
        }
        let address: Vec<_> = servers.iter().map(|server| format!("{}:{}", server.host(), server.port())).collect();
        let way = Way { servers, config, address: address.join(",") };
        // An error means that the application has installed one, which is used then.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Self(Arc::new(way)))
    }

    pub(crate) fn address(&self) -> &str {
        &self.0.address
    }

    /// Connects to one of the servers.
    pub(crate) async fn connect(&self) -> Result<Connection, Fault> {
        let (broken_tx, broken) = watch::channel(false);
        let options = self.options().await?.event_callback(move |event| {
            if matches!(event, Event::Disconnected | Event::Closed) {
                broken_tx.send_replace(true);
            }
            async {}
        });
        let client = match timeout(RESPONSE, options.connect(&self.0.servers[..])).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => {
                return Err(Fault::Connect { address: self.0.address.clone(), kind: error.kind() });
            }
            Err(_) => return Err(Fault::Timeout(self.0.address.clone())),
        };
        Ok(Connection { client, address: self.0.address.as_str().into(), broken })
    }

    async fn options(&self) -> Result<ConnectOptions, Fault> {
        let config = &self.0.config;
        let mut options = ConnectOptions::new()
            .name("realtime-nats")
            .connection_timeout(RESPONSE)
            .request_timeout(None)
            .ping_interval(PING)
            .client_capacity(QUEUE)
            .ignore_discovered_servers()
            .reconnect_delay_callback(|_| Duration::ZERO)
            .max_reconnects(self.0.servers.len());
        options = match &config.credentials {
            Credentials::None => options,
            Credentials::File(path) => {
                let file = options.credentials_file(path).await;
                file.map_err(|error| {
                    Fault::Config(format!("the credentials in {} cannot be read: {}", path.display(), error.kind()))
                })?
            }
            Credentials::Password { user, password } => options.user_and_password(user.clone(), password.clone()),
            Credentials::Token(token) => options.token(token.clone()),
        };
        for path in &config.root_certificates {
            options = options.add_root_certificates(path.clone());
        }
        if let Some((certificate, key)) = &config.client_certificate {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        Ok(options)
    }
}

/// Returns the credentials in a URL: a user and a password, or a token.
fn credentials(server: &ServerAddr) -> Option<Credentials> {
    let user = decode(server.username()?)?;
    match server.password() {
        Some(password) => Some(Credentials::Password { user, password: decode(password)? }),
        None => Some(Credentials::Token(user)),
    }
}

/// Decodes what a URL has as `%20`.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        rest = others;
        match (first, others) {
            (b'%', [high, low, others @ ..]) => {
                let digit = |digit: u8| char::from(digit).to_digit(16);
                bytes.push(u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?);
                rest = others;
            }
            _ => bytes.push(*first),
        }
    }
    String::from_utf8(bytes).ok()
}

impl Requests for Connection {
    async fn request(&self, request: Request<'_>) -> Result<Message, Fault> {
        let Request { subject, headers, payload, limit } = request;
        self.check_open()?;
        self.check_size(headers.as_ref(), payload.len())?;
        let mut request = async_nats::Request::new().payload(payload).timeout(Some(limit));
        if let Some(headers) = headers {
            request = request.headers(headers);
        }
        let mut broken = self.broken.clone();
        tokio::select! {
            biased;
            answer = timeout(limit, self.client.send_request(subject.to_owned(), request)) => match answer {
                Ok(answer) => answer.map_err(|error| Fault::of_request(&error, &self.address, subject)),
                Err(_) => Err(Fault::Timeout(self.address.to_string())),
            },
            _ = broken.wait_for(|broken| *broken) => Err(Fault::Disconnected(self.address.to_string())),
        }
    }
}

impl Connection {
    /// Returns an error if the connection is known to be broken: nothing may be given to it then.
    pub(crate) fn check_open(&self) -> Result<(), Fault> {
        if self.is_broken() { Err(Fault::NotConnected(self.address.to_string())) } else { Ok(()) }
    }

    pub(crate) fn is_broken(&self) -> bool {
        *self.broken.borrow() || self.broken.has_changed().is_err()
    }

    /// Waits until the connection is broken.
    pub(crate) async fn closed(&self) {
        let mut broken = self.broken.clone();
        // The sender is gone when the library has given up.
        let _ = broken.wait_for(|broken| *broken).await;
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Checks a message's size, as the server counts it.
    pub(crate) fn check_size(&self, headers: Option<&HeaderMap>, payload: usize) -> Result<(), Fault> {
        let limit = self.client.max_payload();
        let headers = headers.map_or(0, |headers| {
            let lines = headers.iter().flat_map(|(name, values)| {
                values.iter().map(move |value| AsRef::<[u8]>::as_ref(name).len() + value.as_str().len() + 4)
            });
            "NATS/1.0\r\n\r\n".len() + lines.sum::<usize>()
        });
        let size = headers + payload;
        if size > limit {
            return Err(Fault::Payload { address: self.address.to_string(), size, limit });
        }
        Ok(())
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_a_url_are_decoded() {
        let of = |url: &str| credentials(&url.parse().unwrap());
        let Some(Credentials::Password { user, password }) = of("nats://a%40b:p%3A%2Fw+@host") else {
            panic!("expected a password")
        };
        assert_eq!((user.as_str(), password.as_str()), ("a@b", "p:/w+"));
        assert!(matches!(of("nats://t%C3%B6ken@host"), Some(Credentials::Token(token)) if token == "töken"));
        assert!(of("nats://host:4222").is_none());
    }
}
