use realtime_unified::prelude::*;

fn main() {
    let _ = WsProvider::new(WsConfig::default()).on_text(async |_: Context, text: String| text.len());
}
