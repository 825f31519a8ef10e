//! The positions of a TLS connection: those of the application's bytes, and those of the records
//! that carry them.

use std::collections::VecDeque;

/// The bytes that a record adds to those of the application (RFC 8446 §5.2), and the most that it
/// carries.
const OVERHEAD: u32 = 22;
const RECORD: u32 = 16 * 1024 + OVERHEAD;

/// The distance of two marks in bytes: between two the application's position is estimated, and
/// wrong by less than a third of this, for records of a few bytes.
const DISTANCE: u32 = 4 * 1024;

/// The number of marks that are kept: for more bytes than usually wait for a peer.
const MARKS: usize = 128;

/// The two positions of the bytes of one connection, both modulo 2^32.
#[derive(Debug)]
pub(crate) struct Records {
    /// The application's bytes.
    written: u32,
    /// The moments at which everything had been sent, the oldest first.
    marks: VecDeque<Mark>,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    sent: u32,
    written: u32,
}

impl Records {
    /// Begins after the handshake, for which this many bytes were sent.
    pub(crate) fn begin(sent: u32) -> Self {
        Self { written: 0, marks: VecDeque::from([Mark { sent, written: 0 }]) }
    }

    /// Notes further bytes of the application, and the bytes that were sent, if everything was.
    pub(crate) fn note(&mut self, bytes: u32, sent: Option<u32>) {
        self.written = self.written.wrapping_add(bytes);
        let Some(sent) = sent else { return };
        let mark = Mark { sent, written: self.written };
        let before = self.marks.len().checked_sub(2).and_then(|index| self.marks.get(index));
        if before.is_some_and(|before| sent.wrapping_sub(before.sent) < DISTANCE) {
            self.marks.pop_back();
        } else if self.marks.len() == MARKS {
            self.marks.pop_front();
        }
        self.marks.push_back(mark);
    }

    /// Returns the number of the application's bytes.
    pub(crate) fn written(&self) -> u32 {
        self.written
    }

    /// Returns the number of the application's bytes in the first `sent` bytes of the connection,
    /// rather too large than too small.
    pub(crate) fn written_at(&self, sent: u32) -> u32 {
        let mut end = self.written;
        for mark in self.marks.iter().rev() {
            let behind = sent.wrapping_sub(mark.sent);
            if behind < 1 << 31 {
                let bytes = behind - behind / RECORD * OVERHEAD;
                return mark.written.wrapping_add(bytes.min(end.wrapping_sub(mark.written)));
            }
            end = mark.written;
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_at_marks_are_exact_and_others_close() {
        for base in [0, u32::MAX - 70_000] {
            let mut records = Records { written: base, marks: VecDeque::from([Mark { sent: base, written: base }]) };
            let at = |records: &Records, sent: u32| records.written_at(base.wrapping_add(sent)).wrapping_sub(base);
            // One large piece in records of full size, then small ones, each in a record.
            let large = 10 * (RECORD - OVERHEAD);
            records.note(large, Some(base.wrapping_add(10 * RECORD)));
            for n in 1..=1_000 {
                records.note(30, Some(base.wrapping_add(10 * RECORD + n * (30 + OVERHEAD))));
            }
            assert_eq!((at(&records, 0), at(&records, RECORD)), (0, RECORD - OVERHEAD));
            assert_eq!(at(&records, 10 * RECORD), large, "the whole large piece");
            assert!(at(&records, 10 * RECORD - 2 * OVERHEAD) < large, "not the whole large piece");
            for n in 1..=1_000 {
                let (exact, estimated) = (large + n * 30, at(&records, 10 * RECORD + n * (30 + OVERHEAD)));
                assert!((exact..exact + DISTANCE / 2).contains(&estimated), "{n}: {estimated} for {exact}");
            }
            assert_eq!(at(&records, 10 * RECORD + 1_000 * (30 + OVERHEAD)), large + 30_000);
            assert!(records.marks.len() < MARKS);
        }
    }

    #[test]
    fn bytes_that_were_not_sent_count_as_written() {
        let mut records = Records::begin(500);
        records.note(100, None);
        assert_eq!((records.written(), records.written_at(500), records.written_at(540)), (100, 0, 40));
        records.note(0, Some(500 + 100 + OVERHEAD));
        assert_eq!(records.written_at(500 + 100 + OVERHEAD), 100);
    }

    #[test]
    fn number_of_marks_is_bounded() {
        let mut records = Records::begin(0);
        for n in 1..=10 * MARKS as u32 {
            records.note(DISTANCE, Some(n * (DISTANCE + OVERHEAD)));
        }
        assert_eq!(records.marks.len(), MARKS);
        // What arrived before the oldest mark counts as arrived up to it.
        assert_eq!(records.written_at(0), records.marks[0].written);
    }
}
