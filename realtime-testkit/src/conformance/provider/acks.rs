use std::time::Duration;

use realtime_core::{AckStatus, Acks, Event, Target};
use serde_json::{Value, json};

use crate::conformance::run::{WAIT, in_time};
use crate::conformance::stage::{Guest, Stage};
use crate::conformance::{ClientUnderTest, ProviderUnderTest, Setup, Visitor};

fn question() -> Event {
    Event::json("question", &json!({"n": 1})).expect("JSON")
}

/// Reads a question, and answers its number.
async fn asked<C: ClientUnderTest>(guest: &mut Guest<C>) -> u64 {
    let received = guest.next().await;
    assert_eq!((received.name.as_str(), &received.payload), ("question", &json!({"n": 1})));
    assert_eq!(received.cursor, None, "an ask carries no place");
    received.ack.expect("the number to answer with")
}

async fn collect(acks: Acks) -> Vec<(realtime_core::ConnectionId, AckStatus, Value)> {
    let replies = in_time("the acks", acks.all()).await;
    let mut replies: Vec<_> =
        replies.into_iter().map(|reply| (reply.connection, reply.status, reply.json().expect("JSON"))).collect();
    replies.sort_by_key(|reply| reply.0);
    replies
}

/// Every connection of the user answers, in its place among the events; the stream ends with the last one.
pub async fn acks_are_collected_from_every_connection<P: ProviderUnderTest>() {
    let stage = Stage::<P>::open(Setup::default()).await;
    if !stage.provider.capabilities().acks {
        return;
    }
    let mut one = stage.guest(Visitor::user("ann")).await;
    let mut two = stage.guest(Visitor::user("ann")).await;
    let mut bob = stage.guest(Visitor::user("bob")).await;
    let begin = one.cursor.clone();
    stage.note(Target::user("ann"), "before").await;
    let acks = stage.acks().to_user_with_ack("ann", question(), WAIT).await.expect("asked");
    stage.note(Target::user("ann"), "after").await;
    if stage.provider.capabilities().resume {
        let mut late = stage.guest(Visitor::user("ann").resume(&begin)).await;
        stage.note(Target::connection(late.id), "for the late one").await;
        let mut labels = [late.next().await.payload, late.next().await.payload, late.next().await.payload];
        labels.sort_by_key(Value::to_string);
        assert_eq!(labels, ["after", "before", "for the late one"], "an ask is for those who were there");
    }
    for (guest, answer) in [(&mut one, json!("one")), (&mut two, json!({"two": [2]}))] {
        assert_eq!(guest.next().await.payload, "before");
        let number = asked(guest).await;
        assert_eq!(guest.next().await.payload, "after");
        guest.answer(number, answer.clone()).await;
        guest.answer(number, json!("a second answer is ignored")).await;
    }
    let mut expected =
        [(one.id, AckStatus::Answered, json!("one")), (two.id, AckStatus::Answered, json!({"two": [2]}))];
    expected.sort_by_key(|reply| reply.0);
    assert_eq!(collect(acks).await, expected);
    assert!(stage.labels(&mut bob).await.is_empty());
    let nobody = stage.acks().to_user_with_ack("nobody", question(), WAIT).await.expect("asked");
    assert!(collect(nobody).await.is_empty());
}

/// A room's members answer, and an answer of somebody else does not count.
pub async fn acks_of_a_room_come_from_its_members<P: ProviderUnderTest>() {
    let stage = Stage::<P>::open(Setup::default()).await;
    let capabilities = stage.provider.capabilities();
    if !(capabilities.acks && capabilities.rooms) {
        return;
    }
    let mut member = stage.guest(Visitor::user("ann")).await;
    let mut other = stage.guest(Visitor::user("bob")).await;
    stage.acks().join_room("ann", "r").await.expect("joined");
    let acks = stage.acks().to_room_with_ack("r", question(), WAIT).await.expect("asked");
    let number = asked(&mut member).await;
    other.answer(number, json!("not asked")).await;
    assert!(stage.labels(&mut other).await.is_empty());
    member.answer(number, json!("asked")).await;
    assert_eq!(collect(acks).await, [(member.id, AckStatus::Answered, json!("asked"))]);
}

/// Who went away is `gone` at once; who is there and silent is `timed out` at the end; neither is asked again on resume.
pub async fn acks_tell_who_is_gone_and_who_is_late<P: ProviderUnderTest>() {
    let stage = Stage::<P>::open(Setup::default()).await;
    if !stage.provider.capabilities().acks {
        return;
    }
    let mut gone = stage.guest(Visitor::user("ann")).await;
    let mut silent = stage.guest(Visitor::user("ann")).await;
    let timeout = Duration::from_secs(2);
    let started = std::time::Instant::now();
    let mut acks = stage.acks().to_user_with_ack("ann", question(), timeout).await.expect("asked");
    asked(&mut gone).await;
    let late = asked(&mut silent).await;
    let (gone_id, cursor) = (gone.id, gone.cursor.clone());
    drop(gone);
    let mut replies = Vec::new();
    while let Some(reply) = in_time("an outcome", acks.next()).await {
        replies.push((reply.connection, reply.status));
    }
    assert_eq!(replies, [(gone_id, AckStatus::Gone), (silent.id, AckStatus::TimedOut)]);
    assert!(started.elapsed() >= timeout, "the silent one is given its time");
    silent.answer(late, json!("too late")).await;
    assert!(stage.labels(&mut silent).await.is_empty(), "a late answer hurts nobody");
    if stage.provider.capabilities().resume {
        let mut back = stage.guest(Visitor::user("ann").resume(&cursor)).await;
        assert_eq!(stage.labels(&mut back).await, ["mark 0"]);
    }
}

/// An ask of one tenant's user reaches nobody else of the same name.
pub async fn acks_of_one_tenants_user<P: ProviderUnderTest>() {
    let stage = Stage::<P>::open(Setup::default()).await;
    if !stage.provider.capabilities().acks {
        return;
    }
    let mut acme = stage.guest(Visitor::user("ann").tenant("acme")).await;
    let mut globex = stage.guest(Visitor::user("ann").tenant("globex")).await;
    let acks = stage.acks().ask(Target::user_in("acme", "ann"), question(), WAIT).await.expect("asked");
    let number = asked(&mut acme).await;
    acme.answer(number, json!("yes")).await;
    assert_eq!(collect(acks).await, [(acme.id, AckStatus::Answered, json!("yes"))]);
    assert!(stage.labels(&mut globex).await.is_empty());
}
