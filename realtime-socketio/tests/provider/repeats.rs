//! Long polling on connections that break: the packets of a response that did not arrive are
//! redelivered to a new session only, so the old one must be closed.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use realtime_core::{CloseReason, Target};
use realtime_socketio::DirectAdapter;
use serde_json::json;
use socketioxide::extract::SocketRef;
use socketioxide::handler::ConnectHandler;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::support::{Client, Message, Server, Transport, Wire, in_time};

/// Returns the session's URL with this value of `t`.
fn url(client: &Client, t: &str) -> String {
    let Wire::Polling(polling) = &client.wire else { unreachable!() };
    format!("{}&t={t}", polling.url)
}

async fn get(url: &str) -> (u16, String) {
    let response = in_time("a response", reqwest::get(url)).await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

async fn post(url: &str, body: &'static str) -> u16 {
    in_time("a response", reqwest::Client::new().post(url).body(body).send()).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn repeated_get_closes_the_session() {
    let server = Server::start().await;
    let (client, id) = server.client(Transport::Polling, "ann").await;
    for (t, n) in [("a", 1), ("b", 2)] {
        server.send(Target::user("ann"), "n", n).await;
        let (status, body) = get(&url(&client, t)).await;
        assert!(body.contains(&format!("42[\"n\",{n},")), "{status} {body}");
    }
    server.send(Target::user("ann"), "n", 3).await;
    // Like a browser whose connection broke before the response.
    let (status, body) = get(&url(&client, "b")).await;
    assert!(status == 400 && body.starts_with("{\"error\":"), "{status} {body}");
    assert_eq!(server.ended(id).await, CloseReason::CONNECTION_LOST);
    assert_eq!(server.stats().rejected.len(), 0);
    assert_eq!(get(&url(&client, "c")).await.0, 400);
}

#[tokio::test]
async fn repeated_post_closes_the_session_and_is_not_read_twice() {
    let server = Server::start().await;
    let (client, id) = server.client(Transport::Polling, "ann").await;
    let event = "42[\"unknown\"]";
    assert_eq!(post(&url(&client, "a"), event).await, 200);
    server.send(Target::user("ann"), "n", 1).await;
    assert_eq!(get(&url(&client, "a")).await.0, 200, "each method is checked separately");
    assert_eq!(post(&url(&client, "b"), event).await, 200);
    assert_eq!(post(&url(&client, "b"), event).await, 400);
    assert_eq!(server.ended(id).await, CloseReason::CONNECTION_LOST);
    assert_eq!(server.stats().events_in, 2);
}

/// Values of `t` that are not unique to a request: .NET's seconds, Dart's milliseconds, an
/// application's own.
#[tokio::test]
async fn same_time_or_constant_t_is_no_repeat() {
    let server = Server::start().await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let millis = now.as_millis() as u64;
    let base36 = |mut n: u64| {
        let mut digits = Vec::new();
        while n > 0 {
            digits.push(b"0123456789abcdefghijklmnopqrstuvwxyz"[(n % 36) as usize]);
            n /= 36;
        }
        digits.reverse();
        String::from_utf8(digits).unwrap()
    };
    let values = [now.as_secs().to_string(), millis.to_string(), base36(millis), "acme".to_owned()];
    for keeps in [true, false] {
        for t in &values {
            let client = Client::open(server.address(), Transport::Polling, "t=acme").await.unwrap();
            let polling = client.wire.polling();
            let url = format!("{}&t={t}", polling.url.replace("&t=acme", ""));
            // The same connections again, or a new one for each request.
            let http = || if keeps { polling.http.clone() } else { reqwest::Client::new() };
            let connect = http().post(&url).body("40{\"user\":\"ann\"}").send();
            assert_eq!(in_time("a response", connect).await.unwrap().status(), 200);
            for n in 0..5 {
                server.send(Target::user("ann"), "n", n).await;
                let response = in_time("a response", http().get(&url).send()).await.unwrap();
                assert_eq!(response.status(), 200, "{t}: GET {n}");
                response.bytes().await.unwrap();
                let response = in_time("a response", http().post(&url).body("42[\"unknown\"]").send()).await.unwrap();
                assert_eq!(response.status(), 200, "{t}: POST {n}");
            }
            http().post(&url).body("1").send().await.unwrap();
            server.connections(0).await;
        }
    }
    assert_eq!(server.stats().events_in, 40);
}

/// On one TCP connection a request that follows a response shows that the response has arrived.
#[tokio::test]
async fn same_t_on_the_same_connection_is_no_repeat() {
    let server = Server::start().await;
    let (client, _) = server.client(Transport::Polling, "ann").await;
    let again = url(&client, "a");
    let http = reqwest::Client::new();
    for n in 0..3 {
        server.send(Target::user("ann"), "n", n).await;
        let answer = in_time("a response", http.get(&again).send()).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.text().await.unwrap().contains(&format!("42[\"n\",{n},")));
    }
    // Such a client's values prove nothing on another connection either.
    server.send(Target::user("ann"), "n", 3).await;
    assert_eq!(get(&again).await.0, 200);
}

/// The socket accepts the response, and the client's connection breaks.
#[tokio::test]
async fn same_time_after_broken_connection_is_a_repeat() {
    let server = Server::start().await;
    let (client, id) = server.client(Transport::Polling, "ann").await;
    let again = url(&client, "1700000000");
    let path = again.split_once(&server.address().to_string()).unwrap().1;
    let mut wire = TcpStream::connect(server.address()).await.unwrap();
    wire.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    server.send(Target::user("ann"), "n", 1).await;
    in_time("the response", wire.readable()).await.unwrap();
    wire.set_zero_linger().unwrap();
    drop(wire);
    server.send(Target::user("ann"), "n", 2).await;
    assert_eq!(get(&again).await.0, 400);
    assert_eq!(server.ended(id).await, CloseReason::CONNECTION_LOST);
}

#[tokio::test]
async fn requests_without_t_are_no_repeats() {
    let server = Server::start().await;
    let (client, _) = server.client(Transport::Polling, "ann").await;
    let bare = url(&client, "");
    for n in 0..3 {
        server.send(Target::user("ann"), "n", n).await;
        assert_eq!(get(&bare).await.0, 200);
        assert_eq!(post(&bare, "42[\"unknown\"]").await, 200);
    }
}

#[tokio::test]
async fn aborted_request_closes_the_session() {
    let server = Server::start().await;
    let requests =
        ["GET PATH HTTP/1.1\r\nhost: x\r\n\r\n", "POST PATH HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n42[\"n"];
    for request in requests {
        let (client, id) = server.client(Transport::Polling, "ann").await;
        let mut ended = pin!(server.ended(id));
        let mut reason = None;
        // Repeated, because a GET may get the session's first ping, and a request may be aborted
        // before it is read.
        for t in 0.. {
            let url = url(&client, &t.to_string());
            let path = url.split_once(&server.address().to_string()).unwrap().1;
            let mut wire = TcpStream::connect(server.address()).await.unwrap();
            wire.write_all(request.replace("PATH", path).as_bytes()).await.unwrap();
            drop(wire);
            reason = timeout(Duration::from_millis(250), &mut ended).await.ok();
            if reason.is_some() {
                break;
            }
        }
        assert_eq!(reason, Some(CloseReason::CONNECTION_LOST), "{request}");
    }
    assert_eq!(server.stats().rejected.len(), 0);
}

#[tokio::test]
async fn new_session_resumes_at_the_clients_cursor() {
    let server = Server::start().await;
    let (mut client, id) = server.client(Transport::Polling, "ann").await;
    server.send(Target::user("ann"), "n", 1).await;
    let seen = client.message().await;
    server.send(Target::user("ann"), "n", 2).await;
    // A response that the client does not get.
    assert_eq!(get(&url(&client, "a")).await.0, 200);
    server.send(Target::user("ann"), "n", 3).await;
    assert_eq!(get(&url(&client, "a")).await.0, 400);
    server.ended(id).await;
    assert_resumes_at_2(&server, &seen).await;
}

/// Asserts that a client that has seen this event, the first one, gets the second and the third.
async fn assert_resumes_at_2(server: &Server, seen: &Message) {
    let auth = json!({"user": "ann", "lastEventId": seen.data[2]});
    let (mut back, _) = server.client_with(Transport::Polling, &auth).await;
    for n in [2, 3] {
        assert_eq!(back.event("n").await, n);
    }
}

/// The proxy has read the response completely when its connection to the client breaks; the browser
/// repeats its GET.
#[tokio::test]
async fn response_lost_behind_proxy_is_redelivered_to_next_session() {
    let server = Server::start().await;
    let (mut client, id) = server.client(Transport::Polling, "ann").await;
    server.send(Target::user("ann"), "n", 1).await;
    let seen = client.message().await;
    let upstream = reqwest::Client::builder().no_proxy().build().unwrap();
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = proxy.local_addr().unwrap();
    let (to_server, http) = (server.address(), upstream.clone());
    let relaying = tokio::spawn(async move {
        let mut taken = Vec::new();
        for breaks in [true, false] {
            let (mut stream, _) = proxy.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut head).await.unwrap();
            }
            let path = std::str::from_utf8(&head).unwrap().split(' ').nth(1).unwrap().to_owned();
            // One connection for each request, as nginx does by default.
            let http = if breaks { http.clone() } else { reqwest::Client::new() };
            let response = http.get(format!("http://{to_server}{path}")).send().await.unwrap();
            let status = response.status();
            let body = response.text().await.unwrap();
            if !breaks {
                let response = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(response.as_bytes()).await.unwrap();
            }
            taken.push(body);
        }
        taken
    });
    let get = url(&client, "unique").replace(&server.address().to_string(), &address.to_string());
    server.send(Target::user("ann"), "n", 2).await;
    assert!(in_time("a break", upstream.get(&get).send()).await.is_err());
    server.send(Target::user("ann"), "n", 3).await;
    let again = in_time("a response", upstream.get(&get).send()).await.unwrap();
    assert_eq!(again.status(), 400, "the browser would miss event 2: {}", again.text().await.unwrap());
    assert!(in_time("the proxy", relaying).await.unwrap()[0].contains("42[\"n\",2,"), "read completely");
    server.ended(id).await;
    assert_resumes_at_2(&server, &seen).await;
}

/// The client would take the packets for read if the session stayed open.
#[tokio::test]
async fn post_aborted_while_packets_wait_closes_the_session() {
    let server = Server::start().await;
    for n in 0..4 {
        let middleware = async |_: SocketRef<DirectAdapter>| std::future::pending::<Result<(), Infallible>>().await;
        let handler = async |_: SocketRef<DirectAdapter>| {};
        server.provider.io().ns(format!("/never{n}"), handler.with(middleware));
    }
    let (client, id) = server.client(Transport::Polling, "ann").await;
    // The fifth CONNECT under way waits for one of the others.
    let body = "40/never0,\u{1e}40/never1,\u{1e}40/never2,\u{1e}40/never3,\u{1e}40/never4,\u{1e}42[\"n\"]";
    let post = reqwest::Client::new().post(url(&client, "a")).body(body).send();
    assert!(timeout(Duration::from_millis(500), post).await.is_err(), "the POST waits");
    assert_eq!(server.ended(id).await, CloseReason::CONNECTION_LOST);
    assert_eq!(server.stats().events_in, 0);
}
