//! The targets, one file each.

mod cursor;
#[cfg(feature = "stores")]
mod disk;
mod events;
mod http_request;
mod json;
mod record;
mod socketio_frames;
mod socketio_packet;
mod socketio_query;
#[cfg(feature = "stores")]
mod stores;
mod ws_envelope;
mod ws_frames;

/// One fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name, also that of its corpus.
    pub name: &'static str,
    /// Runs it over one input; panics when something does not hold.
    pub run: fn(&[u8]),
}

/// All targets, by name.
pub const TARGETS: &[Target] = &[
    Target { name: "cursor", run: cursor::run },
    #[cfg(feature = "stores")]
    Target { name: "disk", run: disk::run },
    Target { name: "events", run: events::run },
    Target { name: "http_request", run: http_request::run },
    Target { name: "json", run: json::run },
    Target { name: "record", run: record::run },
    Target { name: "socketio_frames", run: socketio_frames::run },
    Target { name: "socketio_packet", run: socketio_packet::run },
    Target { name: "socketio_query", run: socketio_query::run },
    #[cfg(feature = "stores")]
    Target { name: "stores", run: stores::run },
    Target { name: "ws_envelope", run: ws_envelope::run },
    Target { name: "ws_frames", run: ws_frames::run },
];

/// Returns the nesting of arrays and objects in a value.
fn depth(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        serde_json::Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
