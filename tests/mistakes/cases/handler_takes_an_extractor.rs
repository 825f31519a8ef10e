use axum::Json;
use realtime_unified::prelude::*;

fn main() {
    let _ = NotificationService::builder().on("say", async |cx: Context, Json(text): Json<String>| {
        cx.to_room("lobby").send("said", &text).await
    });
}
