//! Users of the same name in two tenants.

use std::sync::Arc;

use crate::support::{CoreProvider, Guest, note};
use realtime_core::{RealtimeBroadcast, RoomMembership, Target};
use realtime_testkit::conformance::{Setup, Visitor};
use serde_json::json;

/// A provider with connections of ann of acme, ann of globex, and ann of no tenant.
struct Anns {
    provider: CoreProvider,
    acme: Guest,
    globex: Guest,
    none: Guest,
}

impl Anns {
    async fn connect() -> Self {
        let provider = CoreProvider::started(Setup::default()).await;
        Self {
            acme: Guest::by_session(&provider, Visitor::user("ann").with_tenant("acme")).await,
            globex: Guest::by_session(&provider, Visitor::user("ann").with_tenant("globex")).await,
            none: Guest::by_session(&provider, Visitor::user("ann")).await,
            provider,
        }
    }

    /// Returns which of them get an event for this target, in the order acme, globex, none.
    async fn receive(&mut self, target: Target) -> [bool; 3] {
        self.provider.dispatcher.send(target, note("for some")).await.unwrap();
        self.provider.dispatcher.to_all(note("end")).await.unwrap();
        let mut received = [false; 3];
        for (received, guest) in received.iter_mut().zip([&mut self.acme, &mut self.globex, &mut self.none]) {
            *received = !guest.texts_until("end").await.is_empty();
        }
        received
    }

    /// Returns which of them are members of the room `r`, in the same order.
    async fn members(&mut self) -> [bool; 3] {
        let members = self.receive(Target::room("r")).await;
        let rooms = &self.provider.dispatcher;
        for (tenant, is_member) in ["acme", "globex"].into_iter().zip(members) {
            assert_eq!(!rooms.user_rooms_in(tenant, "ann").await.unwrap().is_empty(), is_member, "{tenant}");
        }
        assert_eq!(!rooms.user_rooms("ann").await.unwrap().is_empty(), members.contains(&true));
        members
    }
}

#[tokio::test]
async fn bare_user_name_matches_every_tenant() {
    let mut anns = Anns::connect().await;
    let rooms = Arc::clone(&anns.provider.dispatcher);
    rooms.join_room("ann", "r").await.unwrap();
    assert_eq!(anns.members().await, [true, true, true]);
    rooms.leave_room("ann", "r").await.unwrap();
    assert_eq!(anns.members().await, [false, false, false]);
    assert_eq!(anns.receive(Target::all().except_user_in("acme", "ann")).await, [false, true, true]);
    assert_eq!(anns.receive(Target::user("ann").except_user("ann")).await, [false, false, false]);
}

#[tokio::test]
async fn tenant_membership_applies_to_that_tenants_user_only() {
    let mut anns = Anns::connect().await;
    let rooms = Arc::clone(&anns.provider.dispatcher);
    rooms.join_room_in("acme", "ann", "r").await.unwrap();
    assert_eq!(anns.members().await, [true, false, false]);
    let mut later = Guest::by_session(&anns.provider, Visitor::user("ann").with_tenant("acme")).await;
    let mut stranger = Guest::by_session(&anns.provider, Visitor::user("ann").with_tenant("globex")).await;
    assert_eq!(anns.members().await, [true, false, false]);
    assert_eq!(later.texts_until("end").await, ["for some"]);
    assert!(stranger.texts_until("end").await.is_empty());
    rooms.leave_room_in("globex", "ann", "r").await.unwrap();
    assert_eq!(anns.members().await, [true, false, false], "another tenant's leave changes nothing");
    rooms.leave_room("ann", "r").await.unwrap();
    assert_eq!(anns.members().await, [false, false, false], "a bare leave ends all of them");
}

#[tokio::test]
async fn tenant_leave_excludes_its_user_until_the_next_join() {
    let mut anns = Anns::connect().await;
    let rooms = Arc::clone(&anns.provider.dispatcher);
    rooms.join_room("ann", "r").await.unwrap();
    rooms.leave_room_in("acme", "ann", "r").await.unwrap();
    assert_eq!(anns.members().await, [false, true, true]);
    let mut later = Guest::by_session(&anns.provider, Visitor::user("ann").with_tenant("acme")).await;
    assert_eq!(anns.members().await, [false, true, true]);
    assert!(later.texts_until("end").await.is_empty(), "a later connection is excluded too");
    rooms.join_room("ann", "r").await.unwrap();
    assert_eq!(anns.members().await, [true, true, true]);
    rooms.leave_room_in("acme", "ann", "r").await.unwrap();
    rooms.join_room_in("acme", "ann", "r").await.unwrap();
    assert_eq!(anns.members().await, [true, true, true]);
}

#[tokio::test]
async fn resumed_client_gets_events_for_its_tenants_user() {
    let Anns { provider, acme, globex, .. } = Anns::connect().await;
    let rooms = &provider.dispatcher;
    let cursors = [acme.cursor.clone(), globex.cursor.clone()];
    drop((acme, globex));
    let send = async |text: &str| assert!(provider.dispatcher.to_room("r", note(text)).await.is_ok());
    send("for nobody").await;
    rooms.join_room_in("acme", "ann", "r").await.unwrap();
    send("for acme").await;
    rooms.join_room("ann", "r").await.unwrap();
    send("for both").await;
    rooms.leave_room_in("acme", "ann", "r").await.unwrap();
    send("for globex").await;
    rooms.leave_room("ann", "r").await.unwrap();
    send("for nobody").await;
    provider.dispatcher.to_all(note("end")).await.unwrap();
    for (tenant, cursor, expected) in
        [("acme", &cursors[0], ["for acme", "for both"]), ("globex", &cursors[1], ["for both", "for globex"])]
    {
        let mut guest =
            Guest::by_session(&provider, Visitor::user("ann").with_tenant(tenant).with_cursor(cursor)).await;
        assert_eq!(guest.welcome["resumed"], json!(true));
        assert_eq!(guest.texts_until("end").await, expected, "{tenant}");
    }
}

#[tokio::test]
async fn tenant_name_is_validated() {
    let Anns { provider, .. } = Anns::connect().await;
    let rooms = &provider.dispatcher;
    assert!(rooms.join_room_in("", "ann", "r").await.is_err());
    assert!(rooms.leave_room_in("a\nb", "ann", "r").await.is_err());
    assert!(rooms.user_rooms_in("", "ann").await.is_err());
    let target = Target::all().except_user_in("", "ann");
    assert!(provider.dispatcher.send(target, note("never")).await.is_err());
}

#[tokio::test]
async fn removed_member_gets_no_old_events_when_it_resumes() {
    let provider = CoreProvider::started(Setup::default()).await;
    let rooms = &provider.dispatcher;
    for (tenant, expected) in [("acme", vec!["3"]), ("globex", vec!["1", "2", "3"])] {
        let guest = Guest::by_session(&provider, Visitor::user("ann").with_tenant(tenant).with_room("r")).await;
        let cursor = guest.cursor.clone();
        drop(guest);
        provider.dispatcher.to_room("r", note("1")).await.unwrap();
        provider.dispatcher.to_room("r", note("2")).await.unwrap();
        rooms.leave_room_in("acme", "ann", "r").await.unwrap();
        provider.dispatcher.to_room("r", note("3")).await.unwrap();
        provider.dispatcher.to_all(note("end")).await.unwrap();
        let visitor = Visitor::user("ann").with_tenant(tenant).with_room("r").with_cursor(&cursor);
        let mut guest = Guest::by_session(&provider, visitor).await;
        assert_eq!(guest.texts_until("end").await, expected, "{tenant}");
    }
}
