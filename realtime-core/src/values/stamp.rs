//! Times that only metrics need: without the feature `metrics` no clock is read.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::values::event_id::EventId;

/// `true` if this build measures times.
pub(crate) const ENABLED: bool = cfg!(feature = "metrics");

/// One of this many events is timed; a power of two.
const SAMPLE: u8 = 8;

/// The instant that stamps count from. Not tokio's clock, which tests stop.
static BASE: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A moment of this process's monotonic clock, or none. In microseconds, of which 32 bits are kept:
/// times above 71 minutes are wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp(u32);

/// A stamp that several tasks use.
#[derive(Debug, Default)]
pub struct AtomicStamp(AtomicU32);

impl Stamp {
    /// No moment: nothing is timed.
    pub const NONE: Self = Self(0);

    /// Returns the current moment; none without the feature `metrics`.
    #[must_use]
    pub fn now() -> Self {
        if !ENABLED {
            return Self::NONE;
        }
        let micros = BASE.elapsed().as_micros() as u32;
        Self(micros.max(1))
    }

    /// Returns the current moment if the event with this id is one of those that are timed, by its
    /// random part: the same ones everywhere.
    pub(crate) fn of(id: EventId) -> Self {
        let is_timed = ENABLED && id.to_bytes()[15].is_multiple_of(SAMPLE);
        if is_timed { Self::now() } else { Self::NONE }
    }

    /// Returns the time since the moment, if there is one.
    #[must_use]
    pub fn elapsed(self) -> Option<Duration> {
        let since = |now: Self| Duration::from_micros(u64::from(now.0.wrapping_sub(self.0)));
        (self != Self::NONE).then(|| since(Self::now()))
    }

    /// Returns this moment, or else the other one.
    pub(crate) fn or(self, other: Self) -> Self {
        if self == Self::NONE { other } else { self }
    }
}

impl AtomicStamp {
    /// Sets the moment, unless one is set.
    pub fn set_first(&self, stamp: Stamp) {
        if stamp != Stamp::NONE {
            let _ = self.0.compare_exchange(0, stamp.0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Returns the moment and leaves none; cheap when there is none.
    pub fn take(&self) -> Stamp {
        if !ENABLED || self.0.load(Ordering::Relaxed) == 0 {
            return Stamp::NONE;
        }
        Stamp(self.0.swap(0, Ordering::Relaxed))
    }
}

#[cfg(all(test, feature = "metrics"))]
mod tests {
    use super::*;

    #[test]
    fn stamp_survives_the_end_of_its_range() {
        let before_the_end = Stamp(Stamp::now().0.wrapping_sub(5_000_000));
        let elapsed = before_the_end.elapsed().unwrap();
        assert!((Duration::from_secs(5)..Duration::from_secs(60)).contains(&elapsed), "{elapsed:?}");
        assert_eq!(Stamp::NONE.elapsed(), None);
    }

    #[test]
    fn first_stamp_stays_until_it_is_taken() {
        let stamp = AtomicStamp::default();
        assert_eq!(stamp.take(), Stamp::NONE);
        [Stamp::NONE, Stamp(7), Stamp(8)].into_iter().for_each(|next| stamp.set_first(next));
        assert_eq!((stamp.take(), stamp.take()), (Stamp(7), Stamp::NONE));
    }

    #[test]
    fn about_one_event_of_eight_is_timed() {
        let timed = (0..8_000).filter(|_| Stamp::of(EventId::random()) != Stamp::NONE).count();
        assert!((700..1_300).contains(&timed), "{timed}");
    }
}
