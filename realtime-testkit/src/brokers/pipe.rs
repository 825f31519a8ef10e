//! The pipe between nodes.

use std::time::Duration;

use futures_core::stream::BoxStream;
use futures_util::StreamExt;
use realtime_core::NodeId;
use realtime_core::spi::{Backplane, Stored};

use super::{BrokerUnderTest, connect};
use crate::in_time;
use crate::steps::{record, text_of};

/// A subscription outlives the server that it was made at.
pub async fn pipe_subscribes_again_after_its_connection_broke<B: BrokerUnderTest>() {
    let mut server = B::start().await;
    let log = connect(&server).await;
    let mut pipe = log.subscribe(NodeId::random()).await.expect("a subscription");
    until_heard(&log, &mut pipe, "before").await;
    server.kill();
    server.restart().await;
    until_heard(&log, &mut pipe, "after the restart").await;
}

/// Publishes this text until the subscriber hears it, which is then from after this call.
///
/// # Panics
/// If that takes longer than [`DEADLINE`](crate::DEADLINE).
pub async fn until_heard(log: &dyn Backplane, pipe: &mut BoxStream<'static, Stored>, text: &str) {
    let heard = async {
        loop {
            let _ = log.publish(record(text), None).await;
            if let Ok(Some(heard)) = tokio::time::timeout(Duration::from_millis(50), pipe.next()).await
                && text_of(&heard) == text
            {
                return;
            }
        }
    };
    in_time("a message", heard).await;
}
