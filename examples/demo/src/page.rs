//! The page: plain files inside the program, nothing from the network.

use axum::Router;

use crate::files;

macro_rules! files {
    ($($path:literal => $file:literal, $kind:literal;)*) => {
        [$(($path, include_str!(concat!("../page/", $file)), $kind)),*]
    };
}

/// Returns the page's routes.
pub(crate) fn router() -> Router {
    let files = files! {
        "/api.js" => "api.js", "text/javascript; charset=utf-8";
        "/app.js" => "app.js", "text/javascript; charset=utf-8";
        "/ask.js" => "ask.js", "text/javascript; charset=utf-8";
        "/element.js" => "element.js", "text/javascript; charset=utf-8";
        "/explain.js" => "explain.js", "text/javascript; charset=utf-8";
        "/icon.svg" => "icon.svg", "image/svg+xml";
        "/" => "index.html", "text/html; charset=utf-8";
        "/json.js" => "json.js", "text/javascript; charset=utf-8";
        "/link-socketio.js" => "link-socketio.js", "text/javascript; charset=utf-8";
        "/link-sse.js" => "link-sse.js", "text/javascript; charset=utf-8";
        "/link-ws.js" => "link-ws.js", "text/javascript; charset=utf-8";
        "/link.js" => "link.js", "text/javascript; charset=utf-8";
        "/panel.css" => "panel.css", "text/css; charset=utf-8";
        "/panel.js" => "panel.js", "text/javascript; charset=utf-8";
        "/plot.js" => "plot.js", "text/javascript; charset=utf-8";
        "/providers.js" => "providers.js", "text/javascript; charset=utf-8";
        "/rooms.js" => "rooms.js", "text/javascript; charset=utf-8";
        "/say.js" => "say.js", "text/javascript; charset=utf-8";
        "/send.js" => "send.js", "text/javascript; charset=utf-8";
        "/socketio-wire.js" => "socketio-wire.js", "text/javascript; charset=utf-8";
        "/sse-parser.js" => "sse-parser.js", "text/javascript; charset=utf-8";
        "/stats.js" => "stats.js", "text/javascript; charset=utf-8";
        "/style.css" => "style.css", "text/css; charset=utf-8";
        "/suggest.js" => "suggest.js", "text/javascript; charset=utf-8";
        "/tally.js" => "tally.js", "text/javascript; charset=utf-8";
        "/transport.js" => "transport.js", "text/javascript; charset=utf-8";
    };
    files::routes(files)
}
