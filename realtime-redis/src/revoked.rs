//! Revoked tokens: a sorted set beside the log, by the time until which each is revoked.

use realtime_core::spi::Revocation;
use redis::Value;

use crate::entries::{into_array, into_text};
use crate::error::Fault;
use crate::keys::Keys;
use crate::link::Link;
use crate::script::REVOKE;

/// Stores a revocation; `false` if as many other tokens are revoked as may be.
pub(crate) async fn revoke(link: &Link, keys: &Keys, revocation: &Revocation, most: usize) -> Result<bool, Fault> {
    let call = REVOKE.call(&[&keys.revoked]).arg(&*revocation.token).arg(revocation.until_ms).arg(most);
    Ok(link.call(call).await? == Value::Int(1))
}

/// Returns the revocations that are stored.
pub(crate) async fn all(link: &Link, keys: &Keys) -> Result<Vec<Revocation>, Fault> {
    let mut command = redis::cmd("ZRANGE");
    command.arg(&keys.revoked).arg(0).arg(-1).arg("WITHSCORES");
    let mut parts = into_array(link.command(&command).await?)?.into_iter();
    let mut all = Vec::new();
    while let (Some(token), Some(until)) = (parts.next(), parts.next()) {
        let mut revocation = Revocation::new(&into_text(token)?, std::time::UNIX_EPOCH);
        revocation.until_ms = into_text(until)?.parse().map_err(|_| Fault::Unexpected("not a time"))?;
        all.push(revocation);
    }
    Ok(all)
}
