//! Revoked tokens, which the store keeps beside the log.

use std::time::SystemTime;

use realtime_core::Error;
use realtime_core::spi::{Revocation, RevocationTable};
use tokio::sync::oneshot;

use crate::error::DiskError;
use crate::store::Store;

/// A revocation that waits for its answer.
pub(crate) struct Revoke {
    pub(crate) revocation: Revocation,
    /// The most other tokens that are revoked.
    pub(crate) most: usize,
    pub(crate) answer: oneshot::Sender<Result<(), Error>>,
}

/// Stores a revocation, synced however the log is, and removes those that are over; `false` if as
/// many other tokens are revoked as may be.
pub(crate) fn store(
    store: &Store,
    known: &RevocationTable,
    revocation: &Revocation,
    most: usize,
) -> Result<bool, DiskError> {
    let now = SystemTime::now();
    let (over, valid): (Vec<_>, Vec<_>) = known.all().into_iter().partition(|known| known.is_over(now));
    let earlier = valid.iter().find(|known| known.token == revocation.token);
    if earlier.is_none() && valid.len() >= most {
        return Ok(false);
    }
    if earlier.is_some_and(|earlier| earlier.until_ms >= revocation.until_ms) {
        return Ok(true);
    }
    let mut change = store.change();
    over.iter().for_each(|over| change.forget_revocation(&over.token));
    change.set_revocation(revocation);
    change.commit(true)?;
    known.forget(now);
    known.add(revocation);
    Ok(true)
}
