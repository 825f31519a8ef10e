use super::*;

fn admission(connections: usize, of_user: usize) -> Arc<Admission> {
    Admission::new(Limits::default().with_connections(connections).with_connections_per_user(of_user))
}

fn turn(admission: &Arc<Admission>, identity: &Identity) -> oneshot::Receiver<UserSlot> {
    match admission.admit_or_wait(identity, None) {
        Ok(Entry::Waits(turn)) => turn,
        other => panic!("does not wait: {other:?}"),
    }
}

#[test]
fn slots_are_counted_and_freed() {
    let admission = admission(3, 2);
    let ann = Identity::user("ann");
    let first = admission.admit(&ann, None).unwrap();
    let _second = admission.admit(&ann, None).unwrap();
    assert_eq!(admission.admit(&ann, None).unwrap_err().kind(), RefusalKind::UserLimit);
    let _third = admission.admit(&Identity::anonymous(), None).unwrap();
    assert_eq!(admission.admit(&Identity::anonymous(), None).unwrap_err().kind(), RefusalKind::NodeLimit);
    drop(first);
    assert!(admission.admit(&ann, None).is_ok());
}

#[test]
fn provider_raises_the_unset_limit_of_its_service() {
    for (set, own, expected) in [(None, 10, 30), (None, 50, 50), (Some(20), 50, 20)] {
        let service = Admission::of_service(ServiceLimits { connections_per_user: set, ..ServiceLimits::default() });
        service.raise(own);
        assert_eq!(service.of_user.load(Ordering::Relaxed), expected);
    }
}

#[test]
fn each_tenant_has_slots_of_its_own_for_a_user_name() {
    let admission = admission(10, 1);
    let ann = || Identity::user("ann");
    let tickets =
        [ann(), ann().with_tenant("acme"), ann().with_tenant("globex")].map(|ann| admission.admit(&ann, None));
    assert!(tickets.iter().all(Result::is_ok));
    assert_eq!(admission.admit(&ann().with_tenant("acme"), None).unwrap_err().kind(), RefusalKind::UserLimit);
}

#[test]
fn free_slot_goes_to_the_longest_waiting_connection() {
    let admission = admission(10, 2);
    let ann = Identity::user("ann");
    let mut tickets = [admission.admit(&ann, None).unwrap(), admission.admit(&ann, None).unwrap()].into_iter();
    let (first, mut second) = (turn(&admission, &ann), turn(&admission, &ann));
    assert_eq!(
        admission.admit_or_wait(&ann, None).unwrap_err().kind(),
        RefusalKind::UserLimit,
        "as many wait as there are slots"
    );
    assert!(second.try_recv().is_err());
    drop(first);
    let third = turn(&admission, &ann);
    drop(tickets.next());
    let second = admission.complete(second.try_recv().unwrap(), &ann, None).unwrap();
    assert_eq!(admission.admit(&ann, None).unwrap_err().kind(), RefusalKind::UserLimit, "it was passed on");
    // Sent and never received: it is freed.
    drop(second);
    drop(third);
    assert!(admission.admit(&ann, None).is_ok());
    drop(tickets);
    assert!(admission.lock().users.is_empty());
    assert_eq!(admission.lock().counts.connections, 0);
}

#[test]
fn waiting_connection_may_find_the_node_full() {
    let admission = admission(2, 1);
    let ann = Identity::user("ann");
    let ticket = admission.admit(&ann, None).unwrap();
    let mut turn = turn(&admission, &ann);
    let _bob = admission.admit(&Identity::user("bob"), None).unwrap();
    drop(ticket);
    let _eve = admission.admit(&Identity::user("eve"), None).unwrap();
    let refusal = admission.complete(turn.try_recv().unwrap(), &ann, None).unwrap_err();
    assert_eq!(refusal.kind(), RefusalKind::NodeLimit);
    assert_eq!(admission.lock().users.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn probes_run_one_round_at_a_time() {
    let admission = admission(10, 1);
    let [ann, bob] = ["ann", "bob"].map(Identity::user);
    assert!(!admission.try_start_probe(&ann), "no connection");
    let _places = [admission.admit(&ann, None).unwrap(), admission.admit(&bob, None).unwrap()];
    assert_eq!([&ann, &ann, &bob].map(|user| admission.try_start_probe(user)), [true, false, true]);
    tokio::time::sleep(PROBE_TIMEOUT).await;
    assert_eq!([&ann, &ann].map(|user| admission.try_start_probe(user)), [true, false]);
}

/// Returns the counts of a service with these limits of a tenant and of an address.
fn service(of_tenant: usize, of_address: usize) -> Arc<Admission> {
    let limits = ServiceLimits::none().with_connections_per_tenant(of_tenant);
    Admission::of_service(limits.with_connections_per_address(of_address))
}

fn refused(admitted: Result<Ticket, Refusal>) -> RefusalKind {
    admitted.expect_err("expected a refusal").kind()
}

#[test]
fn tenant_that_is_full_leaves_the_others_their_slots() {
    let admission = service(2, usize::MAX);
    let of = |tenant: &str, user: &str| Identity::user(user).with_tenant(tenant);
    let first = admission.admit(&of("acme", "ann"), None).unwrap();
    let _second = admission.admit(&of("acme", "bob"), None).unwrap();
    assert_eq!(refused(admission.admit(&of("acme", "cid"), None)), RefusalKind::TenantLimit);
    assert!(admission.admit(&of("globex", "cid"), None).is_ok());
    assert!(admission.admit(&Identity::user("cid"), None).is_ok(), "no tenant");
    drop(first);
    assert!(admission.admit(&of("acme", "cid"), None).is_ok());
}

#[test]
fn tenant_has_half_of_a_providers_slots_unless_its_limit_is_set() {
    let acme = |admission: &Arc<Admission>| {
        let slots =
            (0..10).map_while(|n| admission.admit(&Identity::user(format!("u{n}")).with_tenant("acme"), None).ok());
        slots.collect::<Vec<_>>().len()
    };
    let provider = admission(5, 10);
    assert_eq!(acme(&provider), 3);
    provider.join(&Admission::of_service(ServiceLimits::default()), 10);
    assert_eq!(acme(&provider), 3);
    let service = service(4, usize::MAX);
    provider.join(&service, 10);
    assert_eq!((acme(&provider), acme(&service)), (5, 4), "the service's limit alone");
}

#[test]
fn address_that_is_full_leaves_the_others_their_slots() {
    let admission = service(usize::MAX, 2);
    let admit = |address: &str| admission.admit(&Identity::anonymous(), address.parse().ok());
    let first = admit("2001:db8::1").unwrap();
    let second = admit("2001:db8::1:2").unwrap();
    assert_eq!(refused(admit("2001:db8::7")), RefusalKind::AddressLimit);
    assert_eq!(admission.check_address("2001:db8::7".parse().ok()).unwrap_err().kind(), RefusalKind::AddressLimit);
    let others = ["2001:db8:0:1::1", "10.0.0.7", "127.0.0.1", ""].map(admit);
    assert!(others.iter().all(Result::is_ok));
    drop(first);
    admission.check_address("2001:db8::7".parse().ok()).unwrap();
    let again = admit("2001:db8::7").unwrap();
    drop((others, again, second));
    assert_eq!(admission.lock().counts.entries(), 0);
}

#[test]
fn default_limit_of_an_address_does_not_hold_for_this_host() {
    let admission = Admission::of_service(ServiceLimits::default());
    let admit = |address: &str| admission.admit(&Identity::anonymous(), address.parse().ok());
    let _tickets: Vec<_> = (0..OF_ADDRESS).flat_map(|_| [admit("10.0.0.7").unwrap(), admit("::1").unwrap()]).collect();
    assert_eq!(refused(admit("10.0.0.7")), RefusalKind::AddressLimit);
    assert!(admit("::1").is_ok());
}

#[test]
fn waiting_connection_may_find_its_address_full() {
    let admission =
        Admission::of_service(ServiceLimits::none().with_connections_per_user(1).with_connections_per_address(1));
    let (ann, address) = (Identity::user("ann"), "10.0.0.7".parse().ok());
    let ticket = admission.admit(&ann, None).unwrap();
    let mut turn = turn(&admission, &ann);
    let _bob = admission.admit(&Identity::user("bob"), address).unwrap();
    drop(ticket);
    assert_eq!(refused(admission.complete(turn.try_recv().unwrap(), &ann, address)), RefusalKind::AddressLimit);
    assert!(admission.admit(&ann, None).is_ok(), "the slot of the user is free again");
}
