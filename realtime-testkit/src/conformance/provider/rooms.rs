use realtime_core::spi::Position;
use realtime_core::{Capabilities, Target};

use crate::conformance::fixture::Fixture;
use crate::conformance::{ProviderUnderTest, Setup, Visitor};

/// A server-side join is for the user's current and later connections, until the user leaves.
pub async fn rooms_follow_the_user<P: ProviderUnderTest>() {
    let Some(fixture) = Fixture::<P>::start_if(|can| can.rooms, Setup::default()).await else { return };
    let rooms = fixture.rooms();
    let mut one = fixture.connect(Visitor::user("ann")).await;
    let mut bob = fixture.connect(Visitor::user("bob")).await;
    fixture.note(Target::room("r"), "too early").await;
    rooms.join_room("ann", "r").await.expect("joined");
    rooms.join_room("ann", "r").await.expect("joined again, which changes nothing");
    rooms.join_room("ann", "q").await.expect("joined");
    assert_eq!(rooms.user_rooms("ann").await.expect("the rooms"), ["q", "r"]);
    assert!(rooms.user_rooms("bob").await.expect("the rooms").is_empty());
    fixture.note(Target::room("r"), "1").await;
    let mut later = fixture.connect(Visitor::user("ann")).await;
    let receipt = fixture.note(Target::room("r"), "2").await;
    assert_eq!(receipt.delivered.map(|delivered| delivered.matched), Some(2));
    rooms.leave_room("ann", "r").await.expect("left");
    rooms.leave_room("ann", "never in").await.expect("left, which changes nothing");
    assert_eq!(rooms.user_rooms("ann").await.expect("the rooms"), ["q"]);
    fixture.note(Target::room("r"), "too late").await;
    fixture.note(Target::room("q"), "3").await;
    let mark = fixture.mark().await;
    assert_eq!(one.labels_until(&mark).await, ["1", "2", "3"]);
    assert_eq!(later.labels_until(&mark).await, ["2", "3"]);
    assert!(bob.labels_until(&mark).await.is_empty());
}

/// A send to a room can except members, and can be for one tenant only.
pub async fn rooms_except_and_within_a_tenant<P: ProviderUnderTest>() {
    let Some(fixture) = Fixture::<P>::start_if(|can| can.rooms, Setup::default()).await else { return };
    let mut acme = fixture.connect(Visitor::user("ann").with_tenant("acme").with_room("r")).await;
    let mut globex = fixture.connect(Visitor::user("bob").with_tenant("globex").with_room("r")).await;
    let mut outside = fixture.connect(Visitor::user("ann").with_tenant("acme")).await;
    fixture.note(Target::room_in("acme", "r"), "1").await;
    fixture.note(Target::room("r").except_user("ann"), "2").await;
    fixture.note(Target::room("r").except_connection(globex.id), "3").await;
    let mark = fixture.mark().await;
    assert_eq!(acme.labels_until(&mark).await, ["1", "3"]);
    assert_eq!(globex.labels_until(&mark).await, ["2"]);
    assert!(outside.labels_until(&mark).await.is_empty());
}

/// A join with a tenant is for that tenant's user only; a leave with a tenant also removes its user
/// from rooms that the bare name was joined to.
pub async fn rooms_of_one_tenants_user<P: ProviderUnderTest>() {
    let Some(fixture) = Fixture::<P>::start_if(|can| can.rooms, Setup::default()).await else { return };
    let rooms = fixture.rooms();
    let mut acme = fixture.connect(Visitor::user("ann").with_tenant("acme")).await;
    let mut globex = fixture.connect(Visitor::user("ann").with_tenant("globex")).await;
    let mut none = fixture.connect(Visitor::user("ann")).await;
    rooms.join_room_in("acme", "ann", "board").await.expect("joined");
    rooms.join_room("ann", "all").await.expect("joined");
    fixture.note(Target::room("board"), "1").await;
    fixture.note(Target::room("all"), "2").await;
    rooms.leave_room_in("globex", "ann", "all").await.expect("left");
    fixture.note(Target::room("all"), "3").await;
    fixture.note(Target::room("all").except_user_in("acme", "ann"), "4").await;
    assert_eq!(rooms.user_rooms("ann").await.expect("the rooms"), ["all", "board"]);
    assert_eq!(rooms.user_rooms_in("acme", "ann").await.expect("the rooms"), ["all", "board"]);
    assert!(rooms.user_rooms_in("globex", "ann").await.expect("the rooms").is_empty());
    rooms.leave_room("ann", "board").await.expect("left");
    fixture.note(Target::room("board"), "too late").await;
    let mark = fixture.mark().await;
    assert_eq!(acme.labels_until(&mark).await, ["1", "2", "3"]);
    assert_eq!(globex.labels_until(&mark).await, ["2"]);
    assert_eq!(none.labels_until(&mark).await, ["2", "3", "4"]);
}

/// The policy decides about rooms that a client names; a refused room refuses the connection.
pub async fn rooms_named_by_the_client<P: ProviderUnderTest>() {
    let Some(fixture) = Fixture::<P>::start_if(|can| can.rooms, Setup::default()).await else { return };
    let mut member =
        fixture.connect(Visitor::user("ann").with_room("r").with_room("räume/1 &?#+%").with_room("r")).await;
    let mut other = fixture.connect(Visitor::user("ann")).await;
    fixture.note(Target::room("r"), "1").await;
    fixture.note(Target::room("räume/1 &?#+%"), "2").await;
    fixture.note(Target::room("q"), "3").await;
    let mark = fixture.mark().await;
    assert_eq!(member.labels_until(&mark).await, ["1", "2"]);
    assert!(other.labels_until(&mark).await.is_empty(), "a room named by one connection is not its user's");
    assert_eq!(fixture.refusal(Visitor::user("ann").with_room("r").with_room("secret")).await.status, 403);
    assert_eq!(fixture.refusal(Visitor::user("ann").with_room("a\nb")).await.status, 400);
    assert_eq!(fixture.provider.stats().refused.get("room"), Some(&1));
    assert_eq!(fixture.provider.stats().connections, 2);
}

/// Events of a user's rooms are replayed if the user was a member when they were sent.
pub async fn rooms_joined_are_replayed<P: ProviderUnderTest>() {
    let needed = |can: Capabilities| can.rooms && can.resume;
    let Some(fixture) = Fixture::<P>::start_if(needed, Setup::default()).await else { return };
    let rooms = fixture.rooms();
    let peer = fixture.connect(Visitor::user("ann").with_room("named").with_room("fresh")).await;
    let (cursor, id) = (peer.cursor.clone(), peer.id);
    drop(peer);
    fixture.hooks.wait_of(id, 4).await;
    fixture.note(Target::room("r"), "before the join").await;
    rooms.join_room("ann", "r").await.expect("joined");
    let inside = fixture.note(Target::room("r"), "1").await;
    rooms.leave_room("ann", "r").await.expect("left");
    fixture.note(Target::room("r"), "after the leave").await;
    fixture.note(Target::room("named"), "2").await;
    fixture.note(Target::room("fresh"), "before the client joined again").await;
    let mut peer =
        fixture.connect(Visitor::user("ann").with_room("named").with_room("fresh").with_cursor(&cursor)).await;
    assert!(peer.was_resumed(), "{}", peer.welcome);
    fixture.note(Target::room("fresh"), "3").await;
    let mark = fixture.mark().await;
    assert_eq!(peer.labels_until(&mark).await, ["1", "2", "3"]);
    let mut without = fixture.connect(Visitor::user("ann").with_cursor(&cursor)).await;
    let mark = fixture.mark().await;
    assert_eq!(without.labels_until(&mark).await, ["1", "mark 0"], "a room not named again is not replayed");
    assert_eq!(inside.position.map(Position::get), Some(3));
}
