use crate::values::position::Position;

/// One pass of a connection that is behind over the records that the log had when the pass began.
///
/// An event of a series is skipped only for a newer one of the same pass. So a reader that never
/// catches up gets each series once in a pass, however fast it is renewed. A reader that is too
/// slow for a whole pass loses a part of the window first: then the next pass covers half as many
/// records, until one is completed, and twice as many after that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass {
    /// The last record of the pass.
    until: Position,
    /// The number of records in the pass.
    length: u32,
    /// The most records in a pass.
    reach: u32,
}

impl Pass {
    /// Creates an empty pass; the next one covers everything.
    pub(crate) fn new() -> Self {
        Self { until: Position::START, length: 0, reach: u32::MAX }
    }

    /// Returns the last record of the pass for a reader that has taken everything up to `position`,
    /// in a log from after `start` to `end`; begins a new pass when the last one is complete, or
    /// cannot be because the window has dropped a part of it.
    pub(crate) fn over(&mut self, position: Position, start: Position, end: Position) -> Position {
        if position >= self.until {
            self.reach = self.reach.saturating_mul(2);
            self.begin(position.max(start), end);
        } else if position < start {
            self.reach = (self.length / 2).max(1);
            self.begin(start, end);
        }
        self.until.min(end)
    }

    fn begin(&mut self, from: Position, end: Position) {
        let ahead = end.get().saturating_sub(from.get());
        self.length = u32::try_from(ahead).unwrap_or(u32::MAX).min(self.reach);
        self.until = Position::new(from.get() + u64::from(self.length));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(number: u64) -> Position {
        Position::new(number)
    }

    #[test]
    fn pass_ends_at_the_end_of_the_log_when_it_began() {
        let mut pass = Pass::new();
        assert_eq!(pass.over(at(10), at(0), at(100)), at(100));
        assert_eq!(pass.over(at(60), at(0), at(150)), at(100));
        assert_eq!(pass.over(at(100), at(0), at(190)), at(190));
    }

    #[test]
    fn incomplete_pass_is_followed_by_shorter_ones() {
        let mut pass = Pass::new();
        pass.over(at(0), at(0), at(100));
        assert_eq!(pass.over(at(10), at(50), at(150)), at(100), "50 of 100");
        assert_eq!(pass.over(at(60), at(90), at(190)), at(115));
        let ends = [200, 300, 400, 500, 600].map(|start| pass.over(at(start - 100), at(start), at(start + 100)).get());
        assert_eq!(ends, [212, 306, 403, 501, 601]);
        let ends = [601, 603, 607, 615].map(|position| pass.over(at(position), at(600), at(700)).get());
        assert_eq!(ends, [603, 607, 615, 631], "longer and longer");
    }
}
