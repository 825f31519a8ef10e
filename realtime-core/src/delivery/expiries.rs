use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::delivery::connection::Connection;
use crate::delivery::credentials::{Due, Schedule};
use crate::values::connection::ConnectionId;

/// The connections of a node whose credentials end, by the time of the next step.
pub(crate) struct Expiries<F> {
    due: Mutex<Table<F>>,
    /// Notified when there is an earlier step than before.
    changed: Notify,
}

/// The time of a connection's next step.
type Key = (Instant, ConnectionId);
type Table<F> = BTreeMap<Key, Weak<Connection<F>>>;

impl<F> Default for Expiries<F> {
    fn default() -> Self {
        Self { due: Mutex::default(), changed: Notify::new() }
    }
}

impl<F> Expiries<F> {
    /// Schedules the steps of a connection's current credentials in the place of earlier ones, with
    /// the notice this long before the end, or halfway if that is later. Returns the time until the
    /// end.
    pub(crate) fn schedule(&self, connection: &Arc<Connection<F>>, notice: Duration) -> Option<Duration> {
        let Schedule { replaced, due, left } = connection.credentials.as_ref()?.schedule(notice);
        let id = connection.info.id;
        if let Some(replaced) = replaced {
            self.table().remove(&(replaced, id));
        }
        if let Some(due) = due {
            self.add((due, id), Arc::downgrade(connection));
        }
        left
    }

    /// Forgets a connection that has closed.
    pub(crate) fn forget(&self, connection: &Connection<F>) {
        if let Some(due) = connection.credentials.as_ref().and_then(|credentials| credentials.end()) {
            self.table().remove(&(due, connection.info.id));
        }
    }

    /// Waits until a step is due.
    pub(crate) async fn due(&self) {
        loop {
            let changed = self.changed.notified();
            let next = self.table().first_key_value().map(|((due, _), _)| *due);
            match next {
                Some(next) => tokio::select! {
                    () = tokio::time::sleep_until(next) => return,
                    () = changed => {}
                },
                None => changed.await,
            }
        }
    }

    /// Takes the steps that are due, each with its connection.
    pub(crate) fn take(&self, now: Instant) -> Vec<(Arc<Connection<F>>, Due)> {
        let mut steps = Vec::new();
        while let Some(((key, id), connection)) = self.take_first(now) {
            let Some(connection) = connection.upgrade() else { continue };
            let Some(credentials) = &connection.credentials else { continue };
            let step = credentials.step(key, now);
            if let Due::Notice(_, ends_at) = step {
                self.add((ends_at, id), Arc::downgrade(&connection));
            }
            steps.push((connection, step));
        }
        steps
    }

    fn take_first(&self, now: Instant) -> Option<(Key, Weak<Connection<F>>)> {
        let mut table = self.table();
        table.first_key_value().filter(|((due, _), _)| *due <= now)?;
        table.pop_first()
    }

    fn add(&self, key: Key, connection: Weak<Connection<F>>) {
        let mut table = self.table();
        table.insert(key, connection);
        if table.first_key_value().is_some_and(|(first, _)| *first == key) {
            self.changed.notify_one();
        }
    }

    fn table(&self) -> MutexGuard<'_, Table<F>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
