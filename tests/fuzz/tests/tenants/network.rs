//! Clients over TCP, with the parsers of `realtime-wire`.

use std::sync::{Arc, Mutex};

use realtime_wire::{ConnectOptions, Connection as Protocol, ServerMessage, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::sync::mpsc::{Sender, channel};
use tokio::task::JoinSet;

use crate::sinks::query;
use crate::world::{Arrival, Connection, Door, Got, ROOM, hand_on};

/// The way over the network.
pub struct Network;

impl Door for Network {
    fn providers(&self) -> &'static [&'static str] {
        &["socket", "socket", "sse", "ws"]
    }

    async fn connect(&mut self, arrival: Arrival<'_>) -> Connection {
        let Arrival { node, transport, person, cursor, former } = arrival;
        let rooms = person.rooms.iter().map(|room| (*room).to_owned()).collect();
        let former = former.map(|former| format!("connectionId={former}"));
        let query = [Some(query(person)).filter(|query| !query.is_empty()), former];
        let query = query.into_iter().flatten().collect::<Vec<_>>().join("&");
        let options = ConnectOptions { query, rooms, cursor, cursor_in_header: false };
        let protocol = Protocol::new(Transport::ALL[transport], &options);
        let (lanes, protocol) = (protocol.lanes(), Arc::new(Mutex::new(protocol)));
        let (sender, got) = channel(ROOM);
        let mut tasks = JoinSet::new();
        let (mut writers, changed) = (Vec::new(), Arc::new(Notify::new()));
        for lane in 0..lanes {
            let stream = TcpStream::connect(node.address.expect("served")).await.unwrap();
            let (mut reader, writer) = stream.into_split();
            writers.push(writer);
            let (protocol, changed, sender) = (Arc::clone(&protocol), Arc::clone(&changed), sender.clone());
            tasks.spawn(async move {
                let mut buffer = vec![0; 16 * 1024];
                while let Ok(read @ 1..) = reader.read(&mut buffer).await {
                    feed(&protocol, lane, &buffer[..read], &sender);
                    changed.notify_one();
                }
            });
        }
        tasks.spawn(async move {
            loop {
                for (lane, writer) in writers.iter_mut().enumerate() {
                    let bytes = std::mem::take(protocol.lock().unwrap().outgoing(lane));
                    if !bytes.is_empty() && writer.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                changed.notified().await;
            }
        });
        Connection { got, _guard: Box::new(tasks) }
    }
}

fn feed(protocol: &Mutex<Protocol>, lane: usize, bytes: &[u8], sender: &Sender<Got>) {
    let fed = protocol.lock().unwrap().feed(lane, bytes, &mut |received| {
        let got = match received.parse()? {
            ServerMessage::Cursor(cursor) => {
                Got { name: "cursor".to_owned(), data: serde_json::Value::Null, cursor: Some(cursor) }
            }
            ServerMessage::Event { name, data, cursor, .. } => Got { name, data, cursor },
            ServerMessage::Refused(reason) => panic!("refused: {reason}"),
            ServerMessage::Close | ServerMessage::Reply { .. } => return Ok(()),
        };
        hand_on(sender, got);
        Ok(())
    });
    fed.expect("the server keeps to the protocol");
}
