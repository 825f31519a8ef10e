use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use realtime_core::{Refusal, Result};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::fetch::Fetcher;
use crate::jwks::Jwks;
use crate::key_set::KeySet;
use crate::refusals::keys_unavailable;

/// A key set that is fetched again when it is old, or when a key is not in it.
#[derive(Debug)]
pub(crate) struct Rotation {
    jwks: Jwks,
    fetcher: Fetcher,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Changes after each fetch.
    fetched: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    keys: Arc<KeySet>,
    /// The time of the last fetch that succeeded.
    loaded: Option<Instant>,
    /// The beginning of the last fetch.
    tried: Option<Instant>,
    /// `true` if the last fetch failed.
    failed: bool,
    /// `true` while a fetch is under way.
    fetching: bool,
}

impl Rotation {
    /// Creates the key set; one in a file is read.
    ///
    /// # Errors
    /// [`realtime_core::Error::Config`].
    pub(crate) fn new(jwks: Jwks) -> Result<Self> {
        let fetcher = Fetcher::new(&jwks)?;
        let mut state = State::default();
        if let Some(keys) = fetcher.read_now()? {
            state = State { keys: Arc::new(keys), loaded: Some(Instant::now()), ..state };
        }
        Ok(Self {
            jwks,
            fetcher,
            shared: Arc::new(Shared { state: Mutex::new(state), fetched: watch::Sender::new(()) }),
        })
    }

    /// Returns the keys, fetched before if they are too old.
    ///
    /// # Errors
    /// The refusal for when there are none.
    pub(crate) async fn keys(&self) -> Result<Arc<KeySet>, Refusal> {
        let is_current = self.shared.lock().loaded.is_some_and(|at| at.elapsed() < self.jwks.max_age);
        if !is_current {
            self.fetch().await;
        }
        let state = self.shared.lock();
        state.loaded.map(|_| Arc::clone(&state.keys)).ok_or_else(keys_unavailable)
    }

    /// Returns the keys for a token whose key was not among them: fetched again, unless the last
    /// fetch is too recent.
    ///
    /// # Errors
    /// The refusal for when the last fetch failed: the key may be in what it would have brought.
    pub(crate) async fn newer_keys(&self) -> Result<Arc<KeySet>, Refusal> {
        self.fetch().await;
        let state = self.shared.lock();
        if state.failed { Err(keys_unavailable()) } else { Ok(Arc::clone(&state.keys)) }
    }

    /// Waits for the fetch that is under way, or else for a new one if the interval has passed.
    async fn fetch(&self) {
        let mut fetched = {
            let mut state = self.shared.lock();
            if !state.fetching {
                if state.tried.is_some_and(|at| at.elapsed() < self.jwks.fetch_interval) {
                    return;
                }
                state.fetching = true;
                // Unless it succeeds.
                state.failed = true;
                state.tried = Some(Instant::now());
                // In a task, so that it goes on when the client that caused it disconnects.
                let (fetcher, guard) = (self.fetcher.clone(), Fetching(Arc::clone(&self.shared)));
                tokio::spawn(async move { guard.finish(fetcher.fetch().await) });
            }
            // Under the lock, so that the change after the fetch comes later.
            self.shared.fetched.subscribe()
        };
        let _ = fetched.changed().await;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fetch under way, which ends in any case.
struct Fetching(Arc<Shared>);

impl Fetching {
    fn finish(self, fetched: std::result::Result<KeySet, realtime_core::BoxError>) {
        let mut state = self.0.lock();
        match fetched {
            Ok(keys) => {
                tracing::debug!(keys = keys.len(), "fetched the token signing keys");
                if keys.len() == 0 {
                    tracing::warn!("the key set has no key that verifies tokens");
                }
                state.keys = Arc::new(keys);
                state.loaded = Some(Instant::now());
                state.failed = false;
            }
            Err(error) => {
                tracing::warn!(%error, kept = state.keys.len(), "could not fetch the token signing keys");
            }
        }
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.0.lock().fetching = false;
        self.0.fetched.send_replace(());
    }
}
