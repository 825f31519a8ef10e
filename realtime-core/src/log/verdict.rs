//! The outcome of a record for one connection, as far as that is known on its node.

use crate::log::life::{ConnectionLife, unix_ms};
use crate::log::omissions::Omission;
use crate::log::record::{Body, Record};
use crate::values::cursor::Epoch;
use crate::values::event::Event;
use crate::values::explanation::{Explained, ExplainedEnd};
use crate::values::fate::{Acknowledgement, Answer, DropReason, Fate, Mismatch, Unknown};
use crate::values::node::NodeId;
use crate::values::position::Position;
use crate::values::target::{Scope, Target};

/// A record that is asked about, and what its node knows.
pub(super) struct Case<'a> {
    pub(super) record: &'a Record,
    pub(super) position: Position,
    pub(super) epoch: Epoch,
    /// The last position that this node has applied.
    pub(super) applied: Position,
}

/// The facts that the connection's provider knows of the record.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    /// `false` if the provider cannot carry it.
    pub(super) carries: bool,
    /// `true` if the provider shows rooms to everyone.
    pub(super) widens: bool,
    /// `true` if the server had joined the user to the record's room; `None` if that is no
    /// longer known.
    pub(super) is_joined: Option<bool>,
    /// The answer to an ask.
    pub(super) answer: Option<Answer>,
}

impl Case<'_> {
    /// Returns the event, its target, and whether it is an ask.
    pub(super) fn event(&self) -> Option<(&Target, &Event, bool)> {
        match &self.record.body {
            Body::Ask { target, event, .. } => Some((target, event, true)),
            Body::Event { target, event, .. } => Some((target, event, false)),
            _ => None,
        }
    }

    /// Returns what became of the record for a connection.
    pub(super) fn judge(&self, node: NodeId, life: &ConnectionLife, known: Known) -> Explained {
        let decided = self.decide(life, known);
        let (fate, answer) = match decided {
            Ok(fate) => self.with_answer(life, fate, known.answer),
            Err(why) => (Fate::NotMatched { why }, None),
        };
        let replayed = life.epoch == self.epoch && self.position <= life.registered_at;
        Explained { replayed, answer, ..explained(node, life, fate) }
    }

    fn decide(&self, life: &ConnectionLife, known: Known) -> Result<Fate, Mismatch> {
        let unknown = |why| Ok(Fate::Unknown { why });
        let Some((target, _, is_ask)) = self.event() else { return unknown(Unknown::NotAnEvent) };
        if life.epoch != self.epoch {
            return unknown(Unknown::Epoch);
        }
        if !known.carries || !self.record.providers.contains(life.provider) {
            return Err(Mismatch::Provider);
        }
        check_names(target, life)?;
        self.check_time(life, is_ask)?;
        if let Scope::Room { name, .. } = target.scope()
            && !self.is_widened(known)
        {
            match (life.stays.cover(name, self.position), known.is_joined) {
                (Some(true), _) | (_, Some(true)) => {}
                (Some(false), Some(false)) => return Err(Mismatch::Room),
                _ => return unknown(Unknown::Rooms),
            }
        }
        if self.position > self.applied {
            return unknown(Unknown::NotRead);
        }
        Ok(self.progress(life, is_ask))
    }

    /// Checks whether the connection was there at the position, or read it later.
    fn check_time(&self, life: &ConnectionLife, is_ask: bool) -> Result<(), Mismatch> {
        if self.position <= life.from {
            return Err(if life.began == "resumed" { Mismatch::ResumedLater } else { Mismatch::ConnectedLater });
        }
        if is_ask && self.position <= life.registered_at {
            return Err(Mismatch::NotAsked);
        }
        if life.end.as_ref().is_some_and(|end| end.position < self.position) {
            return Err(Mismatch::EndedBefore);
        }
        Ok(())
    }

    /// Returns what a connection has done with a record that is for it.
    fn progress(&self, life: &ConnectionLife, is_ask: bool) -> Fate {
        match life.omissions.at(self.position) {
            Some(Omission::Forgotten) => return Fate::Unknown { why: Unknown::Omissions },
            Some(Omission::Lost(from, until)) => return Fate::Dropped { why: DropReason::Lost { from, until } },
            Some(Omission::PassedOver) => return Fate::Dropped { why: DropReason::TooLarge },
            Some(Omission::Superseded) => return Fate::Superseded,
            None => {}
        }
        if self.position <= life.taken {
            // Read from the window after its deadline, it was not taken.
            let may_be_over = is_ask && life.overflows > 0;
            return if may_be_over { Fate::Unknown { why: Unknown::AskTime } } else { Fate::Written };
        }
        match (&life.end, life.closing) {
            (Some(_), _) => Fate::Dropped { why: DropReason::Closed },
            (None, false) if life.has_more => Fate::Queued,
            (None, _) => Fate::Unknown { why: Unknown::Closing },
        }
    }

    /// Adds the answer to an ask.
    fn with_answer(&self, life: &ConnectionLife, fate: Fate, answer: Option<Answer>) -> (Fate, Option<Answer>) {
        match (answer, &fate) {
            (Some(Answer::Received), _) => {
                (Fate::Acknowledged { by: Acknowledgement::Answered }, Some(Answer::Received))
            }
            (Some(Answer::Waiting), _) if life.end.is_some() => (fate, Some(Answer::Missing)),
            (answer, Fate::Queued | Fate::Unknown { .. } | Fate::Written) => (fate, answer),
            _ => (fate, None),
        }
    }

    fn is_widened(&self, known: Known) -> bool {
        known.widens && matches!(self.record.body, Body::Event { widen: true, .. })
    }
}

/// Returns what is known of a connection, with this fate.
pub(super) fn explained(node: NodeId, life: &ConnectionLife, fate: Fate) -> Explained {
    let end = life.end.as_ref().map(|end| ExplainedEnd {
        at_ms: unix_ms(end.at),
        position: end.position,
        reason: end.reason.clone(),
    });
    Explained {
        tenant: life.tenant.as_deref().map(str::to_owned),
        address: life.address,
        connected_ms: unix_ms(life.connected),
        began: life.began.to_owned(),
        former: life.former,
        taken: life.taken,
        lost: life.omissions.lost(),
        dropped: life.dropped,
        reconnect: life.reconnect,
        end,
        ..Explained::new(node, life.connection, life.provider, life.from, fate)
    }
}

/// Checks the user, the tenant and the exceptions of a target.
fn check_names(target: &Target, life: &ConnectionLife) -> Result<(), Mismatch> {
    match target.scope() {
        Scope::User { name, .. } if life.user.as_ref() != Some(name) => return Err(Mismatch::User),
        Scope::Connection(id) if *id != life.connection => return Err(Mismatch::User),
        Scope::Tenant(tenant) if life.tenant.as_ref() != Some(tenant) => return Err(Mismatch::Tenant),
        _ => {}
    }
    if target.tenant_only().is_some_and(|tenant| life.tenant.as_deref() != Some(tenant)) {
        return Err(Mismatch::Tenant);
    }
    let is_excepted = !target.admits(life.connection, &life.identity());
    if is_excepted || life.former.is_some_and(|former| target.excludes(former)) {
        return Err(Mismatch::Excepted);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::log::life::tests::{EPOCH, life};
    use crate::log::life::{End, Stay, Stays};
    use crate::log::record::Providers;
    use crate::values::close::CloseReason;
    use crate::values::connection::ConnectionId;
    use crate::values::event_id::EventId;

    const fn at(number: u64) -> Position {
        Position::new(number)
    }

    fn end(position: u64) -> Option<End> {
        Some(End { at: SystemTime::UNIX_EPOCH, position: at(position), reason: CloseReason::NORMAL })
    }

    const KNOWN: Known = Known { carries: true, widens: false, is_joined: Some(false), answer: None };

    /// Returns the fate of an event at position 5, of a log that is read up to 9.
    fn fate_of(target: Target, life: &ConnectionLife, known: Known) -> Fate {
        let event = Event::json("note", "hello").unwrap();
        record_fate(Body::Event { target, event, widen: true }, Providers::ALL, life, known)
    }

    fn record_fate(body: Body, providers: Providers, life: &ConnectionLife, known: Known) -> Fate {
        let record = Record::new(EventId::random(), NodeId::random(), providers, body);
        let case = Case { record: &record, position: at(5), epoch: EPOCH, applied: at(9) };
        case.judge(NodeId::random(), life, known).fate
    }

    const fn not(why: Mismatch) -> Fate {
        Fate::NotMatched { why }
    }

    const fn unknown(why: Unknown) -> Fate {
        Fate::Unknown { why }
    }

    #[test]
    fn names_decide_whom_an_event_is_for() {
        let life = life(0, 9);
        for (target, fate) in [
            (Target::all(), Fate::Written),
            (Target::user("ann"), Fate::Written),
            (Target::user_in("acme", "ann"), Fate::Written),
            (Target::tenant("acme"), Fate::Written),
            (Target::user("bob"), not(Mismatch::User)),
            (Target::user_in("other", "ann"), not(Mismatch::Tenant)),
            (Target::tenant("other"), not(Mismatch::Tenant)),
            (Target::all().except_user("ann"), not(Mismatch::Excepted)),
            (Target::all().except_user_in("other", "ann"), Fate::Written),
            (Target::all().except_connection(life.connection), not(Mismatch::Excepted)),
        ] {
            assert_eq!(fate_of(target.clone(), &life, KNOWN), fate, "{target:?}");
        }
        let former = ConnectionId::random();
        let resumed = ConnectionLife { former: Some(former), ..life.clone() };
        assert_eq!(fate_of(Target::all().except_connection(former), &resumed, KNOWN), not(Mismatch::Excepted));
        let body = |widen| Body::Event { target: Target::room("r"), event: Event::json("e", "").unwrap(), widen };
        let over_sse = record_fate(body(true), Providers::one("sse"), &life, KNOWN);
        assert_eq!(over_sse, not(Mismatch::Provider));
        let unsupported = Known { carries: false, ..KNOWN };
        assert_eq!(fate_of(Target::all(), &life, unsupported), not(Mismatch::Provider));
        let widens = Known { widens: true, ..KNOWN };
        assert_eq!(record_fate(body(true), Providers::ALL, &life, widens), Fate::Written);
        assert_eq!(record_fate(body(false), Providers::ALL, &life, widens), not(Mismatch::Room));
    }

    #[test]
    fn membership_at_the_position_counts() {
        let stays = |after, until: Option<u64>| Stays {
            kept: [Stay { room: "r".into(), after: at(after), until: until.map(at) }].into(),
            since: at(2),
            more: false,
        };
        let joined = |is_joined| Known { is_joined, ..KNOWN };
        for (stays, known, fate) in [
            (stays(4, None), KNOWN, Fate::Written),
            (stays(5, None), KNOWN, not(Mismatch::Room)),
            (stays(1, Some(4)), KNOWN, not(Mismatch::Room)),
            (stays(5, None), joined(Some(true)), Fate::Written),
            (stays(5, None), joined(None), unknown(Unknown::Rooms)),
            (Stays { since: at(5), ..Stays::default() }, KNOWN, unknown(Unknown::Rooms)),
        ] {
            let life = ConnectionLife { stays: stays.clone(), ..life(0, 9) };
            assert_eq!(fate_of(Target::room("r"), &life, known), fate, "{stays:?} {known:?}");
        }
    }

    #[test]
    fn place_of_a_connection_decides() {
        let resumed = |from, registered_at| ConnectionLife {
            began: "resumed",
            registered_at: at(registered_at),
            ..life(from, 9)
        };
        let mut lost = life(0, 9);
        lost.omissions.lose(at(2), at(6));
        let mut skipped = life(0, 9);
        skipped.omissions.pass_over(at(5));
        let mut superseded = life(0, 9);
        superseded.omissions.supersede(&[at(5)]);
        for (life, fate) in [
            (life(5, 9), not(Mismatch::ConnectedLater)),
            (resumed(5, 7), not(Mismatch::ResumedLater)),
            (resumed(4, 7), Fate::Written),
            (ConnectionLife { end: end(4), ..life(0, 4) }, not(Mismatch::EndedBefore)),
            (ConnectionLife { end: end(5), ..life(0, 4) }, Fate::Dropped { why: DropReason::Closed }),
            (ConnectionLife { end: end(5), ..life(0, 5) }, Fate::Written),
            (ConnectionLife { has_more: true, ..life(0, 4) }, Fate::Queued),
            (ConnectionLife { closing: true, ..life(0, 4) }, unknown(Unknown::Closing)),
            (ConnectionLife { epoch: Epoch::new(8), ..life(0, 9) }, unknown(Unknown::Epoch)),
            (lost, Fate::Dropped { why: DropReason::Lost { from: at(2), until: at(6) } }),
            (skipped, Fate::Dropped { why: DropReason::TooLarge }),
            (superseded, Fate::Superseded),
        ] {
            assert_eq!(fate_of(Target::user("ann"), &life, KNOWN), fate, "{life:?}");
        }
    }

    #[test]
    fn ask_has_an_answer_or_none() {
        let body = || Body::Ask {
            target: Target::user("ann"),
            event: Event::json("ready?", "").unwrap(),
            timeout: Duration::from_secs(1),
        };
        let record = Record::new(EventId::random(), NodeId::random(), Providers::ALL, body());
        let case = Case { record: &record, position: at(5), epoch: EPOCH, applied: at(9) };
        let judge = |life: &ConnectionLife, answer| {
            let explained = case.judge(NodeId::random(), life, Known { answer: Some(answer), ..KNOWN });
            (explained.fate, explained.answer)
        };
        let answered = Fate::Acknowledged { by: Acknowledgement::Answered };
        assert_eq!(judge(&life(0, 9), Answer::Received), (answered, Some(Answer::Received)));
        assert_eq!(judge(&life(0, 9), Answer::Waiting), (Fate::Written, Some(Answer::Waiting)));
        let later = ConnectionLife { began: "resumed", registered_at: at(6), ..life(4, 9) };
        assert_eq!(judge(&later, Answer::Missing), (not(Mismatch::NotAsked), None));
        let behind = ConnectionLife { overflows: 1, ..life(0, 9) };
        assert_eq!(judge(&behind, Answer::Missing), (unknown(Unknown::AskTime), Some(Answer::Missing)));
    }
}
