//! Contexts without a live connection.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::traits::broadcast::{RealtimeBroadcast, RoomMembership};
use crate::traits::context::{Context, Control};
use crate::traits::outgoing::Sends;
use crate::values::close::CloseReason;
use crate::values::connection::ConnectionInfo;
use crate::values::connection_data::ConnectionData;
use crate::values::error::Result;
use crate::values::event::Event;
use crate::values::name::check_name;
use crate::values::receipt::Receipt;
use crate::values::refreshed::Refreshed;
use crate::values::refusal::Refusal;
use crate::values::states::States;
use crate::values::target::Target;

impl Context {
    /// Creates a context without a live connection, for tests of handlers, hooks and policies:
    /// sends go to `broadcast`, even if they name a provider, [`Context::reply`] as a send to
    /// [`Target::connection`]. The context is in the rooms that it has entered, also by
    /// [`Context::subscribe`], which asks no policy; [`Context::refresh`] accepts any token.
    pub fn detached(connection: ConnectionInfo, broadcast: Arc<dyn RealtimeBroadcast>) -> Self {
        let control = Arc::new(Detached::new(Arc::clone(&broadcast)));
        Self::new(connection, ConnectionData::default(), States::default(), (broadcast, control))
    }
}

/// The control of a context without a live connection.
struct Detached {
    broadcast: Arc<dyn RealtimeBroadcast>,
    rooms: Mutex<BTreeSet<String>>,
}

impl Detached {
    fn new(broadcast: Arc<dyn RealtimeBroadcast>) -> Self {
        Self { broadcast, rooms: Mutex::default() }
    }

    fn entered(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sends for Detached {
    fn send(&self, _: Option<String>, target: Target, event: Event) -> BoxFuture<'static, Result<Receipt>> {
        let broadcast = Arc::clone(&self.broadcast);
        async move { broadcast.send(target, event).await }.boxed()
    }
}

impl Control for Detached {
    fn enter(&self, room: &str) -> bool {
        self.entered().insert(room.to_owned())
    }

    fn subscribe<'a>(&'a self, _: &'a Context, room: &'a str) -> BoxFuture<'a, Result<bool, Refusal>> {
        let checked = check_name("room", room).map_err(|error| Refusal::bad_request(error.to_string()));
        std::future::ready(checked.map(|()| self.enter(room))).boxed()
    }

    fn leave(&self, room: &str) -> bool {
        self.entered().remove(room)
    }

    fn is_in(&self, room: &str) -> bool {
        self.entered().contains(room)
    }

    fn rooms(&self) -> Option<Arc<dyn RoomMembership>> {
        None
    }

    fn close(&self, _: CloseReason) {}

    fn refresh<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Refreshed, Refusal>> {
        std::future::ready(Ok(Refreshed::new(None))).boxed()
    }
}
