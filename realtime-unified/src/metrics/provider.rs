//! The metrics of one provider.

use std::time::Duration;

use realtime_core::Stats;

use crate::metrics::seconds::in_seconds;
use crate::metrics::writer::Writer;

pub(super) fn record(writer: &mut Writer<'_>, stats: &Stats) {
    connections(writer, stats);
    outboxes(writer, stats);
    deliveries(writer, stats);
    inbound(writer, stats);
    window(writer, stats);
}

fn connections(writer: &mut Writer<'_>, stats: &Stats) {
    writer.gauge("realtime_connections", "Open connections.", stats.connections as f64);
    writer.gauge("realtime_users", "Users with a connection.", stats.users as f64);
    writer.gauge("realtime_rooms", "Rooms with a connected member.", stats.rooms as f64);
    writer.counters(
        "realtime_room_changes_total",
        "Times that a connection entered a room or left it.",
        "change",
        [("entered", stats.rooms_entered), ("left", stats.rooms_left)],
    );
    writer.gauge(
        "realtime_connections_behind",
        "Connections that read the window instead of being live.",
        stats.behind as f64,
    );
    writer.counter("realtime_connections_opened_total", "Connections accepted.", stats.connected);
    writer.counters("realtime_connections_closed_total", "Connections closed, by reason.", "reason", closes(stats));
    writer.counters(
        "realtime_handshakes_refused_total",
        "Connections refused, by reason.",
        "reason",
        stats.refused.iter().map(|(reason, count)| (reason.as_str(), *count)),
    );
    writer.counters(
        "realtime_resumes_total",
        "Cursors that clients presented, by what they led to.",
        "outcome",
        stats.resumes.iter().map(|(outcome, count)| (outcome.as_str(), *count)),
    );
    writer.histogram("realtime_heartbeat_seconds", "Time from a ping to its pong.", &stats.timings.round_trips);
    writer.counter(
        "realtime_decisions_overdue_total",
        "Authenticators and room policies that did not answer in time.",
        stats.overdue,
    );
    writer.counter(
        "realtime_panics_total",
        "Handlers, hooks, authenticators and room policies that panicked.",
        stats.panics,
    );
}

fn outboxes(writer: &mut Writer<'_>, stats: &Stats) {
    writer.gauge("realtime_outbox_events", "Events that wait in all outboxes.", stats.queued_events as f64);
    writer.gauge("realtime_outbox_bytes", "Bytes that wait in all outboxes.", stats.queued_bytes as f64);
    writer.gauge(
        "realtime_outbox_wait_seconds",
        "Longest time that something has waited in an outbox without a take.",
        in_seconds(Duration::from_millis(stats.waiting_ms)),
    );
    writer.counter(
        "realtime_outbox_overflows_total",
        "Times that a full outbox put its connection behind.",
        stats.overflows,
    );
}

fn deliveries(writer: &mut Writer<'_>, stats: &Stats) {
    writer.counter("realtime_deliveries_total", "Events, replies and acks handed to connections.", stats.events_out);
    writer.counter("realtime_delivered_bytes_total", "Bytes of the frames handed to connections.", stats.bytes_out);
    let slow = stats.dropped.saturating_sub(stats.dropped_closed);
    writer.counters(
        "realtime_deliveries_dropped_total",
        "Deliveries that will not happen, by reason.",
        "reason",
        [("closed", stats.dropped_closed), ("slow", slow)],
    );
    writer.counter(
        "realtime_deliveries_superseded_total",
        "Events left out because a newer one of their series was there.",
        stats.superseded,
    );
    writer.counter(
        "realtime_lost_total",
        "Times that a client was notified that its position had left the window.",
        stats.lost,
    );
    writer.histogram(
        "realtime_publish_to_write_seconds",
        "Time from a send here, or from an arrival from another node, to the write; of one event in eight.",
        &stats.timings.written,
    );
}

fn inbound(writer: &mut Writer<'_>, stats: &Stats) {
    writer.counter("realtime_inbound_events_total", "Events and answers from clients.", stats.events_in);
    writer.counter("realtime_inbound_bytes_total", "Bytes of events and answers from clients.", stats.bytes_in);
    writer.counters(
        "realtime_inbound_rejected_total",
        "Messages from clients that were answered with an error, by its code.",
        "code",
        stats.rejected.iter().map(|(code, count)| (code.as_str(), *count)),
    );
    for (by, kinds) in [("connection", &stats.throttled_kinds), ("tenant", &stats.throttled_by_tenant_kinds)] {
        writer.labelled("by", by).counters(
            "realtime_inbound_throttled_total",
            "Times that reading from a client was held back, by whose rate and by what was read last.",
            "kind",
            kinds.iter().map(|(kind, count)| (kind.as_str(), *count)),
        );
    }
    writer.gauge(
        "realtime_inbound_throttled_connections",
        "Connections from which reading is held back.",
        stats.throttled_now as f64,
    );
    writer.counter(
        "realtime_inbound_unhandled_total",
        "Events from clients that no handler started on, because their connection ended.",
        stats.unhandled,
    );
    writer.histograms(
        "realtime_handler_seconds",
        "Time that handlers took, by outcome.",
        "outcome",
        stats.timings.handlers.iter().map(|(outcome, times)| (*outcome, times)),
    );
    writer.gauge(
        "realtime_handlers_lingering",
        "Handlers that still run, or have something to handle, for closed connections.",
        stats.lingering as f64,
    );
    writer.gauge(
        "realtime_handlers_waiting",
        "Connections whose events wait for a handler slot.",
        stats.waiting_handlers as f64,
    );
    writer.gauge(
        "realtime_hooks_lingering",
        "Closed connections that still have hooks to run.",
        stats.lingering_hooks as f64,
    );
}

fn window(writer: &mut Writer<'_>, stats: &Stats) {
    writer.gauge("realtime_window_records", "Records in this node's window.", stats.window_records as f64);
    writer.gauge("realtime_window_bytes", "Bytes in this node's window.", stats.window_bytes as f64);
    writer.gauge(
        "realtime_window_age_seconds",
        "Time since the window's oldest record was applied here; 0 without one.",
        in_seconds(Duration::from_millis(stats.window_ms)),
    );
    writer.counter(
        "realtime_log_records_skipped_total",
        "Records of the log that could not be read.",
        stats.skipped_records,
    );
}

/// Returns the closes by the names of their codes; those of the application's own are one.
fn closes(stats: &Stats) -> impl Iterator<Item = (&'static str, u64)> {
    let mut reasons = std::collections::BTreeMap::<_, u64>::new();
    for (code, count) in &stats.closed {
        *reasons.entry(reason(*code)).or_default() += count;
    }
    if stats.rate_limited > 0 {
        // They have the code of a policy's too.
        let of_policies = reasons.entry("policy").or_default();
        *of_policies = of_policies.saturating_sub(stats.rate_limited);
        reasons.insert("rate_limited", stats.rate_limited);
    }
    reasons.into_iter()
}

/// Returns the name of a close code.
fn reason(code: u16) -> &'static str {
    match code {
        1000 => "normal",
        1001 => "going_away",
        1002 => "protocol_error",
        1006 => "connection_lost",
        1007 => "invalid_utf8",
        1008 => "policy",
        1009 => "too_large",
        1011 => "internal",
        1012 => "restart",
        1013 => "overloaded",
        4000 => "kicked",
        4001 => "expired",
        4002 => "heartbeat",
        4003 => "write_stall",
        4004 => "revoked",
        4005..=4999 => "application",
        _ => "other",
    }
}
