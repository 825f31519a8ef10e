//! The check that nothing is missing, repeated, or out of order.

use crate::conn::Owed;
use crate::log::{Position, RecordKind};
use crate::reference::Reference;
use crate::rooms::Visibility;

impl Reference {
    /// Checks that a record may arrive now: the connection sees it, it is the next one, and none is
    /// missing before it.
    pub(crate) fn arrive(&mut self, serial: usize, position: Position) -> Result<(), String> {
        let conn = &self.conns[serial];
        if position <= conn.position {
            return Err(format!("a duplicate or out of order: everything up to {} has been received", conn.position));
        }
        let log = self.log_of(conn);
        if log.sees(&conn.viewer, position) == Visibility::No {
            return Err(format!("for others: {:?}, not {:?}", log.record(position).audience, conn.viewer));
        }
        self.check_gap(serial, position - 1)
    }

    /// Checks that nothing is missing up to a position.
    pub(crate) fn check_gap(&mut self, serial: usize, until: Position) -> Result<(), String> {
        self.check_owed(serial, until)?;
        let mut superseded = Vec::new();
        let conn = &self.conns[serial];
        let log = self.log_of(conn);
        for position in conn.position + 1..=until {
            let record = log.record(position);
            let due = match record.kind {
                RecordKind::Event => true,
                RecordKind::Ask => self.is_live(serial, position),
                RecordKind::Nothing => false,
            };
            if !due || log.sees(&conn.viewer, position) != Visibility::Yes {
                continue;
            }
            if log.is_superseded(&conn.viewer, position) && !self.is_live(serial, position) {
                superseded.push(Owed { position, until: log.end() });
                continue;
            }
            return Err(format!("a gap: n={} at {position} was not received: {:?}", record.number, record.audience));
        }
        for _ in &superseded {
            self.cover("event superseded");
        }
        self.conns[serial].owed.extend(superseded);
        Ok(())
    }

    /// Checks that no event that was skipped for a newer one is withheld for longer than the log of
    /// that moment.
    fn check_owed(&mut self, serial: usize, until: Position) -> Result<(), String> {
        let conn = &self.conns[serial];
        let log = self.log_of(conn);
        let is_over = |owed: &&Owed| owed.until < until;
        let mut over = conn.owed.iter().filter(is_over);
        if let Some(owed) = over.find(|owed| log.has_newer(&conn.viewer, owed.position, owed.until)) {
            let Owed { position, until } = owed;
            return Err(format!("a series is withheld: {position} was skipped, and no newer one came up to {until}"));
        }
        self.conns[serial].owed.retain(|owed| owed.until >= until);
        Ok(())
    }

    /// Returns whether a connection cannot have been behind when this record was applied: it had
    /// received everything before, and less was sent since than its outbox holds.
    fn is_live(&self, serial: usize, position: Position) -> bool {
        let Some(settled) = self.conns[serial].settled.filter(|settled| *settled < position) else { return false };
        let log = self.log_of(&self.conns[serial]);
        let since = settled + 1..=log.end();
        // The most that a frame takes in addition to the padding.
        let bytes: usize = since.clone().map(|position| log.record(position).least_bytes + 700).sum();
        since.count() < self.setup.outbox_frames && bytes < self.setup.outbox_bytes
    }

    /// Checks that a connection has received everything for it, now that nothing is under way.
    pub(crate) fn check_settled(&mut self, serial: usize) -> Result<(), String> {
        if self.conns[serial].outdated {
            return Err("the log has begun a new life, and the connection was not closed".to_owned());
        }
        let end = self.log().end();
        self.check_gap(serial, end)?;
        self.conns[serial].settled = Some(end);
        Ok(())
    }
}
