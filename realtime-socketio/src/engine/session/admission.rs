//! Admission of a client's packets, by the namespaces that the session is connected to, and by its
//! rate.
//!
//! The rules are in [`namespaces`](crate::engine::session::namespaces); here the session wakes its
//! readers and notifies the registry.

use realtime_core::spi::MeteredKind;
use realtime_core::{Refusal, RefusalKind};

use crate::engine::session::EngineSession;
use crate::engine::session::namespaces::Verdict;
use crate::engine::settings::Allowance;
use crate::packet::head::Head;

/// Size of a frame, in bytes, from which on the meter of a session is created for it. A smaller one
/// is that of a packet, which counts as such, or of a pong.
const LARGE_FRAME: usize = 256;

impl EngineSession {
    /// Decides on bytes from the client, a whole frame's on a websocket. They are counted with it;
    /// `alone` is the kind of a frame that is no part of a packet and counts as one.
    pub(crate) fn admit_bytes(&self, bytes: u64, alone: Option<MeteredKind>) -> Verdict {
        if self.namespaces.admit_bytes(bytes) == Verdict::Reject {
            return Verdict::Reject;
        }
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        if alone.is_some() || bytes >= LARGE_FRAME || self.rate.is_created() {
            self.charge(alone.unwrap_or(MeteredKind::Event), u32::from(alone.is_some()), bytes);
        }
        if self.is_over_rate() { Verdict::Wait } else { Verdict::Admit }
    }

    /// Counts packets and bytes of a client that is connected to a namespace; before, other bounds
    /// hold.
    pub(crate) fn charge(&self, kind: MeteredKind, packets: u32, bytes: usize) {
        if !self.namespaces.is_connected() || self.is_closing() {
            return;
        }
        if let Some(meter) = self.rate.meter_or(|| self.registered.meter()) {
            meter.charge(kind, packets, bytes);
        }
    }

    /// Takes off one packet that the server has asked for.
    pub(crate) fn give_back(&self) {
        self.rate.meter().into_iter().for_each(|meter| meter.give_back());
    }

    /// Returns whether the client is over its rate: it is read no further until the session's
    /// readers are woken.
    pub(crate) fn is_over_rate(&self) -> bool {
        self.rate.meter().is_some_and(|meter| meter.is_held()) && !self.is_closing()
    }

    /// Decides on a client's packet before Socket.IO reads it; called again for a packet that had
    /// to wait.
    ///
    /// It counts against the client's rate, unless it is the pong for a ping.
    pub(crate) fn admit(&self, head: &Head) -> Verdict {
        if self.is_over_rate() {
            return Verdict::Wait;
        }
        if matches!(head, Head::Pong)
            && let Some(time) = self.liveness.note_pong()
        {
            self.measured.round_trip(time);
        }
        let is_asked_for = matches!(head, Head::Pong) && self.namespaces.awaits_pong();
        let verdict = self.namespaces.admit(head, |connected| self.registered.set_connected(connected));
        if verdict == Verdict::Admit && !is_asked_for {
            let kind = if matches!(head, Head::Pong) { MeteredKind::Control } else { MeteredKind::Event };
            self.charge(kind, 1, 0);
        }
        verdict
    }

    /// Notes a packet that was sent to the client.
    pub(crate) fn sent(&self, head: &Head) {
        if matches!(head, Head::Other) {
            return;
        }
        self.namespaces.sent(head, |connected| self.registered.set_connected(connected));
        if matches!(head, Head::Connect(_) | Head::ConnectError(_)) {
            self.wake_readers();
        }
    }

    /// Closes the session for a flood, which is counted and logged once. Returns the refusal.
    pub(crate) fn reject_flood(&self) -> Refusal {
        let Allowance { packets, bytes } = self.namespaces.unconnected();
        let text = format!(
            "a session may send {packets} packets and {bytes} bytes before it is connected, \
             and connect to a namespace once"
        );
        let refusal = Refusal::new(RefusalKind::Flood, text).with_setting("unconnected_packets");
        if self.close_for_flood() {
            self.report(refusal.clone());
        }
        refusal
    }

    /// Notes whether the main namespace's CONNECT waits for a free slot of its user. Meanwhile the
    /// session, whose user is known, does not count as unconnected.
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

    /// Notes that `connect_timeout` has passed. Returns whether a CONNECT to the main namespace is
    /// under way, which is then answered.
    pub(crate) fn expire(&self) -> bool {
        let is_connecting = self.namespaces.expire();
        self.notify();
        is_connecting
    }

    /// Waits until `connect_timeout` has passed.
    pub(crate) async fn expired(&self) {
        self.until(|| self.namespaces.is_timed_out()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::session::namespaces::{MAX_NAMESPACES, MAX_REPEATS};
    use crate::packet::entry;

    const MAX_PACKETS: usize = 16;
    const MAX_BYTES: u64 = 16 * 1024;

    fn connect_to(name: &str) -> Head {
        Head::Connect(Some(name.as_bytes().into()))
    }

    /// Returns how many of these packets are admitted, up to 1,000.
    fn admitted(session: &EngineSession, head: &Head) -> usize {
        (0..1000).take_while(|_| session.admit(head) == Verdict::Admit).count()
    }

    #[test]
    fn packets_are_limited_until_the_session_is_connected() {
        for head in [Head::Connect(None), Head::Other, Head::Disconnect(None), Head::Pong] {
            assert_eq!(admitted(&EngineSession::default(), &head), MAX_PACKETS, "{head:?}");
        }
        let session = EngineSession::default();
        session.admit(&Head::Connect(None));
        session.answer_main(true);
        assert_eq!(admitted(&session, &Head::Other), 1000);
        session.leave_main();
        assert_eq!(admitted(&session, &Head::Other), MAX_PACKETS);
    }

    #[test]
    fn bytes_are_limited_until_the_session_is_connected() {
        let session = EngineSession::default();
        assert_eq!(session.namespaces.admit_bytes(MAX_BYTES), Verdict::Admit);
        assert_eq!(session.namespaces.admit_bytes(1), Verdict::Reject);
        session.answer_main(true);
        assert_eq!(session.namespaces.admit_bytes(u64::MAX), Verdict::Admit);
    }

    #[test]
    fn pong_counts_as_packet_only_without_a_ping() {
        let session = EngineSession::default();
        for _ in 0..1000 {
            session.sent(&Head::Ping);
            assert_eq!(session.admit(&Head::Pong), Verdict::Admit);
        }
        assert_eq!(admitted(&session, &Head::Pong), MAX_PACKETS);
    }

    #[test]
    fn fifth_connect_waits_for_an_answer_to_another() {
        let session = EngineSession::default();
        for name in ["/a", "/b", "/c", "/d"] {
            assert_eq!(session.admit(&connect_to(name)), Verdict::Admit);
        }
        for head in [connect_to("/e"), Head::Connect(None)] {
            assert_eq!(admitted(&session, &head), 0);
            assert_eq!(session.admit(&head), Verdict::Wait);
        }
        session.sent(&connect_to("/a"));
        assert_eq!(session.admit(&connect_to("/e")), Verdict::Admit);
        session.sent(&Head::ConnectError(Some(b"/b".as_slice().into())));
        assert_eq!(session.admit(&Head::Connect(None)), Verdict::Admit);
        assert_eq!(session.admit(&connect_to("/f")), Verdict::Wait);
        session.hold_main(true);
        assert_eq!(session.admit(&connect_to("/f")), Verdict::Admit, "a held CONNECT is not under way");
    }

    #[test]
    fn repeated_connects_are_limited() {
        let session = EngineSession::default();
        session.admit(&Head::Connect(None));
        session.answer_main(true);
        assert_eq!(admitted(&session, &Head::Connect(None)), MAX_REPEATS);
        // A custom namespace, connected to and left repeatedly.
        let session = EngineSession::default();
        session.answer_main(true);
        for _ in 0..100 {
            assert_eq!(session.admit(&connect_to("/own")), Verdict::Admit);
            session.sent(&connect_to("/own"));
            assert_eq!(session.admit(&connect_to("/own")), Verdict::Admit);
            assert_eq!(session.admit(&Head::Disconnect(Some(b"/own".as_slice().into()))), Verdict::Admit);
        }
    }

    #[test]
    fn answer_after_disconnect_does_not_connect_namespace() {
        let session = EngineSession::default();
        session.admit(&connect_to("/own"));
        session.admit(&Head::Disconnect(Some(b"/own".as_slice().into())));
        assert_eq!(session.admit(&connect_to("/own")), Verdict::Wait);
        session.sent(&connect_to("/own"));
        assert!(!session.namespaces.is_connected());
        assert_eq!(session.admit(&connect_to("/own")), Verdict::Admit);
        session.sent(&connect_to("/own"));
        assert!(session.namespaces.is_connected());
    }

    #[test]
    fn number_of_namespaces_is_limited() {
        let session = EngineSession::default();
        session.answer_main(true);
        for n in 0..MAX_NAMESPACES {
            let head = connect_to(&format!("/{n}"));
            assert_eq!(session.admit(&head), Verdict::Admit);
            session.sent(&head);
        }
        assert_eq!(session.admit(&connect_to("/more")), Verdict::Reject);
    }

    #[test]
    fn entry_namespace_and_long_names_are_rejected() {
        assert_eq!(EngineSession::default().admit(&connect_to(entry::NAME)), Verdict::Reject);
        assert_eq!(EngineSession::default().admit(&Head::NameTooLong), Verdict::Reject);
    }
}
