use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::traits::auth::ConnectRequest;
use crate::values::identity::Identity;
use crate::values::refusal::{Refusal, RefusalKind};

/// The credentials of one connection, which end by themselves or can be revoked.
pub(crate) struct Credentials {
    /// The request that the connection was made with, if the authenticator can be asked again.
    request: Option<ConnectRequest>,
    state: Mutex<State>,
    /// The number of refreshes so far: who keeps the identity looks whether it is another one.
    version: AtomicU64,
    /// Set while the authenticator is asked about a refresh.
    refreshing: AtomicBool,
}

struct State {
    identity: Identity,
    /// The time at which the credentials end.
    ends_at: Option<Instant>,
    /// The time of the next step: the notice, or the end. The connection's key in the table
    /// of expiries.
    due: Option<Instant>,
    /// Set once the credentials have ended: they can be refreshed no more.
    ended: bool,
}

/// The step that is due for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// The end of the connection.
    End,
    /// The notice that the credentials end after this time, and then the end at that moment.
    Notice(Duration, Instant),
    /// Nothing: the credentials were refreshed meanwhile.
    Nothing,
}

/// The steps of a connection's credentials.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// The time of the earlier credentials' next step.
    pub(crate) replaced: Option<Instant>,
    /// The time of the next step.
    pub(crate) due: Option<Instant>,
    /// The time until the end.
    pub(crate) left: Option<Duration>,
}

/// A guard: no other refresh of the connection begins until it is dropped.
pub(crate) struct Refreshing<'a>(&'a AtomicBool);

impl Credentials {
    /// Creates the credentials of a connection, if they can end.
    pub(crate) fn of(identity: &Identity, request: Option<ConnectRequest>) -> Option<Self> {
        let state = State { identity: identity.clone(), ends_at: None, due: None, ended: false };
        let (version, refreshing) = (AtomicU64::new(0), AtomicBool::new(false));
        identity.can_end().then(|| Self { request, state: Mutex::new(state), version, refreshing })
    }

    /// Returns the current identity.
    pub(crate) fn identity(&self) -> Identity {
        self.state().identity.clone()
    }

    /// Returns the number of refreshes so far.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(crate) fn is_expired(&self, now: SystemTime) -> bool {
        self.state().identity.is_expired(now)
    }

    /// Returns whether the credentials are the token with this id.
    pub(crate) fn is_token(&self, id: &str) -> bool {
        self.state().identity.token_id() == Some(id)
    }

    /// Begins a refresh.
    ///
    /// # Errors
    /// [`RefusalKind::RefreshPending`] while another one is decided.
    pub(crate) fn begin_refresh(&self) -> Result<Refreshing<'_>, Refusal> {
        if self.refreshing.swap(true, Ordering::AcqRel) {
            let text = "another refresh of this connection has not been decided yet";
            return Err(Refusal::new(RefusalKind::RefreshPending, text));
        }
        Ok(Refreshing(&self.refreshing))
    }

    /// Returns the connection's request with another token.
    ///
    /// # Errors
    /// The [`Refusal`] of a token that cannot be presented, and of a connection without a request.
    pub(crate) fn request(&self, token: &str) -> Result<ConnectRequest, Refusal> {
        let request = self.request.as_ref();
        request.ok_or_else(|| Refusal::bad_request("this connection was made without a request"))?.with_token(token)
    }

    /// Replaces the identity, unless the credentials have ended; its steps are to be scheduled
    /// then.
    pub(crate) fn replace(&self, identity: Identity) -> bool {
        let mut state = self.state();
        if state.ended {
            return false;
        }
        state.identity = identity;
        self.version.fetch_add(1, Ordering::AcqRel);
        true
    }

    /// Computes the steps of the current identity in the place of earlier ones, with the notice
    /// this long before the end, or halfway if that is later.
    pub(crate) fn schedule(&self, notice: Duration) -> Schedule {
        let (now, clock) = (Instant::now(), SystemTime::now());
        let mut state = self.state();
        let left = state.identity.expiry().map(|at| at.duration_since(clock).unwrap_or_default());
        // Beyond what a clock can count, it does not end.
        state.ends_at = left.and_then(|left| now.checked_add(left));
        let early = left.map_or(Duration::ZERO, |left| notice.min(left / 2));
        let due = state.ends_at.map(|at| at - early);
        Schedule { replaced: std::mem::replace(&mut state.due, due), due, left }
    }

    /// Ends the credentials of a connection that has closed; returns the time of its next step.
    pub(crate) fn end(&self) -> Option<Instant> {
        let mut state = self.state();
        state.ended = true;
        state.due.take()
    }

    /// Returns the step of the key that is due now.
    pub(crate) fn step(&self, key: Instant, now: Instant) -> Due {
        let mut state = self.state();
        let Some(ends_at) = state.ends_at.filter(|_| state.due == Some(key)) else { return Due::Nothing };
        if ends_at <= now {
            state.ended = true;
            state.due = None;
            return Due::End;
        }
        state.due = Some(ends_at);
        Due::Notice(ends_at - now, ends_at)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Refreshing<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
