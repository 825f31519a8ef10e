//! `serve()` over TLS: versions, protocols, certificates, and clients that break the rules.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::support::{
    STALL, Server, ask, config, connect, drain, get_http2, head, http2_client, in_time, response, server,
};
use futures_util::{FutureExt as _, future::join_all};
use http_body_util::BodyExt as _;
use realtime_http::{Serve, Tls, WireConfig, serve};
use realtime_testkit::{TestCertificate, eventually};
use rustls::{
    ALL_VERSIONS, ProtocolVersion,
    pki_types::ServerName,
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
};
use tokio_rustls::client::TlsStream;

const SHORT: Duration = Duration::from_millis(300);
const HOUR: Duration = Duration::from_secs(3600);

fn tls(certificate: &TestCertificate) -> Tls {
    Tls::from_pem_files(certificate.certificate_file(), certificate.key_file()).unwrap()
}

/// Serves the routes of the tests over TLS.
async fn secured(config: WireConfig, tls: Tls, adjust: impl FnOnce(Serve) -> Serve) -> Server {
    server(config, |serve| adjust(serve.with_tls(tls))).await
}

/// Opens a connection for one protocol.
async fn open(address: SocketAddr, certificate: &TestCertificate, protocol: &str) -> TlsStream<TcpStream> {
    certificate.connect(connect(address).await, protocol).await
}

/// Requests `/hello` over HTTP/1.1.
async fn hello(client: &mut TlsStream<TcpStream>) {
    ask(client, "/hello").await;
    assert_eq!(response(client).await.1, "hello");
}

#[tokio::test]
async fn both_versions_and_protocols_are_served() {
    let certificate = TestCertificate::new();
    let server = secured(config(), tls(&certificate), |serve| serve).await;
    for (version, expected) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        for (offered, chosen) in [(&["h2", "http/1.1"][..], Some("h2")), (&["http/1.1"], Some("http/1.1")), (&[], None)]
        {
            let connector = certificate.client(offered, &[version]);
            let name = ServerName::try_from("localhost").unwrap();
            let connecting = connector.connect(name, connect(server.address).await);
            let mut client = in_time("a handshake", connecting).await.unwrap();
            let session = client.get_ref().1;
            assert_eq!(session.protocol_version(), Some(expected));
            assert_eq!(session.alpn_protocol(), chosen.map(str::as_bytes));
            if chosen == Some("h2") {
                let (mut requests, _) = http2_client(client, 1 << 16).await;
                let body = get_http2(&mut requests, "/hello").await.collect().await.unwrap();
                assert_eq!(body.to_bytes(), "hello");
            } else {
                hello(&mut client).await;
            }
        }
    }
}

#[tokio::test]
async fn reload_is_for_new_connections_only() {
    let mut certificate = TestCertificate::new();
    let tls = tls(&certificate).with_reload_interval(None);
    let server = secured(config().with_header_read_timeout(HOUR), tls.clone(), |serve| serve).await;
    let mut old = open(server.address, &certificate, "http/1.1").await;

    certificate.renew();
    tls.reload().unwrap();

    let mut new = open(server.address, &certificate, "http/1.1").await;
    assert_eq!(new.get_ref().1.peer_certificates().unwrap(), [certificate.der().clone()]);
    hello(&mut new).await;
    hello(&mut old).await;
}

#[tokio::test]
async fn changed_files_are_noticed() {
    let mut certificate = TestCertificate::new();
    let tls = tls(&certificate).with_reload_interval(Duration::from_millis(20));
    let server = secured(config(), tls, |serve| serve).await;
    for _ in 0..2 {
        certificate.renew();
        in_time("the new certificate", async {
            let name = || ServerName::try_from("localhost").unwrap();
            let connector = certificate.client(&["http/1.1"], ALL_VERSIONS);
            while connector.connect(name(), connect(server.address).await).await.is_err() {}
        })
        .await;
    }
}

#[tokio::test]
async fn broken_files_leave_the_old_certificate() {
    let certificate = TestCertificate::new();
    let tls = tls(&certificate).with_reload_interval(Duration::from_millis(20));
    let server = secured(config(), tls.clone(), |serve| serve).await;
    let (file, key) = (certificate.certificate_file(), certificate.key_file());
    let good = std::fs::read(&file).unwrap();
    let other = TestCertificate::new();
    for (broken, kind, names) in [
        (b"".to_vec(), ErrorKind::InvalidData, &file),
        (good[..good.len() / 2].to_vec(), ErrorKind::InvalidData, &file),
        (std::fs::read(&key).unwrap(), ErrorKind::InvalidData, &file),
        (std::fs::read(other.certificate_file()).unwrap(), ErrorKind::InvalidData, &key),
    ] {
        std::fs::write(&file, broken).unwrap();
        let error = tls.reload().unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().contains(names.to_str().unwrap()), "{error}");
        hello(&mut open(server.address, &certificate, "http/1.1").await).await;
    }
    std::fs::remove_file(&file).unwrap();
    assert_eq!(tls.reload().unwrap_err().kind(), ErrorKind::NotFound);
    hello(&mut open(server.address, &certificate, "http/1.1").await).await;

    std::fs::write(&file, good).unwrap();
    tls.reload().unwrap();
    for (file, key) in [(&key, &key), (&file, &file), (&file, &other.key_file())] {
        assert_eq!(Tls::from_pem_files(file, key).unwrap_err().kind(), ErrorKind::InvalidData);
    }
}

#[tokio::test]
async fn unfinished_handshakes_are_closed() {
    let certificate = TestCertificate::new();
    let server = secured(config(), tls(&certificate).with_handshake_timeout(SHORT), |serve| serve).await;
    // Nothing, one byte, the head of a record, and the beginning of a ClientHello.
    let sent: [&[u8]; 4] = [b"", &[22], &[22, 3, 1, 2, 0], &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3, 7, 7, 7]];
    let closed = sent.map(async |sent| {
        let start = Instant::now();
        let mut client = connect(server.address).await;
        client.write_all(sent).await.unwrap();
        assert_eq!(drain(&mut client).await, 0, "{sent:?}");
        assert!(start.elapsed() >= SHORT, "{sent:?} was closed after {:?}", start.elapsed());
    });
    join_all(closed).await;
    eventually("four counts", || server.guard.stats().ended["tls_timeout"] == 4).await;
}

#[tokio::test]
async fn handshake_counts_as_a_pending_connection() {
    let certificate = TestCertificate::new();
    let tls = tls(&certificate).with_handshake_timeout(HOUR);
    let server = secured(config().with_pending(10).with_header_read_timeout(HOUR), tls, |serve| serve).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(connect(server.address).await);
    }
    hello(&mut open(server.address, &certificate, "http/1.1").await).await;
    for client in &mut silent[..10] {
        drain(client).await;
    }
    assert!(server.guard.stats().ended["pending_limit"] >= 11, "{:?}", server.guard.stats());
}

#[tokio::test]
async fn connection_without_a_request_is_closed_after_the_handshake() {
    let certificate = TestCertificate::new();
    let server = secured(config().with_header_read_timeout(SHORT), tls(&certificate), |serve| serve).await;
    let closed = ["", "GET /hel", "PRI * HTTP/2.0\r\n\r\n"].map(async |sent| {
        let mut client =
            open(server.address, &certificate, if sent.starts_with('P') { "h2" } else { "http/1.1" }).await;
        client.write_all(sent.as_bytes()).await.unwrap();
        drain(&mut client).await;
    });
    join_all(closed).await;
}

#[tokio::test]
async fn silent_handshakes_do_not_keep_others_away() {
    let certificate = TestCertificate::new();
    let tls = tls(&certificate).with_handshake_timeout(HOUR).with_handshakes(10);
    let server = secured(config(), tls, |serve| serve).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(connect(server.address).await);
    }
    hello(&mut open(server.address, &certificate, "http/1.1").await).await;
    // The oldest are closed, the newest may go on.
    for client in &mut silent[..39] {
        drain(client).await;
    }
    assert!(silent[49].read_u8().now_or_never().is_none());
    assert!(server.guard.stats().ended["tls_limit"] >= 39, "{:?}", server.guard.stats());
}

#[tokio::test]
async fn clients_without_tls_are_answered_and_closed() {
    let certificate = TestCertificate::new();
    let server = secured(config(), tls(&certificate), |serve| serve).await;
    for request in ["GET /hello HTTP/1.1\r\nhost: test\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut plain = connect(server.address).await;
        plain.write_all(request.as_bytes()).await.unwrap();
        let (head, body) = response(&mut plain).await;
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
        assert!(body.ends_with("}\n") && body.contains("HTTPS"), "{body}");
        drop(plain);
    }
    let mut noise = connect(server.address).await;
    noise.write_all(&[0x80, 0, 255, 7]).await.unwrap();
    assert_eq!(drain(&mut noise).await, 0);
    // A record that is none: an alert, and the end.
    let mut noise = connect(server.address).await;
    noise.write_all(&[22, 3, 1, 0, 4, 255, 255, 255, 255]).await.unwrap();
    drain(&mut noise).await;
    hello(&mut open(server.address, &certificate, "http/1.1").await).await;
}

#[tokio::test]
async fn client_that_stops_reading_is_reset_alone() {
    let certificate = TestCertificate::new();
    let mut server = secured(config(), tls(&certificate), |serve| serve).await;
    let mut healthy = open(server.address, &certificate, "http/1.1").await;
    let mut stuck = open(server.address, &certificate, "http/1.1").await;
    ask(&mut stuck, "/flood").await;
    let age = server.body_dropped().await;
    assert!(age >= STALL, "{age:?}");
    assert!(in_time("a reset", stuck.read_to_end(&mut Vec::new())).await.is_err());
    hello(&mut healthy).await;

    // A client that reads from the socket, and not from its stream.
    let (mut requests, _) = http2_client(open(server.address, &certificate, "h2").await, 1000).await;
    let _stuck = get_http2(&mut requests, "/flood").await;
    let age = server.body_dropped().await;
    assert!(age >= STALL, "{age:?}");
    hello(&mut healthy).await;
    assert_eq!(server.guard.stalls(), 2);
}

#[tokio::test]
async fn shutdown_ends_each_connection_in_order() {
    let certificate = TestCertificate::new();
    let (stop, stopped) = oneshot::channel::<()>();
    let mut server = secured(config().with_header_read_timeout(HOUR), tls(&certificate), |serve| {
        serve.with_deadline(HOUR).with_graceful_shutdown(stopped.map(drop))
    })
    .await;
    let mut idle = open(server.address, &certificate, "http/1.1").await;
    hello(&mut idle).await;
    let (mut requests, connection) = http2_client(open(server.address, &certificate, "h2").await, 1 << 16).await;
    get_http2(&mut requests, "/hello").await.collect().await.unwrap();
    // A handshake that has not begun does not delay the end.
    let _silent = connect(server.address).await;

    stop.send(()).unwrap();

    // Without a close_notify this would be an error.
    assert_eq!(in_time("the end", idle.read(&mut [0; 10])).await.unwrap(), 0);
    in_time("the end", connection).await.unwrap().unwrap();
    server.running.finished().await.unwrap();
}

/// An HTTP/1 response says by `Connection: close` that its connection ends, an HTTP/2 connection by
/// GOAWAY.
#[tokio::test]
async fn http2_connection_ends_with_a_response_that_closes_it() {
    let certificate = TestCertificate::new();
    let server = secured(config(), tls(&certificate), |serve| serve).await;
    let (mut requests, connection) = http2_client(open(server.address, &certificate, "h2").await, 1 << 16).await;
    let mut open = get_http2(&mut requests, "/silence").await;
    assert_eq!(open.frame().await.unwrap().unwrap().into_data().unwrap(), "open");

    assert_eq!(get_http2(&mut requests, "/last").await.collect().await.unwrap().to_bytes(), "last");

    in_time("no further requests", async {
        let request = || hyper::Request::get("https://test/hello").body(http_body_util::Empty::new().boxed()).unwrap();
        while requests.send_request(request()).await.is_ok() {}
    })
    .await;
    assert!(open.frame().now_or_never().is_none(), "the open response continues");
    in_time("the end of the client's task", connection).await.unwrap().unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn positions_are_those_of_the_bytes_of_the_application() {
    const BYTES: u32 = 100_000;
    let certificate = TestCertificate::new();
    let mut server = secured(WireConfig::default(), tls(&certificate), |serve| serve).await;
    let mut client = open(server.address, &certificate, "http/1.1").await;
    client.write_all(b"GET /upgrade HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: raw\r\n\r\n").await.unwrap();
    let head = head(&mut client).await;
    let (wire, mut upgraded) = (server.wire().await, server.upgraded().await);
    let begin = u32::try_from(head.len()).unwrap();
    assert_eq!(wire.written(), begin);
    eventually("the head has arrived", || wire.acknowledged() == begin).await;

    // Small records and large ones, as events are.
    for piece in [&vec![7; BYTES as usize][..], &[7; 10], &[7; 10]] {
        upgraded.write_all(piece).await.unwrap();
        upgraded.flush().await.unwrap();
    }

    let end = begin + BYTES + 20;
    assert_eq!(wire.written(), end);
    let arrived = wire.acknowledged();
    assert!((begin..begin + BYTES).contains(&arrived), "{arrived} bytes");
    in_time("all bytes", client.read_exact(&mut vec![0; BYTES as usize + 20])).await.unwrap();
    eventually("everything has arrived", || wire.acknowledged() == end).await;
}

#[tokio::test]
async fn a_server_with_a_limit_of_zero_does_not_begin() {
    let certificate = TestCertificate::new();
    for (field, tls) in [
        ("handshake_timeout", tls(&certificate).with_handshake_timeout(Duration::ZERO)),
        ("handshakes", tls(&certificate).with_handshakes(0)),
        ("reload_interval", tls(&certificate).with_reload_interval(Duration::ZERO)),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let error = serve(listener, axum::Router::new()).with_tls(tls).await.unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::InvalidInput, format!("tls: {field} is zero")));
    }
}
