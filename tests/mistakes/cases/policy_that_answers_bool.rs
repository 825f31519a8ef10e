use realtime_unified::prelude::*;

fn main() {
    let _ = NotificationService::builder().room_policy(async |_: Context, room: String| room == "lobby");
}
