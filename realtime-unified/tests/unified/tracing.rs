//! Spans and events: everything done for a connection is in the connection's span, and a send and
//! its delivery name the event.

use std::sync::Arc;

use crate::support::Collector;
use futures_util::sink;
use realtime_unified::{Context, Handlers, Identity, Inbound, NotificationService, WsConfig, WsProvider};

#[tokio::test(flavor = "current_thread")]
async fn logs_name_the_connection_and_the_event() {
    let (collector, _guard) = Collector::install();
    let provider = Arc::new(WsProvider::new(WsConfig::default()).on("panic", async |_: Context, (): ()| {
        assert!(std::hint::black_box(false), "on purpose");
    }));
    let service =
        NotificationService::builder().custom(Arc::clone(&provider) as _).allow_anonymous().build().await.unwrap();
    let link = provider.connect(Identity::user("ann"), sink::drain()).unwrap();
    let receipt = service.broadcast_to_user("ws", "ann", "secret:event", &"secret payload").await.unwrap();
    link.receive(Inbound::new("panic", "null"));
    realtime_testkit::eventually("a panic", || service.stats()["ws"].panics > 0).await;

    let spans = collector.spans();
    let connection = format!("connection provider=\"ws\" connection={} user=\"ann\"", link.id());
    assert!(spans.iter().any(|span| span.trim() == connection), "{spans:?}");
    let applied = collector.lines(&["applied", &format!("event={}", receipt.id)]);
    assert!(applied.first().is_some_and(|line| line.fields.contains("position=1")), "{applied:?}");
    let panicked = collector.lines(&["the handler panicked"]);
    assert!(panicked.first().is_some_and(|line| line.spans[0].trim() == connection), "{panicked:?}");
    assert!(collector.lines(&["secret payload"]).is_empty(), "no payload in the log");
}
