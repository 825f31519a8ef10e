//! The metrics: what is exported after traffic over every transport, what the documents say, and
//! what the dashboard shows.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use crate::support::{accepted_socket, get, sse_client, start, text_with, websocket, ws_client};
use axum::body::Bytes;
use futures_util::{SinkExt, StreamExt, sink};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};
use realtime_testkit::{DEADLINE, WsClient, eventually, in_time};
use realtime_unified::http::{WireConfig, serve};
use realtime_unified::metrics::BUCKETS;
use realtime_unified::{
    AllowRooms, BoxError, CloseReason, ConnectRequest, Context, Event, HandlerError, Handlers, Identity,
    NotificationService, OfflineEvent, Refusal, Reply, SocketIoConfig, SocketIoProvider, SseConfig, SseProvider,
    Target, WsConfig, WsProvider,
};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

const DOCUMENT: &str = include_str!("../../docs/metrics.md");
const DASHBOARD: &str = include_str!("../../docs/grafana/realtime.json");
const PROVIDERS: [&str; 3] = ["socket", "sse", "ws"];
/// Short, so that there are pongs soon.
const HEARTBEAT: Duration = Duration::from_millis(50);

/// A service, and a recorder of its metrics alone.
struct Observed {
    service: NotificationService,
    address: SocketAddr,
    recorder: PrometheusRecorder,
}

/// The samples of a rendering, by name: the labels of each, and its value.
type Samples = BTreeMap<String, Vec<(BTreeMap<String, String>, f64)>>;

impl Observed {
    async fn start() -> Self {
        let echo = async |_: Context, text: String| Ok::<_, HandlerError>(Reply(text));
        let fail = async |_: Context, ()| Err::<(), _>(HandlerError::new("no", "never"));
        let builder = NotificationService::builder()
            .provider(SseProvider::new(SseConfig::default()))
            .provider(WsProvider::new(WsConfig::default().with_heartbeat(HEARTBEAT)))
            .provider(SocketIoProvider::new(SocketIoConfig::default().with_ping_interval(HEARTBEAT)))
            .authenticator(by_token)
            .room_policy(AllowRooms)
            .on("echo", echo)
            .on("fail", fail)
            .offline_sink(async |_: OfflineEvent| Ok::<_, BoxError>(()));
        let (service, address) = start(builder).await;
        Self::of(service, address)
    }

    fn of(service: NotificationService, address: SocketAddr) -> Self {
        let buckets = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Prefix("realtime_".into()), &BUCKETS);
        Self { service, address, recorder: buckets.unwrap().build_recorder() }
    }

    fn render(&self) -> String {
        metrics::with_local_recorder(&self.recorder, || self.service.record_metrics());
        self.recorder.handle().render()
    }

    /// Returns the sum of the samples with this name and these labels.
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let samples = samples(&self.render());
        let has_all =
            |found: &BTreeMap<_, String>| labels.iter().all(|(key, value)| found.get(*key).is_some_and(|v| v == value));
        samples.get(name).into_iter().flatten().filter(|(found, _)| has_all(found)).map(|(_, value)| value).sum()
    }

    async fn until(&self, name: &str, labels: &[(&str, &str)], least: f64) {
        eventually(format!("{name} {labels:?} ≥ {least}"), || self.value(name, labels) >= least).await;
    }

    /// Sends until an event that is timed was written over each transport, to clients that read.
    async fn send_until_timed(&self) {
        let begun = std::time::Instant::now();
        let is_timed =
            |provider| self.value("realtime_publish_to_write_seconds_count", &[("provider", provider)]) > 0.0;
        while !PROVIDERS.into_iter().all(is_timed) {
            assert!(begun.elapsed() < DEADLINE, "no event was timed");
            for _ in 0..20 {
                self.service.to_user("ann", "note", &1).await.unwrap();
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Identifies the user by `?token=`; nobody is called eve.
async fn by_token(request: ConnectRequest) -> Result<Identity, Refusal> {
    match request.token() {
        Some(name) if name == "eve" => Err(Refusal::unauthorized("not eve")),
        Some(name) => Ok(Identity::user(&*name).with_tenant("acme")),
        None => Ok(Identity::anonymous()),
    }
}

fn samples(text: &str) -> Samples {
    let mut samples = Samples::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.trim_end_matches('}').split_once('{').unwrap_or((series, ""));
        let pair = |label: &str| {
            let (key, value) = label.split_once('=').unwrap();
            (key.to_owned(), value.trim_matches('"').to_owned())
        };
        let labels = labels.split(',').filter(|label| !label.is_empty()).map(pair).collect();
        samples.entry(name.to_owned()).or_default().push((labels, value.parse().unwrap()));
    }
    samples
}

/// Connects clients of ann over every transport, which read and answer for as long as the test
/// runs, and has each metric counted at least once.
async fn traffic(observed: &Observed) {
    let Observed { service, address, .. } = observed;
    let address = *address;
    let ws = ws_client(address, "/ws?token=ann&channel=home").await;
    let mut ws = ws.answer_asks(|_| Some(json!("yes")));
    ws.send("echo", "text").await.unwrap();
    ws.send("fail", &()).await.unwrap();
    ws.send("subscribe", &json!({ "channel": "attic" })).await.unwrap();
    ws.send("unsubscribe", &json!({ "channel": "attic" })).await.unwrap();
    tokio::spawn(async move { while ws.next_event().await.is_ok() {} });
    let mut sse = sse_client(address, "/sse?token=ann").await;
    tokio::spawn(async move { while sse.next().await.is_ok() {} });
    let mut io = accepted_socket(address, "ann", "").await;
    tokio::spawn(async move {
        while let Some(Ok(message)) = io.next().await {
            if message.to_text().is_ok_and(|text| text == "2") {
                io.send(Message::text("3")).await.unwrap();
            }
        }
    });
    for (path, headers) in [("/sse?token=eve", ""), ("/ws?token=eve", crate::support::UPGRADE)] {
        assert!(get(address, path, headers).await.contains("401"));
    }
    resume(address).await;
    publish(service).await;
    let closed = ws_client(address, "/ws?token=cid").await;
    service.close(Target::user("cid"), CloseReason::KICKED).await.unwrap();
    drop(closed);
    observed.send_until_timed().await;
}

/// Presents a cursor that is valid, and one that is not.
async fn resume(address: SocketAddr) {
    let mut socket = websocket(address, "/ws?token=bob").await;
    let welcome: serde_json::Value = serde_json::from_str(&text_with(&mut socket, "{").await).unwrap();
    drop(socket);
    let cursor = welcome["payload"]["cursor"].as_str().unwrap();
    for cursor in [cursor, "no-cursor"] {
        let url = format!("ws://{address}/ws?token=bob&lastEventId={cursor}");
        let mut client = WsClient::new(url).without_reconnect();
        client.next_of("connected").await.unwrap();
    }
}

/// Sends to every kind of target, asks, and repeats an idempotency key.
async fn publish(service: &NotificationService) {
    let event = || Event::json("note", &1).unwrap();
    let connection = service.connections(&Target::user("ann"))["ws"][0].connection;
    for target in [Target::all(), Target::room("home"), Target::tenant("acme"), Target::user("ann")] {
        service.send(target, event()).await.unwrap();
    }
    service.broadcast(&["ws"], Target::connection(connection), event()).await.unwrap();
    let answers = service.ask("ann", Event::json("dinner?", &1).unwrap(), Duration::from_millis(100)).await.unwrap();
    assert_eq!(answers.all().await.len(), 2, "of ws and socket");
    let once = || event().with_idempotency_key("once");
    assert!(!service.send(Target::user("ann"), once()).await.unwrap().repeated());
    assert!(service.send(Target::user("ann"), once()).await.unwrap().repeated());
    let other = Event::json("note", &2).unwrap().with_idempotency_key("once");
    assert_eq!(service.send(Target::user("ann"), other).await.unwrap_err().code(), "key_reused");
}

/// The entry of a metric in the table: its type, and the values of each label; none if they are
/// open.
#[derive(Debug)]
struct Documented {
    kind: String,
    labels: BTreeMap<String, Option<BTreeSet<String>>>,
}

fn documented() -> BTreeMap<String, Documented> {
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| `realtime_"));
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 5, "{row}");
        let documented = Documented { kind: cells[1].to_owned(), labels: labels(cells[2]) };
        (cells[0].trim_matches('`').to_owned(), documented)
    })
    .collect()
}

/// Reads "`provider`, `reason` (closed, slow)".
fn labels(cell: &str) -> BTreeMap<String, Option<BTreeSet<String>>> {
    let mut labels = BTreeMap::new();
    for part in cell.split('`').collect::<Vec<_>>()[1..].chunks(2) {
        let values = part[1].split_once('(').map(|(_, values)| values.split_once(')').unwrap().0);
        let values = values.map(|values| values.split(", ").map(str::to_owned).collect::<BTreeSet<_>>());
        labels.insert(part[0].to_owned(), values.filter(|values| !values.contains("…")));
    }
    labels
}

#[tokio::test]
async fn documented_metrics_are_those_that_are_exported() {
    let observed = Observed::start().await;
    traffic(&observed).await;
    let documented = documented();
    let text = observed.render();
    let kinds: BTreeMap<_, _> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let names = |names: BTreeSet<&str>| names.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let exported = names(kinds.keys().copied().filter(|name| name.starts_with("realtime_")).collect());
    assert_eq!(exported, names(documented.keys().map(String::as_str).collect()));
    for (name, metric) in &documented {
        assert_eq!(kinds[name.as_str()], metric.kind, "{name}");
        assert!(text.contains(&format!("# HELP {name} ")), "{name} is not described");
    }
    for (series, all) in samples(&text) {
        let name = base(&series, &documented);
        let expected = &documented[&name].labels;
        for (labels, _) in all {
            let keys: BTreeSet<_> = labels.keys().filter(|key| *key != "le").collect();
            assert_eq!(keys, expected.keys().collect(), "{series}");
            for (key, value) in &labels {
                let listed = expected.get(key).and_then(Option::as_ref);
                assert!(listed.is_none_or(|listed| listed.contains(value)), "{series} {key}={value}");
            }
        }
    }
}

/// Returns the metric of a series: that of a histogram has another name.
fn base(series: &str, documented: &BTreeMap<String, Documented>) -> String {
    let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| series.strip_suffix(end));
    histogram.filter(|name| documented.get(*name).is_some_and(|m| m.kind == "histogram")).unwrap_or(series).to_owned()
}

#[test]
fn dashboard_shows_the_documented_metrics_and_no_others() {
    let documented = documented();
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let mut shown = BTreeSet::new();
    for expression in targets.map(|target| target["expr"].as_str().unwrap()) {
        for word in expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if word.starts_with("realtime_") {
                let name = base(word, &documented);
                assert!(documented.contains_key(&name), "{word} is not in the table");
                shown.insert(name);
            }
        }
    }
    assert_eq!(shown, documented.keys().cloned().collect(), "the table on the left, without what no panel shows");
}

#[tokio::test]
async fn metrics_count_what_has_happened() {
    let observed = Observed::start().await;
    traffic(&observed).await;
    let ws = ("provider", "ws");
    for (name, labels, expected) in [
        ("realtime_handshakes_refused_total", &[ws, ("reason", "unauthorized")][..], 1.0),
        ("realtime_handshakes_refused_total", &[("provider", "sse"), ("reason", "unauthorized")], 1.0),
        ("realtime_resumes_total", &[ws, ("outcome", "resumed")], 1.0),
        ("realtime_resumes_total", &[ws, ("outcome", "invalid")], 1.0),
        ("realtime_acks_total", &[ws, ("outcome", "answered")], 1.0),
        ("realtime_acks_total", &[("provider", "socket"), ("outcome", "timed_out")], 1.0),
        ("realtime_ack_seconds_count", &[ws], 1.0),
        ("realtime_log_appends_total", &[("outcome", "repeated")], 1.0),
        ("realtime_log_appends_total", &[("outcome", "key_reused")], 1.0),
        ("realtime_log_appends_total", &[("outcome", "refused")], 0.0),
        ("realtime_events_published_total", &[("target", "all")], 1.0),
        ("realtime_events_published_total", &[("target", "connection")], 1.0),
        ("realtime_events_published_total", &[("target", "room")], 1.0),
        ("realtime_events_published_total", &[("target", "tenant")], 1.0),
        ("realtime_backplane_up", &[], 1.0),
        ("realtime_backplane_lag_records", &[], 0.0),
        ("realtime_ready", &[], 1.0),
    ] {
        assert_eq!(observed.value(name, labels), expected, "{name} {labels:?}");
    }
    for (name, labels, least) in [
        ("realtime_connections_closed_total", &[ws, ("reason", "kicked")][..], 1.0),
        ("realtime_handler_seconds_count", &[ws, ("outcome", "ok")], 1.0),
        ("realtime_handler_seconds_count", &[ws, ("outcome", "error")], 1.0),
        ("realtime_inbound_rejected_total", &[ws, ("code", "no")], 1.0),
        ("realtime_room_changes_total", &[ws, ("change", "left")], 1.0),
        ("realtime_heartbeat_seconds_count", &[ws], 1.0),
        ("realtime_heartbeat_seconds_count", &[("provider", "socket")], 1.0),
        ("realtime_log_append_seconds_count", &[], 1.0),
    ] {
        observed.until(name, labels, least).await;
    }
    let counted = |labels: &[(&str, &str)]| observed.value("realtime_publish_to_write_seconds_bucket", labels);
    for provider in PROVIDERS.map(|name| ("provider", name)) {
        assert_eq!(counted(&[provider, ("le", "30")]), counted(&[provider, ("le", "+Inf")]), "{provider:?}");
    }
}

#[tokio::test]
async fn what_is_no_connection_yet_is_counted() {
    let builder = NotificationService::builder().provider(SseProvider::default()).allow_anonymous();
    let service = builder.handshakes_per_second(1).build().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let observed = Observed::of(service.clone(), listener.local_addr().unwrap());
    let config = WireConfig::default().with_pending(1);
    let server = serve(listener, service.router()).with_config(config);
    tokio::spawn(server.with_observer(move |guard| service.observe_listener(guard)).into_future());
    let connect = || TcpStream::connect(observed.address);
    let _idle = (connect().await.unwrap(), connect().await.unwrap());
    observed.until("realtime_listener_ended_total", &[("reason", "pending_limit")], 1.0).await;
    observed.until("realtime_listener_connections", &[], 1.0).await;
    observed.until("realtime_listener_pending", &[], 1.0).await;
    let refused = async { while !get(observed.address, "/sse", "").await.contains(" 429 ") {} };
    in_time("a refusal", refused).await;
    assert!(observed.value("realtime_handshakes_limited_total", &[("limit", "node")]) >= 1.0);
    assert_eq!(observed.value("realtime_handshakes_limited_total", &[("limit", "address")]), 0.0);
    observed.until("realtime_handshakes_refused_total", &[("reason", "handshake_rate")], 1.0).await;
}

/// The time begins with the send, whenever the connection can take the event.
#[tokio::test]
async fn time_to_write_includes_the_wait_for_the_socket() {
    let observed = Observed::start().await;
    let (open, closed) = tokio::sync::watch::channel(false);
    let sink = sink::unfold(closed, async |mut open, _: Bytes| {
        let _ = open.wait_for(|open| *open).await;
        Ok::<_, Infallible>(open)
    });
    let _link = observed.service.ws().unwrap().connect(Identity::user("ann"), sink).unwrap();
    eventually("the connection is live", || observed.service.stats()["ws"].behind == 0).await;
    let begun = std::time::Instant::now();
    // Fewer than an outbox has room for, and enough that some are timed.
    for _ in 0..200 {
        observed.service.to_user("ann", "note", &1).await.unwrap();
    }
    let sent = std::time::Instant::now();
    let wait = Duration::from_millis(100);
    eventually("some time has passed", || sent.elapsed() >= wait).await;
    let written = || observed.service.stats()["ws"].timings.written.clone();
    assert_eq!(written().count(), 0, "nothing is written yet");
    open.send(true).unwrap();
    eventually("an event that is timed was written", || written().count() > 0).await;
    let mean = written().sum() / u32::try_from(written().count()).unwrap();
    assert!(mean >= wait && mean <= begun.elapsed(), "{mean:?}");
}

#[tokio::test]
async fn times_are_exported_once() {
    let observed = Observed::start().await;
    let mut client = ws_client(observed.address, "/ws?token=ann").await;
    client.send("echo", "text").await.unwrap();
    in_time("an answer", async {
        while observed.value("realtime_handler_seconds_count", &[]) == 0.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(observed.value("realtime_handler_seconds_count", &[]), 1.0, "however often it is rendered");
}
