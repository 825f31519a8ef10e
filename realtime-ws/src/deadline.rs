use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::task::coop::has_budget_remaining;
use tokio::time::{Instant, Sleep};

/// The one timer of a connection, for the earliest of its deadlines.
///
/// A deadline that moves back costs nothing: the timer fires at the old one and is set again.
pub(crate) struct Deadline {
    sleep: Pin<Box<Sleep>>,
    /// The waker that the timer wakes when it fires.
    waker: Option<Waker>,
}

impl Deadline {
    pub(crate) fn new(first: Instant) -> Self {
        Self { sleep: Box::pin(tokio::time::sleep_until(first)), waker: None }
    }

    /// Returns `Pending` until `due`, when the task is woken; the task may be woken earlier too.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        let elapsed = self.sleep.is_elapsed();
        if due < self.sleep.deadline() || elapsed {
            self.sleep.as_mut().reset(due);
        } else if self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            // The common case: the task was woken for something else, and the timer has its waker.
            return Poll::Pending;
        }
        // A task without budget left is woken again immediately, and the timer has not stored its
        // waker.
        self.waker = has_budget_remaining().then(|| cx.waker().clone());
        self.sleep.as_mut().poll(cx)
    }
}
