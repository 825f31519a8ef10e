use realtime_unified::prelude::*;

struct Tokens;

fn main() {
    let _ = NotificationService::builder().authenticator(Tokens);
}
