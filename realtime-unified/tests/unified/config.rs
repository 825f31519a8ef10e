//! Invalid configurations, which the service rejects when it is built, with the field's name.

use std::sync::Arc;
use std::time::Duration;

use realtime_unified::auth::Anonymous;
use realtime_unified::config::{InboundRate, Limits, OutboxConfig, WindowConfig};
use realtime_unified::{
    Context, Error, Handlers, Inbound, NotificationService, NotificationServiceBuilder, Origins, RealtimeProvider,
    SocketIoConfig, SocketIoProvider, SseConfig, SseProvider, WsConfig, WsProvider,
};
use serde_json::Value;

fn builder() -> NotificationServiceBuilder {
    NotificationService::builder().allow_anonymous()
}

/// Checks that the build fails and that the error names this field.
async fn assert_rejected(builder: NotificationServiceBuilder, field: &str) {
    match builder.build().await {
        Err(Error::Config(text)) => assert!(text.contains(field), "{field}: {text}"),
        other => panic!("{field}: {other:?}"),
    }
}

#[tokio::test]
async fn zero_is_rejected_by_every_provider() {
    let sse = SseConfig::default();
    let ws = WsConfig::default();
    let socket = SocketIoConfig::default();
    let fields: [(&str, [Option<NotificationServiceBuilder>; 3]); 20] = {
        let sse = |change: fn(SseConfig) -> SseConfig| Some(builder().provider(SseProvider::new(change(sse.clone()))));
        let ws = |change: fn(WsConfig) -> WsConfig| Some(builder().provider(WsProvider::new(change(ws.clone()))));
        let socket = |change: fn(SocketIoConfig) -> SocketIoConfig| {
            Some(builder().provider(SocketIoProvider::new(change(socket.clone()))))
        };
        macro_rules! all {
            ($change:expr) => {
                [sse($change), ws($change), socket($change)]
            };
        }
        [
            ("limits.connections", all!(|config| config.with_limits(Limits::default().with_connections(0)))),
            ("connections_per_user", all!(|config| config.with_limits(Limits::default().with_connections_per_user(0)))),
            ("max_subprotocols", [None, ws(|config| config.with_max_subprotocols(0usize)), None]),
            ("unconnected_packets", [None, None, socket(|config| config.with_unconnected_packets(0usize))]),
            ("unconnected_bytes", [None, None, socket(|config| config.with_unconnected_bytes(0usize))]),
            ("max_event_bytes", all!(|config| config.with_max_event_bytes(0usize))),
            ("write_stall", all!(|config| config.with_write_stall(Duration::ZERO))),
            ("outbox.bytes", all!(|config| config.with_outbox(OutboxConfig::default().with_bytes(0)))),
            ("outbox.frames", all!(|config| config.with_outbox(OutboxConfig::default().with_frames(0)))),
            ("window.age", all!(|config| config.with_window(WindowConfig::default().with_age(Duration::ZERO)))),
            ("window.bytes", all!(|config| config.with_window(WindowConfig::default().with_bytes(0)))),
            ("window.records", all!(|config| config.with_window(WindowConfig::default().with_records(0)))),
            (
                "heartbeat",
                [
                    sse(|config| config.with_heartbeat(Duration::ZERO)),
                    ws(|config| config.with_heartbeat(Duration::ZERO)),
                    None,
                ],
            ),
            ("retry", [sse(|config| config.with_retry(Duration::ZERO..=Duration::from_secs(1))), None, None]),
            ("ping_interval", [None, None, socket(|config| config.with_ping_interval(Duration::ZERO))]),
            ("ping_timeout", [None, None, socket(|config| config.with_ping_timeout(Duration::ZERO))]),
            ("connect_timeout", [None, None, socket(|config| config.with_connect_timeout(Duration::ZERO))]),
            ("pong_timeout", [None, ws(|config| config.with_pong_timeout(Duration::ZERO)), None]),
            ("close_timeout", [None, ws(|config| config.with_close_timeout(Duration::ZERO)), None]),
            (
                "max_message_bytes",
                [
                    None,
                    ws(|config| config.with_max_message_bytes(0usize)),
                    socket(|config| config.with_max_message_bytes(0usize)),
                ],
            ),
        ]
    };
    for (field, builders) in fields {
        for builder in builders.into_iter().flatten() {
            assert_rejected(builder, field).await;
        }
    }
    assert_zero_rejected_elsewhere().await;
}

#[tokio::test]
async fn limits_of_zero_are_rejected_by_every_provider() {
    let rated = |rate| Limits::default().with_inbound_per_connection(rate);
    for (field, limits) in [
        ("limits.handlers", Limits::default().with_handlers(0)),
        ("limits.handlers_per_user", Limits::default().with_handlers_per_user(0)),
        ("limits.handlers_per_tenant", Limits::default().with_handlers_per_tenant(0)),
        ("limits.lingering_hooks", Limits::default().with_lingering_hooks(0)),
        ("limits.inbound_per_connection.events_per_second", rated(InboundRate::default().with_events_per_second(0))),
        ("limits.inbound_per_connection.patience", rated(InboundRate::default().with_patience(Duration::ZERO))),
    ] {
        let sse = SseProvider::new(SseConfig::default().with_limits(limits));
        assert_rejected(builder().provider(sse), field).await;
        let ws = WsProvider::new(WsConfig::default().with_limits(limits));
        assert_rejected(builder().provider(ws), field).await;
        let socket = SocketIoProvider::new(SocketIoConfig::default().with_limits(limits));
        assert_rejected(builder().provider(socket), field).await;
    }
}

#[tokio::test]
async fn zero_is_rejected_by_the_service() {
    let with_sse = || builder().provider(SseProvider::default());
    assert_rejected(with_sse().connections_per_user(0), "connections_per_user").await;
    assert_rejected(with_sse().connections_per_tenant(0), "connections_per_tenant").await;
    assert_rejected(with_sse().connections_per_address(0), "connections_per_address").await;
    assert_rejected(with_sse().handshakes_per_second(0), "handshakes_per_second").await;
    assert_rejected(with_sse().handshakes_per_address(0), "handshakes_per_address").await;
}

/// Checks that a custom provider, and one without a service, reject a write stall of zero.
async fn assert_zero_rejected_elsewhere() {
    let zero = Duration::ZERO;
    let custom = SseProvider::new(SseConfig::default().with_write_stall(zero));
    assert_rejected(builder().custom(Arc::new(custom)), "write_stall").await;
    // Also when attached without a service.
    let alone = WsProvider::new(WsConfig::default().with_write_stall(zero));
    let attached = alone.attach(realtime_unified::spi::Runtime::in_memory()).await;
    assert!(matches!(attached, Err(Error::Config(_))), "{attached:?}");
}

#[tokio::test]
async fn invalid_paths_are_rejected() {
    for path in ["", "/{a", "/:user", "/{*rest}/more"] {
        assert_rejected(builder().provider(SseProvider::new(SseConfig::default().with_path(path))), "path").await;
    }
    for path in ["live", "/{a", "/*all"] {
        assert_rejected(builder().provider(SseProvider::new(SseConfig::default().with_path(path))), "path").await;
        assert_rejected(builder().provider(WsProvider::new(WsConfig::default().with_path(path))), "path").await;
        let config = SocketIoConfig::default().with_path(path);
        assert_rejected(builder().provider(SocketIoProvider::new(config)), "path").await;
    }
}

#[tokio::test]
async fn two_providers_on_one_path_are_rejected() {
    let sse = |path: &str| builder().provider(SseProvider::new(SseConfig::default().with_path(path)));
    let ws = |path: &str| WsProvider::new(WsConfig::default().with_path(path));
    assert_rejected(sse("/live").provider(ws("/live")), "path").await;
    assert_rejected(sse("/{a}").provider(ws("/{b}")), "path").await;
    let socket = SocketIoProvider::new(SocketIoConfig::default().with_path("/live"));
    assert_rejected(sse("/live/").provider(socket), "\"sse\"").await;
    for (provider, path) in [("\"sse\"", "/live"), ("\"ws\"", "/live"), ("with_path(…)", "/live")] {
        let both = sse(path).provider(ws(path));
        assert_rejected(both, provider).await;
    }
}

#[tokio::test]
async fn valid_configuration_builds_a_router() {
    let built = builder()
        .provider(SseProvider::new(SseConfig::default().with_path("/{tenant}/sse").with_heartbeat(None::<Duration>)))
        .provider(WsProvider::new(WsConfig::default().with_path("/").with_heartbeat(None::<Duration>)))
        .provider(SocketIoProvider::new(SocketIoConfig::default().with_path("/live/").with_max_attachments(0usize)))
        .build()
        .await;
    let _: axum::Router = built.unwrap().router();
}

#[tokio::test]
async fn handlers_that_never_run_are_rejected() {
    let none = async |_: Context, _: Value| {};
    let ws = || WsProvider::new(WsConfig::default());
    let socket = || SocketIoProvider::new(SocketIoConfig::default());
    for name in ["", "connected", "error", "ack", "a\u{7}", &"x".repeat(257)] {
        assert_rejected(builder().provider(ws().on(name, none)), "on(").await;
        assert_rejected(builder().provider(socket().on(name, none)), "on(").await;
    }
    assert_rejected(
        builder().provider(ws().on("x", none).on_raw("x", async |_: Context, _: Inbound| {})),
        "two handlers",
    )
    .await;
    assert_rejected(builder().provider(socket().on("x", none).on("x", none)), "two handlers").await;
    // The error names the provider, although the event's name contains the provider's name.
    assert_rejected(builder().provider(ws().on("news", none).on("news", none)), "\"ws\"").await;
    for name in ["", "connected"] {
        assert_rejected(builder().provider(ws()).on(name, none), "on(").await;
    }
    assert_rejected(builder().provider(ws()).on("x", none).on("x", none), "two handlers").await;
    assert_rejected(builder().provider(ws()).state(1_u8).state(2_u8), "two states of the type u8").await;
    let text = async |_: Context, _: String| {};
    assert_rejected(builder().provider(ws().on_text(text).on_text(text)), "two handlers").await;
}

#[tokio::test]
async fn handlers_added_too_late_are_rejected() {
    let none = async |_: Context, _: Value| {};
    let socket = SocketIoProvider::new(SocketIoConfig::default());
    socket.io();
    assert_rejected(builder().provider(socket.on("x", none)), "\"socket\" was added after").await;
    let ws = WsProvider::new(WsConfig::default());
    let _sender = ws.broadcast();
    assert_rejected(builder().provider(ws.before(async |_: Context, _: Inbound| Ok(()))), "\"ws\" was added after")
        .await;
}

#[tokio::test]
async fn custom_room_handlers_are_accepted() {
    let own = async |_: Context, _: Value| {};
    let ws = WsProvider::new(WsConfig::default()).on("subscribe", own).on("join", own);
    let socket = SocketIoProvider::new(SocketIoConfig::default()).on("unsubscribe", own).on("leave", own);
    builder().provider(ws).provider(socket).build().await.unwrap();
}

#[tokio::test]
async fn authenticator_and_service_settings_are_validated() {
    let sse = || SseProvider::new(SseConfig::default());
    assert_rejected(builder().provider(sse()).authenticator(Anonymous), "allow_anonymous()").await;
    assert_rejected(NotificationService::builder().provider(sse()), "allow_anonymous()").await;
    assert_rejected(builder().provider(sse()).decision_timeout(Duration::ZERO), "decision_timeout").await;
    assert_rejected(builder().provider(sse()).connections_per_user(0), "connections_per_user").await;
    assert_rejected(builder().provider(sse()).max_event_bytes(0), "max_event_bytes").await;
    assert_rejected(builder().provider(sse()).max_token_bytes(0), "max_token_bytes").await;
    assert_rejected(builder().provider(sse()).waiting_refreshes(0), "waiting_refreshes").await;
    let rates = [
        ("events_burst", InboundRate::of_tenant().with_events_burst(0)),
        ("bytes_per_second", InboundRate::of_tenant().with_bytes_per_second(0)),
        ("bytes_burst", InboundRate::of_tenant().with_bytes_burst(0)),
    ];
    for (field, rate) in rates {
        let field = format!("inbound_per_tenant.{field}");
        assert_rejected(builder().provider(sse()).inbound_per_tenant(rate), &field).await;
    }
}

#[tokio::test]
async fn invalid_origins_are_rejected() {
    let wrong = || Origins::same_host().and("app.example");
    assert_rejected(builder().provider(SseProvider::new(SseConfig::default())).origins(wrong()), "app.example").await;
    assert_rejected(builder().provider(SseProvider::new(SseConfig::default().with_origins(wrong()))), "origins").await;
    assert_rejected(builder().provider(WsProvider::new(WsConfig::default().with_origins(wrong()))), "origins").await;
    assert_rejected(
        builder().provider(SocketIoProvider::new(SocketIoConfig::default().with_origins(wrong()))),
        "origins",
    )
    .await;
}

/// The service's bound applies to all providers without a lower bound of their own.
#[tokio::test]
async fn event_size_is_bounded_by_service_and_provider() {
    let small = WsProvider::new(WsConfig::default().with_max_event_bytes(50usize));
    let sse = SseProvider::new(SseConfig::default());
    let service = builder().provider(sse).provider(small).max_event_bytes(100).build().await.unwrap();
    let text = |bytes: usize| "x".repeat(bytes - 2);
    for (provider, largest) in [("sse", 100), ("ws", 50)] {
        assert!(service.broadcast_to_user(provider, "ann", "e", &text(largest)).await.is_ok());
        let rejected = service.broadcast_to_user(provider, "ann", "e", &text(largest + 1)).await;
        assert!(matches!(rejected, Err(Error::TooLarge { limit, .. }) if limit == largest), "{rejected:?}");
    }
    let over_one = service.to_user("ann", "e", &text(60)).await.unwrap();
    assert_eq!(over_one.skipped, ["ws"]);
    assert!(matches!(service.to_user("ann", "e", &text(101)).await, Err(Error::TooLarge { .. })));
}
