//! Namespaces that one session is connected to, and the bounds of what its client may send before Socket.IO reads it: few
//! packets before it is connected, few CONNECTs at a time.
//!
//! socketioxide spawns a task for each CONNECT, however many are under way, and reads all that a client sends before anybody
//! knows who it is.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::packet::entry;
use crate::packet::head::{Head, Namespace};

/// CONNECTs of one session that may be under way. The next one waits, with all that comes after it.
const MAX_UNDER_WAY: usize = 4;
/// Packets of a session that is connected to no namespace, since its start or the end of its last connection.
pub(crate) const MAX_PACKETS: usize = 16;
/// Bytes of these packets.
pub(crate) const MAX_BYTES: u64 = 16 * 1024;
/// Repeated CONNECTs to a namespace that the session is connected or connecting to, until it leaves one.
pub(crate) const MAX_REPEATS: usize = 16;
/// Namespaces of one session.
pub(crate) const MAX_NAMESPACES: usize = 1000;

/// Decision on a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    /// The packet exceeds a bound: the session ends.
    Refuse,
    /// The packet waits until a CONNECT under way is answered; the session's readers are woken then.
    Wait,
}

/// The namespaces of one session.
#[derive(Default)]
pub(crate) struct Namespaces(Mutex<State>);

/// Locked for a look or a change only. The registry's lock is taken inside.
#[derive(Default)]
struct State {
    main: Main,
    /// Namespaces of the application's own.
    own: HashMap<Box<[u8]>, Own>,
    own_connected: usize,
    repeats: usize,
    /// Packets since the session is connected to no namespace.
    packets: usize,
    bytes: u64,
    /// Pings that were sent and not answered.
    pings: usize,
    /// Set when `connect_timeout` is over.
    late: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Main {
    Connected,
    /// The CONNECT waits for a free place and does not count as under way.
    Held,
    #[default]
    Out,
    UnderWay,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    Connected,
    /// The client has left before it can have read the answer to its CONNECT.
    Leaving,
    UnderWay,
}

impl State {
    fn is_connected(&self) -> bool {
        self.main == Main::Connected || self.own_connected > 0
    }

    fn under_way(&self) -> usize {
        self.own.len() - self.own_connected + usize::from(self.main == Main::UnderWay)
    }

    fn admit(&mut self, head: &Head) -> Verdict {
        match head {
            // Without a ping it is a packet like others.
            Head::Pong if self.pings > 0 => {
                self.pings -= 1;
                return Verdict::Pass;
            }
            Head::NameTooLong => return Verdict::Refuse,
            Head::Connect(Some(name)) if **name == *entry::NAME.as_bytes() => return Verdict::Refuse,
            Head::Connect(Some(name)) if self.own.get(name) == Some(&Own::Leaving) => return Verdict::Wait,
            Head::Connect(namespace) if !self.knows(namespace) => {
                if self.under_way() >= MAX_UNDER_WAY {
                    return Verdict::Wait;
                }
                if self.own.len() >= MAX_NAMESPACES {
                    return Verdict::Refuse;
                }
            }
            _ => {}
        }
        if !self.is_connected() {
            self.packets += 1;
            if self.packets > MAX_PACKETS {
                return Verdict::Refuse;
            }
        }
        match head {
            Head::Connect(namespace) if self.knows(namespace) => {
                self.repeats += 1;
                if self.repeats > MAX_REPEATS {
                    return Verdict::Refuse;
                }
            }
            Head::Connect(Some(name)) => {
                self.own.insert(name.clone(), Own::UnderWay);
            }
            Head::Connect(None) => self.main = Main::UnderWay,
            Head::Leave(namespace) => self.leave(namespace),
            _ => {}
        }
        Verdict::Pass
    }

    /// Returns whether the session is connected or connecting to this namespace.
    fn knows(&self, namespace: &Namespace) -> bool {
        match namespace {
            None => self.main != Main::Out,
            Some(name) => self.own.contains_key(name),
        }
    }

    /// Notes that either side ends a connection. That to the main namespace is noted by its disconnect hook.
    fn leave(&mut self, namespace: &Namespace) {
        let Some(name) = namespace else { return };
        match self.own.get_mut(name) {
            Some(Own::Connected) => {
                self.own.remove(name);
                self.own_connected -= 1;
                self.repeats = 0;
            }
            Some(own) => *own = Own::Leaving,
            None => {}
        }
    }

    /// Notes the server's answer to a CONNECT. That of the main namespace is noted by its connect handler.
    fn answered(&mut self, namespace: &Namespace, connected: bool) {
        let Some(name) = namespace else { return };
        match self.own.get_mut(name) {
            Some(own @ Own::UnderWay) if connected => {
                *own = Own::Connected;
                self.own_connected += 1;
            }
            Some(Own::Leaving | Own::UnderWay) => {
                self.own.remove(name);
            }
            _ => {}
        }
    }

    fn sent(&mut self, head: &Head) {
        match head {
            Head::Connect(namespace) => self.answered(namespace, true),
            Head::Refuse(namespace) => self.answered(namespace, false),
            Head::Leave(namespace) => self.leave(namespace),
            Head::Ping => self.pings = self.pings.saturating_add(1),
            _ => {}
        }
    }
}

/// `tell` is called under the lock, so in the order of the changes, when the session has its first connection (true) or has lost
/// its last one (false).
impl Namespaces {
    /// Decides on a client's packet before Socket.IO reads it; called again for a packet that had to wait.
    pub(crate) fn admit(&self, head: &Head, tell: impl FnOnce(bool)) -> Verdict {
        self.change(tell, |state| state.admit(head))
    }

    /// Decides on bytes from the client.
    pub(crate) fn admit_bytes(&self, bytes: u64) -> Verdict {
        let mut state = self.lock();
        if state.is_connected() {
            return Verdict::Pass;
        }
        state.bytes = state.bytes.saturating_add(bytes);
        if state.bytes > MAX_BYTES { Verdict::Refuse } else { Verdict::Pass }
    }

    /// Notes a packet that was sent to the client.
    pub(crate) fn sent(&self, head: &Head, tell: impl FnOnce(bool)) {
        self.change(tell, |state| state.sent(head));
    }

    /// Notes whether the main namespace's CONNECT waits for a free place. Meanwhile it does not count as under way.
    pub(crate) fn hold_main(&self, held: bool) {
        let mut state = self.lock();
        match (held, state.main) {
            (true, Main::UnderWay) => state.main = Main::Held,
            (false, Main::Held) => state.main = Main::UnderWay,
            _ => {}
        }
    }

    /// Notes that the main namespace's CONNECT was answered.
    pub(crate) fn answer_main(&self, connected: bool, tell: impl FnOnce(bool)) {
        self.change(tell, |state| state.main = if connected { Main::Connected } else { Main::Out });
    }

    /// Notes that the connection to the main namespace has ended.
    pub(crate) fn leave_main(&self, tell: impl FnOnce(bool)) {
        self.change(tell, |state| {
            state.main = Main::Out;
            state.repeats = 0;
        });
    }

    /// Returns whether the session is connected to a namespace.
    pub(crate) fn is_connected(&self) -> bool {
        self.lock().is_connected()
    }

    /// Returns whether the session is connected to the main namespace.
    pub(crate) fn is_main_connected(&self) -> bool {
        self.lock().main == Main::Connected
    }

    /// Returns whether the session is neither connected nor connecting to any namespace.
    pub(crate) fn is_left(&self) -> bool {
        let state = self.lock();
        state.main == Main::Out && state.own.values().all(|own| *own == Own::Leaving)
    }

    /// Notes that `connect_timeout` is over. Returns whether a CONNECT to the main namespace is under way.
    pub(crate) fn expire(&self) -> bool {
        let mut state = self.lock();
        state.late = true;
        state.main == Main::UnderWay
    }

    /// Returns whether `connect_timeout` is over.
    pub(crate) fn is_late(&self) -> bool {
        self.lock().late
    }

    fn change<R>(&self, tell: impl FnOnce(bool), change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let before = state.is_connected();
        let result = change(&mut state);
        let after = state.is_connected();
        if before != after {
            (state.packets, state.bytes, state.repeats, state.late) = (0, 0, 0, false);
            tell(after);
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
