use realtime_core::Target;
use realtime_core::spi::Cursor;

use crate::conformance::fixture::Fixture;
use crate::conformance::{ProviderUnderTest, Setup, Visitor};

/// The first event is `connected`, with its fields.
pub async fn connected_is_the_first_event<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default()).await;
    fixture.note(Target::all(), "before").await;
    let mut peer = fixture.connect(Visitor::user("ann").with_tenant("acme")).await;
    assert!(peer.welcome["message"].as_str().is_some_and(|message| !message.is_empty()), "{}", peer.welcome);
    assert!(!peer.was_resumed(), "{}", peer.welcome);
    assert_eq!(peer.reason(), "new");
    let cursor: Cursor = peer.cursor.parse().expect("a cursor");
    assert_eq!(cursor.position().get(), 1, "the client reads from the end");
    assert!(fixture.labels(&mut peer).await.is_empty(), "no earlier event");
    let cursor: Cursor = peer.cursor.parse().expect("a cursor");
    assert_eq!(cursor.position().get(), 2, "the marker's position");
    let other = fixture.connect(Visitor::user("ann").with_tenant("acme")).await;
    assert_ne!(peer.id, other.id);
}

/// A send to a user reaches only that user's connections.
pub async fn addressing_user<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default()).await;
    let mut one = fixture.connect(Visitor::user("ann").with_tenant("acme")).await;
    let mut two = fixture.connect(Visitor::user("ann")).await;
    let mut other = fixture.connect(Visitor::user("bob").with_tenant("acme")).await;
    let mut anonymous = fixture.connect(Visitor::anonymous()).await;
    fixture.note(Target::user("ann"), "1").await;
    fixture.note(Target::user("an"), "no prefix").await;
    fixture.note(Target::user("Ann"), "no other case").await;
    assert_eq!(fixture.labels(&mut one).await, ["1"]);
    assert_eq!(fixture.labels(&mut two).await, ["1", "mark 0"]);
    assert_eq!(fixture.labels(&mut other).await, ["mark 0", "mark 1"]);
    assert_eq!(fixture.labels(&mut anonymous).await, ["mark 0", "mark 1", "mark 2"]);
}

/// A send to a tenant reaches only that tenant's connections.
pub async fn addressing_tenant<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default()).await;
    let mut ann = fixture.connect(Visitor::user("ann").with_tenant("acme")).await;
    let mut anonymous = fixture.connect(Visitor::anonymous().with_tenant("acme")).await;
    let mut other = fixture.connect(Visitor::user("ann").with_tenant("globex")).await;
    let mut none = fixture.connect(Visitor::user("ann")).await;
    let receipt = fixture.broadcast().to_tenant("acme", crate::conformance::fixture::note("1")).await.expect("sent");
    assert_eq!(receipt.delivered.map(|delivered| delivered.matched), Some(2));
    let mark = fixture.mark().await;
    assert_eq!(ann.labels_until(&mark).await, ["1"]);
    assert_eq!(anonymous.labels_until(&mark).await, ["1"]);
    assert!(other.labels_until(&mark).await.is_empty());
    assert!(none.labels_until(&mark).await.is_empty());
}

/// A send to all reaches every connection.
pub async fn addressing_all<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default()).await;
    let mut peers = Vec::new();
    for visitor in [Visitor::user("ann").with_tenant("acme"), Visitor::user("bob"), Visitor::anonymous()] {
        peers.push(fixture.connect(visitor).await);
    }
    let receipt = fixture.note(Target::all(), "1").await;
    assert_eq!(receipt.delivered.map(|delivered| delivered.matched), Some(3));
    let mark = fixture.mark().await;
    for peer in &mut peers {
        assert_eq!(peer.labels_until(&mark).await, ["1"]);
    }
}

/// A send to a tenant's user reaches only that user's connections in that tenant.
pub async fn addressing_user_within_a_tenant<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default()).await;
    let mut here = fixture.connect(Visitor::user("ann").with_tenant("acme")).await;
    let mut there = fixture.connect(Visitor::user("ann").with_tenant("globex")).await;
    let mut none = fixture.connect(Visitor::user("ann")).await;
    fixture.note(Target::user_in("acme", "ann"), "1").await;
    fixture.note(Target::user_in("nowhere", "ann"), "2").await;
    let mark = fixture.mark().await;
    assert_eq!(here.labels_until(&mark).await, ["1"]);
    assert!(there.labels_until(&mark).await.is_empty());
    assert!(none.labels_until(&mark).await.is_empty());
}

/// A send to one connection reaches only that one, and is not durable.
pub async fn addressing_connection<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default()).await;
    let mut one = fixture.connect(Visitor::user("ann")).await;
    let mut two = fixture.connect(Visitor::user("ann")).await;
    let receipt = fixture.note(Target::connection(one.id), "1").await;
    assert_eq!(receipt.position, None, "the event is not in the log");
    assert_eq!(receipt.delivered.map(|delivered| (delivered.matched, delivered.queued)), Some((1, 1)));
    let received = one.next().await;
    assert_eq!((received.payload.as_str(), received.cursor), (Some("1"), None));
    let unmatched = fixture.note(Target::connection(realtime_core::ConnectionId::random()), "2").await;
    assert_eq!(unmatched.delivered.map(|delivered| delivered.matched), Some(0));
    let mark = fixture.mark().await;
    assert!(one.labels_until(&mark).await.is_empty());
    assert!(two.labels_until(&mark).await.is_empty());
}

/// A send does not reach excepted connections and users.
pub async fn addressing_except<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default()).await;
    let mut one = fixture.connect(Visitor::user("ann").with_tenant("acme")).await;
    let mut two = fixture.connect(Visitor::user("ann").with_tenant("acme")).await;
    let mut bob = fixture.connect(Visitor::user("bob").with_tenant("acme")).await;
    let mut anonymous = fixture.connect(Visitor::anonymous().with_tenant("acme")).await;
    fixture.note(Target::user("ann").except_connection(one.id), "1").await;
    fixture.note(Target::all().except_user("ann"), "2").await;
    let receipt = fixture.note(Target::tenant("acme").except_user("ann").except_connection(bob.id), "3").await;
    assert_eq!(receipt.delivered.map(|delivered| delivered.matched), Some(1));
    let mark = fixture.mark().await;
    assert!(one.labels_until(&mark).await.is_empty());
    assert_eq!(two.labels_until(&mark).await, ["1"]);
    assert_eq!(bob.labels_until(&mark).await, ["2"]);
    assert_eq!(anonymous.labels_until(&mark).await, ["2", "3"]);
}

/// An event for one tenant or user never reaches another, live or replayed.
pub async fn isolation_of_tenants_and_users<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default()).await;
    let mut peers = Vec::new();
    for (user, tenant) in [("ann", "acme"), ("ann", "globex"), ("bob", "acme"), ("bob", "globex")] {
        peers.push((user, tenant, fixture.connect(Visitor::user(user).with_tenant(tenant)).await));
    }
    for tenant in ["acme", "globex"] {
        fixture.note(Target::tenant(tenant), tenant).await;
        for user in ["ann", "bob"] {
            fixture.note(Target::user_in(tenant, user), &format!("{user} of {tenant}")).await;
        }
    }
    let mark = fixture.mark().await;
    for (user, tenant, peer) in &mut peers {
        let expected = [(*tenant).to_owned(), format!("{user} of {tenant}")];
        assert_eq!(peer.labels_until(&mark).await, expected);
    }
}

/// A user, a tenant and a room of the same name are three different things.
pub async fn isolation_of_names_between_kinds<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default()).await;
    let mut user = fixture.connect(Visitor::user("x")).await;
    let mut tenant = fixture.connect(Visitor::anonymous().with_tenant("x")).await;
    fixture.note(Target::user("x"), "user").await;
    fixture.note(Target::tenant("x"), "tenant").await;
    let mut expected = vec![("user", &mut user), ("tenant", &mut tenant)];
    let mut member = None;
    if fixture.provider.capabilities().rooms {
        member = Some(fixture.connect(Visitor::anonymous().with_room("x")).await);
        fixture.note(Target::room("x"), "room").await;
    }
    expected.extend(member.as_mut().map(|member| ("room", member)));
    let mark = fixture.mark().await;
    for (label, peer) in expected {
        assert_eq!(peer.labels_until(&mark).await, [label]);
    }
}
