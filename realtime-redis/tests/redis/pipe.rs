use realtime_core::NodeId;
use realtime_core::spi::Backplane;
use realtime_testkit::brokers::BrokerUnderTest;
use realtime_testkit::brokers::pipe::until_heard;

use crate::server::Server;
use crate::support::connect;

realtime_testkit::broker_tests!(Server; pipe);

#[tokio::test]
async fn pipe_subscribes_again_after_it_was_cut() {
    let server = Server::start().await;
    let log = connect(&server).await;
    let mut pipe = log.subscribe(NodeId::random()).await.unwrap();
    until_heard(&log, &mut pipe, "before").await;
    server.command("CLIENT KILL TYPE pubsub").await;
    until_heard(&log, &mut pipe, "after the cut").await;
}
