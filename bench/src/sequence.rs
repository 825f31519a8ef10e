//! A check that numbered events arrive exactly once and in order.

use realtime_unified::spi::Cursor;

use crate::payload::{EVENT, number_of};

/// The events of one client: each number is the one after the last, except where the client was
/// notified of a loss.
#[derive(Clone, Debug, Default)]
pub struct Sequence {
    /// The number of the next event.
    pub next: u64,
    /// The number of events that arrived.
    pub events: u64,
    /// The number of events that were left out.
    pub missing: u64,
    /// The number of events that arrived again, or after a later one.
    pub repeated: u64,
    /// The losses that the client was notified of.
    pub losses: Vec<NotifiedLoss>,
    /// The client's position in the log since `connected`, if every record is for this client.
    position: u64,
}

/// A loss that a client was notified of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotifiedLoss {
    /// The number of records that it spans.
    pub span: u64,
    /// `true` if it begins after the last event that arrived.
    pub joins: bool,
    /// The number of events that had arrived before.
    pub after: u64,
}

impl Sequence {
    /// Creates the sequence of a client whose first event has this number.
    #[must_use]
    pub fn from(first: u64) -> Self {
        Self { next: first, ..Self::default() }
    }

    /// Observes an event of any name.
    ///
    /// A loss is believed: the next number is expected to be later by the span, as it is when every
    /// record that was lost was for this client.
    pub fn observe(&mut self, name: &str, data: &[u8]) {
        match (name, number_of(data)) {
            (EVENT, Some(number)) => {
                self.events += 1;
                if number < self.next {
                    self.repeated += 1;
                } else {
                    self.missing += number - self.next;
                    self.position += 1 + number - self.next;
                    self.next = number + 1;
                }
            }
            (EVENT, None) => self.missing += 1,
            ("connected", _) => self.position = position(data, "cursor").unwrap_or_default(),
            ("lost", _) => {
                // Ends that cannot be read span nothing, and so do not explain the missing events.
                let from = position(data, "from");
                let span = from.and_then(|from| position(data, "until")?.checked_sub(from)).unwrap_or_default();
                self.losses.push(NotifiedLoss { span, joins: from == Some(self.position), after: self.events });
                self.next += span;
                self.position += span;
            }
            _ => {}
        }
    }

    /// Counts the events before the number `until` as left out, for they will not arrive any more.
    pub fn give_up(&mut self, until: u64) {
        self.missing += until.saturating_sub(self.next);
        self.next = self.next.max(until);
    }

    /// Returns whether no event was left out without a notification, or arrived again.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.missing == 0 && self.repeated == 0
    }
}

/// Returns the position of the cursor in a field.
fn position(data: &[u8], field: &str) -> Option<u64> {
    let label = format!("\"{field}\":\"");
    let start = data.windows(label.len()).position(|window| window == label.as_bytes())? + label.len();
    let length = data[start..].iter().position(|byte| *byte == b'"')?;
    let cursor: Cursor = std::str::from_utf8(&data[start..start + length]).ok()?.parse().ok()?;
    Some(cursor.position().get())
}

#[cfg(test)]
mod tests {
    use realtime_unified::spi::{CursorKey, CursorSigner, Epoch, Mark, Position};

    use super::*;
    use crate::payload::numbered;

    /// Returns the sequence of a client that connected when the log ended at position 20, and
    /// received these.
    fn after(numbers: &[u64]) -> Sequence {
        let mut sequence = Sequence::from(5);
        sequence.observe("connected", format!(r#"{{"cursor":"{}"}}"#, cursor(20)).as_bytes());
        observe(&mut sequence, numbers);
        sequence
    }

    fn observe(sequence: &mut Sequence, numbers: &[u64]) {
        numbers.iter().for_each(|number| sequence.observe(EVENT, &numbered(64, *number)));
    }

    fn cursor(position: u64) -> String {
        CursorSigner::new(Epoch::new(7), &CursorKey::new([7; 32]))
            .cursor(Position::new(position), Mark::NONE)
            .to_string()
    }

    fn lost(from: u64, until: u64) -> String {
        format!(r#"{{"type":"lost","payload":{{"from":"{}","until":"{}"}}}}"#, cursor(from), cursor(until))
    }

    #[test]
    fn gaps_repetitions_and_swaps_are_noticed() {
        let exact = after(&[5, 6, 7]);
        assert!(exact.is_exact() && exact.next == 8 && exact.events == 3);
        assert_eq!(after(&[5, 8]).missing, 2);
        assert_eq!(after(&[5, 5]).repeated, 1);
        let swapped = after(&[6, 5]);
        assert_eq!((swapped.missing, swapped.repeated), (1, 1));
        let mut cut_short = after(&[5]);
        cut_short.give_up(8);
        assert_eq!((cut_short.missing, cut_short.next), (2, 8));
        let mut unnumbered = after(&[]);
        unnumbered.observe(EVENT, b"{}");
        assert!(!unnumbered.is_exact());
    }

    #[test]
    fn notified_loss_is_skipped_exactly() {
        let mut sequence = after(&[5]);
        sequence.observe("lost", lost(21, 24).as_bytes());
        assert_eq!(sequence.losses, [NotifiedLoss { span: 3, joins: true, after: 1 }]);
        let [mut early, mut late] = [sequence.clone(), sequence.clone()];
        observe(&mut sequence, &[9]);
        assert!(sequence.is_exact());
        observe(&mut early, &[8]);
        observe(&mut late, &[10]);
        assert_eq!((early.repeated, late.missing), (1, 1));
    }

    #[test]
    fn loss_from_another_position_or_without_ends_is_noticed() {
        for lost in [&lost(20, 24), &lost(22, 24), "{}"] {
            let mut sequence = after(&[5]);
            sequence.observe("lost", lost.as_bytes());
            assert!(!sequence.losses[0].joins, "{lost}");
        }
    }
}
