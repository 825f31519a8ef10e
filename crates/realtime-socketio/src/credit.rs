use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Context;

use futures_util::task::AtomicWaker;

/// How much may lie in a socket's channel at once.
///
/// Engine.IO takes a full channel for a dead client, so the window stays far below it
/// (256 packets); one long-polling answer carries at most 127 packets, whatever the channel holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Packets (64).
    pub packets: usize,
    /// Bytes (64 KiB); the last packet may exceed them.
    pub bytes: usize,
}

/// The size of Engine.IO's channel: twice the window, which a drain signal can race with, and room for pings and goodbyes.
pub(crate) const CHANNEL_PACKETS: usize = 256;

impl Default for Window {
    fn default() -> Self {
        Self { packets: 64, bytes: 64 * 1024 }
    }
}

/// What was put into a socket's channel and is not known to have left it.
#[derive(Default)]
pub(crate) struct Credit {
    packets: AtomicUsize,
    bytes: AtomicUsize,
    /// Counts signs of life of the reading side.
    steps: AtomicUsize,
    waker: AtomicWaker,
}

impl Credit {
    /// What fits now; wakes this task when it changes.
    pub(crate) fn room(&self, window: Window, cx: &Context<'_>) -> Window {
        self.waker.register(cx.waker());
        let packets = window.packets.saturating_sub(self.packets.load(Ordering::SeqCst));
        let bytes = window.bytes.saturating_sub(self.bytes.load(Ordering::SeqCst));
        if packets == 0 || bytes == 0 { Window { packets: 0, bytes: 0 } } else { Window { packets, bytes } }
    }

    /// One packet goes into the channel; said before it does, so that its own drain signal comes after.
    pub(crate) fn spend(&self, bytes: usize) {
        self.packets.fetch_add(1, Ordering::SeqCst);
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
    }

    /// The packet did not go.
    pub(crate) fn refund(&self, bytes: usize) {
        subtract(&self.packets, 1);
        subtract(&self.bytes, bytes);
    }

    /// All that was in the channel has left it.
    pub(crate) fn drained(&self) {
        self.packets.store(0, Ordering::SeqCst);
        self.bytes.store(0, Ordering::SeqCst);
        self.step();
        self.waker.wake();
    }

    /// So many packets have left the channel.
    pub(crate) fn taken(&self, packets: usize, bytes: usize) {
        if subtract(&self.packets, packets) == 0 {
            self.bytes.store(0, Ordering::SeqCst);
        } else {
            subtract(&self.bytes, bytes);
        }
        self.step();
        self.waker.wake();
    }

    /// The client took something.
    pub(crate) fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn steps(&self) -> usize {
        self.steps.load(Ordering::Relaxed)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.packets.load(Ordering::SeqCst) == 0
    }

    pub(crate) fn wake(&self) {
        self.waker.wake();
    }
}

/// Subtracts, but not below zero, and returns what is left: a signal may arrive for more than is known of.
fn subtract(counter: &AtomicUsize, amount: usize) -> usize {
    let before = counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |value| Some(value.saturating_sub(amount)));
    before.map_or(0, |value| value.saturating_sub(amount))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn room(credit: &Credit) -> Window {
        credit.room(Window { packets: 3, bytes: 100 }, &Context::from_waker(Waker::noop()))
    }

    #[test]
    fn packets_and_bytes_bound_the_window() {
        let credit = Credit::default();
        credit.spend(10);
        assert_eq!(room(&credit), Window { packets: 2, bytes: 90 });
        credit.spend(90);
        assert_eq!(room(&credit), Window { packets: 0, bytes: 0 });
        credit.taken(1, 30);
        assert_eq!(room(&credit), Window { packets: 2, bytes: 30 });
        credit.refund(90);
        assert!(credit.is_idle());
    }

    #[test]
    fn an_empty_channel_has_no_bytes_left() {
        let credit = Credit::default();
        credit.spend(1000);
        credit.taken(1, 10);
        assert_eq!(room(&credit), Window { packets: 3, bytes: 100 });
    }

    #[test]
    fn a_signal_for_more_than_is_known_gives_no_extra_credit() {
        let credit = Credit::default();
        credit.taken(5, 500);
        credit.drained();
        assert_eq!(room(&credit), Window { packets: 3, bytes: 100 });
    }
}
