use serde::{Deserialize, Serialize};

/// A position in a log: a gapless number; the first record has 1, [`Position::START`] is before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(u64);

impl Position {
    /// The position before the first record.
    pub const START: Position = Position(0);

    /// Creates the position with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the position after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Returns the position before this one; [`Position::START`] for [`Position::START`].
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
