use realtime_core::Router;

fn main() {
    let _ = Router::new().with_handler("say", async || {});
}
