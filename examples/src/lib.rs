//! Small programs, one idea each: `cargo run -p realtime-examples --bin NAME`, and it prints where it listens.
//!
//! - `dashboard`: metrics over Server-Sent Events, to everyone and to a room, with a page
//! - `chat`: WebSocket rooms through a policy, messages to the others, volatile typing indicators
//! - `echo`: WebSocket messages outside the envelope, text and binary
//! - `rooms`: Socket.IO rooms, and acks in both directions
//! - `domain_events`: a subscriber that turns domain events into notifications
//! - `own_route`: own routes with an own extractor in front of the providers
//! - `configured`: the provider is named by a flag, the environment or a file
//!
//! Testing with mocks is shown by the tests of [`Orders`], in `src/orders/tests.rs`.

mod orders;

pub use orders::{Order, Orders};
