//! Namespaces that one session is connected to, and the bounds of what its client may send before
//! Socket.IO reads it: few packets before it is connected, few CONNECTs at a time.
//!
//! socketioxide spawns a task for each CONNECT, however many are under way, and reads all that a
//! client sends before the client is authenticated.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::engine::settings::Allowance;
use crate::packet::entry;
use crate::packet::head::{Head, Namespace};

/// Number of CONNECTs of one session that may be under way. The next one waits, with all packets
/// behind it.
const MAX_CONNECTING: usize = 4;
/// Number of repeated CONNECTs to a namespace that the session is connected or connecting to, until
/// it leaves one.
pub(crate) const MAX_REPEATS: usize = 16;
/// Number of custom namespaces of one session.
pub(crate) const MAX_NAMESPACES: usize = 1000;

/// Decision on a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Admit,
    /// The packet exceeds a bound: the session is closed.
    Reject,
    /// The packet waits until a CONNECT under way is answered; the session's readers are woken
    /// then.
    Wait,
}

/// The namespaces of one session.
#[derive(Default)]
pub(crate) struct Namespaces {
    state: Mutex<State>,
    unconnected: Allowance,
}

/// The state. Locked for a lookup or a change only; the registry's lock is taken inside.
#[derive(Default)]
struct State {
    main: MainState,
    /// Custom namespaces, those of the application.
    custom: HashMap<Box<[u8]>, CustomState>,
    custom_connected: usize,
    repeats: usize,
    /// Number of packets since the session is connected to no namespace.
    packets: usize,
    bytes: u64,
    /// Number of pings that were sent and not answered.
    pings: usize,
    /// Set when `connect_timeout` has passed.
    timed_out: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum MainState {
    Connected,
    /// The CONNECT waits for a free slot and does not count as under way.
    Held,
    #[default]
    Disconnected,
    Connecting,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CustomState {
    Connected,
    /// The client has left before it can have read the answer to its CONNECT.
    Leaving,
    Connecting,
}

impl State {
    fn is_connected(&self) -> bool {
        self.main == MainState::Connected || self.custom_connected > 0
    }

    /// Returns the number of CONNECTs under way.
    fn connecting(&self) -> usize {
        self.custom.len() - self.custom_connected + usize::from(self.main == MainState::Connecting)
    }

    fn admit(&mut self, head: &Head, unconnected: Allowance) -> Verdict {
        match head {
            // A pong without a ping counts like other packets.
            Head::Pong if self.pings > 0 => {
                self.pings -= 1;
                return Verdict::Admit;
            }
            Head::NameTooLong => return Verdict::Reject,
            Head::Connect(Some(name)) if **name == *entry::NAME.as_bytes() => return Verdict::Reject,
            Head::Connect(Some(name)) if self.custom.get(name) == Some(&CustomState::Leaving) => return Verdict::Wait,
            Head::Connect(namespace) if !self.contains(namespace) => {
                if self.connecting() >= MAX_CONNECTING {
                    return Verdict::Wait;
                }
                if self.custom.len() >= MAX_NAMESPACES {
                    return Verdict::Reject;
                }
            }
            _ => {}
        }
        if !self.is_connected() {
            self.packets += 1;
            if self.packets > unconnected.packets {
                return Verdict::Reject;
            }
        }
        match head {
            Head::Connect(namespace) if self.contains(namespace) => {
                self.repeats += 1;
                if self.repeats > MAX_REPEATS {
                    return Verdict::Reject;
                }
            }
            Head::Connect(Some(name)) => {
                self.custom.insert(name.clone(), CustomState::Connecting);
            }
            Head::Connect(None) => self.main = MainState::Connecting,
            Head::Disconnect(namespace) => self.leave(namespace),
            _ => {}
        }
        Verdict::Admit
    }

    /// Returns whether the session is connected or connecting to this namespace.
    fn contains(&self, namespace: &Namespace) -> bool {
        match namespace {
            None => self.main != MainState::Disconnected,
            Some(name) => self.custom.contains_key(name),
        }
    }

    /// Notes that either side ends a connection. That to the main namespace is noted by its
    /// disconnect hook.
    fn leave(&mut self, namespace: &Namespace) {
        let Some(name) = namespace else { return };
        match self.custom.get_mut(name) {
            Some(CustomState::Connected) => {
                self.custom.remove(name);
                self.custom_connected -= 1;
                self.repeats = 0;
            }
            Some(state) => *state = CustomState::Leaving,
            None => {}
        }
    }

    /// Notes the server's answer to a CONNECT. That of the main namespace is noted by its connect
    /// handler.
    fn answered(&mut self, namespace: &Namespace, connected: bool) {
        let Some(name) = namespace else { return };
        match self.custom.get_mut(name) {
            Some(state @ CustomState::Connecting) if connected => {
                *state = CustomState::Connected;
                self.custom_connected += 1;
            }
            Some(CustomState::Leaving | CustomState::Connecting) => {
                self.custom.remove(name);
            }
            _ => {}
        }
    }

    fn sent(&mut self, head: &Head) {
        match head {
            Head::Connect(namespace) => self.answered(namespace, true),
            Head::ConnectError(namespace) => self.answered(namespace, false),
            Head::Disconnect(namespace) => self.leave(namespace),
            Head::Ping => self.pings = self.pings.saturating_add(1),
            _ => {}
        }
    }
}

/// `on_change` is called under the lock, and so in the order of the changes, when the session has
/// its first connection (true) or has lost its last one (false).
impl Namespaces {
    /// Creates the namespaces of a session that may send so much while it is connected to none.
    pub(crate) fn new(unconnected: Allowance) -> Self {
        Self { state: Mutex::default(), unconnected }
    }

    /// Returns what the session may send while it is connected to none.
    pub(crate) fn unconnected(&self) -> Allowance {
        self.unconnected
    }

    /// Decides on a client's packet before Socket.IO reads it; called again for a packet that had
    /// to wait.
    pub(crate) fn admit(&self, head: &Head, on_change: impl FnOnce(bool)) -> Verdict {
        self.change(on_change, |state| state.admit(head, self.unconnected))
    }

    /// Decides on bytes from the client.
    pub(crate) fn admit_bytes(&self, bytes: u64) -> Verdict {
        let mut state = self.lock();
        if state.is_connected() {
            return Verdict::Admit;
        }
        state.bytes = state.bytes.saturating_add(bytes);
        if state.bytes > self.unconnected.bytes as u64 { Verdict::Reject } else { Verdict::Admit }
    }

    /// Notes a packet that was sent to the client.
    pub(crate) fn sent(&self, head: &Head, on_change: impl FnOnce(bool)) {
        self.change(on_change, |state| state.sent(head));
    }

    /// Notes whether the main namespace's CONNECT waits for a free slot. Meanwhile it does not
    /// count as under way.
    pub(crate) fn hold_main(&self, held: bool) {
        let mut state = self.lock();
        match (held, state.main) {
            (true, MainState::Connecting) => state.main = MainState::Held,
            (false, MainState::Held) => state.main = MainState::Connecting,
            _ => {}
        }
    }

    /// Notes that the main namespace's CONNECT was answered.
    pub(crate) fn answer_main(&self, connected: bool, on_change: impl FnOnce(bool)) {
        self.change(on_change, |state| {
            state.main = if connected { MainState::Connected } else { MainState::Disconnected }
        });
    }

    /// Notes that the connection to the main namespace has ended.
    pub(crate) fn leave_main(&self, on_change: impl FnOnce(bool)) {
        self.change(on_change, |state| {
            state.main = MainState::Disconnected;
            state.repeats = 0;
        });
    }

    /// Returns whether a ping was sent and not answered.
    pub(crate) fn awaits_pong(&self) -> bool {
        self.lock().pings > 0
    }

    /// Returns whether the session is connected to a namespace.
    pub(crate) fn is_connected(&self) -> bool {
        self.lock().is_connected()
    }

    /// Returns whether the session is connected to the main namespace.
    pub(crate) fn is_main_connected(&self) -> bool {
        self.lock().main == MainState::Connected
    }

    /// Returns whether the session is neither connected nor connecting to any namespace.
    pub(crate) fn is_empty(&self) -> bool {
        let state = self.lock();
        state.main == MainState::Disconnected && state.custom.values().all(|state| *state == CustomState::Leaving)
    }

    /// Notes that `connect_timeout` has passed. Returns whether a CONNECT to the main namespace is
    /// under way.
    pub(crate) fn expire(&self) -> bool {
        let mut state = self.lock();
        state.timed_out = true;
        state.main == MainState::Connecting
    }

    /// Returns whether `connect_timeout` has passed.
    pub(crate) fn is_timed_out(&self) -> bool {
        self.lock().timed_out
    }

    fn change<R>(&self, on_change: impl FnOnce(bool), change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let before = state.is_connected();
        let result = change(&mut state);
        let after = state.is_connected();
        if before != after {
            (state.packets, state.bytes, state.repeats, state.timed_out) = (0, 0, 0, false);
            on_change(after);
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
