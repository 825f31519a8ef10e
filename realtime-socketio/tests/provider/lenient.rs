//! Packets of clients in other languages that JSON parsers in Rust reject: they are accepted, or
//! answered with an error.

use realtime_core::{AckStatus, CloseReason, Context, Handlers, Inbound, RealtimeProvider, Reply};
use realtime_socketio::DirectAdapter;
use serde_json::{Value, json};
use socketioxide::extract::{AckSender, Data, SocketRef};

use crate::TRANSPORTS;
use crate::support::{Client, DEADLINE, Server, Setup, Transport, Wire, event, eventually, in_time};

/// Starts a server that answers every event with its name and its payload.
async fn echo_server() -> Server {
    let setup = Setup::default().with_handlers(|provider| {
        provider.fallback(async |_: Context, inbound: Inbound| {
            let attachments = inbound.payload.attachments().len();
            inbound.payload.json::<Value>().map(|payload| Reply(json!([inbound.name.as_ref(), payload, attachments])))
        })
    });
    setup.start().await
}

fn nested(depth: usize) -> String {
    format!("{}1{}", "[".repeat(depth), "]".repeat(depth))
}

/// Checks that the session is still open.
async fn check_open(client: &mut Client) {
    client.emit("check", &[json!(1)], Some(77)).await;
    assert_eq!(client.ack(77).await, json!([["check", 1, 0]]));
}

#[tokio::test]
async fn event_names_with_escapes_or_numbers_are_accepted() {
    let server = echo_server().await;
    for transport in TRANSPORTS {
        let (mut client, _) = server.client(transport, "ann").await;
        for (written, name) in [
            (r#""gr\u00fcn""#, "grün"),
            (r#""a\"b""#, "a\"b"),
            (r#""a\\""#, "a\\"),
            (r#""\u0061""#, "a"),
            (r#""\ud83d\ude00""#, "😀"),
            (r#""cut\ud83d""#, "cut\u{fffd}"),
            ("7", "7"),
            ("-1.5e3", "-1.5e3"),
            (r#" "sp\u0061ce" "#, "space"),
        ] {
            client.send(&format!("421[{written},1]")).await;
            assert_eq!(client.ack(1).await, json!([[name, 1, 0]]), "{written}");
            client.send(&format!("422[{written}]")).await;
            assert_eq!(client.ack(2).await, json!([[name, null, 0]]), "{written}");
            let header = format!(r#"451-3[{written},{{"_placeholder":true,"num":0}}]"#);
            client.send_binary(&header, &[b"x"]).await;
            assert_eq!(client.message().await.data[0][0], name, "{written}");
        }
        client.send(r#"429["\u0000",1]"#).await;
        assert_eq!(client.ack(9).await[0]["error"]["code"], "invalid_name");
        client.send(&format!(r#"429["\u0061{}",1]"#, "x".repeat(400_000))).await;
        assert_eq!(client.ack(9).await[0]["error"]["code"], "invalid_name");
        check_open(&mut client).await;
    }
}

#[tokio::test]
async fn escaped_names_are_accepted_at_any_split_of_frames() {
    let server = echo_server().await;
    let (mut client, _) = server.client(Transport::Websocket, "ann").await;
    let packet = r#"421["gr\u00fcn",1]"#.as_bytes();
    for split in 0..packet.len() {
        let Wire::Websocket(websocket) = &mut client.wire else { unreachable!() };
        websocket.send_parts(&[&packet[..split], b"", &packet[split..]]).await.unwrap();
        assert_eq!(client.ack(1).await, json!([["grün", 1, 0]]), "{split}");
    }
    check_open(&mut client).await;
}

#[tokio::test]
async fn custom_namespace_gets_unescaped_event_names() {
    let server = Server::start().await;
    server.provider.io().ns("/own", async |socket: SocketRef<DirectAdapter>| {
        for name in ["grün", "7", "a\u{fffd}b"] {
            socket.on(name, async move |Data::<Value>(data), ack: AckSender<DirectAdapter>| {
                ack.send(&(name, data)).unwrap();
            });
        }
    });
    for transport in TRANSPORTS {
        let mut client = server.open(transport).await;
        client.connect("/own", &json!({})).await.expect("accepted");
        for (written, name) in [(r#""gr\u00fcn""#, "grün"), ("7", "7"), (r#""a\"b""#, "a\u{fffd}b")] {
            client.send(&format!("42/own,1[{written},5]")).await;
            assert_eq!(client.message().await.data, json!([name, 5]), "{written}");
        }
        for packet in ["43/own,[1]", "43/own,99999999999999999999[1]"] {
            client.send(packet).await;
        }
        client.send("42/own,1[\"grün\",6]").await;
        assert_eq!(client.message().await.data, json!(["grün", 6]));
    }
}

#[tokio::test]
async fn lone_surrogates_in_events_are_replaced() {
    let server = echo_server().await;
    for transport in TRANSPORTS {
        let (mut client, _) = server.client(transport, "ann").await;
        client.send(r#"421["echo","x\ud83d"]"#).await;
        assert_eq!(client.ack(1).await, json!([["echo", "x\u{fffd}", 0]]));
        client.send_binary(r#"451-1["echo","\ud83d",{"_placeholder":true,"num":0}]"#, &[b"x"]).await;
        let holder = json!({"_placeholder": true, "num": 0});
        assert_eq!(client.ack(1).await, json!([["echo", ["\u{fffd}", holder], 1]]));
        check_open(&mut client).await;
    }
}

#[tokio::test]
async fn unreadable_event_with_attachment_gets_error() {
    let server = echo_server().await;
    for transport in TRANSPORTS {
        let (mut client, _) = server.client(transport, "ann").await;
        let holder = r#"{"_placeholder":true,"num":0}"#;
        let mut cases = vec![
            (format!(r#"["b",{},{holder}]"#, nested(100)), "too_deep"),
            (format!(r#"["b",{},{holder}]"#, nested(200)), "too_deep"),
            (format!(r#"["b",{},{holder}]"#, nested(50_000)), "too_deep"),
        ];
        for num in ["5", "-1", "0.5", "\"0\"", "null"] {
            cases.push((format!(r#"["b",{{"_placeholder":true,"num":{num}}},{holder}]"#), "invalid_payload"));
        }
        for (packet, code) in cases {
            client.send_binary(&format!("451-1{packet}"), &[b"x"]).await;
            assert_eq!(client.ack(1).await[0]["error"]["code"], code, "{packet:.60}");
            client.send_binary(&format!("451-{packet}"), &[b"x"]).await;
            assert_eq!(client.event("error").await["code"], code, "{packet:.60}");
        }
        check_open(&mut client).await;
    }
}

#[tokio::test]
async fn auth_may_contain_lone_surrogates() {
    let server = echo_server().await;
    for transport in TRANSPORTS {
        let mut client = server.open(transport).await;
        client.send(r#"40{"user":"ann","note":"\ud83d","\udc00":1}"#).await;
        assert_eq!(client.message().await.kind, 0);
        client.event("connected").await;
        check_open(&mut client).await;
    }
}

#[tokio::test]
async fn unreadable_ack_is_reported_as_unreadable() {
    let server = echo_server().await;
    for transport in TRANSPORTS {
        let (mut client, id) = server.client(transport, "ann").await;
        let io = server.provider.socket_io().unwrap();
        let holder = r#"{"_placeholder":true,"num":0}"#;
        for (answer, attached, outcome) in [
            (r#"["\ud83d"]"#.to_owned(), false, Ok(json!("\u{fffd}"))),
            (format!(r#"["\ud83d",{holder}]"#), true, Ok(json!(["\u{fffd}", {"_placeholder": true, "num": 0}]))),
            (format!("[{}]", nested(200)), false, Err(AckStatus::Unreadable)),
            (format!("[{},{holder}]", nested(200)), true, Err(AckStatus::Unreadable)),
            (r#"[{"_placeholder":true,"num":5}]"#.to_owned(), true, Err(AckStatus::Unreadable)),
            ("[1,".to_owned(), false, Err(AckStatus::Unreadable)),
            ("{}".to_owned(), false, Err(AckStatus::Unreadable)),
        ] {
            let acks = io.to_user_with_ack("ann", event("q", 1), DEADLINE).await.unwrap();
            let number = client.message().await.id.expect("a number");
            if attached {
                client.send_binary(&format!("461-{number}{answer}"), &[b"x"]).await;
            } else {
                client.send(&format!("43{number}{answer}")).await;
            }
            let reply = in_time("the outcome", acks.all()).await.remove(0);
            match outcome {
                Ok(value) => assert_eq!((reply.status, reply.json::<Value>().unwrap()), (AckStatus::Answered, value)),
                Err(status) => assert_eq!(reply.status, status, "{answer:.60}"),
            }
        }
        check_open(&mut client).await;
        server.leave(&mut client, id).await;
    }
}

#[tokio::test]
async fn too_large_ack_id_gets_error_and_unknown_id_is_ignored() {
    let server = echo_server().await;
    let count = server.stats().events_in;
    for transport in TRANSPORTS {
        let (mut client, _) = server.client(transport, "ann").await;
        for id in ["9223372036854775808", "18446744073709551616", "99999999999999999999999999999999"] {
            client.send(&format!("42{id}[\"e\",1]")).await;
            assert_eq!(client.event("error").await["code"], "invalid_envelope", "{id}");
            client.send_binary(&format!(r#"451-{id}["e",{{"_placeholder":true,"num":0}}]"#), &[b"x"]).await;
            assert_eq!(client.event("error").await["code"], "invalid_envelope", "{id}");
            client.send(&format!("43{id}[1]")).await;
        }
        client.send("43[1]").await;
        client.send_binary(r#"461-[{"_placeholder":true,"num":0}]"#, &[b"x"]).await;
        check_open(&mut client).await;
    }
    eventually("the handled events", || server.stats().events_in == count + 2).await;
}

/// Sends one GET. Returns the response's status and text.
async fn get(http: reqwest::Client, url: String) -> (u16, String) {
    let response = in_time("a response", http.get(&url).send()).await.unwrap();
    (response.status().as_u16(), in_time("its text", response.text()).await.unwrap())
}

#[tokio::test]
async fn malformed_packet_on_polling_gets_close_packet() {
    let server = echo_server().await;
    for packet in ["42[", "42{}", "garbage", "9"] {
        for waits in [true, false] {
            let (mut client, id) = server.client(Transport::Polling, "ann").await;
            let Wire::Polling(polling) = &mut client.wire else { unreachable!() };
            let (http, url) = (polling.http.clone(), polling.url.clone());
            let waiting = waits.then(|| tokio::spawn(get(http.clone(), url.clone())));
            polling.post(packet).await;
            assert_eq!(server.ended(id).await, CloseReason::PROTOCOL_ERROR);
            let (status, text) = match waiting {
                Some(waiting) => waiting.await.unwrap(),
                None => get(http.clone(), url.clone()).await,
            };
            assert!(status == 200 && text.ends_with('1'), "{packet} {waits}: {status} {text}");
            assert_eq!(get(http, url).await.0, 400, "once");
        }
    }
}

#[tokio::test]
async fn engine_io_errors_have_numeric_codes() {
    let server = Server::start().await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let (websocket, _) = server.client(Transport::Websocket, "ann").await;
    let root = format!("http://{}/socket.io/?EIO=4", server.address());
    for (query, code) in [
        ("&transport=polling&sid=AAAAAAAAAAAAAAAA".to_owned(), 1),
        ("&transport=none".to_owned(), 0),
        (format!("&transport=polling&sid={}", websocket.sid()), 1),
    ] {
        let response = in_time("a response", http.get(format!("{root}{query}")).send()).await.unwrap();
        assert_eq!(response.status(), 400, "{query}");
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["code"], code, "{query}: {body}");
    }
}
