use realtime_core::Target;
use realtime_core::spi::Cursor;

use crate::conformance::stage::Stage;
use crate::conformance::{ProviderUnderTest, Setup, Visitor};

/// The first event is `connected`, with its fields.
pub async fn connected_comes_first<P: ProviderUnderTest>() {
    let stage = Stage::<P>::open(Setup::default()).await;
    stage.note(Target::all(), "before").await;
    let mut guest = stage.guest(Visitor::user("ann").tenant("acme")).await;
    assert!(guest.welcome["message"].as_str().is_some_and(|message| !message.is_empty()), "{}", guest.welcome);
    assert!(!guest.was_resumed(), "{}", guest.welcome);
    assert_eq!(guest.reason(), "new");
    let place: Cursor = guest.cursor.parse().expect("a cursor");
    assert_eq!(place.position().get(), 1, "it reads from the end");
    assert!(stage.labels(&mut guest).await.is_empty(), "nothing of before");
    let place: Cursor = guest.cursor.parse().expect("a cursor");
    assert_eq!(place.position().get(), 2, "the mark's place came with it");
    let other = stage.guest(Visitor::user("ann").tenant("acme")).await;
    assert_ne!(guest.id, other.id);
}

/// A user's connections, and nobody else's.
pub async fn addressing_user<P: ProviderUnderTest>() {
    let stage = Stage::<P>::open(Setup::default()).await;
    let mut one = stage.guest(Visitor::user("ann").tenant("acme")).await;
    let mut two = stage.guest(Visitor::user("ann")).await;
    let mut other = stage.guest(Visitor::user("bob").tenant("acme")).await;
    let mut nobody = stage.guest(Visitor::anonymous()).await;
    stage.note(Target::user("ann"), "1").await;
    stage.note(Target::user("an"), "no prefix").await;
    stage.note(Target::user("Ann"), "no other case").await;
    assert_eq!(stage.labels(&mut one).await, ["1"]);
    assert_eq!(stage.labels(&mut two).await, ["1", "mark 0"]);
    assert_eq!(stage.labels(&mut other).await, ["mark 0", "mark 1"]);
    assert_eq!(stage.labels(&mut nobody).await, ["mark 0", "mark 1", "mark 2"]);
}

/// A tenant's connections, and nobody else's.
pub async fn addressing_tenant<P: ProviderUnderTest>() {
    let stage = Stage::<P>::open(Setup::default()).await;
    let mut ann = stage.guest(Visitor::user("ann").tenant("acme")).await;
    let mut anonymous = stage.guest(Visitor::anonymous().tenant("acme")).await;
    let mut other = stage.guest(Visitor::user("ann").tenant("globex")).await;
    let mut none = stage.guest(Visitor::user("ann")).await;
    let receipt = stage.broadcast().to_tenant("acme", crate::conformance::stage::note("1")).await.expect("sent");
    assert_eq!(receipt.delivered.map(|delivered| delivered.matched), Some(2));
    let mark = stage.mark().await;
    assert_eq!(ann.labels_until(&mark).await, ["1"]);
    assert_eq!(anonymous.labels_until(&mark).await, ["1"]);
    assert!(other.labels_until(&mark).await.is_empty());
    assert!(none.labels_until(&mark).await.is_empty());
}

/// Everyone.
pub async fn addressing_all<P: ProviderUnderTest>() {
    let stage = Stage::<P>::open(Setup::default()).await;
    let mut guests = Vec::new();
    for visitor in [Visitor::user("ann").tenant("acme"), Visitor::user("bob"), Visitor::anonymous()] {
        guests.push(stage.guest(visitor).await);
    }
    let receipt = stage.note(Target::all(), "1").await;
    assert_eq!(receipt.delivered.map(|delivered| delivered.matched), Some(3));
    let mark = stage.mark().await;
    for guest in &mut guests {
        assert_eq!(guest.labels_until(&mark).await, ["1"]);
    }
}

/// A user's connections of one tenant only.
pub async fn addressing_user_within_a_tenant<P: ProviderUnderTest>() {
    let stage = Stage::<P>::open(Setup::default()).await;
    let mut here = stage.guest(Visitor::user("ann").tenant("acme")).await;
    let mut there = stage.guest(Visitor::user("ann").tenant("globex")).await;
    let mut none = stage.guest(Visitor::user("ann")).await;
    stage.note(Target::user_in("acme", "ann"), "1").await;
    stage.note(Target::user_in("nowhere", "ann"), "2").await;
    let mark = stage.mark().await;
    assert_eq!(here.labels_until(&mark).await, ["1"]);
    assert!(there.labels_until(&mark).await.is_empty());
    assert!(none.labels_until(&mark).await.is_empty());
}

/// One connection; not durable.
pub async fn addressing_connection<P: ProviderUnderTest>() {
    let stage = Stage::<P>::open(Setup::default()).await;
    let mut one = stage.guest(Visitor::user("ann")).await;
    let mut two = stage.guest(Visitor::user("ann")).await;
    let receipt = stage.note(Target::connection(one.id), "1").await;
    assert_eq!(receipt.position, None, "it is not in the log");
    assert_eq!(receipt.delivered.map(|delivered| (delivered.matched, delivered.queued)), Some((1, 1)));
    assert_eq!(one.next().await.payload, "1");
    let nobody = stage.note(Target::connection(realtime_core::ConnectionId::random()), "2").await;
    assert_eq!(nobody.delivered.map(|delivered| delivered.matched), Some(0));
    let mark = stage.mark().await;
    assert!(one.labels_until(&mark).await.is_empty());
    assert!(two.labels_until(&mark).await.is_empty());
}

/// Without some connections and users.
pub async fn addressing_except<P: ProviderUnderTest>() {
    let stage = Stage::<P>::open(Setup::default()).await;
    let mut one = stage.guest(Visitor::user("ann").tenant("acme")).await;
    let mut two = stage.guest(Visitor::user("ann").tenant("acme")).await;
    let mut bob = stage.guest(Visitor::user("bob").tenant("acme")).await;
    let mut nobody = stage.guest(Visitor::anonymous().tenant("acme")).await;
    stage.note(Target::user("ann").except_connection(one.id), "1").await;
    stage.note(Target::all().except_user("ann"), "2").await;
    let receipt = stage.note(Target::tenant("acme").except_user("ann").except_connection(bob.id), "3").await;
    assert_eq!(receipt.delivered.map(|delivered| delivered.matched), Some(1));
    let mark = stage.mark().await;
    assert!(one.labels_until(&mark).await.is_empty());
    assert_eq!(two.labels_until(&mark).await, ["1"]);
    assert_eq!(bob.labels_until(&mark).await, ["2"]);
    assert_eq!(nobody.labels_until(&mark).await, ["2", "3"]);
}

/// What is for one tenant or user never reaches another, live or replayed.
pub async fn isolation_of_tenants_and_users<P: ProviderUnderTest>() {
    let stage = Stage::<P>::open(Setup::default()).await;
    let mut guests = Vec::new();
    for (user, tenant) in [("ann", "acme"), ("ann", "globex"), ("bob", "acme"), ("bob", "globex")] {
        guests.push((user, tenant, stage.guest(Visitor::user(user).tenant(tenant)).await));
    }
    for tenant in ["acme", "globex"] {
        stage.note(Target::tenant(tenant), tenant).await;
        for user in ["ann", "bob"] {
            stage.note(Target::user_in(tenant, user), &format!("{user} of {tenant}")).await;
        }
    }
    let mark = stage.mark().await;
    for (user, tenant, guest) in &mut guests {
        let expected = [(*tenant).to_owned(), format!("{user} of {tenant}")];
        assert_eq!(guest.labels_until(&mark).await, expected);
    }
}

/// A user, a tenant and a room of the same name are three different things.
pub async fn isolation_of_names_between_kinds<P: ProviderUnderTest>() {
    let stage = Stage::<P>::open(Setup::default()).await;
    let mut user = stage.guest(Visitor::user("x")).await;
    let mut tenant = stage.guest(Visitor::anonymous().tenant("x")).await;
    stage.note(Target::user("x"), "user").await;
    stage.note(Target::tenant("x"), "tenant").await;
    let mut expected = vec![("user", &mut user), ("tenant", &mut tenant)];
    let mut member = None;
    if stage.provider.capabilities().rooms {
        member = Some(stage.guest(Visitor::anonymous().room("x")).await);
        stage.note(Target::room("x"), "room").await;
    }
    expected.extend(member.as_mut().map(|member| ("room", member)));
    let mark = stage.mark().await;
    for (label, guest) in expected {
        assert_eq!(guest.labels_until(&mark).await, [label]);
    }
}
