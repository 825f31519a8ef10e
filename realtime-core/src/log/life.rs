use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::log::omissions::Omissions;
use crate::values::close::CloseReason;
use crate::values::connection::ConnectionId;
use crate::values::cursor::Epoch;
use crate::values::identity::Identity;
use crate::values::member::Member;
use crate::values::position::Position;

/// The life of one connection, open or ended, as far as it is known. The value's size is bounded,
/// and names are shared.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionLife {
    pub(crate) connection: ConnectionId,
    pub(crate) provider: &'static str,
    pub(crate) user: Option<Arc<str>>,
    pub(crate) tenant: Option<Arc<str>>,
    pub(crate) address: Option<IpAddr>,
    /// The client's previous connection, if this one resumed and names it.
    pub(crate) former: Option<ConnectionId>,
    pub(crate) connected: SystemTime,
    /// The epoch that the positions are of.
    pub(crate) epoch: Epoch,
    /// The last applied position at the registration.
    pub(crate) registered_at: Position,
    /// The position after which it reads, and the `reason` of that in the client's `connected`.
    pub(crate) from: Position,
    pub(crate) began: &'static str,
    /// The position up to which the session has taken everything.
    pub(crate) taken: Position,
    /// `true` if something waits to be taken, or is to be read from the window.
    pub(crate) has_more: bool,
    pub(crate) dropped: u32,
    /// The times that it fell behind.
    pub(crate) overflows: u32,
    pub(crate) omissions: Omissions,
    pub(crate) stays: Stays,
    /// `true` if the client was asked to reconnect.
    pub(crate) reconnect: bool,
    /// `true` while it is being closed.
    pub(crate) closing: bool,
    pub(crate) end: Option<End>,
}

/// The end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) at: SystemTime,
    /// The last applied position.
    pub(crate) position: Position,
    pub(crate) reason: CloseReason,
}

/// A connection's own stays in rooms: all of them, or those in one room.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stays {
    pub(crate) kept: Box<[Stay]>,
    /// The position up to which a stay that has ended may be forgotten.
    pub(crate) since: Position,
    /// `true` if there were more than are kept.
    pub(crate) more: bool,
}

/// A stay in a room for every record after a position, up to another.
#[derive(Clone, Debug)]
pub(crate) struct Stay {
    pub(crate) room: Arc<str>,
    pub(crate) after: Position,
    pub(crate) until: Option<Position>,
}

impl ConnectionLife {
    /// Returns whether the connection is one of this user: in any tenant, or in one.
    pub(crate) fn is_of(&self, member: &Member) -> bool {
        self.user.as_ref() == Some(&member.user) && (member.tenant.is_none() || self.tenant == member.tenant)
    }

    /// Returns the identity, as far as targets are about it.
    pub(crate) fn identity(&self) -> Identity {
        let identity = self.user.as_ref().map_or_else(Identity::anonymous, Identity::user);
        self.tenant.as_ref().map_or(identity.clone(), |tenant| identity.with_tenant(tenant))
    }
}

impl Stays {
    /// The most stays of a connection that are kept after its end.
    pub(crate) const MOST: usize = 16;

    /// Returns whether the connection was in a room at this position; `None` if that is no longer
    /// known.
    pub(crate) fn cover(&self, room: &str, position: Position) -> Option<bool> {
        let covers = |stay: &Stay| {
            *stay.room == *room && stay.after < position && stay.until.is_none_or(|until| position <= until)
        };
        if self.kept.iter().any(covers) {
            return Some(true);
        }
        (position > self.since && !self.more).then_some(false)
    }
}

/// Returns a time in milliseconds since 1970.
pub(crate) fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const EPOCH: Epoch = Epoch::new(7);

    /// A connection of ann that began after a position and has taken up to another.
    pub(crate) fn life(from: u64, taken: u64) -> ConnectionLife {
        ConnectionLife {
            connection: ConnectionId::random(),
            provider: "ws",
            user: Some("ann".into()),
            tenant: Some("acme".into()),
            address: None,
            former: None,
            connected: SystemTime::UNIX_EPOCH,
            epoch: EPOCH,
            registered_at: Position::new(from),
            from: Position::new(from),
            began: "new",
            taken: Position::new(taken),
            has_more: false,
            dropped: 0,
            overflows: 0,
            omissions: Omissions::default(),
            stays: Stays::default(),
            reconnect: false,
            closing: false,
            end: None,
        }
    }

    #[test]
    fn stays_that_may_be_forgotten_are_not_known() {
        let at = Position::new;
        let stay = Stay { room: "r".into(), after: at(3), until: Some(at(6)) };
        let stays = Stays { kept: [stay].into(), since: at(2), more: false };
        let known = |position| stays.cover("r", at(position));
        assert_eq!([2, 3, 4, 6, 7].map(known), [None, Some(false), Some(true), Some(true), Some(false)]);
        assert_eq!((stays.cover("s", at(4)), stays.cover("s", at(2))), (Some(false), None));
        let more = Stays { more: true, ..stays };
        assert_eq!((more.cover("r", at(4)), more.cover("r", at(9))), (Some(true), None));
    }

    /// Besides it there are the names, the stays, and what it left out, all of them bounded.
    #[test]
    fn kept_connection_is_small() {
        assert!(size_of::<ConnectionLife>() <= 448, "{}", size_of::<ConnectionLife>());
        assert!(size_of::<Stay>() * Stays::MOST <= 640);
    }
}
