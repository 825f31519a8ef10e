//! Admission of a client's packets, by the namespaces that the session is connected to.
//!
//! The rules are in [`namespaces`](crate::engine::session::namespaces); here the session wakes its readers and tells the registry.

use realtime_core::{Refusal, RefusalKind};

use crate::engine::session::EngineSession;
use crate::engine::session::namespaces::Verdict;
use crate::packet::head::Head;

/// Message of the refusal `flood`.
const FLOOD: &str = "a session may send 16 packets and 16 KiB before it is connected, and connect to a namespace once";

impl EngineSession {
    /// Decides on a client's packet before Socket.IO reads it; called again for a packet that had to wait.
    pub(crate) fn admit(&self, head: &Head) -> Verdict {
        self.namespaces.admit(head, |connected| self.registered.set_connected(connected))
    }

    /// Notes a packet that was sent to the client.
    pub(crate) fn sent(&self, head: &Head) {
        if matches!(head, Head::Other) {
            return;
        }
        self.namespaces.sent(head, |connected| self.registered.set_connected(connected));
        if matches!(head, Head::Connect(_) | Head::Refuse(_)) {
            self.wake_readers();
        }
    }

    /// Ends the session for a flood, which is counted and logged once. Returns the refusal.
    pub(crate) fn refuse(&self) -> Refusal {
        let refusal = Refusal::new(RefusalKind::Flood, FLOOD);
        if self.end_flood() {
            self.report(refusal.clone());
        }
        refusal
    }

    /// Notes whether the main namespace's CONNECT waits for a free place of its user. Meanwhile the session, whose user is known,
    /// does not count as unconnected.
    pub(crate) fn hold_main(&self, held: bool) {
        self.namespaces.hold_main(held);
        self.registered.set_held(held);
        if held {
            self.wake_readers();
        }
    }

    /// Notes that the main namespace's CONNECT was answered.
    pub(crate) fn answer_main(&self, connected: bool) {
        self.namespaces.answer_main(connected, |connected| self.registered.set_connected(connected));
        self.wake_readers();
    }

    /// Notes that the connection to the main namespace has ended.
    pub(crate) fn leave_main(&self) {
        self.namespaces.leave_main(|connected| self.registered.set_connected(connected));
    }

    /// Notes that `connect_timeout` is over. Returns whether a CONNECT to the main namespace is under way, which is then answered.
    pub(crate) fn expire(&self) -> bool {
        let answers = self.namespaces.expire();
        self.notify();
        answers
    }

    /// Waits until `connect_timeout` is over.
    pub(crate) async fn expired(&self) {
        self.until(|| self.namespaces.is_late()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::session::namespaces::{MAX_BYTES, MAX_NAMESPACES, MAX_PACKETS, MAX_REPEATS};
    use crate::packet::entry;

    fn own(name: &str) -> Head {
        Head::Connect(Some(name.as_bytes().into()))
    }

    fn times(session: &EngineSession, head: &Head) -> usize {
        (0..1000).take_while(|_| session.admit(head) == Verdict::Pass).count()
    }

    #[test]
    fn sixteen_packets_come_before_a_connection_and_any_number_after() {
        for head in [Head::Connect(None), Head::Other, Head::Leave(None), Head::Pong] {
            assert_eq!(times(&EngineSession::default(), &head), MAX_PACKETS, "{head:?}");
        }
        let session = EngineSession::default();
        session.admit(&Head::Connect(None));
        session.answer_main(true);
        assert_eq!(times(&session, &Head::Other), 1000);
        session.leave_main();
        assert_eq!(times(&session, &Head::Other), MAX_PACKETS);
    }

    #[test]
    fn bytes_are_bounded_before_a_connection() {
        let session = EngineSession::default();
        assert_eq!(session.namespaces.admit_bytes(MAX_BYTES), Verdict::Pass);
        assert_eq!(session.namespaces.admit_bytes(1), Verdict::Refuse);
        session.answer_main(true);
        assert_eq!(session.namespaces.admit_bytes(u64::MAX), Verdict::Pass);
    }

    #[test]
    fn a_pong_is_free_when_it_answers() {
        let session = EngineSession::default();
        for _ in 0..1000 {
            session.sent(&Head::Ping);
            assert_eq!(session.admit(&Head::Pong), Verdict::Pass);
        }
        assert_eq!(times(&session, &Head::Pong), MAX_PACKETS);
    }

    #[test]
    fn few_are_under_way_and_the_others_wait() {
        let session = EngineSession::default();
        for name in ["/a", "/b", "/c", "/d"] {
            assert_eq!(session.admit(&own(name)), Verdict::Pass);
        }
        for head in [own("/e"), Head::Connect(None)] {
            assert_eq!(times(&session, &head), 0);
            assert_eq!(session.admit(&head), Verdict::Wait);
        }
        session.sent(&own("/a"));
        assert_eq!(session.admit(&own("/e")), Verdict::Pass);
        session.sent(&Head::Refuse(Some(b"/b".as_slice().into())));
        assert_eq!(session.admit(&Head::Connect(None)), Verdict::Pass);
        assert_eq!(session.admit(&own("/f")), Verdict::Wait);
        session.hold_main(true);
        assert_eq!(session.admit(&own("/f")), Verdict::Pass, "one that is held is not under way");
    }

    #[test]
    fn who_is_connected_may_repeat_itself_a_little() {
        let session = EngineSession::default();
        session.admit(&Head::Connect(None));
        session.answer_main(true);
        assert_eq!(times(&session, &Head::Connect(None)), MAX_REPEATS);
        // An own namespace, entered and left again and again.
        let session = EngineSession::default();
        session.answer_main(true);
        for _ in 0..100 {
            assert_eq!(session.admit(&own("/own")), Verdict::Pass);
            session.sent(&own("/own"));
            assert_eq!(session.admit(&own("/own")), Verdict::Pass);
            assert_eq!(session.admit(&Head::Leave(Some(b"/own".as_slice().into()))), Verdict::Pass);
        }
    }

    #[test]
    fn who_leaves_before_the_answer_is_not_connected_by_it() {
        let session = EngineSession::default();
        session.admit(&own("/own"));
        session.admit(&Head::Leave(Some(b"/own".as_slice().into())));
        assert_eq!(session.admit(&own("/own")), Verdict::Wait);
        session.sent(&own("/own"));
        assert!(!session.namespaces.is_connected());
        assert_eq!(session.admit(&own("/own")), Verdict::Pass);
        session.sent(&own("/own"));
        assert!(session.namespaces.is_connected());
    }

    #[test]
    fn a_session_is_in_so_many_namespaces_only() {
        let session = EngineSession::default();
        session.answer_main(true);
        for n in 0..MAX_NAMESPACES {
            let head = own(&format!("/{n}"));
            assert_eq!(session.admit(&head), Verdict::Pass);
            session.sent(&head);
        }
        assert_eq!(session.admit(&own("/more")), Verdict::Refuse);
    }

    #[test]
    fn the_entry_namespace_is_not_for_clients() {
        assert_eq!(EngineSession::default().admit(&own(entry::NAME)), Verdict::Refuse);
        assert_eq!(EngineSession::default().admit(&Head::NameTooLong), Verdict::Refuse);
    }
}
