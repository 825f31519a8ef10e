use realtime_unified::prelude::*;

fn main() {
    let _ = NotificationService::builder().on("name", async |cx: Context, _: ()| -> Result<String, HandlerError> {
        Ok(cx.provider().to_owned())
    });
}
