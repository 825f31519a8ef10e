//! Configurations that cannot work are refused when the service is built, by the field's name.

use std::sync::Arc;
use std::time::Duration;

use realtime_unified::{
    Anonymous, Context, Error, Handlers, Inbound, Limits, NotificationService, NotificationServiceBuilder, Origins,
    OutboxConfig, RealtimeProvider, SocketIoConfig, SocketIoProvider, SseConfig, SseProvider, WindowConfig, WsConfig,
    WsProvider,
};
use serde_json::Value;

fn builder() -> NotificationServiceBuilder {
    NotificationService::builder().allow_anonymous()
}

async fn refused(builder: NotificationServiceBuilder, field: &str) {
    match builder.build().await {
        Err(Error::Config(text)) => assert!(text.contains(field), "{field}: {text}"),
        other => panic!("{field}: {other:?}"),
    }
}

#[tokio::test]
async fn zero_is_refused_by_every_provider() {
    let sse = SseConfig::default();
    let ws = WsConfig::default();
    let socket = SocketIoConfig::default();
    let zero = Duration::ZERO;
    let fields: [(&str, [Option<NotificationServiceBuilder>; 3]); 17] = {
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
            refused(builder, field).await;
        }
    }
    let custom = SseProvider::new(SseConfig::default().with_write_stall(zero));
    refused(builder().custom(Arc::new(custom)), "write_stall").await;
    // Also when it is attached without a service.
    let alone = WsProvider::new(WsConfig::default().with_write_stall(zero));
    let attached = alone.attach(realtime_unified::spi::Runtime::in_memory()).await;
    assert!(matches!(attached, Err(Error::Config(_))), "{attached:?}");
}

#[tokio::test]
async fn paths_that_no_router_takes_are_refused() {
    for path in ["", "/{a", "/:user", "/{*rest}/more"] {
        refused(builder().provider(SseProvider::new(SseConfig::default().with_path(path))), "path").await;
    }
    for path in ["live", "/{a", "/*all"] {
        refused(builder().provider(SseProvider::new(SseConfig::default().with_path(path))), "path").await;
        refused(builder().provider(WsProvider::new(WsConfig::default().with_path(path))), "path").await;
        let config = SocketIoConfig::default().with_path(path);
        refused(builder().provider(SocketIoProvider::new(config)), "path").await;
    }
}

#[tokio::test]
async fn two_providers_on_one_path_are_refused() {
    let sse = |path: &str| builder().provider(SseProvider::new(SseConfig::default().with_path(path)));
    let ws = |path: &str| WsProvider::new(WsConfig::default().with_path(path));
    refused(sse("/live").provider(ws("/live")), "path").await;
    refused(sse("/{a}").provider(ws("/{b}")), "path").await;
    let socket = SocketIoProvider::new(SocketIoConfig::default().with_path("/live"));
    refused(sse("/live/").provider(socket), "\"sse\"").await;
    for (provider, path) in [("\"sse\"", "/live"), ("\"ws\"", "/live"), ("with_path(…)", "/live")] {
        let both = sse(path).provider(ws(path));
        refused(both, provider).await;
    }
}

#[tokio::test]
async fn what_is_taken_makes_a_router() {
    let built = builder()
        .provider(SseProvider::new(SseConfig::default().with_path("/{tenant}/sse").with_heartbeat(None::<Duration>)))
        .provider(WsProvider::new(WsConfig::default().with_path("/").with_heartbeat(None::<Duration>)))
        .provider(SocketIoProvider::new(SocketIoConfig::default().with_path("/live/").with_max_attachments(0usize)))
        .build()
        .await;
    let _: axum::Router = built.unwrap().router();
}

#[tokio::test]
async fn handlers_that_would_never_run_are_refused() {
    let none = async |_: Context, _: Value| {};
    let ws = || WsProvider::new(WsConfig::default());
    let socket = || SocketIoProvider::new(SocketIoConfig::default());
    for name in ["", "connected", "error", "ack", "a\u{7}", &"x".repeat(257)] {
        refused(builder().provider(ws().on(name, none)), "on(").await;
        refused(builder().provider(socket().on(name, none)), "on(").await;
    }
    refused(builder().provider(ws().on("x", none).on_raw("x", async |_: Context, _: Inbound| {})), "two handlers")
        .await;
    refused(builder().provider(socket().on("x", none).on("x", none)), "two handlers").await;
    // It is said of which provider, though its name may stand in the event's.
    refused(builder().provider(ws().on("news", none).on("news", none)), "\"ws\"").await;
    for name in ["", "connected"] {
        refused(builder().provider(ws()).on(name, none), "on(").await;
    }
    refused(builder().provider(ws()).on("x", none).on("x", none), "two handlers").await;
    refused(builder().provider(ws()).state(1_u8).state(2_u8), "two states of the type u8").await;
    let text = async |_: Context, _: String| {};
    refused(builder().provider(ws().on_text(text).on_text(text)), "two handlers").await;
}

#[tokio::test]
async fn handlers_that_come_too_late_are_refused() {
    let none = async |_: Context, _: Value| {};
    let socket = SocketIoProvider::new(SocketIoConfig::default());
    socket.io();
    refused(builder().provider(socket.on("x", none)), "\"socket\" was added after").await;
    let ws = WsProvider::new(WsConfig::default());
    let _sender = ws.broadcast();
    refused(builder().provider(ws.before(async |_: Context, _: Inbound| Ok(()))), "\"ws\" was added after").await;
}

#[tokio::test]
async fn handlers_of_the_applications_own_for_rooms_are_taken() {
    let own = async |_: Context, _: Value| {};
    let ws = WsProvider::new(WsConfig::default()).on("subscribe", own).on("join", own);
    let socket = SocketIoProvider::new(SocketIoConfig::default()).on("unsubscribe", own).on("leave", own);
    builder().provider(ws).provider(socket).build().await.unwrap();
}

#[tokio::test]
async fn who_is_connecting_is_said_by_one() {
    let sse = || SseProvider::new(SseConfig::default());
    refused(builder().provider(sse()).authenticator(Anonymous), "allow_anonymous()").await;
    refused(NotificationService::builder().provider(sse()), "allow_anonymous()").await;
    refused(builder().provider(sse()).decision_timeout(Duration::ZERO), "decision_timeout").await;
    refused(builder().provider(sse()).connections_per_user(0), "connections_per_user").await;
    refused(builder().provider(sse()).max_event_bytes(0), "max_event_bytes").await;
}

#[tokio::test]
async fn origins_that_no_page_has_are_refused() {
    let wrong = || Origins::same_host().and("app.example");
    refused(builder().provider(SseProvider::new(SseConfig::default())).origins(wrong()), "app.example").await;
    refused(builder().provider(SseProvider::new(SseConfig::default().with_origins(wrong()))), "origins").await;
    refused(builder().provider(WsProvider::new(WsConfig::default().with_origins(wrong()))), "origins").await;
    refused(builder().provider(SocketIoProvider::new(SocketIoConfig::default().with_origins(wrong()))), "origins")
        .await;
}

/// One bound for all providers, where their own is not lower.
#[tokio::test]
async fn an_event_is_as_large_as_the_service_and_the_provider_let_it_be() {
    let small = WsProvider::new(WsConfig::default().with_max_event_bytes(50usize));
    let sse = SseProvider::new(SseConfig::default());
    let service = builder().provider(sse).provider(small).max_event_bytes(100).build().await.unwrap();
    let text = |bytes: usize| "x".repeat(bytes - 2);
    for (provider, largest) in [("sse", 100), ("ws", 50)] {
        assert!(service.broadcast_to_user(provider, "ann", "e", &text(largest)).await.is_ok());
        let refused = service.broadcast_to_user(provider, "ann", "e", &text(largest + 1)).await;
        assert!(matches!(refused, Err(Error::TooLarge { limit, .. }) if limit == largest), "{refused:?}");
    }
    let over_one = service.to_user("ann", "e", &text(60)).await.unwrap();
    assert_eq!(over_one.skipped, ["ws"]);
    assert!(matches!(service.to_user("ann", "e", &text(101)).await, Err(Error::TooLarge { .. })));
}
