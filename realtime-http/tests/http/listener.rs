//! `GuardedListener` under `axum::serve`.

use std::sync::Arc;

use crate::support::{STALL, ask, config, connect, drain, head, response, router, soon};
use realtime_http::{Guard, GuardedListener, WireConfig, WireInfo};
use tokio::{net::TcpListener, sync::mpsc};

async fn axum_serve(config: WireConfig) -> (std::net::SocketAddr, Guard, mpsc::Receiver<crate::support::Told>) {
    let (router, told) = router();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let listener = GuardedListener::new(tcp, config);
    let guard = listener.guard().clone();
    let routes = router.into_make_service_with_connect_info::<WireInfo>();
    tokio::spawn(axum::serve(listener, routes).into_future());
    (address, guard, told)
}

#[tokio::test]
async fn handlers_find_their_wire() {
    let (address, _, mut told) = axum_serve(config()).await;
    let mut client = connect(address).await;
    ask(&mut client, "/peer").await;
    assert_eq!(response(&mut client).await.1, client.local_addr().unwrap().to_string());
    ask(&mut client, "/wire").await;
    response(&mut client).await;
    let Some(crate::support::Told::Wire(wire)) = told.recv().await else { panic!("no wire") };

    wire.kill();

    assert_eq!(drain(&mut client).await, 0);
    soon("the end of the stream", async {
        while !wire.closed() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(Arc::strong_count(&wire), 1);
}

#[tokio::test]
async fn client_that_stops_reading_is_cut() {
    let (address, guard, mut told) = axum_serve(config()).await;
    let mut stuck = connect(address).await;
    ask(&mut stuck, "/flood").await;
    head(&mut stuck).await;

    let Some(crate::support::Told::BodyDropped(life)) = soon("the cut", told.recv()).await else { panic!("no body") };

    assert!(life >= STALL, "{life:?}");
    assert_eq!(guard.stalls(), 1);
}
