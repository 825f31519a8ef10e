mod pipe;
mod revoked;
mod rooms;
mod steps;

use std::sync::Arc;

use async_trait::async_trait;
use realtime_core::spi::Backplane;

/// A backplane as the suite uses it.
#[async_trait]
pub trait BackplaneUnderTest: Send + Sync + Sized + 'static {
    /// Creates a backplane with empty logs that keep this many records.
    async fn start_with(records: usize) -> Self;

    /// Creates a backplane with empty logs that keep 10,000 records.
    #[must_use]
    async fn start() -> Self {
        Self::start_with(10_000).await
    }

    /// Returns the backplane of one node; every call is another node on the same logs.
    async fn node(&self) -> Arc<dyn Backplane>;
}

/// Defines a `#[test]` for every test of the backplane suite, in a module `conformance`, for a
/// [`BackplaneUnderTest`].
#[macro_export]
macro_rules! backplane_conformance {
    ($backplane:ty) => {
        $crate::conformance_tests! { $backplane; in backplane:
            append_for_another_epoch_is_refused,
            appends_are_numbered_without_a_gap,
            concurrent_appends_have_one_order,
            concurrent_first_states_are_equal,
            concurrent_renewals_begin_one_epoch,
            dropped_tail_blocks_no_append,
            key_reused_with_other_content_is_refused,
            keys_are_forgotten_after_their_duration,
            keys_are_forgotten_in_a_new_epoch,
            known_key_appends_nothing,
            pipe_reaches_current_subscribers_only,
            pipe_reaches_one_node,
            probe_leaves_no_record,
            range_returns_records_after_a_position,
            records_are_returned_unchanged,
            records_keep_their_ids,
            renewal_after_loss_begins_an_epoch_with_its_own_key,
            renewal_without_loss_changes_nothing,
            revocations_are_bounded_and_end,
            revocations_are_those_of_all_nodes,
            rooms_are_those_at_a_position,
            rooms_outlive_their_records,
            state_has_epoch_and_extent,
            tails_of_all_nodes_are_equal,
        }
    };
}

/// The backplane suite: one function for each test.
pub mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use futures_util::future::join_all;
    use realtime_core::spi::{AppendError, Backplane, Entry, Epoch, Position, Record};
    use realtime_core::{Event, EventId, Target};

    use super::BackplaneUnderTest;
    pub use super::pipe::*;
    pub use super::revoked::*;
    pub use super::rooms::*;
    use super::steps::{
        append, append_as, append_with, assert_gapless_after, key, read, record_of, renew, state_of, text, texts,
    };
    use crate::in_time;

    /// Returns a backplane with empty logs, and its nodes.
    pub(super) async fn start<B: BackplaneUnderTest, const NODES: usize>() -> (B, [Arc<dyn Backplane>; NODES]) {
        let backplane = B::start().await;
        let nodes = join_all((0..NODES).map(|_| backplane.node())).await;
        (backplane, nodes.try_into().unwrap_or_else(|_| unreachable!("as many nodes as asked for")))
    }

    /// The first record has position 1, every other one the next; from every node.
    pub async fn appends_are_numbered_without_a_gap<B: BackplaneUnderTest>() {
        let (_backplane, [one, two]) = start::<B, 2>().await;
        for n in 1..=20u64 {
            let node = if n % 2 == 0 { &one } else { &two };
            assert_eq!(append(node, &n.to_string()).await, Position::new(n));
        }
    }

    /// Concurrent appends get different positions, and are read in that order.
    pub async fn concurrent_appends_have_one_order<B: BackplaneUnderTest>() {
        let backplane = B::start().await;
        let writers = join_all((0..4).map(|_| backplane.node())).await.into_iter().enumerate();
        let writers = writers.map(|(writer, node)| {
            tokio::spawn(async move {
                let mut appended = Vec::new();
                for n in 0..100 {
                    let record = format!("{writer}-{n}");
                    appended.push((append(&node, &record).await, record));
                }
                appended
            })
        });
        let mut appended: Vec<_> =
            join_all(writers).await.into_iter().flat_map(|appended| appended.expect("the task ends")).collect();
        appended.sort();
        let entries = read(&mut backplane.node().await.tail(Position::START), 400).await;
        let entries: Vec<_> = entries.into_iter().map(|entry| (entry.position, text(&entry.record))).collect();
        assert_eq!(entries, appended);
        assert_eq!(entries.last().map(|(position, _)| position.get()), Some(400));
    }

    /// A range begins after a position, and has as many records as asked for, or all there are.
    pub async fn range_returns_records_after_a_position<B: BackplaneUnderTest>() {
        let (_backplane, [node]) = start::<B, 1>().await;
        assert!(node.range(Position::START, 10).await.expect("a range").is_empty());
        for n in 1..=10 {
            append(&node, &n.to_string()).await;
        }
        for (after, most, expected) in
            [(0, 3, vec!["1", "2", "3"]), (7, 10, vec!["8", "9", "10"]), (9, 1, vec!["10"]), (10, 5, vec![])]
        {
            let entries = node.range(Position::new(after), most).await.expect("a range");
            assert_eq!(texts(&entries), expected, "{most} after {after}");
            assert_gapless_after(Position::new(after), &entries);
        }
    }

    /// A tail has earlier and later records, once each and in order, at the same positions on every
    /// node.
    pub async fn tails_of_all_nodes_are_equal<B: BackplaneUnderTest>() {
        let (_backplane, [one, two]) = start::<B, 2>().await;
        for n in 1..=5 {
            append(&one, &n.to_string()).await;
        }
        let mut all = one.tail(Position::START);
        let mut some = two.tail(Position::new(3));
        assert_eq!(texts(&read(&mut some, 2).await), ["4", "5"]);
        let waiting = tokio::spawn(async move {
            let entries = read(&mut some, 300).await;
            assert_gapless_after(Position::new(5), &entries);
            entries
        });
        for n in 6..=305 {
            append(if n % 2 == 0 { &one } else { &two }, &n.to_string()).await;
        }
        let entries = waiting.await.expect("the tail is read");
        let seen = read(&mut all, 305).await;
        assert_gapless_after(Position::START, &seen);
        assert_eq!(seen[5..], entries);
    }

    /// A tail that is no longer read does not block appends.
    pub async fn dropped_tail_blocks_no_append<B: BackplaneUnderTest>() {
        let (_backplane, [node]) = start::<B, 1>().await;
        append(&node, "1").await;
        let mut read_once = node.tail(Position::START);
        read(&mut read_once, 1).await;
        let never_read = node.tail(Position::START);
        drop((read_once, never_read));
        let text = "x".repeat(1024);
        let epoch = state_of(&node).await.epoch;
        for n in 2..=12_000u64 {
            let appended = node.append(epoch, record_of(EventId::random(), &text), None);
            let appended = in_time("an append", appended).await.expect("appended");
            assert_eq!(appended.position, Position::new(n));
        }
    }

    /// The state has the same epoch for all nodes, and the positions of the log.
    pub async fn state_has_epoch_and_extent<B: BackplaneUnderTest>() {
        let (_backplane, [one, two]) = start::<B, 2>().await;
        let empty = one.state().await.expect("a state");
        assert_eq!((empty.last, empty.start), (Position::START, Position::START));
        for n in 1..=3 {
            append(&one, &n.to_string()).await;
        }
        let state = two.state().await.expect("a state");
        assert_eq!((state.epoch, state.last, state.start), (empty.epoch, Position::new(3), Position::START));
        assert_eq!(state.key, empty.key, "one epoch has one key");
        let other = B::start().await.node().await.state().await.expect("a state");
        assert_ne!(other.epoch, state.epoch, "another log has another epoch");
        assert_ne!(other.key, state.key, "another epoch has another key");
    }

    /// Nodes that ask concurrently for the first state of a log get the same state.
    pub async fn concurrent_first_states_are_equal<B: BackplaneUnderTest>() {
        let (_backplane, nodes) = start::<B, 8>().await;
        let asking = nodes.iter().map(|node| {
            let node = Arc::clone(node);
            tokio::spawn(async move { state_of(&node).await })
        });
        let states = join_all(asking).await.into_iter().map(|state| state.expect("the task ends"));
        let states: Vec<_> = states.map(|state| (state.epoch, state.key)).collect();
        assert!(states.iter().all(|state| *state == states[0]), "{states:?}");
    }

    /// An append for another epoch than the log's is refused, and leaves no record.
    pub async fn append_for_another_epoch_is_refused<B: BackplaneUnderTest>() {
        let (_backplane, [node]) = start::<B, 1>().await;
        append(&node, "1").await;
        let epoch = state_of(&node).await.epoch;
        let refused = append_as(&node, Epoch::new(epoch.get() ^ 1), EventId::random()).await;
        assert!(matches!(refused, Err(AppendError::Epoch)), "{refused:?}");
        assert_eq!(append(&node, "2").await, Position::new(2));
        let entries = node.range(Position::START, 10).await.expect("a range");
        assert_eq!(texts(&entries), ["1", "2"]);
    }

    /// A record is read with the id that it was appended with, by range and tail.
    pub async fn records_keep_their_ids<B: BackplaneUnderTest>() {
        let (_backplane, [node]) = start::<B, 1>().await;
        let epoch = state_of(&node).await.epoch;
        let ids = [EventId::random(), EventId::from_bytes([0; 16]), EventId::from_bytes([0xff; 16])];
        for id in ids {
            append_as(&node, epoch, id).await.expect("appended");
        }
        let of = |entries: &[Entry]| entries.iter().map(|entry| entry.id).collect::<Vec<_>>();
        let entries = node.range(Position::START, 10).await.expect("a range");
        assert_eq!(of(&entries), ids);
        assert_eq!(of(&read(&mut node.tail(Position::START), 3).await), ids);
    }

    /// A renewal of a log that has lost no record changes nothing.
    pub async fn renewal_without_loss_changes_nothing<B: BackplaneUnderTest>() {
        let (_backplane, [node]) = start::<B, 1>().await;
        let epoch = state_of(&node).await.epoch;
        let ids = [EventId::random(), EventId::random(), EventId::random()];
        for id in ids {
            append_as(&node, epoch, id).await.expect("appended");
        }
        let before = state_of(&node).await;
        for (at, id) in ids.into_iter().enumerate() {
            assert_eq!(renew(&node, epoch, Position::new(at as u64 + 1), id).await, before);
        }
        assert_eq!(renew(&node, epoch, Position::START, EventId::random()).await, before, "no record is at the start");
        let other = Epoch::new(epoch.get() ^ 1);
        let beyond = Position::new(1_000);
        assert_eq!(renew(&node, other, beyond, ids[0]).await, before, "the caller has seen another epoch");
    }

    /// A position beyond the end, or with another record than the one seen there, begins a new
    /// epoch; the previous epoch accepts no more records.
    pub async fn renewal_after_loss_begins_an_epoch_with_its_own_key<B: BackplaneUnderTest>() {
        for lost in [Position::new(2), Position::new(3), Position::new(1_000)] {
            let (_backplane, [one, two]) = start::<B, 2>().await;
            append(&one, "1").await;
            append(&one, "2").await;
            let old = state_of(&one).await;
            let new = renew(&one, old.epoch, lost, EventId::random()).await;
            assert_ne!(new.epoch, old.epoch, "{lost}");
            assert_ne!(new.key, old.key, "{lost}: the key");
            assert_eq!(state_of(&two).await, new, "{lost}: the other node");
            let refused = append_as(&two, old.epoch, EventId::random()).await;
            assert!(matches!(refused, Err(AppendError::Epoch)), "{lost}: {refused:?}");
            let position = append_as(&two, new.epoch, EventId::random()).await.expect("appended in the new epoch");
            assert_eq!(position, new.last.next(), "{lost}");
            assert_eq!(
                renew(&one, old.epoch, lost, EventId::random()).await.epoch,
                new.epoch,
                "{lost}: a second renewal"
            );
        }
    }

    /// If many nodes notice a loss concurrently, one begins a new epoch, and the others get that
    /// one.
    pub async fn concurrent_renewals_begin_one_epoch<B: BackplaneUnderTest>() {
        let (_backplane, nodes) = start::<B, 8>().await;
        for round in 1..=20 {
            let old = state_of(&nodes[0]).await.epoch;
            let noticing = nodes.iter().map(|node| {
                let node = Arc::clone(node);
                tokio::spawn(async move { renew(&node, old, Position::new(1_000), EventId::random()).await })
            });
            let states: Vec<_> =
                join_all(noticing).await.into_iter().map(|state| state.expect("the task ends")).collect();
            assert_ne!(states[0].epoch, old, "round {round}");
            assert!(states.iter().all(|state| *state == states[0]), "round {round}: {states:?}");
        }
    }

    /// A record of any size is read unchanged, by range and tail, as a value or as bytes.
    pub async fn records_are_returned_unchanged<B: BackplaneUnderTest>() {
        let (_backplane, [node]) = start::<B, 1>().await;
        let epoch = state_of(&node).await.epoch;
        let json = Event::json("räume", "a\"b").expect("an event").with_latest_key("k");
        let records = [
            record_of(EventId::random(), ""),
            record_of(EventId::random(), &"x".repeat(1024 * 1024)),
            Arc::new(Record::of_event(EventId::random(), Target::room("r").except_user("u"), json)),
        ];
        for record in &records {
            in_time("an append", node.append(epoch, Arc::clone(record), None)).await.expect("appended");
        }
        let entries = read(&mut node.tail(Position::START), 3).await;
        let range = node.range(Position::START, 3).await.expect("a range");
        for (at, record) in records.iter().enumerate() {
            for entry in [&entries[at], &range[at]] {
                assert!(entry.record.decode().expect("a record") == *record, "record {at}");
            }
        }
    }

    /// The first record with a key is appended; every other one gets the first one's answer, from
    /// every node.
    pub async fn known_key_appends_nothing<B: BackplaneUnderTest>() {
        let (_backplane, [one, two]) = start::<B, 2>().await;
        let keyed = key(1, 1, Duration::from_secs(60));
        let first = append_with(&one, keyed).await.expect("appended");
        assert!(!first.repeated);
        for node in [&one, &two] {
            let again = append_with(node, keyed).await.expect("answered");
            assert_eq!(again, first.as_repeated());
        }
        let other = append_with(&two, key(2, 1, Duration::from_secs(60))).await.expect("appended");
        assert_eq!((other.position, other.repeated), (first.position.next(), false), "another key");
        let sends = (3..8).flat_map(|number| [(number, &one), (number, &two)]);
        let answers =
            join_all(sends.map(|(number, node)| append_with(node, key(number, 1, Duration::from_secs(60))))).await;
        let answers: Vec<_> = answers.into_iter().map(|answer| answer.expect("answered")).collect();
        assert_eq!(answers.iter().filter(|answer| answer.repeated).count(), 5, "{answers:?}");
        assert_eq!(state_of(&one).await.last, Position::new(7));
    }

    /// A key that a record with another content has is refused.
    pub async fn key_reused_with_other_content_is_refused<B: BackplaneUnderTest>() {
        let (_backplane, [node]) = start::<B, 1>().await;
        append_with(&node, key(1, 1, Duration::from_secs(60))).await.expect("appended");
        let refused = append_with(&node, key(1, 2, Duration::from_secs(60))).await;
        assert!(matches!(refused, Err(AppendError::KeyReused)), "{refused:?}");
        assert_eq!(state_of(&node).await.last, Position::new(1));
    }

    /// A key is forgotten after its duration.
    pub async fn keys_are_forgotten_after_their_duration<B: BackplaneUnderTest>() {
        let (_backplane, [node]) = start::<B, 1>().await;
        let keyed = key(1, 1, Duration::from_millis(300));
        let first = append_with(&node, keyed).await.expect("appended");
        let again = loop {
            let again = append_with(&node, keyed).await.expect("answered");
            if !again.repeated {
                break again;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert_eq!(again.position, first.position.next());
    }

    /// A key is valid only in its epoch.
    pub async fn keys_are_forgotten_in_a_new_epoch<B: BackplaneUnderTest>() {
        let (_backplane, [node]) = start::<B, 1>().await;
        let keyed = key(1, 1, Duration::from_secs(60));
        append_with(&node, keyed).await.expect("appended");
        let old = state_of(&node).await;
        renew(&node, old.epoch, Position::new(1_000), EventId::random()).await;
        assert!(!append_with(&node, keyed).await.expect("appended").repeated);
    }
}
