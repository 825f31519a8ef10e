//! Messages that users miss are pushed to their browsers, by Web Push (RFC 8030): a page that
//! subscribes, and an offline sink.

mod app;
mod push;
mod subscriptions;
mod vapid;

pub use app::{Config, build};
pub use push::{PushHosts, WebPush};
pub use subscriptions::{Subscription, Subscriptions};
pub use vapid::Vapid;
