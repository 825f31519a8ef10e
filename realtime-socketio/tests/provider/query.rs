//! Parameters of the application in the query, in addition to those of Engine.IO.

use realtime_core::Target;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::TRANSPORTS;
use crate::support::{Client, Server, Transport, Wire, in_time};

/// A client whose requests have a query of this form; `SID` and `MARK` are the protocol's.
struct WithQuery<'a> {
    client: &'a mut Client,
    template: &'a str,
    requests: usize,
}

impl WithQuery<'_> {
    /// Sets the query of the next request.
    fn prepare(&mut self) {
        self.requests += 1;
        let sid = self.client.sid().to_owned();
        let Wire::Polling(polling) = &mut self.client.wire else { unreachable!() };
        let base = polling.url.split_once('?').unwrap().0;
        let query = self.template.replace("SID", &sid).replace("MARK", &format!("m{}", self.requests));
        polling.url = format!("{base}?{query}");
    }
}

/// Orders of the parameters in common clients: socket.io-client, which replaces the application's
/// values, python-engineio, SocketIOClient of .NET.
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

/// Opens a session with exactly this query.
async fn open(server: &Server, transport: Transport, query: &str) -> Client {
    let target = format!("/socket.io/?{}", query.replace("MARK", "m0"));
    Client::open_at(server.address(), transport, &target, None).await.expect("a session")
}

#[tokio::test]
async fn polling_works_with_application_keys_in_query() {
    let server = Server::start().await;
    for (opening, request_query) in ORDERS {
        let mut client = open(&server, Transport::Polling, opening).await;
        let mut with_query = WithQuery { client: &mut client, template: request_query, requests: 0 };
        with_query.prepare();
        with_query.client.connect("/", &json!({"user": "ann"})).await.expect(request_query);
        with_query.client.event("connected").await;
        for n in 0..5 {
            with_query.prepare();
            server.send(Target::user("ann"), "n", n).await;
            assert_eq!(with_query.client.event("n").await, n, "{request_query}");
            with_query.prepare();
            with_query.client.emit("unheard of", &[], Some(n)).await;
            assert_eq!(with_query.client.ack(n).await[0]["error"]["code"], "unknown_event");
        }
        client.send("1").await;
    }
}

#[tokio::test]
async fn authenticator_gets_application_keys_on_both_transports() {
    let server = Server::start().await;
    for query in [
        "sid=x&user=ann&EIO=4&transport=TRANSPORT",
        "sid=x&transport=fast&EIO=1&user=ann&EIO=4&transport=TRANSPORT",
        "EIO=4&transport=TRANSPORT&EIO=1&transport=fast&user=ann",
        "t=acme&user=ann&EIO=4&transport=TRANSPORT",
    ] {
        for (transport, name) in TRANSPORTS.into_iter().zip(["polling", "websocket"]) {
            let mut client = open(&server, transport, &query.replace("TRANSPORT", name)).await;
            if let Wire::Polling(polling) = &mut client.wire {
                polling.url = format!("{}&sid={}", polling.url, client.open["sid"].as_str().unwrap());
            }
            client.connect("/", &Value::Null).await.expect("accepted");
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

/// Ids of engineioxide and npm's server, and a value that is no id.
const OWN: [&str; 3] = ["AAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAA", "x"];

#[tokio::test]
async fn application_sid_of_any_form_is_not_taken_for_the_sessions() {
    let server = Server::start().await;
    let orders = [
        ("sid=OWN&EIO=4&transport=TRANSPORT", "sid=OWN&EIO=4&transport=TRANSPORT&sid=SID&t=MARK"),
        ("sid=OWN&transport=TRANSPORT&EIO=4", "sid=SID&EIO=4&transport=TRANSPORT&t=MARK&sid=OWN"),
        ("EIO=4&sid=OWN&transport=TRANSPORT&sid", "EIO=4&transport=TRANSPORT&sid=OWN&sid=SID&t=MARK&sid=OWN"),
    ];
    for own in OWN {
        for (opening, request_query) in
            orders.map(|(opening, request_query)| (opening.replace("OWN", own), request_query.replace("OWN", own)))
        {
            let polling = request_query.replace("TRANSPORT", "polling");
            let mut client = open(&server, Transport::Polling, &opening.replace("TRANSPORT", "polling")).await;
            let mut with_query = WithQuery { client: &mut client, template: &polling, requests: 0 };
            with_query.prepare();
            with_query.client.connect("/", &json!({"user": "ann"})).await.expect(&request_query);
            with_query.client.event("connected").await;
            with_query.prepare();
            let query = request_query.replace("TRANSPORT", "websocket").replace("SID", client.sid());
            client = client.upgrade_at(&format!("/socket.io/?{query}")).await;
            server.send(Target::user("ann"), "n", 1).await;
            assert_eq!(client.event("n").await, 1, "{request_query}");
            client.send("1").await;
            server.connections(0).await;
            let mut client = open(&server, Transport::Websocket, &opening.replace("TRANSPORT", "websocket")).await;
            client.connect("/", &json!({})).await.expect("accepted");
        }
    }
}

/// Clients write the id that a server has sent them at that position.
#[tokio::test]
async fn foreign_sid_at_the_protocols_position_is_unknown() {
    let server = Server::start().await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    for own in OWN {
        for order in ["EIO=4&transport=polling&t=1&sid=OWN", "sid=y&transport=polling&EIO=4&sid=OWN&t=1"] {
            let url = format!("http://{}/socket.io/?{}", server.address(), order.replace("OWN", own));
            for request in [http.get(&url), http.post(&url).body("40")] {
                let response = in_time("a response", request.send()).await.unwrap();
                assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{url}");
                assert_eq!(response.text().await.unwrap(), r#"{"code":1,"message":"Session ID unknown"}"#);
            }
        }
    }
}

/// A client whose session is closed must get an error, not a new session.
#[tokio::test]
async fn closed_session_is_unknown_at_any_position_of_its_id() {
    let server = Server::start().await;
    let (client, id) = server.client(Transport::Polling, "ann").await;
    let sid = client.sid().to_owned();
    client.wire.polling().post("1").await;
    server.ended(id).await;
    let http = reqwest::Client::new();
    for query in ["sid=SID&EIO=4&transport=polling", "EIO=4&transport=polling&sid=x&sid=SID"] {
        let url = format!("http://{}/socket.io/?{}", server.address(), query.replace("SID", &sid));
        let response = http.get(url).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(response.text().await.unwrap(), r#"{"code":1,"message":"Session ID unknown"}"#);
    }
}
