//! The query of a Socket.IO request, in which the protocol's parameters and the application's meet.

use http::Uri;
use realtime_socketio::fuzzing::{opening, query};

/// The first byte: whether the request has `Upgrade`, and the transport.
pub(crate) fn run(data: &[u8]) {
    let Some((first, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    check_parameters(text, first & 1 != 0);
    let Ok(uri) = format!("/socket.io/?{text}").parse::<Uri>() else { return };
    check_opening(&uri, first & 2 != 0);
}

fn check_parameters(text: &str, upgrade: bool) {
    let read = query(text, upgrade);
    let pairs: Vec<_> = text.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let of = |name| pairs.iter().filter(move |(key, _)| *key == name).map(|(_, value)| *value);
    assert_eq!(read.protocol, of("EIO").any(|value| value == "4"));
    let (polling, websocket) = (of("transport").any(|v| v == "polling"), of("transport").any(|v| v == "websocket"));
    assert_eq!(read.websocket, (polling || websocket).then_some(websocket && (upgrade || !polling)));
    let is_secret = |value: &&str| {
        let random = value.strip_prefix("realtime-").unwrap_or_default();
        random.len() == 32 && random.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    assert_eq!(read.secrets, of("sid").filter(is_secret).collect::<Vec<_>>());
    assert!(!read.foreign || (read.secrets.is_empty() && of("sid").next().is_some()));
    assert_eq!(read.marks, of("t").filter(|value| !value.is_empty()).collect::<Vec<_>>());
}

fn check_opening(uri: &Uri, websocket: bool) {
    let Some(changed) = opening(uri, websocket) else {
        assert!(uri.to_string().len() > 16 * 1024, "too long is only what is long");
        return;
    };
    let transport = if websocket { "websocket" } else { "polling" };
    let text = changed.query().unwrap_or_default();
    let first = |name: &str| text.split('&').find_map(|pair| pair.strip_prefix(name));
    assert_eq!((first("EIO="), first("transport=")), (Some("4"), Some(transport)));
    assert!(first("sid=").is_none_or(str::is_empty), "the session of an application's sid is looked for");
    assert!(text.len() <= 2 * uri.query().unwrap_or_default().len() + 64);
    if changed == *uri {
        return;
    }
    let decoded = |uri: &Uri| -> Vec<(String, String)> {
        form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect()
    };
    assert_eq!(decoded(&changed)[2..], decoded(uri), "the application's parameters are changed");
}
