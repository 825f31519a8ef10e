//! Clients without a network: the dispatcher and the codec of each transport.

use bytes::Bytes;
use realtime_core::spi::{Codec, Dispatched};
use realtime_core::{ConnectRequest, ConnectionId};
use realtime_wire::sse::Blocks;
use serde_json::Value;
use tokio::sync::mpsc::{Sender, channel};

use crate::schedule::Person;
use crate::world::{Arrival, Connection, Door, Got, ROOM, hand_on};

/// The way into the providers' dispatchers.
pub struct Sinks;

impl Door for Sinks {
    fn providers(&self) -> &'static [&'static str] {
        &["sse", "ws", "socket"]
    }

    async fn connect(&mut self, arrival: Arrival<'_>) -> Connection {
        let Arrival { node, transport, person, cursor, former } = arrival;
        let service = &node.service;
        match transport {
            0 => connect(&*service.sse().unwrap(), person, cursor, former, Bytes::clone, block).await,
            1 => {
                connect(&*service.ws().unwrap(), person, cursor, former, realtime_ws::fuzzing::payload, envelope).await
            }
            _ => {
                let socket = service.socket().unwrap();
                connect(&*socket, person, cursor, former, realtime_socketio::fuzzing::list, list).await
            }
        }
    }
}

async fn connect<P: Dispatched>(
    provider: &P,
    person: &Person,
    cursor: Option<String>,
    former: Option<ConnectionId>,
    bytes: fn(&<P::Codec as Codec>::Frame) -> Bytes,
    read: fn(&[u8]) -> Got,
) -> Connection {
    let parts = http::Request::get(format!("/?{}", query(person))).body(()).unwrap().into_parts().0;
    let request = ConnectRequest::new(provider.name(), &parts);
    let rooms: Vec<_> = person.rooms.iter().map(|room| (*room).to_owned()).collect();
    let dispatcher = provider.dispatcher();
    let admitted = dispatcher.admit(&request, &rooms, cursor).await.expect("admitted").with_former(former);
    let (sender, got) = channel(ROOM);
    let sink = futures_util::sink::unfold(sender, move |sender: Sender<Got>, frame: Bytes| async move {
        hand_on(&sender, read(&frame));
        Ok::<_, std::convert::Infallible>(sender)
    });
    Connection { got, _guard: Box::new(dispatcher.connect_sink(admitted, sink, bytes)) }
}

/// Returns the query that names a client.
pub fn query(person: &Person) -> String {
    let user = person.user.map(|user| format!("user={user}"));
    let tenant = person.tenant.map(|tenant| format!("tenant={tenant}"));
    user.into_iter().chain(tenant).collect::<Vec<_>>().join("&")
}

fn block(bytes: &[u8]) -> Got {
    let mut got = None;
    let fed = Blocks::default().feed(bytes, &mut |block| {
        let data = block.data.map_or(Value::Null, |data| serde_json::from_slice(&data).unwrap());
        let name = block.event.unwrap_or("cursor").to_owned();
        got = Some(Got { name, data, cursor: block.id.map(str::to_owned) });
        Ok(())
    });
    fed.unwrap();
    got.unwrap_or(Got { name: "retry".to_owned(), data: Value::Null, cursor: None })
}

fn envelope(bytes: &[u8]) -> Got {
    let mut value: Value = serde_json::from_slice(bytes).unwrap();
    let cursor = value.get("id").map(|id| id.as_str().unwrap().to_owned());
    Got { name: value["type"].as_str().unwrap().to_owned(), data: value["payload"].take(), cursor }
}

fn list(bytes: &[u8]) -> Got {
    let mut value: Value = serde_json::from_slice(bytes).unwrap();
    let cursor = value.get(2).map(|id| id.as_str().unwrap().to_owned());
    Got { name: value[0].as_str().unwrap().to_owned(), data: value[1].take(), cursor }
}
