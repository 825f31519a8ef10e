use std::sync::Arc;
use std::time::Duration;

use socketioxide::{ParserConfig, SocketIo};

use crate::connect::{Acceptor, Connect};
use crate::engine::adapter::{DirectAdapter, MainAdapter};
use crate::engine::entry::EntryNamespace;
use crate::engine::inner::NotFound;
use crate::engine::service::EngineService;
use crate::engine::sessions::Sessions;
use crate::engine::settings::CHANNEL_PACKETS;
use crate::engine::settings::{EngineConfig, Limits, MAX_DURATION};
use crate::engine::websocket::probe::MAX_PROBE;
use crate::packet::entry;
use crate::packet::rewrite::MAX_GROWTH;
use crate::session;

/// Time for a session to connect to the entry namespace, which happens on behalf of its client.
const ENTER_TIMEOUT: Duration = Duration::from_secs(10);

/// Socket.IO server whose main namespace is the provider's.
#[derive(Clone)]
pub(crate) struct Server {
    io: SocketIo<DirectAdapter>,
    service: EngineService,
    sessions: Arc<Sessions>,
}

impl Server {
    /// Builds the server; the acceptor decides on connections to the main namespace.
    pub(crate) fn new(config: &EngineConfig, acceptor: Arc<dyn Acceptor>) -> Self {
        let main = MainAdapter::default();
        let parser = ParserConfig::common()
            .max_incoming_binary_buf_size(config.max_message)
            .max_incoming_binaries(config.max_attachments);
        let (inner, io) = SocketIo::builder()
            .req_path(config.path.clone())
            // The heartbeat is this crate's, except for the first ping.
            .ping_interval(MAX_DURATION)
            .ping_timeout(MAX_DURATION)
            // `connect_timeout` is this crate's too: each session is connected to the entry
            // namespace immediately.
            .connect_timeout(config.bounds.connect_timeout.max(ENTER_TIMEOUT))
            .max_buffer_size(CHANNEL_PACKETS)
            // The service around socketioxide bounds requests. A response that reached this bound
            // would lose a packet in an upgrade.
            .max_payload(u32::MAX.into())
            // Rewriting makes messages larger; their size as sent is checked before.
            .ws_max_message_size(config.max_message.saturating_add(MAX_GROWTH))
            .ws_max_frame_size(config.max_message.saturating_add(MAX_GROWTH))
            .with_parser(parser)
            .with_adapter::<DirectAdapter>(main.clone())
            .build_with_inner_svc(NotFound);
        let reporter = Arc::clone(&acceptor);
        let meters = Arc::clone(&acceptor);
        let sessions = Arc::new(Sessions::new(
            config.bounds,
            move |report, client| reporter.report(report, client),
            move |calls| meters.meter(calls),
        ));
        let connect = Connect {
            acceptor,
            main,
            sessions: Arc::clone(&sessions),
            max_message: config.max_message,
            limits: session::Limits { max_ask: config.max_ask, window: config.window, write_stall: config.write_stall },
        };
        io.ns("/", connect);
        io.ns(entry::NAME, EntryNamespace);
        let limits = Limits {
            max_message: config.max_message,
            write_stall: config.write_stall,
            probe: config.bounds.connect_timeout.min(MAX_PROBE),
        };
        let service =
            EngineService::new(inner, Arc::clone(&sessions), limits, config.heartbeat, config.proxies.clone());
        Self { io, service, sessions }
    }

    /// Returns socketioxide, for namespaces of the application's own.
    pub(crate) fn io(&self) -> &SocketIo<DirectAdapter> {
        &self.io
    }

    /// Returns the HTTP service.
    pub(crate) fn service(&self) -> EngineService {
        self.service.clone()
    }

    /// Returns the number of sessions that are connected to a namespace.
    pub(crate) fn connected_sessions(&self) -> usize {
        self.sessions.connected_sessions()
    }

    /// Closes all sessions, whose hooks run, and refuses new ones.
    ///
    /// `SocketIo::close` does neither: it removes the namespaces before their hooks can run.
    pub(crate) async fn close(&self) {
        self.sessions.close().await;
    }

    /// [`Server::close`] without waiting.
    pub(crate) fn shut(&self) {
        self.sessions.shut();
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::config::SocketIoConfig;
    use crate::connect::{Accepted, ConnectAttempt, Rejection};
    use crate::engine::session::registry::Report;
    use async_trait::async_trait;
    use axum::body::Body;
    use http::Request;
    use http_body_util::BodyExt;
    use realtime_core::Refusal;
    use realtime_core::spi::{Meter, MeterCalls};
    use tower_service::Service;

    struct RejectAll;

    #[async_trait]
    impl Acceptor for RejectAll {
        async fn accept(&self, _: ConnectAttempt<'_>) -> Result<Accepted, Rejection> {
            Err(Rejection::Refused(Refusal::forbidden("nobody may connect")))
        }

        fn report(&self, _: Report, _: Option<IpAddr>) {}

        fn meter(&self, _: MeterCalls) -> Option<Arc<Meter>> {
            None
        }
    }

    fn server(sessions: usize) -> Server {
        // No session of these tests ends by time.
        let connect_timeout = Duration::from_secs(100_000);
        let config =
            SocketIoConfig::default().with_connect_timeout(connect_timeout).with_unconnected_sessions(sessions);
        Server::new(&config.engine(), Arc::new(RejectAll))
    }

    async fn send(server: &Server, request: http::request::Builder, body: &'static str) -> String {
        let request: Request<Body> = request.body(body.into()).unwrap();
        let answer = server.service().call(request).await.unwrap();
        String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().into()).unwrap()
    }

    /// Opens a session and returns its URI.
    async fn open(server: &Server) -> String {
        let uri = "/socket.io/?EIO=4&transport=polling";
        let open = send(server, Request::get(uri), "").await;
        let open: serde_json::Value = serde_json::from_str(open.strip_prefix('0').unwrap()).unwrap();
        format!("{uri}&sid={}", open["sid"].as_str().unwrap())
    }

    /// Waits until the table holds this number of sessions.
    async fn wait_for_sessions(server: &Server, sessions: usize) {
        let reached = async {
            while server.sessions.len() != sessions {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(10), reached).await;
        assert!(found.is_ok(), "{} sessions are in the table", server.sessions.len());
    }

    #[tokio::test]
    async fn unconnected_session_is_removed_when_it_ends() {
        let server = server(1000);
        let cases: [&[&str]; 6] = [&["1"], &["9"], &["4\x1e4"], &["40", "1"], &["40/none,", "41", "1"], &["40"; 17]];
        for posts in cases {
            let uri = open(&server).await;
            wait_for_sessions(&server, 1).await;
            for post in posts {
                send(&server, Request::post(&uri), post).await;
            }
            wait_for_sessions(&server, 0).await;
        }
    }

    #[tokio::test]
    async fn shut_down_server_responds_503_with_retry_after() {
        let server = server(10);
        server.shut();
        let websocket = Request::get("/socket.io/?EIO=4&transport=websocket")
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-version", "13");
        for request in [Request::get("/socket.io/?EIO=4&transport=polling"), websocket] {
            let answer = server.service().call(request.body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(answer.status(), 503);
            let after: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((5..=10).contains(&after), "{after}");
            assert_eq!(answer.headers().get("connection").unwrap(), "close");
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["error"]["code"], "draining");
        }
    }

    #[tokio::test]
    async fn evicted_session_is_removed_from_the_table() {
        let server = server(10);
        let mut uris = Vec::new();
        for _ in 0..100 {
            uris.push(open(&server).await);
        }
        wait_for_sessions(&server, 10).await;
        // The client sees its first ping only, not the connection to the entry namespace.
        assert_eq!(send(&server, Request::get(&uris[99]), "").await, "2");
        assert!(send(&server, Request::get(&uris[0]), "").await.contains("Session ID unknown"));
    }
}
