use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use crate::engine::settings::Window;

/// Flow control of one socket's channel: packets and bytes that were put into it and are not known to have left it.
#[derive(Default)]
pub(crate) struct Credit {
    packets: AtomicUsize,
    bytes: AtomicUsize,
    /// Number of signs that the client reads.
    steps: AtomicUsize,
    /// Set while a task waits until packets have left the channel.
    wanted: AtomicBool,
    /// Task to wake. A lock and no atomic waker, because a connection that is over must not take the place of the next one on
    /// the same session.
    waiting: Mutex<Option<Waker>>,
}

impl Credit {
    /// Returns what fits now, or none when the connection is over. The task is woken when more fits, if it has called
    /// [`Credit::want`], and when the connection is over.
    pub(crate) fn room(&self, window: Window, gone: &AtomicBool, cx: &Context<'_>) -> Option<Window> {
        {
            let mut waiting = self.waiting();
            if gone.load(Ordering::SeqCst) {
                return None;
            }
            match &mut *waiting {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        let packets = window.packets.saturating_sub(self.packets.load(Ordering::SeqCst));
        let bytes = window.bytes.saturating_sub(self.bytes.load(Ordering::SeqCst));
        Some(if packets == 0 || bytes == 0 { Window { packets: 0, bytes: 0 } } else { Window { packets, bytes } })
    }

    /// Has the task of the last [`Credit::room`] woken when packets leave the channel. It has to check the room once more after
    /// this call. Without it the task would be woken for each packet that is sent.
    pub(crate) fn want(&self) {
        self.wanted.store(true, Ordering::SeqCst);
    }

    /// Counts one packet. Called before it goes into the channel, so that its own drain signal comes after.
    pub(crate) fn spend(&self, bytes: usize) {
        self.packets.fetch_add(1, Ordering::SeqCst);
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
    }

    /// Takes back a packet that did not go into the channel.
    pub(crate) fn refund(&self, bytes: usize) {
        subtract(&self.packets, 1);
        subtract(&self.bytes, bytes);
    }

    /// Notes that the channel is empty.
    pub(crate) fn drained(&self) {
        self.packets.store(0, Ordering::SeqCst);
        self.bytes.store(0, Ordering::SeqCst);
        self.left();
    }

    /// Notes that packets have left the channel.
    pub(crate) fn taken(&self, packets: usize, bytes: usize) {
        if subtract(&self.packets, packets) == 0 {
            self.bytes.store(0, Ordering::SeqCst);
        } else {
            subtract(&self.bytes, bytes);
        }
        self.left();
    }

    fn left(&self) {
        self.step();
        if self.wanted.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Notes that the client has taken something.
    pub(crate) fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn steps(&self) -> usize {
        self.steps.load(Ordering::Relaxed)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.packets.load(Ordering::SeqCst) == 0
    }

    /// Wakes the task of the last [`Credit::room`].
    pub(crate) fn wake(&self) {
        let waker = self.waiting().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Subtracts down to zero and returns what is left: a signal may arrive for more than was counted.
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

    fn room(credit: &Credit) -> Window {
        credit.room(WINDOW, &AtomicBool::new(false), &Context::from_waker(Waker::noop())).unwrap()
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn who_is_gone_does_not_take_the_place_of_the_next_one() {
        let credit = Credit::default();
        let (old, new) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
        let wait = |woken: &Arc<Woken>, gone: bool| {
            credit.room(WINDOW, &AtomicBool::new(gone), &Context::from_waker(&Waker::from(Arc::clone(woken))))
        };
        assert!(wait(&old, false).is_some());
        assert!(wait(&new, false).is_some());
        assert!(wait(&old, true).is_none());
        credit.want();
        credit.drained();
        assert_eq!((old.0.load(Ordering::SeqCst), new.0.load(Ordering::SeqCst)), (0, 1));
    }

    #[test]
    fn only_who_waits_for_room_is_woken_by_it() {
        let credit = Credit::default();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let times = || woken.0.load(Ordering::SeqCst);
        let room = || credit.room(WINDOW, &AtomicBool::new(false), &Context::from_waker(&waker)).unwrap();
        room();
        credit.spend(1);
        credit.taken(1, 1);
        credit.drained();
        assert_eq!(times(), 0, "it waits for something else");
        (0..3).for_each(|_| credit.spend(1));
        assert_eq!(room().packets, 0);
        credit.want();
        credit.taken(1, 1);
        credit.taken(1, 1);
        assert_eq!(times(), 1, "once, and then it looks again");
        room();
        credit.wake();
        assert_eq!(times(), 2, "the end is told in any case");
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
