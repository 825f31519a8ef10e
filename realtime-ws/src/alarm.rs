use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::task::coop::has_budget_remaining;
use tokio::time::{Instant, Sleep};

/// The one timer of a connection, for the earliest of its deadlines.
///
/// A deadline that moves back costs nothing: the timer goes off at the old one and is set anew.
pub(crate) struct Alarm {
    sleep: Pin<Box<Sleep>>,
    /// Whom the timer wakes when it goes off.
    waker: Option<Waker>,
}

impl Alarm {
    pub(crate) fn new(first: Instant) -> Self {
        Self { sleep: Box::pin(tokio::time::sleep_until(first)), waker: None }
    }

    /// Pending until `due`, when the task is woken; the task may be woken earlier too.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        let elapsed = self.sleep.is_elapsed();
        if due < self.sleep.deadline() || elapsed {
            self.sleep.as_mut().reset(due);
        } else if self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            // Nearly every time: the task was woken for something else, and the timer knows it already.
            return Poll::Pending;
        }
        // A task that has used up its turn is woken again at once, and the timer has not taken its waker.
        self.waker = has_budget_remaining().then(|| cx.waker().clone());
        self.sleep.as_mut().poll(cx)
    }
}
