use realtime_unified::prelude::*;

fn main() {
    let _ = NotificationService::builder().on("sum", async |_: Context, numbers: Vec<i64>| numbers.iter().sum::<i64>());
}
