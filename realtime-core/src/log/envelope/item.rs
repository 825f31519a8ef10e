//! The items of a report in a record's header.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::log::envelope::shape::Shape;
use crate::log::report::{Item, Settled};
use crate::values::ack::AckStatus;
use crate::values::connection::ConnectionId;
use crate::values::event::Payload;

/// One item of a report; the payload of an outcome is among the bytes after the header.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ItemHeader {
    Expected {
        connection: ConnectionId,
        provider: Arc<str>,
    },
    Settled {
        connection: ConnectionId,
        provider: Arc<str>,
        status: AckStatus,
        elapsed: Duration,
        /// The length of the payload, attachments included.
        size: u32,
        #[serde(default, skip_serializing_if = "Shape::is_json")]
        shape: Shape,
    },
    Closed(u64),
    End,
}

/// Returns the header of an item, and adds its payload to those that follow the headers.
pub(super) fn item_header(item: &Item, payloads: &mut Vec<Payload>) -> ItemHeader {
    match item {
        Item::Expected { connection, provider } => {
            ItemHeader::Expected { connection: *connection, provider: Arc::clone(provider) }
        }
        Item::Settled(settled) => {
            let Settled { connection, status, elapsed, .. } = *settled;
            let payload = Payload::from(settled.payload.clone());
            let (size, shape) = (payload.size() as u32, Shape::of(&payload));
            payloads.push(payload);
            ItemHeader::Settled { connection, provider: Arc::clone(&settled.provider), status, elapsed, size, shape }
        }
        Item::Closed(count) => ItemHeader::Closed(*count),
        Item::End => ItemHeader::End,
    }
}

/// Reads an item; takes its payload from the front of the bytes. `None` when its lengths do
/// not fit.
pub(super) fn read_item(header: ItemHeader, payloads: &mut Bytes) -> Option<Item> {
    Some(match header {
        ItemHeader::Expected { connection, provider } => Item::Expected { connection, provider },
        ItemHeader::Settled { connection, provider, status, elapsed, size, shape } => {
            if size as usize > payloads.len() {
                return None;
            }
            let payload = shape.read(&payloads.split_to(size as usize))?;
            Item::Settled(Settled { connection, provider, status, elapsed, payload: payload.into() })
        }
        ItemHeader::Closed(count) => Item::Closed(count),
        ItemHeader::End => Item::End,
    })
}
