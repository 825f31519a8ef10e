//! What one session may send before Socket.IO reads it: few packets before it is connected, few CONNECTs at a time.
//!
//! socketioxide spawns a task for each CONNECT, whatever there is under way, and asks nobody who a client is before it
//! has read all that the client sends.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use realtime_core::{Refusal, RefusalKind};

use crate::engine::session::EngineSession;
use crate::engine::threshold;
use crate::packet::head::{Head, Namespace};

/// CONNECTs of one session that may be under way; the next one waits, and all that comes after it.
const MAX_UNDER_WAY: usize = 4;
/// Packets of a session that is connected to no namespace, from its begin or its last connection's end on.
const MAX_PACKETS: usize = 16;
/// Bytes of these packets.
const MAX_BYTES: u64 = 16 * 1024;
/// CONNECTs to a namespace that the session is connected or connecting to, before it leaves one.
const MAX_REPEATS: usize = 16;
/// Namespaces of one session.
const MAX_NAMESPACES: usize = 1000;

/// What the client is told that went beyond.
const FLOOD: &str = "a session may send 16 packets and 16 KiB before it is connected, and connect to a namespace once";

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    /// It is too much: the session ends.
    Refuse,
    /// Not before a CONNECT under way has its answer; the session's readers are woken then.
    Wait,
}

/// Where one session stands.
#[derive(Default)]
pub(crate) struct Turnstile(Mutex<State>);

/// Held for a look or a change only; the table of [`Sessions`](crate::engine::sessions::Sessions) is taken inside.
#[derive(Default)]
struct State {
    main: Main,
    /// Namespaces of the application's own.
    own: HashMap<Box<[u8]>, Own>,
    own_connected: usize,
    repeats: usize,
    /// Since the session is connected to no namespace.
    packets: usize,
    bytes: u64,
    /// Pings that were sent and not answered.
    pings: usize,
    /// The time for a connection is over.
    late: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Main {
    Connected,
    /// The CONNECT waits for a place and does not count as under way.
    Held,
    #[default]
    Out,
    UnderWay,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    Connected,
    /// The client has left before it can have read that it was let in.
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

    fn take(&mut self, head: &Head) -> Verdict {
        match head {
            // Without a ping it is a packet like others.
            Head::Pong if self.pings > 0 => {
                self.pings -= 1;
                return Verdict::Pass;
            }
            Head::Endless => return Verdict::Refuse,
            Head::Connect(Some(name)) if **name == *threshold::NAME.as_bytes() => return Verdict::Refuse,
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

    /// Whether the session is connected or connecting to this namespace.
    fn knows(&self, namespace: &Namespace) -> bool {
        match namespace {
            None => self.main != Main::Out,
            Some(name) => self.own.contains_key(name),
        }
    }

    /// The client or the server ends a connection; the main namespace's end is told by its hook.
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

    /// The server answers a CONNECT; who answers for the main namespace tells it itself.
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

impl Turnstile {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The session's part of it.
impl EngineSession {
    /// A client's packet is about to be handed to Socket.IO; asked again when it had to wait.
    pub(crate) fn take(&self, head: &Head) -> Verdict {
        self.change(|state| state.take(head))
    }

    /// So many bytes come from the client.
    pub(crate) fn take_bytes(&self, bytes: u64) -> Verdict {
        let mut state = self.turnstile.lock();
        if state.is_connected() {
            return Verdict::Pass;
        }
        state.bytes = state.bytes.saturating_add(bytes);
        if state.bytes > MAX_BYTES { Verdict::Refuse } else { Verdict::Pass }
    }

    /// A packet has gone to the client.
    pub(crate) fn sent(&self, head: &Head) {
        if matches!(head, Head::Other) {
            return;
        }
        self.change(|state| state.sent(head));
        if matches!(head, Head::Connect(_) | Head::Refuse(_)) {
            self.wake_readers();
        }
    }

    /// The session goes beyond what it may send, and ends; counted and logged once.
    pub(crate) fn refuse(&self) -> Refusal {
        let refusal = Refusal::new(RefusalKind::Flood, FLOOD);
        if self.end_flood() {
            self.report(refusal.clone());
        }
        refusal
    }

    /// The main namespace's CONNECT waits for a place, and then does so no more. Meanwhile it does not count as under way,
    /// and the session, whose user is known, is none of those without a connection.
    pub(crate) fn hold_main(&self, held: bool) {
        self.change(|state| match (held, state.main) {
            (true, Main::UnderWay) => state.main = Main::Held,
            (false, Main::Held) => state.main = Main::UnderWay,
            _ => {}
        });
        self.hold(held);
        if held {
            self.wake_readers();
        }
    }

    /// The main namespace's CONNECT was answered.
    pub(crate) fn answer_main(&self, connected: bool) {
        self.change(|state| state.main = if connected { Main::Connected } else { Main::Out });
        self.wake_readers();
    }

    /// Whether the session is connected to a namespace.
    pub(crate) fn is_connected(&self) -> bool {
        self.turnstile.lock().is_connected()
    }

    /// Whether the session is connected to the main namespace.
    pub(crate) fn is_main_connected(&self) -> bool {
        self.turnstile.lock().main == Main::Connected
    }

    /// Whether the session is connected to no namespace, nor connecting.
    pub(crate) fn is_left(&self) -> bool {
        let state = self.turnstile.lock();
        state.main == Main::Out && state.own.values().all(|own| *own == Own::Leaving)
    }

    /// The session's time for a connection is over. True: a CONNECT to the main namespace is under way, which is answered.
    pub(crate) fn expire(&self) -> bool {
        let mut state = self.turnstile.lock();
        state.late = true;
        let answers = state.main == Main::UnderWay;
        drop(state);
        self.heard();
        answers
    }

    /// Waits until the session's time for a connection is over.
    pub(crate) async fn expired(&self) {
        self.until(|| self.turnstile.lock().late).await;
    }

    /// The main namespace was left.
    pub(crate) fn leave_main(&self) {
        self.change(|state| {
            state.main = Main::Out;
            state.repeats = 0;
        });
    }

    /// Changes the state and tells the table, in the same order, when the session has its first connection or has lost
    /// its last one.
    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.turnstile.lock();
        let before = state.is_connected();
        let result = change(&mut state);
        let after = state.is_connected();
        if before != after {
            (state.packets, state.bytes, state.repeats, state.late) = (0, 0, 0, false);
            self.seat(after);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(name: &str) -> Head {
        Head::Connect(Some(name.as_bytes().into()))
    }

    fn times(session: &EngineSession, head: &Head) -> usize {
        (0..1000).take_while(|_| session.take(head) == Verdict::Pass).count()
    }

    #[test]
    fn sixteen_packets_come_before_a_connection_and_any_number_after() {
        for head in [Head::Connect(None), Head::Other, Head::Leave(None), Head::Pong] {
            assert_eq!(times(&EngineSession::default(), &head), MAX_PACKETS, "{head:?}");
        }
        let session = EngineSession::default();
        session.take(&Head::Connect(None));
        session.answer_main(true);
        assert_eq!(times(&session, &Head::Other), 1000);
        session.leave_main();
        assert_eq!(times(&session, &Head::Other), MAX_PACKETS);
    }

    #[test]
    fn bytes_are_bounded_before_a_connection() {
        let session = EngineSession::default();
        assert_eq!(session.take_bytes(MAX_BYTES), Verdict::Pass);
        assert_eq!(session.take_bytes(1), Verdict::Refuse);
        session.answer_main(true);
        assert_eq!(session.take_bytes(u64::MAX), Verdict::Pass);
    }

    #[test]
    fn a_pong_is_free_when_it_answers() {
        let session = EngineSession::default();
        for _ in 0..1000 {
            session.sent(&Head::Ping);
            assert_eq!(session.take(&Head::Pong), Verdict::Pass);
        }
        assert_eq!(times(&session, &Head::Pong), MAX_PACKETS);
    }

    #[test]
    fn few_are_under_way_and_the_others_wait() {
        let session = EngineSession::default();
        for name in ["/a", "/b", "/c", "/d"] {
            assert_eq!(session.take(&own(name)), Verdict::Pass);
        }
        for head in [own("/e"), Head::Connect(None)] {
            assert_eq!(times(&session, &head), 0);
            assert_eq!(session.take(&head), Verdict::Wait);
        }
        session.sent(&own("/a"));
        assert_eq!(session.take(&own("/e")), Verdict::Pass);
        session.sent(&Head::Refuse(Some(b"/b".as_slice().into())));
        assert_eq!(session.take(&Head::Connect(None)), Verdict::Pass);
        assert_eq!(session.take(&own("/f")), Verdict::Wait);
        session.hold_main(true);
        assert_eq!(session.take(&own("/f")), Verdict::Pass, "one that is held is not under way");
    }

    #[test]
    fn who_is_connected_may_repeat_itself_a_little() {
        let session = EngineSession::default();
        session.take(&Head::Connect(None));
        session.answer_main(true);
        assert_eq!(times(&session, &Head::Connect(None)), MAX_REPEATS);
        // An own namespace, entered and left again and again.
        let session = EngineSession::default();
        session.answer_main(true);
        for _ in 0..100 {
            assert_eq!(session.take(&own("/own")), Verdict::Pass);
            session.sent(&own("/own"));
            assert_eq!(session.take(&own("/own")), Verdict::Pass);
            assert_eq!(session.take(&Head::Leave(Some(b"/own".as_slice().into()))), Verdict::Pass);
        }
    }

    #[test]
    fn who_leaves_before_the_answer_is_not_connected_by_it() {
        let session = EngineSession::default();
        session.take(&own("/own"));
        session.take(&Head::Leave(Some(b"/own".as_slice().into())));
        assert_eq!(session.take(&own("/own")), Verdict::Wait);
        session.sent(&own("/own"));
        assert!(!session.turnstile.lock().is_connected());
        assert_eq!(session.take(&own("/own")), Verdict::Pass);
        session.sent(&own("/own"));
        assert!(session.turnstile.lock().is_connected());
    }

    #[test]
    fn a_session_is_in_so_many_namespaces_only() {
        let session = EngineSession::default();
        session.answer_main(true);
        for n in 0..MAX_NAMESPACES {
            let head = own(&format!("/{n}"));
            assert_eq!(session.take(&head), Verdict::Pass);
            session.sent(&head);
        }
        assert_eq!(session.take(&own("/more")), Verdict::Refuse);
    }

    #[test]
    fn the_threshold_is_not_for_clients() {
        assert_eq!(EngineSession::default().take(&own(threshold::NAME)), Verdict::Refuse);
        assert_eq!(EngineSession::default().take(&Head::Endless), Verdict::Refuse);
    }
}
