use realtime_testkit::{MockRealtimeBroadcast, MockRealtimeProvider, MockSocketIoBroadcast, RecordingProvider};
use realtime_unified::{AckReply, Acks, ConnectionId, EventId};

use super::*;

fn order() -> Order {
    Order { id: 7, customer: "ann".to_owned() }
}

fn receipt() -> Receipt {
    Receipt::new(EventId::random(), None, None)
}

/// Looks at what was sent and to whom, not at the calls: such a test holds when the code takes
/// another way to the same send.
#[tokio::test]
async fn paid_order_is_recorded_for_customer_and_kitchen() {
    let (socket, sse) = (RecordingProvider::new("socket"), RecordingProvider::new("sse"));
    let orders = Orders::new(NotificationService::mocked((socket.clone(), sse.clone())));
    orders.paid(&order()).await.unwrap();
    for provider in [&socket, &sse] {
        let to_ann: Vec<Order> = provider.sent_to_user("ann").iter().map(|sent| sent.json()).collect();
        assert_eq!(to_ann, [order()]);
    }
    let kitchen = sse.sent_to_room("kitchen");
    assert_eq!(kitchen.iter().map(|sent| sent.event.name()).collect::<Vec<_>>(), ["order:new"]);

    socket.answer("ann", &true).unwrap();
    assert!(orders.accepts_substitute(&order(), "rye").await.unwrap());
}

/// One mocked provider, and the calls that are expected of it.
#[tokio::test]
async fn customer_is_notified_when_the_kitchen_is_not() {
    let mut sse = MockRealtimeBroadcast::new();
    sse.expect_to_user()
        .withf(|user, event| user == "ann" && event.name() == "order:paid")
        .times(1)
        .returning(|_, _| Ok(receipt()));
    sse.expect_send().times(1).returning(|_, _| Err(Error::Backplane("no kitchen".into())));
    let orders = Orders::new(NotificationService::mocked([MockRealtimeProvider::named("sse", sse)]));
    orders.paid(&order()).await.unwrap();
}

/// A mock can fail where a real provider hardly ever does.
#[tokio::test]
async fn kitchen_is_notified_when_the_customer_is_not() {
    let mut socket = MockSocketIoBroadcast::new();
    socket.expect_to_user().returning(|_, _| Err(Error::Backplane("the log is unavailable".into())));
    socket
        .expect_send()
        .withf(|target, event| *target == Target::room("kitchen") && event.idempotency_key() == Some("order:new:7"))
        .times(1)
        .returning(|_, _| Ok(receipt()));
    let provider = MockRealtimeProvider::named_with_socket_io("socket", socket);
    let failed = Orders::new(NotificationService::mocked([provider])).paid(&order()).await;
    assert!(matches!(failed, Err(Error::Backplane(_))), "{failed:?}");
}

/// Acks of three devices: one answers yes, one no, and one not at all.
#[tokio::test]
async fn first_yes_accepts_the_substitute() {
    let answered = |yes: bool| AckReply::answered(ConnectionId::random(), Duration::from_millis(80), &yes).unwrap();
    for (answers, accepted) in [(vec![true, false], true), (vec![false], false), (vec![], false)] {
        let mut socket = MockSocketIoBroadcast::new();
        let silent = AckReply::unanswered(ConnectionId::random(), AckStatus::TimedOut, PATIENCE);
        let replies: Vec<_> = answers.into_iter().map(answered).chain([silent]).collect();
        socket
            .expect_ask()
            .withf(|target, event, _| *target == Target::user("ann") && event.name() == "order:substitute?")
            .times(1)
            .return_once(move |_, _, _| Ok(Acks::ready(replies)));
        let provider = MockRealtimeProvider::named_with_socket_io("socket", socket);
        let orders = Orders::new(NotificationService::mocked([provider]));
        assert_eq!(orders.accepts_substitute(&order(), "rye").await.unwrap(), accepted);
    }
}
