use realtime_nats::{NatsBackplane, NatsConfig};
use realtime_testkit::in_time;

use crate::server::Server;

pub(crate) async fn connect(server: &Server) -> NatsBackplane {
    connect_with(server, NatsConfig::default()).await
}

pub(crate) async fn connect_with(server: &Server, config: NatsConfig) -> NatsBackplane {
    in_time("a connection", NatsBackplane::connect(&server.url(), config)).await.expect("a backplane")
}

/// Returns the name of the only stream that has records.
pub(crate) async fn log_stream(server: &Server) -> String {
    let mut logs: Vec<_> = server.streams().await.into_iter().filter(|name| name.contains("_log_")).collect();
    assert_eq!(logs.len(), 1, "{logs:?}");
    logs.remove(0)
}
