//! Why a user got an event, or did not, over every transport.

mod client;
mod gaps;
mod nodes;
mod slow;

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::start;
use client::{Client, Opening, TRANSPORTS};
use realtime_testkit::in_time;
use realtime_unified::explanation::{Acknowledgement, Answer, Explained, Explanation, Fate, Mismatch, Unknown};
use realtime_unified::{
    AllowRooms, ConnectRequest, Drain, Event, EventId, Identity, NotificationService, NotificationServiceBuilder,
    Refusal, SocketIoConfig, SocketIoProvider, SseConfig, SseProvider, Target, WsConfig, WsProvider,
};

/// Identifies by a token `user` or `user@tenant`.
async fn by_tenant(request: ConnectRequest) -> Result<Identity, Refusal> {
    let token = request.token().ok_or_else(|| Refusal::unauthorized("no token"))?;
    Ok(match token.split_once('@') {
        Some((user, tenant)) => Identity::user(user).with_tenant(tenant),
        None => Identity::user(&*token),
    })
}

fn builder() -> NotificationServiceBuilder {
    NotificationService::builder()
        .provider(SseProvider::new(SseConfig::default()))
        .provider(WsProvider::new(WsConfig::default()))
        .provider(SocketIoProvider::new(SocketIoConfig::default()))
        .authenticator(by_tenant)
        .room_policy(AllowRooms)
}

/// Connects a client of this token over each transport.
async fn clients(address: SocketAddr, token: &str) -> Vec<Client> {
    let mut clients = Vec::new();
    for transport in TRANSPORTS {
        clients.push(Client::open(address, transport, token, Opening::default()).await);
    }
    clients
}

/// Waits until a user has this many connections to this node.
async fn until_connected(service: &NotificationService, user: &str, connections: usize) {
    let count = || service.connections(&Target::user(user)).values().map(Vec::len).sum::<usize>();
    in_time(format!("{connections} connections"), async {
        while count() != connections {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

async fn send(service: &NotificationService, text: &str) -> EventId {
    service.to_user("ann", "note", text).await.unwrap().id
}

async fn explain(service: &NotificationService, event: EventId) -> Explanation {
    in_time("an explanation", service.explain(event, "ann")).await.unwrap()
}

/// Returns the only connection with a provider.
fn over<'a>(explanation: &'a Explanation, provider: &str) -> &'a Explained {
    let mut of_provider = explanation.connections.iter().filter(|known| known.provider == provider);
    match (of_provider.next(), of_provider.next()) {
        (Some(known), None) => known,
        _ => panic!("{provider}: {explanation}"),
    }
}

const fn not(why: Mismatch) -> Fate {
    Fate::NotMatched { why }
}

#[tokio::test]
async fn event_that_was_read_was_written() {
    let (service, address) = start(builder()).await;
    let mut clients = clients(address, "ann@acme").await;
    let event = send(&service, "read").await;
    for client in &mut clients {
        client.next_of("note").await;
    }
    let explanation = explain(&service, event).await;
    assert_eq!((explanation.connections.len(), &*explanation.unknown), (3, &[][..]), "{explanation}");
    assert!(explanation.reached());
    for (client, transport) in clients.iter().zip(TRANSPORTS) {
        let known = over(&explanation, transport);
        let expected = (client.id.as_str(), Some("acme"), &Fate::Written, None);
        let found = (&*known.connection.to_string(), known.tenant.as_deref(), &known.fate, known.end.as_ref());
        assert_eq!(found, expected, "{transport}");
    }
    let published = explanation.published.as_ref().unwrap();
    assert_eq!((&*published.name, &published.target), ("note", &Target::user("ann")));
    assert_eq!((published.node, published.at_ms), (service.health().unwrap().node.id, event.created_ms()));
    assert_eq!((&published.providers, published.size), (&None, "\"read\"".len()));
}

#[tokio::test]
async fn connection_that_had_ended_is_known() {
    let (service, address) = start(builder()).await;
    let first = {
        let _clients = clients(address, "ann").await;
        send(&service, "before").await
    };
    until_connected(&service, "ann", 0).await;
    let event = send(&service, "too late").await;
    let (before, after) = (explain(&service, first).await, explain(&service, event).await);
    for transport in TRANSPORTS {
        let known = over(&after, transport);
        assert_eq!(known.fate, not(Mismatch::EndedBefore), "{after}");
        assert!(known.end.as_ref().is_some_and(|end| end.at_ms >= known.connected_ms), "{known:?}");
        // Whether its session had taken it was a matter of time; its connection was meant.
        let fate = &over(&before, transport).fate;
        assert!(matches!(fate, Fate::Written | Fate::Dropped { .. }), "{before}");
    }
    assert!(!after.reached());
}

#[tokio::test]
async fn room_counts_as_of_the_event() {
    let (service, address) = start(builder()).await;
    let mut clients = clients(address, "ann").await;
    let mut to_room = Vec::new();
    for step in ["not in", "in", "left"] {
        match step {
            "in" => drop(service.join_room("ann", "board").await.unwrap()),
            "left" => drop(service.leave_room("ann", "board").await.unwrap()),
            _ => {}
        }
        to_room.push(service.to_room("board", "note", step).await.unwrap().id);
    }
    service.to_all("end", &()).await.unwrap();
    for client in &mut clients {
        client.next_of("end").await;
    }
    let expected = [not(Mismatch::Room), Fate::Written, not(Mismatch::Room)];
    for (event, fate) in to_room.iter().zip(&expected) {
        let explanation = explain(&service, *event).await;
        for transport in TRANSPORTS {
            assert_eq!(over(&explanation, transport).fate, *fate, "{explanation}");
        }
    }
}

#[tokio::test]
async fn own_rooms_are_known_after_the_end() {
    let (service, address) = start(builder()).await;
    let mut clients = Vec::new();
    for transport in TRANSPORTS {
        let opening = Opening { room: Some("board"), ..Opening::default() };
        clients.push(Client::open(address, transport, "ann", opening).await);
    }
    let [board, other] = ["board", "other"].map(|room| service.to_room(room, "note", room));
    let (board, other) = (board.await.unwrap().id, other.await.unwrap().id);
    service.to_all("end", &()).await.unwrap();
    for client in &mut clients {
        client.next_of("end").await;
    }
    drop(clients);
    until_connected(&service, "ann", 0).await;
    for (event, fate) in [(board, Fate::Written), (other, not(Mismatch::Room))] {
        let explanation = explain(&service, event).await;
        for transport in TRANSPORTS {
            assert_eq!(over(&explanation, transport).fate, fate, "{explanation}");
        }
    }
}

#[tokio::test]
async fn tenants_exceptions_and_providers_are_told_apart() {
    let (service, address) = start(builder()).await;
    let _acme = Client::open(address, "ws", "ann@acme", Opening::default()).await;
    let mut other = Client::open(address, "sse", "ann@other", Opening::default()).await;
    let in_other = service.to_user_in("other", "ann", "note", "one").await.unwrap().id;
    let target = Target::all().except_user_in("acme", "ann");
    let except = service.send(target, Event::json("note", "two").unwrap()).await.unwrap().id;
    let over_sse = service.broadcast_to_user("sse", "ann", "note", "three").await.unwrap().id;
    let to_bob = service.to_user("bob", "note", "four").await.unwrap().id;
    for _ in 0..3 {
        other.next_of("note").await;
    }
    for (event, why) in [(in_other, Mismatch::Tenant), (except, Mismatch::Excepted), (over_sse, Mismatch::Provider)] {
        let explanation = explain(&service, event).await;
        let found = (&over(&explanation, "ws").fate, &over(&explanation, "sse").fate);
        assert_eq!(found, (&not(why), &Fate::Written), "{explanation}");
    }
    let of_other = service.explain_in("other", in_other, "ann").await.unwrap();
    assert_eq!((of_other.connections.len(), of_other.tenant.as_deref()), (1, Some("other")));
    let explanation = explain(&service, to_bob).await;
    assert_eq!(over(&explanation, "ws").fate, not(Mismatch::User), "{explanation}");
}

#[tokio::test]
async fn later_connection_replays_and_acknowledges() {
    let (service, address) = start(builder()).await;
    for from in TRANSPORTS {
        for to in TRANSPORTS.into_iter().filter(|to| *to != from) {
            let mut first = Client::open(address, from, "ann", Opening::default()).await;
            let seen = send(&service, "seen").await;
            let cursor = first.next_of("note").await;
            let id = first.id.clone();
            drop(first);
            until_connected(&service, "ann", 0).await;
            let missed = send(&service, "missed").await;
            let opening = Opening { cursor: Some(&cursor), former: Some(&id), ..Opening::default() };
            let mut second = Client::open(address, to, "ann", opening).await;
            second.next_of("note").await;
            let fate = |explanation: &Explanation, id: &str| {
                let known = explanation.connections.iter().find(|known| known.connection.to_string() == id);
                known.map(|known| (known.fate.clone(), known.replayed)).unwrap()
            };
            let resumed = Acknowledgement::Resumed(second.id.parse().unwrap());
            let explained = explain(&service, seen).await;
            assert_eq!(fate(&explained, &id), (Fate::Acknowledged { by: resumed }, false), "{explained}");
            assert_eq!(fate(&explained, &second.id).0, not(Mismatch::ResumedLater), "{explained}");
            let explained = explain(&service, missed).await;
            assert_eq!(fate(&explained, &id).0, not(Mismatch::EndedBefore), "{explained}");
            assert_eq!(fate(&explained, &second.id), (Fate::Written, true), "{explained}");
            drop(second);
            until_connected(&service, "ann", 0).await;
        }
    }
}

#[tokio::test]
async fn ask_has_the_answer_of_each_connection() {
    let (service, address) = start(builder()).await;
    let mut clients = clients(address, "ann").await;
    let question = Event::json("ready?", "now").unwrap();
    let mut answers = service.ask("ann", question, Duration::from_secs(60)).await.unwrap();
    let ack = clients[1].next_ask("ready?").await;
    clients[2].next_of("ready?").await;
    clients[1].answer(ack).await;
    in_time("an answer", answers.next()).await.unwrap();
    let event = answers.id().unwrap();
    let found = |explanation: &Explanation| {
        TRANSPORTS.map(|transport| {
            let known = over(explanation, transport);
            (known.fate.clone(), known.answer)
        })
    };
    let answered = (Fate::Acknowledged { by: Acknowledgement::Answered }, Some(Answer::Received));
    let sse = (not(Mismatch::Provider), None);
    let explanation = explain(&service, event).await;
    let waiting = (Fate::Written, Some(Answer::Waiting));
    assert_eq!(found(&explanation), [sse.clone(), answered.clone(), waiting], "{explanation}");
    drop(answers);
    let explanation = explain(&service, event).await;
    assert_eq!(found(&explanation), [sse, answered, (Fate::Written, Some(Answer::Missing))], "{explanation}");
    assert!(explanation.published.as_ref().is_some_and(|published| published.is_ask));
}

#[tokio::test]
async fn restart_is_told_before_the_end() {
    let (service, address) = start(builder()).await;
    let mut clients = clients(address, "ann").await;
    let event = send(&service, "last").await;
    service.shutdown(Drain::now()).await;
    for client in &mut clients {
        client.next_of("note").await;
    }
    let explanation = explain(&service, event).await;
    for transport in TRANSPORTS {
        let known = over(&explanation, transport);
        assert_eq!((&known.fate, known.reconnect), (&Fate::Written, true), "{explanation}");
        assert_eq!(known.end.as_ref().unwrap().reason.code(), 1012);
    }
    let text = explanation.to_string();
    assert_eq!(text.matches("asked to reconnect").count(), 3, "{text}");
    let later = service.explain(EventId::random(), "ann").await.unwrap();
    assert!(later.connections.iter().all(|known| known.fate == Fate::Unknown { why: Unknown::Event }), "{later}");
}
