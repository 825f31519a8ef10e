use futures_util::future::join_all;
use realtime_core::spi::ServiceLimits;
use realtime_core::{Limits, Target};

use crate::conformance::fixture::Fixture;
use crate::conformance::{ClientUnderTest, ProviderUnderTest, REFUSED_USER, Setup, Visitor};
use crate::{eventually, in_time};

/// One user's connections are limited, separately for each tenant, and a close frees a slot.
pub async fn limit_of_one_user<P: ProviderUnderTest>() {
    let limits = Limits::default().with_connections_per_user(2);
    let fixture = Fixture::<P>::start(Setup::default().with_limits(limits)).await;
    let first = fixture.connect(Visitor::user("ann")).await;
    let mut second = fixture.connect(Visitor::user("ann")).await;
    assert_eq!(fixture.refusal(Visitor::user("ann")).await.status, 429);
    let _of_tenant = fixture.connect(Visitor::user("ann").with_tenant("acme")).await;
    assert_eq!(fixture.provider.stats().refused.get("user_limit"), Some(&1));
    let mut bob = fixture.connect(Visitor::user("bob")).await;
    drop(first);
    eventually("a free slot", || fixture.provider.stats().connections == 3).await;
    let mut third = fixture.connect_eventually(Visitor::user("ann")).await;
    fixture.note(Target::user("ann"), "1").await;
    let mark = fixture.mark().await;
    assert_eq!(second.labels_until(&mark).await, ["1"]);
    assert_eq!(third.labels_until(&mark).await, ["1"]);
    assert!(bob.labels_until(&mark).await.is_empty());
}

/// No more concurrent connects than the limit are accepted.
pub async fn limit_of_one_user_holds_for_concurrent_connects<P: ProviderUnderTest>() {
    let limits = Limits::default().with_connections_per_user(3);
    let fixture = Fixture::<P>::start(Setup::default().with_limits(limits)).await;
    let attempts = join_all((0..12).map(|_| fixture.under_test.connect(Visitor::user("ann")))).await;
    let mut refused = 0;
    let mut clients = Vec::new();
    for attempt in attempts {
        match attempt {
            Ok(client) => clients.push(client),
            Err(refusal) => {
                assert_eq!(refusal.status, 429);
                refused += 1;
            }
        }
    }
    assert_eq!((clients.len(), refused), (3, 9));
    for client in &mut clients {
        assert_eq!(client.next().await.expect("expected an event, got a close").name, "connected");
    }
}

/// All connections are limited, and a close frees a slot.
pub async fn limit_of_all_connections<P: ProviderUnderTest>() {
    let limits = Limits::default().with_connections(2);
    let fixture = Fixture::<P>::start(Setup::default().with_limits(limits)).await;
    let _ann = fixture.connect(Visitor::user("ann")).await;
    let anonymous = fixture.connect(Visitor::anonymous()).await;
    assert_eq!(fixture.refusal(Visitor::user("bob")).await.status, 503);
    assert_eq!(fixture.refusal(Visitor::anonymous()).await.status, 503);
    assert_eq!(fixture.provider.stats().refused.get("node_limit"), Some(&2));
    drop(anonymous);
    eventually("a free slot", || fixture.provider.stats().connections == 1).await;
    fixture.connect_eventually(Visitor::user("bob")).await;
}

/// One tenant's connections are limited, a close frees a slot, and the others have theirs.
pub async fn limit_of_one_tenant<P: ProviderUnderTest>() {
    let service = ServiceLimits::none().with_connections_per_tenant(2);
    let fixture = Fixture::<P>::start(Setup::default().with_service(service)).await;
    let first = fixture.connect(Visitor::user("ann").with_tenant("acme")).await;
    let mut second = fixture.connect(Visitor::user("bob").with_tenant("acme")).await;
    for user in ["ann", "cid"] {
        assert_eq!(fixture.refusal(Visitor::user(user).with_tenant("acme")).await.status, 429);
    }
    assert_eq!(fixture.provider.stats().refused.get("tenant_limit"), Some(&2));
    let mut other = fixture.connect(Visitor::user("cid").with_tenant("globex")).await;
    let _without = fixture.connect(Visitor::user("cid")).await;
    fixture.note(Target::user("cid"), "1").await;
    let mark = fixture.mark().await;
    assert_eq!(other.labels_until(&mark).await, ["1"]);
    assert!(second.labels_until(&mark).await.is_empty());
    drop(first);
    fixture.connect_eventually(Visitor::user("cid").with_tenant("acme")).await;
}

/// The connections from one address are limited, whoever they are, and a close frees a slot.
pub async fn limit_of_one_address<P: ProviderUnderTest>() {
    let service = ServiceLimits::none().with_connections_per_address(2);
    let fixture = Fixture::<P>::start(Setup::default().with_service(service)).await;
    let first = fixture.connect(Visitor::user("ann")).await;
    let _second = fixture.connect(Visitor::anonymous()).await;
    assert_eq!(fixture.refusal(Visitor::user("bob")).await.status, 429);
    assert_eq!(fixture.refusal(Visitor::user(REFUSED_USER)).await.status, 429, "before the authenticator is asked");
    let refused = fixture.provider.stats().refused;
    assert_eq!((refused.get("address_limit"), refused.get("unauthorized")), (Some(&2), None));
    drop(first);
    fixture.connect_eventually(Visitor::user("bob")).await;
}

/// Connects above the rate of an address, or of the node, are refused before anybody is asked who
/// it is, and cost no slot.
pub async fn rate_of_handshakes<P: ProviderUnderTest>() {
    let none = ServiceLimits::none();
    for service in [none.with_handshakes_per_address(1), none.with_handshakes_per_second(1)] {
        let fixture = Fixture::<P>::start(Setup::default().with_service(service)).await;
        let attempts = async {
            let mut accepted = Vec::new();
            loop {
                let user = format!("user{}", accepted.len());
                match fixture.under_test.connect(Visitor::user(&user)).await {
                    Ok(client) => accepted.push(client),
                    Err(refused) => return (accepted, refused),
                }
            }
        };
        let (clients, refused) = in_time("a refusal", attempts).await;
        let accepted = clients.len();
        assert!(refused.status == 429 && accepted >= 4, "{accepted} at once, then {refused:?}");
        assert_eq!(fixture.provider.stats().refused.get("handshake_rate"), Some(&1));
        eventually("the connections", || fixture.provider.stats().connected == accepted as u64).await;
    }
}

/// A client without a valid identity is refused.
pub async fn invalid_identity_is_refused<P: ProviderUnderTest>() {
    let fixture = Fixture::<P>::start(Setup::default()).await;
    assert_eq!(fixture.refusal(Visitor::user(REFUSED_USER)).await.status, 401);
    assert_eq!(fixture.refusal(Visitor::user("")).await.status, 400);
    assert_eq!(fixture.refusal(Visitor::user("a\u{7}b")).await.status, 400);
    assert_eq!(fixture.refusal(Visitor::user("ann").with_tenant(&"x".repeat(257))).await.status, 400);
    let stats = fixture.provider.stats();
    assert_eq!(stats.refused.get("unauthorized"), Some(&1));
    assert_eq!(stats.refused.get("bad_request"), Some(&3));
    assert_eq!((stats.connections, stats.connected), (0, 0));
}
