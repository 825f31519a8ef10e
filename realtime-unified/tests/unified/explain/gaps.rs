//! Events and connections that are not known any more, or never were.

use super::client::{Client, Opening};
use super::{builder, explain, send, until_connected};
use crate::support::start;
use realtime_testkit::RecordingProvider;
use realtime_unified::explanation::{Explanation, Fate, Unknown};
use realtime_unified::{Error, Event, EventId, NotificationService, Target};

#[tokio::test]
async fn user_without_connections_has_none_on_any_node() {
    let (service, _) = start(builder()).await;
    let explanation = explain(&service, send(&service, "unheard").await).await;
    assert_eq!((explanation.connections.len(), &*explanation.unknown), (0, &[][..]));
    let text = explanation.to_string();
    assert!(text.contains("no connection is known on any of the 1 nodes that answered, of 1"), "{text}");
}

#[tokio::test]
async fn event_outside_the_log_is_not_known() {
    let (service, address) = start(builder()).await;
    let client = Client::open(address, "ws", "ann", Opening::default()).await;
    let volatile = Event::json("typing", &()).unwrap().as_volatile();
    let volatile = service.send(Target::user("ann"), volatile).await.unwrap().id;
    let one = Target::connection(client.id.parse().unwrap());
    let one = service.send(one, Event::json("hint", &()).unwrap()).await.unwrap().id;
    for event in [volatile, one, EventId::random()] {
        let explanation = explain(&service, event).await;
        assert_eq!(explanation.unknown, [Unknown::NotInLog { since_ms: None }], "{explanation}");
        assert!(explanation.published.is_none());
        assert_eq!(explanation.connections[0].fate, Fate::Unknown { why: Unknown::Event });
    }
    let kept = send(&service, "kept").await;
    let explanation = explain(&service, EventId::random()).await;
    assert_eq!(explanation.unknown, [Unknown::NotInLog { since_ms: kept.created_ms() }], "{explanation}");
    let joined = service.join_room("ann", "board").await.unwrap().id;
    assert_eq!(explain(&service, joined).await.unknown, [Unknown::NotAnEvent]);
}

#[tokio::test]
async fn forgotten_connections_are_named_as_a_gap() {
    for (most, connections) in [(0, 0), (1, 1), (9, 2)] {
        let (service, address) = start(builder().connection_lives(most)).await;
        let event = send(&service, "sent").await;
        for _ in 0..2 {
            drop(Client::open(address, "ws", "ann", Opening::default()).await);
            until_connected(&service, "ann", 0).await;
        }
        let explanation = explain(&service, event).await;
        assert_eq!(explanation.connections.len(), connections, "{explanation}");
        let unknown = &*explanation.unknown;
        match most {
            0 => assert!(unknown.iter().any(|unknown| matches!(unknown, Unknown::NotKept { .. })), "{explanation}"),
            1 => assert!(matches!(unknown, [Unknown::Overwritten { .. }]), "{explanation}"),
            _ => assert!(unknown.is_empty(), "{explanation}"),
        }
    }
}

#[tokio::test]
async fn fakes_explain_nothing_and_mocks_can() {
    let service = NotificationService::mocked([RecordingProvider::new("ws")]);
    let explained = service.explain(EventId::random(), "ann").await;
    assert!(matches!(explained, Err(Error::NotAttached { .. })), "{explained:?}");
    let event = EventId::random();
    let mock = Explanation::new(event, "ann", None).with_unknown(Unknown::Log);
    let json = serde_json::to_value(&mock).unwrap();
    assert_eq!((json["event"].as_str().unwrap().parse().ok(), &json["unknown"][0]), (Some(event), &"log".into()));
    let (service, _) = start(builder()).await;
    let wrong = service.explain(event, "").await;
    assert!(matches!(wrong, Err(Error::InvalidName { .. })), "{wrong:?}");
}
