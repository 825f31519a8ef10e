//! `GuardedListener` under `axum::serve`.

use std::sync::Arc;

use crate::support::{Report, STALL, ask, config, connect, drain, head, in_time, response, router};
use realtime_http::{Guard, GuardedListener, WireInfo};
use realtime_testkit::{TestServer, eventually};
use tokio::sync::mpsc;

async fn axum_serve() -> (TestServer, Guard, mpsc::Receiver<Report>) {
    let (router, reports) = router();
    let mut guard = None;
    let server = TestServer::run(|listener| {
        let listener = GuardedListener::new(listener, config());
        guard = Some(listener.guard().clone());
        axum::serve(listener, router.into_make_service_with_connect_info::<WireInfo>())
    })
    .await;
    (server, guard.unwrap(), reports)
}

#[tokio::test]
async fn handlers_find_their_wire() {
    let (server, _, mut reports) = axum_serve().await;
    let mut client = connect(server.address()).await;
    ask(&mut client, "/peer").await;
    assert_eq!(response(&mut client).await.1, client.local_addr().unwrap().to_string());
    ask(&mut client, "/wire").await;
    response(&mut client).await;
    let Some(Report::Wire(wire)) = reports.recv().await else { panic!("expected a wire") };

    wire.kill();

    assert_eq!(drain(&mut client).await, 0);
    eventually("the stream is closed", || wire.closed()).await;
    assert_eq!(Arc::strong_count(&wire), 1);
}

#[tokio::test]
async fn client_that_stops_reading_is_reset() {
    let (server, guard, mut reports) = axum_serve().await;
    let mut stuck = connect(server.address()).await;
    ask(&mut stuck, "/flood").await;
    head(&mut stuck).await;

    let report = in_time("the drop of the body", reports.recv()).await;

    let Some(Report::BodyDropped(age)) = report else { panic!("expected the drop of a body") };
    assert!(age >= STALL, "{age:?}");
    assert_eq!(guard.stalls(), 1);
}
