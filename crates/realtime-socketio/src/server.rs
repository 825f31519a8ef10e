use std::sync::Arc;
use std::time::Duration;

use socketioxide::{ParserConfig, SocketIo};

use crate::adapter::{DirectAdapter, MainAdapter};
use crate::carriers::Carriers;
use crate::connect::{Acceptor, Connect};
use crate::credit::{CHANNEL_PACKETS, Window};
use crate::probe::MAX_PROBE;
use crate::pump;
use crate::service::{EngineService, Limits, NotFound};

/// Engine.IO's part of the configuration.
#[derive(Clone, Debug)]
pub(crate) struct EngineConfig {
    /// Where Socket.IO is mounted (`/socket.io`).
    pub path: String,
    /// Between pings (25 s).
    pub ping_interval: Duration,
    /// For a pong (60 s).
    pub ping_timeout: Duration,
    /// For a new session to connect to a namespace, and for the probe of a websocket, which has 10 s at most (10 s).
    pub connect_timeout: Duration,
    /// Bytes of one message: a websocket frame, an event with its attachments, and a whole POST (1 MiB).
    pub max_message: usize,
    /// Attachments of one event (64).
    pub max_attachments: usize,
    /// How long a client's answer to an ask is remembered (5 min); whoever asks may wait shorter.
    pub max_ask: Duration,
    /// How long a client may take nothing while something waits (30 s).
    pub write_stall: Duration,
    /// What may be in flight to one client.
    pub window: Window,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            path: "/socket.io".into(),
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(10),
            max_message: 1024 * 1024,
            max_attachments: 64,
            max_ask: Duration::from_secs(300),
            write_stall: Duration::from_secs(30),
            window: Window::default(),
        }
    }
}

/// Socket.IO, with its main namespace in our hands.
#[derive(Clone)]
pub(crate) struct Server {
    io: SocketIo<DirectAdapter>,
    service: EngineService,
    carriers: Arc<Carriers>,
}

impl Server {
    /// Builds it; connections to the main namespace go to the acceptor.
    pub(crate) fn new(config: &EngineConfig, acceptor: Arc<dyn Acceptor>) -> Self {
        let main = MainAdapter::default();
        let parser = ParserConfig::common()
            .max_incoming_binary_buf_size(config.max_message)
            .max_incoming_binaries(config.max_attachments);
        let (inner, io) = SocketIo::builder()
            .req_path(config.path.clone())
            .ping_interval(config.ping_interval)
            .ping_timeout(config.ping_timeout)
            .connect_timeout(config.connect_timeout)
            .max_buffer_size(CHANNEL_PACKETS)
            // Our service bounds requests. An answer that reached this bound would lose a packet in an upgrade.
            .max_payload(u32::MAX.into())
            .ws_max_message_size(config.max_message)
            .ws_max_frame_size(config.max_message)
            .with_parser(parser)
            .with_adapter::<DirectAdapter>(main.clone())
            .build_with_inner_svc(NotFound);
        let carriers = Arc::new(Carriers::default());
        let connect = Connect {
            acceptor,
            main,
            carriers: Arc::clone(&carriers),
            max_message: config.max_message,
            limits: pump::Limits { max_ask: config.max_ask, window: config.window, write_stall: config.write_stall },
        };
        io.ns("/", connect);
        let limits = Limits {
            max_message: config.max_message,
            write_stall: config.write_stall,
            probe: config.connect_timeout.min(MAX_PROBE),
        };
        let service = EngineService::new(inner, Arc::clone(&carriers), limits);
        Self { io, service, carriers }
    }

    /// For namespaces of the application's own.
    pub(crate) fn io(&self) -> &SocketIo<DirectAdapter> {
        &self.io
    }

    /// The HTTP side.
    pub(crate) fn service(&self) -> EngineService {
        self.service.clone()
    }

    /// Sessions there are, connected to a namespace or not.
    pub(crate) fn sessions(&self) -> usize {
        self.carriers.len()
    }

    /// Ends all sessions, whose hooks run, and lets no new one in.
    ///
    /// `SocketIo::close` does neither: it takes the namespaces away before their hooks can run.
    pub(crate) async fn close(&self) {
        self.carriers.close().await;
    }
}
