use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;
use serde_json::{Value, json};

use super::packet::parse;
use super::{Message, Packet, Polling, Websocket, in_time};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Polling,
    Websocket,
}

/// End of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The code of the websocket's close frame.
    pub code: Option<u16>,
}

pub enum Wire {
    Polling(Polling),
    Websocket(Box<Websocket>),
}

impl Wire {
    /// Returns the long-polling client, for requests of a test's own.
    pub fn polling(&self) -> &Polling {
        match self {
            Self::Polling(polling) => polling,
            Self::Websocket(_) => panic!("not on long polling"),
        }
    }

    /// Waits for the next packet, and answers no ping.
    pub async fn next(&mut self) -> Result<Packet, Closed> {
        match self {
            Self::Polling(polling) => polling.next().await,
            Self::Websocket(websocket) => websocket.next().await,
        }
    }
}

/// A Socket.IO client. It reads from the wire only while a packet is awaited, and answers pings
/// then.
pub struct Client {
    pub wire: Wire,
    /// The open packet.
    pub open: Value,
    address: SocketAddr,
    path: String,
    /// Packets that were received before an upgrade.
    read: VecDeque<Packet>,
}

impl Client {
    /// Opens a session, for no namespace yet.
    ///
    /// # Errors
    /// The status of the refusal.
    pub async fn open(address: SocketAddr, transport: Transport, query: &str) -> Result<Self, u16> {
        Self::open_with(address, transport, "/socket.io/", query, None).await
    }

    /// Opens a session at another path, or with a small receive buffer for a websocket.
    ///
    /// # Errors
    /// As [`Client::open`].
    pub async fn open_with(
        address: SocketAddr,
        transport: Transport,
        path: &str,
        query: &str,
        buffer: Option<u32>,
    ) -> Result<Self, u16> {
        let name = if transport == Transport::Polling { "polling" } else { "websocket" };
        let target = format!("{path}?EIO=4&transport={name}&{query}");
        let mut client = Self::open_at(address, transport, &target, buffer).await?;
        client.path = path.to_owned();
        let sid = client.sid().to_owned();
        if let Wire::Polling(polling) = &mut client.wire {
            polling.set_sid(&sid);
        }
        Ok(client)
    }

    /// Opens a session with exactly this path and query, which later requests have too.
    ///
    /// # Errors
    /// As [`Client::open`].
    pub async fn open_at(
        address: SocketAddr,
        transport: Transport,
        target: &str,
        buffer: Option<u32>,
    ) -> Result<Self, u16> {
        let wire = match transport {
            Transport::Polling => {
                let opened = in_time("a session", Polling::open(address, target)).await;
                Wire::Polling(opened.map_err(|status| status.as_u16())?)
            }
            Transport::Websocket => match Websocket::open(address, target, buffer).await {
                Ok(websocket) => Wire::Websocket(Box::new(websocket)),
                Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => return Err(answer.status().as_u16()),
                Err(error) => panic!("no handshake: {error}"),
            },
        };
        let mut client =
            Self { wire, open: Value::Null, address, path: "/socket.io/".to_owned(), read: VecDeque::new() };
        let Ok(Packet::Text(text)) = in_time("the open packet", client.next_packet()).await else {
            panic!("no open packet");
        };
        client.open = serde_json::from_str(text.strip_prefix('0').expect("the open packet")).unwrap();
        Ok(client)
    }

    /// Returns the session's secret.
    pub fn sid(&self) -> &str {
        self.open["sid"].as_str().unwrap()
    }

    /// Connects to a namespace; the welcome of the main one is still to be read.
    ///
    /// # Errors
    /// The message of `connect_error`; one of the same form when the session was closed instead, so
    /// that the client reconnects.
    pub async fn connect(&mut self, namespace: &str, auth: &Value) -> Result<Value, String> {
        let namespace = if namespace == "/" { String::new() } else { format!("{namespace},") };
        self.send(&format!("40{namespace}{auth}")).await;
        self.answered().await
    }

    /// Connects to the main namespace, which must accept, and returns the data of the welcome.
    pub async fn enter(&mut self, auth: &Value) -> Value {
        self.connect("/", auth).await.expect("accepted");
        let welcome = self.message().await;
        assert_eq!((welcome.name(), &welcome.data[1]["cursor"]), ("connected", &welcome.data[2]));
        welcome.data[1].clone()
    }

    /// Waits for the answer to a CONNECT that was sent.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn answered(&mut self) -> Result<Value, String> {
        let Ok(answer) = in_time("an answer", self.next()).await else {
            return Err("draining: the session was closed".to_owned());
        };
        match answer.kind {
            0 => Ok(answer.data),
            2 => {
                assert_eq!(answer.name(), "error");
                let end = in_time("the close", self.next_packet()).await;
                assert!(end.is_err() || end == Ok(Packet::Text("1".to_owned())), "the transport is closed: {end:?}");
                let error = &answer.data[1];
                Err(format!("{}: {}", error["code"].as_str().unwrap(), error["message"].as_str().unwrap()))
            }
            4 => Err(answer.data["message"].as_str().unwrap().to_owned()),
            _ => panic!("not an answer to connect: {answer:?}"),
        }
    }

    /// Waits for the next packet of Engine.IO, and answers pings.
    pub async fn next_packet(&mut self) -> Result<Packet, Closed> {
        loop {
            let packet = match self.read.pop_front() {
                Some(packet) => packet,
                None => self.wire.next().await?,
            };
            match &packet {
                Packet::Text(text) if text == "2" => self.send("3").await,
                // A noop packet, which only ends a GET.
                Packet::Text(text) if text == "6" => {}
                _ => return Ok(packet),
            }
        }
    }

    /// Waits for the next packet of Socket.IO.
    ///
    /// # Errors
    /// [`Closed`] when the session has ended.
    pub async fn next(&mut self) -> Result<Message, Closed> {
        let (mut message, attachments) = loop {
            match self.next_packet().await? {
                Packet::Text(text) if text.starts_with('4') => break parse(&text[1..]),
                // On long polling the close packet comes before the end of the session. On a
                // websocket there is the close frame only.
                Packet::Text(text) if text == "1" && matches!(self.wire, Wire::Polling(_)) => {}
                packet => panic!("unexpected {packet:?}"),
            }
        };
        for _ in 0..attachments {
            match self.next_packet().await? {
                Packet::Binary(bytes) => message.attachments.push(bytes),
                packet => panic!("not an attachment: {packet:?}"),
            }
        }
        Ok(message)
    }

    /// Waits for the next packet, with a deadline, from a session that must not end.
    pub async fn message(&mut self) -> Message {
        in_time("a packet", self.next()).await.expect("an open session")
    }

    /// Waits for the next event, which must have this name, and returns its payload.
    pub async fn event(&mut self, name: &str) -> Value {
        let message = self.message().await;
        assert_eq!(message.name(), name, "{message:?}");
        message.data[1].clone()
    }

    /// Waits for the next packet, which must be an ack with this id, and returns its data.
    pub async fn ack(&mut self, id: u64) -> Value {
        let message = self.message().await;
        assert_eq!((message.kind, message.id), (3, Some(id)), "{message:?}");
        message.data
    }

    /// Reads until the session ends.
    pub async fn closed(&mut self) -> Closed {
        in_time("the close", async {
            loop {
                if let Err(closed) = self.next().await {
                    return closed;
                }
            }
        })
        .await
    }

    /// Waits for the end of the session, in a form upon which every client reconnects: the failure
    /// of a GET, or the websocket's close frame.
    pub async fn closed_for_reconnect(&mut self) {
        let end = in_time("the close", self.next_packet()).await;
        assert_eq!(end, Err(Closed { code: None }));
    }

    /// Sends one packet of Engine.IO, unchanged.
    pub async fn send(&mut self, text: &str) {
        self.send_all(vec![Packet::Text(text.to_owned())]).await;
    }

    pub async fn send_all(&mut self, packets: Vec<Packet>) {
        match &mut self.wire {
            Wire::Polling(polling) => polling.send(packets).await,
            Wire::Websocket(websocket) => websocket.send(packets).await,
        }
    }

    /// Sends an event with these arguments.
    pub async fn emit(&mut self, name: &str, arguments: &[Value], ack: Option<u64>) {
        self.send(&event_packet(name, arguments, ack)).await;
    }

    /// Sends many events in one request or one write.
    pub async fn emit_all(&mut self, events: impl IntoIterator<Item = (&str, Value)>) {
        let packets = events.into_iter().map(|(name, data)| Packet::Text(event_packet(name, &[data], None))).collect();
        self.send_all(packets).await;
    }

    /// Answers an ask.
    pub async fn answer(&mut self, ack: u64, arguments: &[Value]) {
        self.send(&format!("43{ack}{}", json!(arguments))).await;
    }

    /// Sends packets with attachments: the header (`451-["up",{"_placeholder":true,"num":0}]`) and
    /// the bytes.
    pub async fn send_binary(&mut self, header: &str, attachments: &[&[u8]]) {
        let mut packets = vec![Packet::Text(header.to_owned())];
        packets.extend(attachments.iter().map(|bytes| Packet::Binary(Bytes::copy_from_slice(bytes))));
        self.send_all(packets).await;
    }

    /// Upgrades to a websocket as in Engine.IO's protocol: the GET under way ends, then the client
    /// switches.
    pub async fn upgrade(self) -> Self {
        let path = format!("{}?EIO=4&transport=websocket&sid={}", self.path, self.sid());
        self.upgrade_at(&path).await
    }

    /// Upgrades with a handshake for this path and query.
    pub async fn upgrade_at(mut self, path: &str) -> Self {
        let Wire::Polling(mut polling) = self.wire else { panic!("upgraded already") };
        let mut websocket = Websocket::open(self.address, path, None).await.unwrap();
        let probe = async {
            websocket.send(vec![Packet::Text("2probe".to_owned())]).await;
            assert_eq!(in_time("the probe's answer", websocket.next()).await, Ok(Packet::Text("3probe".to_owned())));
        };
        let ((), got) = tokio::join!(probe, in_time("the last answer", polling.get()));
        got.expect("the GET under way is answered");
        websocket.send(vec![Packet::Text("5".to_owned())]).await;
        self.read.extend(polling.into_read());
        self.wire = Wire::Websocket(Box::new(websocket));
        self
    }
}

fn event_packet(name: &str, arguments: &[Value], ack: Option<u64>) -> String {
    let mut list = vec![json!(name)];
    list.extend_from_slice(arguments);
    format!("42{}{}", ack.map(|id| id.to_string()).unwrap_or_default(), Value::from(list))
}
