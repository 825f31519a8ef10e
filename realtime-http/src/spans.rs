/// The positions of the last large pieces that were written to a connection, so that after its end
/// the one that has arrived in part can be found.
///
/// Most connections have none, which takes no memory apart from the list's own.
#[derive(Debug, Default)]
pub struct Spans(Vec<Span>);

#[derive(Clone, Copy, Debug)]
struct Span {
    number: u64,
    begin: u32,
    end: u32,
}

/// The size above which a piece is remembered, in bytes: less than the 64 KiB above which an event
/// is skipped, since that limit does not apply to the encoded bytes.
const LARGE: u32 = 48 * 1024;
/// The number of pieces that are remembered: more large ones than fit into 4 MiB, the default limit
/// of Linux for the bytes that wait for a peer.
const MAX_SPANS: usize = 128;

impl Spans {
    /// Adds the piece with this number and these positions, which are modulo 2^32; a small one is
    /// ignored.
    pub fn push(&mut self, number: u64, begin: u32, end: u32) {
        if end.wrapping_sub(begin) <= LARGE {
            return;
        }
        if self.0.len() == MAX_SPANS {
            self.0.remove(0);
        }
        self.0.push(Span { number, begin, end });
    }

    /// Returns the piece that contains this position in its middle, with bytes before and after it.
    #[must_use]
    pub fn within(&self, place: u32) -> Option<u64> {
        let is_within = |span: &&Span| is_past(place, span.begin) && is_past(span.end, place);
        self.0.iter().find(is_within).map(|span| span.number)
    }

    /// Returns whether there are no pieces.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes all pieces.
    pub fn clear(&mut self) {
        self.0 = Vec::new();
    }
}

/// Returns whether one position comes after another one that is less than 2 GiB away.
fn is_past(place: u32, other: u32) -> bool {
    (1..1 << 31).contains(&place.wrapping_sub(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn piece_that_has_arrived_in_part_is_found() {
        for base in [0, u32::MAX - LARGE, 1 << 31] {
            let at = |place: u32| base.wrapping_add(place);
            let (large, mut spans) = (LARGE + 1, Spans::default());
            spans.push(1, at(0), at(LARGE));
            spans.push(2, at(LARGE), at(LARGE + large));
            spans.push(3, at(LARGE + large), at(LARGE + 2 * large));
            for (place, expected) in [
                (1, None),
                (LARGE, None),
                (LARGE + 1, Some(2)),
                (LARGE + large - 1, Some(2)),
                (LARGE + large, None),
                (LARGE + large + 1, Some(3)),
                (LARGE + 2 * large, None),
            ] {
                assert_eq!(spans.within(at(place)), expected, "{base} {place}");
            }
        }
    }

    #[test]
    fn only_the_newest_pieces_are_remembered() {
        let (large, mut spans) = (LARGE + 1, Spans::default());
        for number in 0..2 * MAX_SPANS as u32 {
            spans.push(number.into(), number * large, (number + 1) * large);
        }
        assert_eq!(
            (spans.0.len(), spans.within(1), spans.within(MAX_SPANS as u32 * large + 1)),
            (MAX_SPANS, None, Some(MAX_SPANS as u64))
        );
        spans.clear();
        assert_eq!(spans.within(MAX_SPANS as u32 * large + 1), None);
    }
}
