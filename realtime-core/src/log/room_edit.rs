use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::log::record::{Body, Record};
use crate::values::position::Position;

/// The change that a record makes to the rooms of a user, without the rest of the record: for a
/// backplane that applies it where it keeps the table. Serialised with its parts by name, as
/// `{"user": "ann", "tenant": "acme", "join": "room"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RoomEdit {
    /// The user.
    pub user: Arc<str>,
    /// The tenant, if the change is for the user of one tenant only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Arc<str>>,
    /// The change.
    #[serde(flatten)]
    pub kind: RoomEditKind,
}

/// The kind of a [`RoomEdit`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RoomEditKind {
    /// The expiry of the rooms that were joined up to a position.
    Absent(Position),
    /// The join of a room; joining it again changes nothing.
    Join(Arc<str>),
    /// The leave of a room.
    Leave(Arc<str>),
    /// The presence of the user: rooms that were joined until now end by a later absence only.
    Present,
}

impl Record {
    /// Returns the change that the record makes to the rooms of a user, if it is one.
    #[must_use]
    pub fn room_edit(&self) -> Option<RoomEdit> {
        let (member, kind) = match &self.body {
            Body::Absent { member, seen } => (member, RoomEditKind::Absent(*seen)),
            Body::Join { member, room } => (member, RoomEditKind::Join(Arc::clone(room))),
            Body::Leave { member, room } => (member, RoomEditKind::Leave(Arc::clone(room))),
            Body::Present { member } => (member, RoomEditKind::Present),
            _ => return None,
        };
        Some(RoomEdit { user: Arc::clone(&member.user), tenant: member.tenant.clone(), kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::event_id::EventId;

    #[test]
    fn edit_is_written_with_its_parts_by_name() {
        let join = Record::of_join(EventId::random(), "ann", Some("acme"), "board").room_edit().unwrap();
        let json = r#"{"user":"ann","tenant":"acme","join":"board"}"#;
        assert_eq!(serde_json::to_string(&join).unwrap(), json);
        assert_eq!(serde_json::from_str::<RoomEdit>(json).unwrap(), join);
        let present = RoomEdit { user: "bob".into(), tenant: None, kind: RoomEditKind::Present };
        let json = r#"{"user":"bob","present":null}"#;
        assert_eq!(serde_json::to_string(&present).unwrap(), json);
        assert_eq!(serde_json::from_str::<RoomEdit>(json).unwrap(), present);
        let absent = RoomEdit { user: "bob".into(), tenant: None, kind: RoomEditKind::Absent(Position::new(3)) };
        let json = r#"{"user":"bob","absent":3}"#;
        assert_eq!(serde_json::to_string(&absent).unwrap(), json);
        assert_eq!(serde_json::from_str::<RoomEdit>(json).unwrap(), absent);
    }
}
