use std::time::Duration;

use realtime_core::{CloseReason, ConnectionId, Drain, Error, Target};

use crate::conformance::fixture::{Fixture, Peer, note, runtime};
use crate::conformance::{HookCall, ProviderUnderTest, Setup, Visitor};
use crate::{eventually, in_time};

/// Asserts that both hooks ran for the connect and the close, in order and once each.
fn assert_hooks(calls: &[HookCall], id: ConnectionId, reason: &CloseReason) {
    let got: Vec<_> = calls.iter().map(|call| (call.hook, call.connection, call.ended.clone())).collect();
    let ended = Some(reason.clone());
    let expected = [("first", id, None), ("second", id, None), ("first", id, ended.clone()), ("second", id, ended)];
    assert_eq!(got, expected);
}

/// Asserts that the client was closed with this code, if the transport has codes.
fn assert_code(ended: &crate::conformance::Ended, reason: &CloseReason) {
    assert!(ended.code.is_none_or(|code| code == reason.code()), "{ended:?} for {reason}");
}

/// Asserts that a client is closed for this reason, and both hooks run for it.
async fn assert_closed<P: ProviderUnderTest>(fixture: &Fixture<P>, peer: &mut Peer<P::Client>, reason: &CloseReason) {
    assert_code(&peer.ended().await, reason);
    assert_hooks(&in_time("the hooks", fixture.hooks.wait_of(peer.id, 4)).await, peer.id, reason);
}

/// Asserts that events, volatile events and joins fail with an error of this kind.
async fn assert_sends_fail<P: ProviderUnderTest>(fixture: &Fixture<P>, is_expected: impl Fn(&Error) -> bool) {
    for event in [note("1"), note("1").as_volatile()] {
        let sent = fixture.broadcast().to_all(event).await;
        assert!(sent.as_ref().is_err_and(&is_expected), "{sent:?}");
    }
    if let Some(rooms) = fixture.provider.rooms() {
        let joined = rooms.join_room("ann", "r").await;
        assert!(joined.as_ref().is_err_and(&is_expected), "{joined:?}");
    }
}

/// One connection is closed with its reason; the user's other one stays.
pub async fn close_one_connection<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default()).await;
    let mut one = fixture.connect(Visitor::user("ann")).await;
    let mut two = fixture.connect(Visitor::user("ann")).await;
    fixture.note(Target::user("ann"), "1").await;
    let reason = CloseReason::new(4321, "enough", false);
    let closed = fixture.provider.close(Target::connection(one.id), reason.clone()).await.expect("closed");
    assert_eq!(closed, 1);
    assert_closed(&fixture, &mut one, &reason).await;
    assert_eq!(fixture.labels(&mut two).await, ["1"]);
    assert_eq!(fixture.provider.stats().connections, 1);
    assert_eq!(fixture.hooks.of(one.id).len(), 4, "once each");
    assert_eq!(in_time("the hooks", fixture.hooks.wait_of(two.id, 2)).await.len(), 2);
    let closed = fixture.provider.close(Target::connection(ConnectionId::random()), reason).await.expect("closed");
    assert_eq!(closed, 0);
}

/// All connections of a user are closed, and no others.
pub async fn close_user<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default()).await;
    let mut one = fixture.connect(Visitor::user("ann").with_tenant("acme")).await;
    let mut two = fixture.connect(Visitor::user("ann")).await;
    let mut bob = fixture.connect(Visitor::user("bob").with_tenant("acme")).await;
    let closed = fixture.provider.close(Target::user("ann"), CloseReason::KICKED).await.expect("closed");
    assert_eq!(closed, 2);
    for peer in [&mut one, &mut two] {
        assert_closed(&fixture, peer, &CloseReason::KICKED).await;
    }
    assert!(fixture.labels(&mut bob).await.is_empty());
    let receipt = fixture.note(Target::user("ann"), "unmatched").await;
    assert_eq!(receipt.delivered.map(|delivered| delivered.matched), Some(0));
    let mut back = fixture.connect(Visitor::user("ann")).await;
    assert!(fixture.labels(&mut back).await.is_empty(), "a reconnect is accepted");
}

/// All connections are closed; earlier events still arrive.
pub async fn close_all<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default()).await;
    let mut peers = Vec::new();
    for n in 0..5 {
        let mut peer = fixture.connect(Visitor::user(&format!("user {n}"))).await;
        assert_eq!(fixture.labels(&mut peer).await.len(), 0);
        peers.push(peer);
    }
    let mark = fixture.mark().await;
    let closed = fixture.provider.close(Target::all(), CloseReason::RESTART).await.expect("closed");
    assert_eq!(closed, 5);
    for peer in &mut peers {
        let labels = peer.labels_until(&mark).await;
        assert!(labels.iter().all(|label| label.starts_with("mark")), "{labels:?}");
        assert_closed(&fixture, peer, &CloseReason::RESTART).await;
    }
    eventually("no connection", || fixture.provider.stats().connections == 0).await;
}

/// A client that disconnects abruptly runs the hooks and leaves nothing behind.
pub async fn disconnect_by_the_client_runs_the_hooks<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default()).await;
    let peer = fixture.connect(Visitor::user("ann")).await;
    let id = peer.id;
    drop(peer);
    let calls = in_time("the hooks", fixture.hooks.wait_of(id, 4)).await;
    let reason = calls[2].ended.clone().expect("a reason");
    assert!([1000, 1001, 1005, 1006].contains(&reason.code()), "{reason}");
    assert_hooks(&calls, id, &reason);
    assert!(calls.iter().all(|call| call.user.as_deref() == Some("ann")));
    let stats = fixture.provider.stats();
    assert_eq!((stats.connections, stats.users, stats.rooms, stats.connected), (0, 0, 0, 1));
}

/// A connection closes when its identity expires.
pub async fn connection_closes_when_its_identity_expires<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default()).await;
    let mut brief = fixture.connect(Visitor::user("ann").with_lifetime(Duration::from_millis(200))).await;
    let mut long = fixture.connect(Visitor::user("ann").with_lifetime(Duration::from_secs(3_600))).await;
    assert_closed(&fixture, &mut brief, &CloseReason::EXPIRED).await;
    assert!(fixture.labels(&mut long).await.is_empty());
}

/// A provider that is not attached accepts nothing; it can be attached once.
pub async fn unattached_provider_accepts_nothing<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::unattached(Setup::default()).await;
    assert_sends_fail(&fixture, |error| matches!(error, Error::NotAttached { .. })).await;
    let closed = fixture.provider.close(Target::all(), CloseReason::KICKED).await;
    assert!(matches!(&closed, Err(Error::NotAttached { .. })), "{closed:?}");
    fixture.rejected_for_now(Visitor::user("ann")).await;
    fixture.provider.attach(runtime(&fixture.hooks)).await.expect("attached");
    let again = fixture.provider.attach(runtime(&fixture.hooks)).await;
    assert!(matches!(&again, Err(Error::Config(_))), "{again:?}");
    let mut peer = fixture.connect(Visitor::user("ann")).await;
    assert!(fixture.labels(&mut peer).await.is_empty());
}

/// A shutdown closes every connection with a reason that allows a reconnect, has run the hooks when
/// it returns, and accepts nothing afterwards.
pub async fn shutdown_closes_and_refuses<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default()).await;
    let mut one = fixture.connect(Visitor::user("ann")).await;
    let mut two = fixture.connect(Visitor::anonymous()).await;
    let ids = [one.id, two.id];
    let read = async {
        assert_code(&one.ended().await, &CloseReason::RESTART);
        assert_code(&two.ended().await, &CloseReason::RESTART);
    };
    let shutdown = async {
        in_time(
            "the shutdown",
            fixture.provider.shutdown(Drain::over(Duration::from_secs(2)).with_hold(Duration::ZERO)),
        )
        .await;
        for id in ids {
            assert_hooks(&fixture.hooks.of(id), id, &CloseReason::RESTART);
        }
        assert_eq!(fixture.provider.stats().connections, 0);
    };
    tokio::join!(read, shutdown);
    assert_sends_fail(&fixture, |error| matches!(error, Error::Closed { .. })).await;
    fixture.rejected_for_now(Visitor::user("ann")).await;
    in_time("a second shutdown", fixture.provider.shutdown(Drain::now())).await;
}
