use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::traits::broadcast::{RealtimeBroadcast, RoomMembership};
use crate::traits::context::Context;
use crate::values::close::CloseReason;
use crate::values::error::Result;
use crate::values::event::Event;
use crate::values::name::check_name;
use crate::values::receipt::Receipt;
use crate::values::refusal::Refusal;
use crate::values::target::Target;

/// What a handler can do with what is around it: its own connection, and the log.
pub(crate) trait Control: Send + Sync {
    /// Sends over all providers, or over one.
    fn send(&self, over: Option<String>, target: Target, event: Event) -> BoxFuture<'static, Result<Receipt>>;
    fn enter(&self, room: &str) -> bool;
    fn subscribe<'a>(&'a self, cx: &'a Context, room: &'a str) -> BoxFuture<'a, Result<bool, Refusal>>;
    fn leave(&self, room: &str) -> bool;
    fn is_in(&self, room: &str) -> bool;
    fn rooms(&self) -> Option<Arc<dyn RoomMembership>>;
    fn close(&self, reason: CloseReason);
}

/// The control of a context without a live connection.
pub(crate) struct Detached {
    broadcast: Arc<dyn RealtimeBroadcast>,
    rooms: Mutex<BTreeSet<String>>,
}

impl Detached {
    pub(crate) fn new(broadcast: Arc<dyn RealtimeBroadcast>) -> Self {
        Self { broadcast, rooms: Mutex::default() }
    }

    fn entered(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control for Detached {
    fn send(&self, _: Option<String>, target: Target, event: Event) -> BoxFuture<'static, Result<Receipt>> {
        let broadcast = Arc::clone(&self.broadcast);
        async move { broadcast.send(target, event).await }.boxed()
    }

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
}
