//! Following the entries of all nodes.

use std::sync::Arc;

use realtime_core::spi::Backoff;
use tokio::sync::watch;
use tokio::time::{Duration, timeout};

use super::mirror::Mirror;
use crate::api;
use crate::connector::RETRY;
use crate::error::Fault;
use crate::reader::{Read, Reader, Start};
use crate::store::Store;
use crate::streams::ensure;

/// The longest wait for an entry that is there.
const PRESENT: Duration = Duration::from_secs(1);

/// The mirror, and whether it is up to date.
#[derive(Debug)]
pub(super) struct Watched(watch::Sender<State>);

#[derive(Debug, Default)]
struct State {
    mirror: Mirror,
    is_current: bool,
}

impl Default for Watched {
    fn default() -> Self {
        Self(watch::Sender::new(State::default()))
    }
}

impl Watched {
    /// Reads the mirror.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Mirror) -> T) -> Result<T, Fault> {
        let state = self.0.borrow();
        if state.is_current { Ok(read(&state.mirror)) } else { Err(Fault::Behind) }
    }

    pub(super) fn is_current(&self) -> bool {
        self.0.borrow().is_current
    }

    /// Waits until the mirror is up to date and fulfils a condition.
    pub(super) async fn until(&self, mut holds: impl FnMut(&Mirror) -> bool) {
        let mut states = self.0.subscribe();
        // The sender is this value, so that there is no error.
        let _ = states.wait_for(|state| state.is_current && holds(&state.mirror)).await;
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Mirror)) {
        self.0.send_modify(|state| change(&mut state.mirror));
    }

    fn set(&self, mirror: Mirror) {
        self.0.send_modify(|state| *state = State { mirror, is_current: true });
    }

    fn set_outdated(&self) {
        self.0.send_modify(|state| state.is_current = false);
    }
}

/// Follows the entries without end. Each time it begins, it reads all of them anew, and each lease
/// counts as renewed: nodes that could not renew theirs during an outage have time to do it.
pub(super) async fn run(store: Arc<Store>, watched: Arc<Watched>) {
    let mut backoff = Backoff::new(RETRY);
    loop {
        let Err(fault) = follow(&store, &watched, &mut backoff).await;
        watched.set_outdated();
        tracing::debug!(error = %fault, "the directory is not up to date");
        if fault.is_missing_stream() {
            let [.., settings] = store.names.shared(&store.config);
            let _ = ensure(&store.link, &settings).await;
        }
        backoff.wait().await;
    }
}

async fn follow(store: &Store, watched: &Watched, backoff: &mut Backoff) -> Result<std::convert::Infallible, Fault> {
    let connection = store.connector.connect().await?;
    api::until_complete(&connection, &store.names.nodes, &store.names.node("none", "lease")).await?;
    let mut reader = Reader::open(connection, &store.names.nodes, Start::After(0), None).await?;
    let stem = store.names.node("", "");
    let stem = stem.trim_end_matches('.');
    let apply = |mirror: &mut Mirror, read: &Read| {
        if let Some(subject) = read.message.subject.strip_prefix(stem) {
            mirror.apply(subject.trim_start_matches('.'), read.sequence, &read.message.payload);
        }
    };
    let mut mirror = Mirror::default();
    let mut pending = reader.pending();
    while pending > 0 {
        // What was counted can have been removed since then.
        let batch = timeout(PRESENT, reader.next()).await.map_err(|_| Fault::Behind)??;
        batch.iter().for_each(|read| apply(&mut mirror, read));
        pending = batch.last().map_or(0, |last| last.pending);
    }
    watched.set(mirror);
    backoff.reset();
    loop {
        let batch = reader.next().await?;
        watched.change(|mirror| batch.iter().for_each(|read| apply(mirror, read)));
    }
}
