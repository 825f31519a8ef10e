use std::time::Duration;

use futures_util::StreamExt;
use realtime_core::NodeId;
use realtime_core::spi::Backplane;
use realtime_testkit::in_time;

use crate::server::Server;
use crate::support::{connect, record};

/// Publishes until the subscriber hears something that was published after this call.
async fn until_heard(
    log: &realtime_nats::NatsBackplane,
    pipe: &mut futures_util::stream::BoxStream<'static, realtime_core::spi::Stored>,
    text: &str,
) {
    let heard = async {
        loop {
            let _ = log.publish(record(text), None).await;
            if let Ok(Some(heard)) = tokio::time::timeout(Duration::from_millis(50), pipe.next()).await
                && heard.decode().is_ok_and(|heard| heard.event().unwrap().1.payload().bytes() == text.as_bytes())
            {
                return;
            }
        }
    };
    in_time("a message", heard).await;
}

#[tokio::test]
async fn pipe_subscribes_again_after_its_connection_broke() {
    let mut server = Server::start().await;
    let log = connect(&server).await;
    let mut pipe = log.subscribe(NodeId::random()).await.unwrap();
    until_heard(&log, &mut pipe, "before").await;
    server.kill();
    server.restart().await;
    until_heard(&log, &mut pipe, "after the restart").await;
}
