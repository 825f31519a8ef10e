//! The metrics of what comes to a node before it is a provider's.

use realtime_http::ListenerStats;

use crate::metrics::writer::Writer;

/// Records the handshakes that a rate refused, by the rate.
pub(super) fn handshakes(writer: &mut Writer<'_>, refused: [(&'static str, u64); 2]) {
    writer.counters(
        "realtime_handshakes_limited_total",
        "Handshakes refused for their rate, by the limit: of an address, or of the node.",
        "limit",
        refused,
    );
}

/// Records the connections of the listeners.
pub(super) fn listeners(writer: &mut Writer<'_>, stats: &ListenerStats) {
    writer.gauge("realtime_listener_connections", "Open TCP connections, of whatever requests.", stats.open as f64);
    writer.gauge(
        "realtime_listener_pending",
        "Open TCP connections that have sent no whole request yet.",
        stats.pending as f64,
    );
    writer.gauge("realtime_listener_idle", "Open HTTP/2 connections between two requests.", stats.idle as f64);
    writer.counter(
        "realtime_listener_delayed_total",
        "TCP connections that waited for their turn to be accepted.",
        stats.delayed,
    );
    writer.counters(
        "realtime_listener_ended_total",
        "TCP connections, and request bodies, that the listener ended, by reason.",
        "reason",
        stats.ended.iter().map(|(reason, count)| (*reason, *count)),
    );
}
