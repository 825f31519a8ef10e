use realtime_unified::prelude::*;

struct Message {
    text: String,
}

fn main() {
    let _ = NotificationService::builder().on("say", async |cx: Context, message: Message| {
        cx.to_room("lobby").send("said", &message.text).await
    });
}
