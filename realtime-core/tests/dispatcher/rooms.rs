//! Rooms that a connection enters itself, in addition to the rooms that its user is joined to.

use crate::support::{CoreProvider, Guest, eventually, note, runtime};
use realtime_core::spi::Position;
use realtime_core::{
    Context, HandlerError, MemoryBackplane, RealtimeBroadcast, RealtimeProvider, RefusalKind, Reply, RoomMembership,
    Router, Target,
};
use realtime_testkit::FaultyBackplane;
use realtime_testkit::conformance::{ClientUnderTest, Setup, Visitor};
use serde_json::{Value, json};

/// Returns handlers for clients that enter and leave rooms and query their membership.
fn router() -> Router {
    Router::new()
        .on("subscribe", async |cx: Context, room: String| {
            cx.subscribe(&room).await.map(Reply).map_err(|refusal| HandlerError::new(refusal.kind().code(), ""))
        })
        .on("leave", async |cx: Context, room: String| Reply(cx.leave_room(&room)))
        .on("is in", async |cx: Context, room: String| Reply(cx.is_in_room(&room)))
}

async fn started() -> CoreProvider {
    CoreProvider::started(Setup::default().with_router(router())).await
}

/// Sends an event with an ack, and returns the payload of the answer or the code of the error.
async fn request(guest: &mut Guest, name: &str, room: &str) -> Value {
    guest.client.send(name, &json!(room), Some(1)).await;
    let answer = guest.next().await;
    if answer.name == "error" { answer.payload["code"].clone() } else { answer.payload }
}

/// Returns whether the guest gets an event for the room.
async fn is_member(provider: &CoreProvider, guest: &mut Guest, room: &str) -> bool {
    provider.dispatcher.to_room(room, note("room")).await.unwrap();
    provider.dispatcher.to_all(note("end")).await.unwrap();
    !guest.texts_until("end").await.is_empty()
}

#[tokio::test]
async fn leaving_own_room_keeps_the_users_membership() {
    let provider = started().await;
    let mut ann = Guest::by_session(&provider, Visitor::user("ann")).await;
    // Not a member.
    assert_eq!(request(&mut ann, "leave", "r").await, false);
    // A member by its user only.
    provider.dispatcher.join_room("ann", "r").await.unwrap();
    assert_eq!(request(&mut ann, "leave", "r").await, false);
    assert!(is_member(&provider, &mut ann, "r").await);
    // A member by itself and by its user.
    assert_eq!(request(&mut ann, "subscribe", "r").await, true);
    assert_eq!(request(&mut ann, "leave", "r").await, true);
    assert!(is_member(&provider, &mut ann, "r").await);
    // A member by itself only.
    assert_eq!(request(&mut ann, "subscribe", "q").await, true);
    assert_eq!(request(&mut ann, "leave", "q").await, true);
    assert!(!is_member(&provider, &mut ann, "q").await);
    provider.dispatcher.leave_room("ann", "r").await.unwrap();
    assert!(!is_member(&provider, &mut ann, "r").await);
}

#[tokio::test]
async fn handler_sees_the_rooms_of_its_connection() {
    let provider = started().await;
    let mut ann = Guest::by_session(&provider, Visitor::user("ann").with_room("named")).await;
    let mut bob = Guest::by_session(&provider, Visitor::user("bob")).await;
    provider.dispatcher.join_room("ann", "joined").await.unwrap();
    for (room, is_in) in [("named", true), ("joined", true), ("r", false)] {
        assert_eq!(request(&mut ann, "is in", room).await, is_in, "{room}");
        assert_eq!(request(&mut bob, "is in", room).await, false, "{room}");
    }
    assert_eq!(request(&mut ann, "leave", "named").await, true);
    provider.dispatcher.leave_room("ann", "joined").await.unwrap();
    for room in ["named", "joined"] {
        assert_eq!(request(&mut ann, "is in", room).await, false, "{room}");
    }
}

/// The bound is the number of rooms that a client can name when it reconnects.
#[tokio::test(start_paused = true)]
async fn rooms_of_a_connection_are_bounded() {
    let provider = started().await;
    let names: Vec<_> = (0..101).map(|n| n.to_string()).collect();
    let mut ann = Guest::by_session(&provider, Visitor::user("ann").with_room("0")).await;
    for room in &names[1..100] {
        assert_eq!(request(&mut ann, "subscribe", room).await, true, "{room}");
    }
    assert_eq!(request(&mut ann, "subscribe", "100").await, "bad_request");
    assert!(!is_member(&provider, &mut ann, "100").await);
    assert_eq!(request(&mut ann, "subscribe", "99").await, false, "already a member");
    assert_eq!(request(&mut ann, "leave", "99").await, true);
    assert_eq!(request(&mut ann, "subscribe", "100").await, true, "a leave frees a slot");
    let all = names[..100].iter().fold(Visitor::user("ann"), |visitor, room| visitor.with_room(room));
    let mut reconnected = Guest::by_session(&provider, all).await;
    assert!(is_member(&provider, &mut reconnected, "99").await);
    let more = names.iter().fold(Visitor::user("ann"), |visitor, room| visitor.with_room(room));
    let refusal = provider.admit(more).await.unwrap_err();
    assert_eq!((refusal.kind(), refusal.setting()), (RefusalKind::BadRequest, Some("limits.rooms_per_connection")));
}

/// Past stays are kept for connections that are behind, and are bounded.
#[tokio::test(start_paused = true)]
async fn past_room_stays_of_a_connection_are_bounded() {
    let provider = started().await;
    let mut ann = Guest::by_session(&provider, Visitor::user("ann")).await;
    for n in 0..1_000 {
        let room = n.to_string();
        assert_eq!(request(&mut ann, "subscribe", &room).await, true, "{n}");
        // A stay without a record in it is not kept.
        provider.dispatcher.to_room("nobody", note("1")).await.unwrap();
        assert_eq!(request(&mut ann, "leave", &room).await, true, "{n}");
    }
    assert_eq!(request(&mut ann, "subscribe", "more").await, "bad_request");
    let mut bob = Guest::by_session(&provider, Visitor::user("bob")).await;
    assert_eq!(request(&mut bob, "subscribe", "more").await, true, "other clients are not affected");
}

/// In a new epoch users have no rooms, but connections that are not closed yet still count.
#[tokio::test(start_paused = true)]
async fn users_but_not_their_rooms_survive_an_epoch_change() {
    let backplane = FaultyBackplane::new(MemoryBackplane::default());
    let provider =
        CoreProvider::attached(Setup::default().with_router(router()), runtime().with_backplane(backplane.clone()))
            .await;
    let visitor = || Visitor::user("ann").with_tenant("acme");
    let slow = Guest::by_session(&provider, visitor()).await;
    provider.dispatcher.join_room("ann", "r").await.unwrap();
    provider.dispatcher.join_room_in("acme", "ann", "q").await.unwrap();
    let old = provider.dispatcher.cursor(Position::START).epoch();
    backplane.exchange(MemoryBackplane::default());
    eventually("the node is in the new epoch", || provider.dispatcher.cursor(Position::START).epoch() != old).await;
    assert!(provider.dispatcher.user_rooms("ann").await.unwrap().is_empty());
    // The client has not read the close yet.
    assert_eq!((provider.stats().users, provider.stats().rooms), (1, 0));
    assert_eq!(provider.connections(&Target::user("ann")).len(), 1);
    let mut new = Guest::by_session(&provider, visitor()).await;
    assert_eq!((provider.stats().users, provider.stats().connections), (1, 2));
    drop(slow);
    eventually("the connection is closed", || provider.stats().connections == 1).await;
    provider.dispatcher.to_user("ann", note("1")).await.unwrap();
    assert!(new.texts_until("1").await.is_empty());
}
