//! The page: plain files inside the program. The links to the three transports are the demo's.

use axum::Router;

use crate::files;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// The paths with their files.
const FILES: [(&str, &str, &str); 14] = [
    ("/", include_str!("../page/index.html"), HTML),
    ("/cluster.css", include_str!("../page/cluster.css"), CSS),
    ("/cluster.js", include_str!("../page/cluster.js"), SCRIPT),
    ("/client.js", include_str!("../page/client.js"), SCRIPT),
    ("/nodes.js", include_str!("../page/nodes.js"), SCRIPT),
    ("/stream.js", include_str!("../page/stream.js"), SCRIPT),
    ("/style.css", include_str!("../../demo/page/style.css"), CSS),
    ("/icon.svg", include_str!("../../demo/page/icon.svg"), SVG),
    ("/link.js", include_str!("../../demo/page/link.js"), SCRIPT),
    ("/link-socketio.js", include_str!("../../demo/page/link-socketio.js"), SCRIPT),
    ("/link-sse.js", include_str!("../../demo/page/link-sse.js"), SCRIPT),
    ("/link-ws.js", include_str!("../../demo/page/link-ws.js"), SCRIPT),
    ("/socketio-wire.js", include_str!("../../demo/page/socketio-wire.js"), SCRIPT),
    ("/sse-parser.js", include_str!("../../demo/page/sse-parser.js"), SCRIPT),
];

/// Returns the page's routes.
pub(crate) fn router() -> Router {
    files::routes(FILES)
}
