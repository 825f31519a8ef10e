//! What an application puts into the query beside what Engine.IO has there.

use realtime_core::Target;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::TRANSPORTS;
use crate::support::{Client, Packet, Polling, Server, Transport, Websocket, Wire, soon};

/// The same session, asked for with these parameters; `SID` and `MARK` are the protocol's.
struct Asked<'a> {
    client: &'a mut Client,
    template: &'a str,
    marks: usize,
}

impl Asked<'_> {
    fn prepare(&mut self) {
        self.marks += 1;
        let sid = self.client.sid().to_owned();
        let Wire::Polling(polling) = &mut self.client.wire else { unreachable!() };
        let base = polling.url.split_once('?').unwrap().0;
        let query = self.template.replace("SID", &sid).replace("MARK", &format!("m{}", self.marks));
        polling.url = format!("{base}?{query}");
    }
}

/// As the clients of other people order them: socket.io-client, which puts its own into the place of the application's,
/// python-engineio, SocketIOClient of .NET.
const ORDERS: [(&str, &str); 4] = [
    ("sid=x&t=MARK&EIO=4&transport=polling", "sid=SID&t=MARK&EIO=4&transport=polling"),
    (
        "sid=x&t=acme&EIO=1&transport=fast&transport=polling&EIO=4&t=MARK",
        "sid=x&t=acme&EIO=1&transport=fast&transport=polling&EIO=4&sid=SID&t=MARK",
    ),
    (
        "EIO=4&transport=polling&EIO=1&transport=fast&t=acme&t=MARK",
        "EIO=4&transport=polling&EIO=1&transport=fast&sid=x&t=acme&sid=SID&t=MARK",
    ),
    (
        "EIO=4&transport=polling&transport=websocket&t=acme",
        "EIO=4&transport=polling&transport=websocket&t=acme&sid=SID",
    ),
];

/// A session that is opened by exactly this query.
async fn opened(server: &Server, transport: Transport, query: &str) -> Client {
    let target = format!("/socket.io/?{}", query.replace("MARK", "m0"));
    let wire = match transport {
        Transport::Polling => Wire::Polling(Polling::open(server.address, &target).await.expect("a session")),
        Transport::Websocket => {
            Wire::Websocket(Box::new(Websocket::open(server.address, &target, None).await.expect("a session")))
        }
    };
    let mut client = Client::of(server.address, wire);
    let Ok(Packet::Text(open)) = soon("the opening packet", client.next_packet()).await else { panic!("none") };
    client.open = serde_json::from_str(open.strip_prefix('0').unwrap()).unwrap();
    client
}

#[tokio::test]
async fn an_applications_keys_beside_the_protocols_do_not_break_polling() {
    let server = Server::start().await;
    for (opening, asking) in ORDERS {
        let mut client = opened(&server, Transport::Polling, opening).await;
        let mut asked = Asked { client: &mut client, template: asking, marks: 0 };
        asked.prepare();
        asked.client.connect("/", &json!({"user": "ann"})).await.expect(asking);
        asked.client.event("connected").await;
        for n in 0..5 {
            asked.prepare();
            server.send(Target::user("ann"), "n", n).await;
            assert_eq!(asked.client.event("n").await, n, "{asking}");
            asked.prepare();
            asked.client.emit("unheard of", &[], Some(n)).await;
            assert_eq!(asked.client.ack(n).await[0]["error"]["code"], "unknown_event");
        }
        client.send("1").await;
    }
}

#[tokio::test]
async fn an_applications_keys_reach_the_authenticator_and_do_not_break_a_websocket() {
    let server = Server::start().await;
    for query in [
        "sid=x&user=ann&EIO=4&transport=TRANSPORT",
        "sid=x&transport=fast&EIO=1&user=ann&EIO=4&transport=TRANSPORT",
        "EIO=4&transport=TRANSPORT&EIO=1&transport=fast&user=ann",
        "t=acme&user=ann&EIO=4&transport=TRANSPORT",
    ] {
        for (transport, name) in TRANSPORTS.into_iter().zip(["polling", "websocket"]) {
            let mut client = opened(&server, transport, &query.replace("TRANSPORT", name)).await;
            if let Wire::Polling(polling) = &mut client.wire {
                polling.url = format!("{}&sid={}", polling.url, client.open["sid"].as_str().unwrap());
            }
            client.connect("/", &Value::Null).await.expect("let in");
            client.event("connected").await;
            if transport == Transport::Polling {
                client = client.upgrade().await;
            }
            server.send(Target::user("ann"), "n", 1).await;
            assert_eq!(client.event("n").await, 1, "{query}");
            client.send("1").await;
            server.connections(0).await;
        }
    }
}

/// Of engineioxide and npm's server, and of no server.
const OWN: [&str; 3] = ["AAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAA", "x"];

#[tokio::test]
async fn an_applications_sid_is_not_taken_for_the_sessions_whatever_its_form() {
    let server = Server::start().await;
    let orders = [
        ("sid=OWN&EIO=4&transport=TRANSPORT", "sid=OWN&EIO=4&transport=TRANSPORT&sid=SID&t=MARK"),
        ("sid=OWN&transport=TRANSPORT&EIO=4", "sid=SID&EIO=4&transport=TRANSPORT&t=MARK&sid=OWN"),
        ("EIO=4&sid=OWN&transport=TRANSPORT&sid", "EIO=4&transport=TRANSPORT&sid=OWN&sid=SID&t=MARK&sid=OWN"),
    ];
    for own in OWN {
        for (opening, asking) in
            orders.map(|(opening, asking)| (opening.replace("OWN", own), asking.replace("OWN", own)))
        {
            let polling = asking.replace("TRANSPORT", "polling");
            let mut client = opened(&server, Transport::Polling, &opening.replace("TRANSPORT", "polling")).await;
            let mut asked = Asked { client: &mut client, template: &polling, marks: 0 };
            asked.prepare();
            asked.client.connect("/", &json!({"user": "ann"})).await.expect(&asking);
            asked.client.event("connected").await;
            asked.prepare();
            let query = asking.replace("TRANSPORT", "websocket").replace("SID", client.sid());
            client = client.upgrade_at(&format!("/socket.io/?{query}")).await;
            server.send(Target::user("ann"), "n", 1).await;
            assert_eq!(client.event("n").await, 1, "{asking}");
            client.send("1").await;
            server.connections(0).await;
            let mut client = opened(&server, Transport::Websocket, &opening.replace("TRANSPORT", "websocket")).await;
            client.connect("/", &json!({})).await.expect("let in");
        }
    }
}

/// That is where clients put the id that they were told, by whichever server.
#[tokio::test]
async fn a_foreign_sid_in_the_protocols_place_is_unknown() {
    let server = Server::start().await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    for own in OWN {
        for order in ["EIO=4&transport=polling&t=1&sid=OWN", "sid=y&transport=polling&EIO=4&sid=OWN&t=1"] {
            let url = format!("http://{}/socket.io/?{}", server.address, order.replace("OWN", own));
            for request in [http.get(&url), http.post(&url).body("40")] {
                let answer = soon("an answer", request.send()).await.unwrap();
                assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{url}");
                assert_eq!(answer.text().await.unwrap(), r#"{"code":1,"message":"Session ID unknown"}"#);
            }
        }
    }
}

/// A client whose session is over must not be given another one in the place of an error.
#[tokio::test]
async fn a_session_that_is_over_is_unknown_wherever_its_id_stands() {
    let server = Server::start().await;
    let (client, id) = server.client(Transport::Polling, "ann").await;
    let sid = client.sid().to_owned();
    client.wire.polling().post("1").await;
    server.ended(id).await;
    let http = reqwest::Client::new();
    for query in ["sid=SID&EIO=4&transport=polling", "EIO=4&transport=polling&sid=x&sid=SID"] {
        let url = format!("http://{}/socket.io/?{}", server.address, query.replace("SID", &sid));
        let answer = http.get(url).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        assert_eq!(answer.text().await.unwrap(), r#"{"code":1,"message":"Session ID unknown"}"#);
    }
}
