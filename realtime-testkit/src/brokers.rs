//! The requirements on a backplane and its directory in a broker, with real servers that are
//! killed, suspended, wiped and rolled back, as tests that the crates of brokers import.
//!
//! A broker's crate implements [`BrokerUnderTest`] in its `tests/`, for a server that the test
//! starts, and calls [`broker_tests!`](crate::broker_tests) for each suite:
//!
//! ```ignore
//! realtime_testkit::broker_tests!(Server; faults);
//! ```
//!
//! The tests of what backplanes and directories have in common without their servers are those of
//! [`conformance`](crate::conformance). The tests of one broker alone use the same
//! [`steps`](crate::steps).

use std::path::PathBuf;
use std::process::Child;
use std::sync::Arc;

use async_trait::async_trait;
use realtime_core::spi::{Backplane, Directory, LogBounds};
use realtime_http::HttpProvider;

#[doc(hidden)]
pub mod bounds;
#[doc(hidden)]
pub mod faults;
#[doc(hidden)]
pub mod lost;
#[doc(hidden)]
pub mod nodes;
#[doc(hidden)]
pub mod offline;
#[doc(hidden)]
pub mod pipe;
mod process;
#[doc(hidden)]
pub mod rooms;
mod shared;

pub use process::until_answering;
pub use shared::SharedServer;

/// A broker's server in a process of its own, which ends with this value, as the suites use it.
#[async_trait]
pub trait BrokerUnderTest: Send + Sync + Sized + 'static {
    /// The backplane in this broker; clones share their connections.
    type Backplane: Backplane + Clone;
    /// The provider of the tests with clients; serves WebSocket at `/ws`, and tells its clients the
    /// traces of events.
    type Provider: HttpProvider;

    /// `true` if an append with an idempotency key is one request: its outcome is then unknown when
    /// that is not answered.
    const APPENDS_WITH_KEY_AT_ONCE: bool;
    /// `true` if a new epoch still holds the records of the epoch before.
    const KEEPS_RECORDS_OF_OLD_EPOCHS: bool;

    /// Starts a server without data, that keeps its data in files.
    async fn start() -> Self;

    /// Starts such a server that has each write in its files before it answers, so that a kill
    /// loses nothing that was answered.
    #[must_use]
    async fn start_synced() -> Self {
        Self::start().await
    }

    /// Connects a node to a log with this number of records and of keys.
    async fn connect(&self, bounds: LogBounds) -> Self::Backplane;

    /// Returns the directory of a node.
    fn directory(log: &Self::Backplane) -> Arc<dyn Directory>;

    /// Creates a provider.
    fn provider() -> Self::Provider;

    /// Returns the server's process.
    fn process(&mut self) -> &mut Child;

    /// Kills the server: it writes nothing more.
    fn kill(&mut self) {
        self.process().kill().expect("killed");
        self.process().wait().expect("ended");
    }

    /// Starts the server again where it was, with the files that it has, and waits until it
    /// answers.
    async fn restart(&mut self);

    /// Suspends the server's process, which then neither answers nor ends.
    fn suspend(&self);

    /// Resumes a suspended server.
    fn resume(&self);

    /// Makes the server lose all that it stores; it runs afterwards.
    async fn wipe(&mut self);

    /// Returns the directory of its data, in one that is the test's own.
    fn files(&self) -> PathBuf;

    /// Returns the number of idempotency keys that the server stores.
    async fn stored_keys(&self) -> usize;
}

/// Connects a node with the default bounds.
async fn connect<B: BrokerUnderTest>(server: &B) -> B::Backplane {
    server.connect(LogBounds::default()).await
}

/// Defines a `#[tokio::test]` for every test of a suite (`bounds`, `faults`, `lost`, `nodes`,
/// `offline`, `pipe` or `rooms`), for a [`BrokerUnderTest`](crate::brokers::BrokerUnderTest).
#[macro_export]
macro_rules! broker_tests {
    ($broker:ty; bounds) => {
        $crate::broker_tests! { $broker; bounds:
            log_keeps_exactly_as_many_records,
            oldest_of_too_many_keys_is_forgotten,
            range_of_many_records_has_no_gap,
        }
    };
    ($broker:ty; faults) => {
        $crate::broker_tests! { $broker; faults:
            append_without_a_server_has_an_outcome_within_2_s,
            killed_server_returns_with_all_that_was_answered,
            suspended_server_makes_an_append_unknown_within_2_s,
            unknown_append_that_is_retried_with_its_key_is_there_once,
        }
    };
    ($broker:ty; lost) => {
        $crate::broker_tests! { $broker; lost:
            rolled_back_log_gets_a_new_epoch_and_ends_its_tails,
            server_that_returns_without_data_gets_a_new_epoch,
        }
    };
    ($broker:ty; nodes) => {
        $crate::broker_tests! { $broker; nodes:
            client_resumes_at_another_node,
            clients_are_told_when_the_log_is_wiped,
            clients_miss_nothing_of_a_killed_server,
            clients_miss_nothing_of_a_suspended_server,
            explanation_comes_from_all_nodes,
            nodes_deliver_to_each_other_in_one_order,
            rooms_and_presence_are_those_of_all_nodes,
            trace_of_an_event_reaches_another_node,
        }
    };
    ($broker:ty; offline) => {
        $crate::broker_tests! { $broker; offline: event_that_a_dead_node_was_to_call_for_is_called }
    };
    ($broker:ty; pipe) => {
        $crate::broker_tests! { $broker; pipe: pipe_subscribes_again_after_its_connection_broke }
    };
    ($broker:ty; rooms) => {
        $crate::broker_tests! { $broker; rooms: dropped_changes_make_the_rooms_that_the_table_has }
    };
    ($broker:ty; $suite:ident: $($test:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $test() {
                $crate::brokers::$suite::$test::<$broker>().await;
            }
        )*
    };
}
