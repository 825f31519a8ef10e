//! Many clients at a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::task::JoinSet;

use crate::client::{Client, Dial};
use crate::payload::EVENT;
use crate::{Result, lock};

/// The number of handshakes under way at a time.
const HANDSHAKES: usize = 64;

/// An observer of the measured events of all clients.
pub trait Observer: Send + Sync + 'static {
    /// Observes that a client has received its event of this number, counted from 0 since it
    /// connected.
    fn received(&self, number: u64, data: &[u8]);
}

/// Clients that read everything, each in a task; dropping this closes them.
#[derive(Debug)]
pub struct Swarm {
    _tasks: JoinSet<()>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    lost: AtomicU64,
    /// The error of the first client that was closed.
    ended: Mutex<Option<String>>,
}

impl Swarm {
    /// Connects `count` clients; returns when each has received `connected`.
    ///
    /// # Errors
    /// When one cannot connect.
    pub async fn connect<O: Observer>(count: usize, dial: impl Fn(usize) -> Dial, observer: &Arc<O>) -> Result<Self> {
        let state = Arc::new(State::default());
        let mut tasks = JoinSet::new();
        let mut clients = stream::iter((0..count).map(dial))
            .map(|dial| async move {
                Client::connect(&dial).await.map_err(|error| format!("client {}: {error}", dial.number))
            })
            .buffer_unordered(HANDSHAKES);
        while let Some(client) = clients.try_next().await? {
            let (state, observer) = (Arc::clone(&state), Arc::clone(observer));
            tasks.spawn(async move { state.run(client, &*observer).await });
        }
        drop(clients);
        Ok(Self { _tasks: tasks, state })
    }

    /// Checks that all are still connected and none has missed an event.
    ///
    /// # Errors
    /// When one is not, or has.
    pub fn check(&self) -> Result<()> {
        if let Some(error) = &*lock(&self.state.ended) {
            return Err(format!("a client has ended: {error}").into());
        }
        match self.state.lost.load(Ordering::Relaxed) {
            0 => Ok(()),
            lost => Err(format!("clients were notified {lost} times of lost events").into()),
        }
    }
}

impl State {
    async fn run<O: Observer>(&self, mut client: Client, observer: &O) {
        let mut number = 0;
        loop {
            let heard = client
                .receive(|name, data| {
                    if name == EVENT {
                        observer.received(number, data);
                        number += 1;
                    } else if name == "lost" {
                        self.lost.fetch_add(1, Ordering::Relaxed);
                    }
                })
                .await;
            if let Err(error) = heard {
                lock(&self.ended).get_or_insert(error.to_string());
                return;
            }
        }
    }
}
