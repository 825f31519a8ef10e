//! The metrics of the log and of a node's sends.

use std::time::Duration;

use realtime_core::{LogStats, OfflineStats};

use crate::metrics::seconds::in_seconds;
use crate::metrics::writer::Writer;

pub(super) fn record(writer: &mut Writer<'_>, stats: &LogStats, probe: Option<Duration>) {
    sends(writer, stats);
    health(writer, stats, probe);
    acks(writer, stats);
    stats.offline.iter().for_each(|stats| offline(writer, stats));
}

fn sends(writer: &mut Writer<'_>, stats: &LogStats) {
    writer.counters(
        "realtime_events_published_total",
        "Events and asks sent on this node, by the kind of their target.",
        "target",
        stats.published.iter().map(|(target, count)| (*target, *count)),
    );
    writer.counters(
        "realtime_log_appends_total",
        "Appends of this node to the log, by outcome.",
        "outcome",
        stats.appends.iter().map(|(outcome, count)| (*outcome, *count)),
    );
    writer.histogram(
        "realtime_log_append_seconds",
        "Time of an append until this node has applied the record; one in eight is measured.",
        &stats.append_times,
    );
}

fn health(writer: &mut Writer<'_>, stats: &LogStats, probe: Option<Duration>) {
    writer.gauge(
        "realtime_backplane_up",
        "1 while the log is read and can be written, else 0.",
        f64::from(u8::from(stats.up)),
    );
    if let Some(lag) = stats.lag {
        writer.gauge(
            "realtime_backplane_lag_records",
            "Records of the log that this node has not applied, as of at most a second ago.",
            lag as f64,
        );
    }
    if let Some(probe) = probe {
        writer.gauge(
            "realtime_backplane_probe_seconds",
            "Time of the last write to the log that was read back.",
            in_seconds(probe),
        );
    }
    let Some(size) = stats.size else { return };
    writer.gauge("realtime_log_records", "Records that the log holds.", size.records as f64);
    writer.gauge("realtime_log_bytes", "Bytes of the records that the log holds.", size.bytes as f64);
    writer.gauge(
        "realtime_log_age_seconds",
        "Age of the oldest record that the log holds; 0 without one.",
        in_seconds(size.age.unwrap_or_default()),
    );
}

fn acks(writer: &mut Writer<'_>, stats: &LogStats) {
    for (provider, acks) in &stats.acks {
        let mut writer = writer.of_provider(provider);
        writer.counters(
            "realtime_acks_total",
            "Connections that were asked from this node, by outcome.",
            "outcome",
            acks.outcomes.iter().map(|(outcome, count)| (*outcome, *count)),
        );
        writer.histogram(
            "realtime_ack_seconds",
            "Time from an ask's delivery to a connection to its answer.",
            &acks.times,
        );
    }
}

fn offline(writer: &mut Writer<'_>, stats: &OfflineStats) {
    writer.counters(
        "realtime_offline_calls_total",
        "Calls of the offline sink on this node, by outcome; given_up counts events, the others attempts.",
        "outcome",
        stats.calls.iter().map(|(outcome, count)| (*outcome, *count)),
    );
    writer.counter(
        "realtime_offline_unknown_total",
        "Records that had left the log before it was decided whether their users were offline.",
        stats.unknown,
    );
    writer.gauge(
        "realtime_offline_working",
        "1 on the node that decides who is offline, else 0.",
        f64::from(u8::from(stats.works)),
    );
    writer.gauge(
        "realtime_offline_lag_seconds",
        "Time by which the oldest undecided record is overdue; 0 on nodes that do not decide.",
        in_seconds(stats.lag),
    );
}
