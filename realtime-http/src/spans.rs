/// Where the last large pieces of what was written to a connection begin and end, for who asks at its end which of them has
/// arrived in part.
///
/// Most connections have none, which takes no memory beside the list's own.
#[derive(Debug, Default)]
pub struct Spans(Vec<Span>);

#[derive(Clone, Copy, Debug)]
struct Span {
    number: u64,
    begin: u32,
    end: u32,
}

/// The size above which a piece is remembered: less than the 64 KiB above which an event is passed over, since that is not
/// measured on the line.
const LARGE: u32 = 48 * 1024;
/// Pieces that are remembered: more large ones than fit into 4 MiB, which is what Linux lets wait for a peer by default.
const MOST: usize = 128;

impl Spans {
    /// The piece with this number lies between these places, which are modulo 2^32; a small one is passed over.
    pub fn push(&mut self, number: u64, begin: u32, end: u32) {
        if end.wrapping_sub(begin) <= LARGE {
            return;
        }
        if self.0.len() == MOST {
            self.0.remove(0);
        }
        self.0.push(Span { number, begin, end });
    }

    /// The piece of which this place is in the middle: something before the place belongs to it, and something behind.
    pub fn within(&self, place: u32) -> Option<u64> {
        let is_within = |span: &&Span| is_past(place, span.begin) && is_past(span.end, place);
        self.0.iter().find(is_within).map(|span| span.number)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.0 = Vec::new();
    }
}

/// Whether one place comes after another one that is less than 2 GiB away.
fn is_past(place: u32, other: u32) -> bool {
    (1..1 << 31).contains(&place.wrapping_sub(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_piece_of_which_a_part_has_arrived_is_found() {
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
    fn few_are_remembered_and_the_newest_stay() {
        let (large, mut spans) = (LARGE + 1, Spans::default());
        for number in 0..2 * MOST as u32 {
            spans.push(number.into(), number * large, (number + 1) * large);
        }
        assert_eq!(
            (spans.0.len(), spans.within(1), spans.within(MOST as u32 * large + 1)),
            (MOST, None, Some(MOST as u64))
        );
        spans.clear();
        assert_eq!(spans.within(MOST as u32 * large + 1), None);
    }
}
