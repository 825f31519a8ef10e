//! A client over any transport.

use std::net::SocketAddr;

use crate::support::{WebSocket, socket, text_with};
use realtime_testkit::{SseClient, WsClient};
use serde_json::{Map, Value, json};

pub(super) const TRANSPORTS: [&str; 3] = ["sse", "ws", "socket"];

pub(super) struct Client {
    wire: Wire,
    /// The connection's id.
    pub(super) id: String,
}

enum Wire {
    Sse(SseClient),
    Ws(WsClient),
    Socket(WebSocket),
}

/// The cursor, former connection and room that a client names when it connects.
#[derive(Clone, Copy, Default)]
pub(super) struct Opening<'a> {
    pub(super) cursor: Option<&'a str>,
    pub(super) former: Option<&'a str>,
    pub(super) room: Option<&'a str>,
}

impl Client {
    /// Connects, and reads the welcome.
    pub(super) async fn open(address: SocketAddr, transport: &str, token: &str, opening: Opening<'_>) -> Self {
        let Opening { cursor, former, room } = opening;
        let named = [("lastEventId", cursor), ("connectionId", former), ("channel", room)];
        let query: String = named.iter().filter_map(|(name, value)| Some(format!("&{name}={}", (*value)?))).collect();
        let wire = match transport {
            "sse" => {
                Wire::Sse(SseClient::new(format!("http://{address}/sse?token={token}{query}")).without_reconnect())
            }
            "ws" => Wire::Ws(WsClient::new(format!("ws://{address}/ws?token={token}{query}")).without_reconnect()),
            _ => {
                let mut auth = Map::new();
                for (name, value) in named.iter().filter_map(|(name, value)| Some((*name, (*value)?))) {
                    match name {
                        "channel" => auth.insert("rooms".to_owned(), json!([value])),
                        name => auth.insert(name.to_owned(), json!(value)),
                    };
                }
                Wire::Socket(socket(address, token, &Value::Object(auth).to_string()).await)
            }
        };
        let mut client = Self { wire, id: String::new() };
        let (welcome, _) = client.read("connected").await;
        assert_eq!(welcome["resumed"], json!(cursor.is_some()), "{welcome}");
        client.id = welcome["connectionId"].as_str().unwrap().to_owned();
        client
    }

    /// Returns the cursor of the next event of this name.
    pub(super) async fn next_of(&mut self, event: &str) -> String {
        self.read(event).await.1
    }

    /// Returns the number of the next ask of this name.
    pub(super) async fn next_ask(&mut self, event: &str) -> u64 {
        let Wire::Ws(client) = &mut self.wire else { panic!("only over WebSocket") };
        client.next_of(event).await.unwrap().ack.unwrap()
    }

    /// Answers an ask.
    pub(super) async fn answer(&mut self, ack: u64) {
        let Wire::Ws(client) = &mut self.wire else { panic!("only over WebSocket") };
        client.answer(ack, "yes").await.unwrap();
    }

    /// Returns the payload and the cursor of the next event of this name; an ask of Socket.IO has a
    /// number before its name.
    async fn read(&mut self, event: &str) -> (Value, String) {
        match &mut self.wire {
            Wire::Sse(client) => {
                let found = client.next_of(event).await.unwrap();
                (found.json(), found.id)
            }
            Wire::Ws(client) => {
                let found = client.next_of(event).await.unwrap();
                (found.payload, found.id.unwrap_or_default())
            }
            Wire::Socket(socket) => loop {
                let packet = text_with(socket, "42").await;
                let Some(begin) = packet.find('[') else { continue };
                let arguments: Value = serde_json::from_str(&packet[begin..]).unwrap();
                if arguments[0] == event {
                    return (arguments[1].clone(), arguments[2].as_str().unwrap_or_default().to_owned());
                }
            },
        }
    }
}
