use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use crate::engine::settings::Window;

/// Flow control of one socket's channel: packets and bytes that were put into the channel and are
/// not known to have left it.
#[derive(Default)]
pub(crate) struct Credit {
    packets: AtomicUsize,
    bytes: AtomicUsize,
    /// Number of times that the client was seen to read.
    reads: AtomicUsize,
    /// Set while a task waits until packets have left the channel.
    wake_requested: AtomicBool,
    /// Task to wake. A lock and no atomic waker, because a connection that has ended must not
    /// replace the waker of the next one on the same session.
    waker: Mutex<Option<Waker>>,
}

impl Credit {
    /// Returns the available credit, or none when the connection has ended. The task is woken when
    /// there is more credit, if it has called [`Credit::request_wake`], and when the connection
    /// ends.
    pub(crate) fn available(&self, window: Window, disconnected: &AtomicBool, cx: &Context<'_>) -> Option<Window> {
        {
            let mut waker = self.waker();
            if disconnected.load(Ordering::SeqCst) {
                return None;
            }
            match &mut *waker {
                Some(waker) => waker.clone_from(cx.waker()),
                slot => *slot = Some(cx.waker().clone()),
            }
        }
        let packets = window.packets.saturating_sub(self.packets.load(Ordering::SeqCst));
        let bytes = window.bytes.saturating_sub(self.bytes.load(Ordering::SeqCst));
        Some(if packets == 0 || bytes == 0 { Window { packets: 0, bytes: 0 } } else { Window { packets, bytes } })
    }

    /// Has the task of the last [`Credit::available`] woken when packets leave the channel. The
    /// task has to check its credit once more after this call. Without such a request it would be
    /// woken for each packet that is sent.
    pub(crate) fn request_wake(&self) {
        self.wake_requested.store(true, Ordering::SeqCst);
    }

    /// Counts one packet. Called before the packet is put into the channel, so that its own drain
    /// signal comes later.
    pub(crate) fn spend(&self, bytes: usize) {
        self.packets.fetch_add(1, Ordering::SeqCst);
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
    }

    /// Returns the credit of a packet that was not put into the channel.
    pub(crate) fn refund(&self, bytes: usize) {
        subtract(&self.packets, 1);
        subtract(&self.bytes, bytes);
    }

    /// Notes that the channel is empty.
    pub(crate) fn drained(&self) {
        self.packets.store(0, Ordering::SeqCst);
        self.bytes.store(0, Ordering::SeqCst);
        self.on_released();
    }

    /// Notes that packets have left the channel.
    pub(crate) fn released(&self, packets: usize, bytes: usize) {
        if subtract(&self.packets, packets) == 0 {
            self.bytes.store(0, Ordering::SeqCst);
        } else {
            subtract(&self.bytes, bytes);
        }
        self.on_released();
    }

    fn on_released(&self) {
        self.note_read();
        if self.wake_requested.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Notes that the client has read something.
    pub(crate) fn note_read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.packets.load(Ordering::SeqCst) == 0
    }

    /// Wakes the task of the last [`Credit::available`].
    pub(crate) fn wake(&self) {
        let waker = self.waker().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Subtracts down to zero and returns the difference: a signal may arrive for more than was
/// counted.
fn subtract(counter: &AtomicUsize, amount: usize) -> usize {
    let before = counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |value| Some(value.saturating_sub(amount)));
    before.map_or(0, |value| value.saturating_sub(amount))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::task::Wake;

    const WINDOW: Window = Window { packets: 3, bytes: 100 };

    fn available(credit: &Credit) -> Window {
        credit.available(WINDOW, &AtomicBool::new(false), &Context::from_waker(Waker::noop())).unwrap()
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn ended_connection_does_not_replace_waker_of_next_one() {
        let credit = Credit::default();
        let (old, new) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
        let wait = |woken: &Arc<Woken>, disconnected: bool| {
            credit.available(
                WINDOW,
                &AtomicBool::new(disconnected),
                &Context::from_waker(&Waker::from(Arc::clone(woken))),
            )
        };
        assert!(wait(&old, false).is_some());
        assert!(wait(&new, false).is_some());
        assert!(wait(&old, true).is_none());
        credit.request_wake();
        credit.drained();
        assert_eq!((old.0.load(Ordering::SeqCst), new.0.load(Ordering::SeqCst)), (0, 1));
    }

    #[test]
    fn task_is_woken_only_if_it_requested_credit() {
        let credit = Credit::default();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let times = || woken.0.load(Ordering::SeqCst);
        let available = || credit.available(WINDOW, &AtomicBool::new(false), &Context::from_waker(&waker)).unwrap();
        available();
        credit.spend(1);
        credit.released(1, 1);
        credit.drained();
        assert_eq!(times(), 0, "no wake-up was requested");
        (0..3).for_each(|_| credit.spend(1));
        assert_eq!(available().packets, 0);
        credit.request_wake();
        credit.released(1, 1);
        credit.released(1, 1);
        assert_eq!(times(), 1, "once for each request");
        available();
        credit.wake();
        assert_eq!(times(), 2, "the end of the connection always wakes");
    }

    #[test]
    fn window_is_bounded_in_packets_and_bytes() {
        let credit = Credit::default();
        credit.spend(10);
        assert_eq!(available(&credit), Window { packets: 2, bytes: 90 });
        credit.spend(90);
        assert_eq!(available(&credit), Window { packets: 0, bytes: 0 });
        credit.released(1, 30);
        assert_eq!(available(&credit), Window { packets: 2, bytes: 30 });
        credit.refund(90);
        assert!(credit.is_idle());
    }

    #[test]
    fn empty_channel_counts_no_bytes() {
        let credit = Credit::default();
        credit.spend(1000);
        credit.released(1, 10);
        assert_eq!(available(&credit), Window { packets: 3, bytes: 100 });
    }

    #[test]
    fn signal_for_more_than_counted_gives_no_extra_credit() {
        let credit = Credit::default();
        credit.released(5, 500);
        credit.drained();
        assert_eq!(available(&credit), Window { packets: 3, bytes: 100 });
    }
}
