use realtime_testkit::RecordingProvider;
use realtime_unified::prelude::*;

fn main() {
    let _ = NotificationService::mocked(RecordingProvider::new("ws"));
}
