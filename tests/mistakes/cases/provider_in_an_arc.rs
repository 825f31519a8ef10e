use std::sync::Arc;

use realtime_unified::prelude::*;

fn main() {
    let ws = Arc::new(WsProvider::new(WsConfig::default()));
    let _ = NotificationService::builder().provider(ws);
}
