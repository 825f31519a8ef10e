use std::time::Duration;

use realtime_core::{AckStatus, Acks, Capabilities, Event, Target};
use serde_json::{Value, json};

use crate::conformance::fixture::{Fixture, Peer};
use crate::conformance::{ClientUnderTest, ProviderUnderTest, Setup, Visitor};
use crate::{DEADLINE, in_time};

fn question() -> Event {
    Event::json("question", &json!({"n": 1})).expect("JSON")
}

/// Reads a question, and returns its ack number.
async fn asked<C: ClientUnderTest>(peer: &mut Peer<C>) -> u64 {
    let received = peer.next().await;
    assert_eq!((received.name.as_str(), &received.payload), ("question", &json!({"n": 1})));
    assert_eq!(received.cursor, None, "an ask has no cursor");
    received.ack.expect("an ack number")
}

async fn collect(acks: Acks) -> Vec<(realtime_core::ConnectionId, AckStatus, Value)> {
    let replies = in_time("the acks", acks.all()).await;
    let mut replies: Vec<_> =
        replies.into_iter().map(|reply| (reply.connection, reply.status, reply.json().expect("JSON"))).collect();
    replies.sort_by_key(|reply| reply.0);
    replies
}

/// Every connection of the user gets the ask in order with the events, and answers; the stream of
/// acks ends with the last one.
pub async fn acks_are_collected_from_every_connection<P: ProviderUnderTest>() {
    let Some(fixture) = Fixture::<P>::start_if(|can| can.acks, Setup::default()).await else { return };
    let mut one = fixture.connect(Visitor::user("ann")).await;
    let mut two = fixture.connect(Visitor::user("ann")).await;
    let mut bob = fixture.connect(Visitor::user("bob")).await;
    let begin = one.cursor.clone();
    fixture.note(Target::user("ann"), "before").await;
    let acks = fixture.acks().to_user_with_ack("ann", question(), DEADLINE).await.expect("asked");
    fixture.note(Target::user("ann"), "after").await;
    if fixture.provider.capabilities().resume {
        let mut late = fixture.connect(Visitor::user("ann").with_cursor(&begin)).await;
        fixture.note(Target::connection(late.id), "for the late one").await;
        let mut labels = [late.next().await.payload, late.next().await.payload, late.next().await.payload];
        labels.sort_by_key(Value::to_string);
        assert_eq!(labels, ["after", "before", "for the late one"], "an ask is for connections that existed then");
    }
    for (peer, answer) in [(&mut one, json!("one")), (&mut two, json!({"two": [2]}))] {
        assert_eq!(peer.next().await.payload, "before");
        let number = asked(peer).await;
        assert_eq!(peer.next().await.payload, "after");
        peer.answer(number, answer.clone()).await;
        peer.answer(number, json!("a second answer is ignored")).await;
    }
    let mut expected =
        [(one.id, AckStatus::Answered, json!("one")), (two.id, AckStatus::Answered, json!({"two": [2]}))];
    expected.sort_by_key(|reply| reply.0);
    assert_eq!(collect(acks).await, expected);
    assert!(fixture.labels(&mut bob).await.is_empty());
    let unmatched = fixture.acks().to_user_with_ack("nobody", question(), DEADLINE).await.expect("asked");
    assert!(collect(unmatched).await.is_empty());
}

/// A room's members answer, also in a room that the policy allows no client; an answer of another
/// connection is ignored.
pub async fn acks_of_a_room_come_from_its_members<P: ProviderUnderTest>() {
    let needed = |can: Capabilities| can.acks && can.rooms;
    let Some(fixture) = Fixture::<P>::start_if(needed, Setup::default()).await else { return };
    let mut member = fixture.connect(Visitor::user("ann")).await;
    let mut other = fixture.connect(Visitor::user("bob")).await;
    fixture.acks().join_room("ann", "secret").await.expect("joined");
    let acks = fixture.acks().to_room_with_ack("secret", question(), DEADLINE).await.expect("asked");
    let number = asked(&mut member).await;
    other.answer(number, json!("not asked")).await;
    assert!(fixture.labels(&mut other).await.is_empty());
    member.answer(number, json!("asked")).await;
    assert_eq!(collect(acks).await, [(member.id, AckStatus::Answered, json!("asked"))]);
}

/// A disconnected client is `gone` immediately, a silent one `timed out` at the end; neither gets
/// the ask again after a resume.
pub async fn acks_report_gone_and_timed_out_connections<P: ProviderUnderTest>() {
    let Some(fixture) = Fixture::<P>::start_if(|can| can.acks, Setup::default()).await else { return };
    let mut leaving = fixture.connect(Visitor::user("ann")).await;
    let mut silent = fixture.connect(Visitor::user("ann")).await;
    let timeout = Duration::from_secs(2);
    let started = std::time::Instant::now();
    let mut acks = fixture.acks().to_user_with_ack("ann", question(), timeout).await.expect("asked");
    asked(&mut leaving).await;
    let late = asked(&mut silent).await;
    let (gone_id, cursor) = (leaving.id, leaving.cursor.clone());
    drop(leaving);
    let mut replies = Vec::new();
    while let Some(reply) = in_time("an outcome", acks.next()).await {
        replies.push((reply.connection, reply.status, reply.elapsed < timeout));
    }
    assert_eq!(replies, [(gone_id, AckStatus::Gone, true), (silent.id, AckStatus::TimedOut, false)]);
    assert!(started.elapsed() >= timeout, "the ask waits for the silent client until its timeout");
    for number in [late, late, 999] {
        silent.answer(number, json!("too late, repeated or unknown")).await;
    }
    assert!(fixture.labels(&mut silent).await.is_empty(), "a late answer is ignored");
    if fixture.provider.capabilities().resume {
        let mut back = fixture.connect(Visitor::user("ann").with_cursor(&cursor)).await;
        assert_eq!(fixture.labels(&mut back).await, ["mark 0"]);
    }
}

/// An ask for one tenant's user reaches no other user of that name.
pub async fn acks_for_one_tenants_user<P: ProviderUnderTest>() {
    let Some(fixture) = Fixture::<P>::start_if(|can| can.acks, Setup::default()).await else { return };
    let mut acme = fixture.connect(Visitor::user("ann").with_tenant("acme")).await;
    let mut globex = fixture.connect(Visitor::user("ann").with_tenant("globex")).await;
    let acks = fixture.acks().ask(Target::user_in("acme", "ann"), question(), DEADLINE).await.expect("asked");
    let number = asked(&mut acme).await;
    acme.answer(number, json!("yes")).await;
    assert_eq!(collect(acks).await, [(acme.id, AckStatus::Answered, json!("yes"))]);
    assert!(fixture.labels(&mut globex).await.is_empty());
}
