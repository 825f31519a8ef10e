//! Revoked tokens: one value for each, which no life of the log ends.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use realtime_core::spi::{Revocation, random_between};
use sha2::{Digest, Sha256};

use crate::api::{self, RESPONSE};
use crate::error::Fault;
use crate::reader::{Reader, Start};
use crate::store::Store;

/// The attempts to write a value that other nodes write too.
const ATTEMPTS: u32 = 8;

/// Stores a revocation, and removes those that are over; `false` if as many other tokens are
/// revoked as may be. Nodes that revoke at the same time may exceed that by one each.
pub(crate) async fn revoke(store: &Store, revocation: &Revocation, most: usize) -> Result<bool, Fault> {
    let (mut others, now) = (0, SystemTime::now());
    for (known, revision) in values(store).await? {
        if known.is_over(now) {
            // Only up to this revision: a later one stays.
            api::purge(&store.link, &store.names.state, Some(&subject(store, &known)), Some(revision + 1)).await?;
        } else if known.token != revocation.token {
            others += 1;
        }
    }
    if others >= most {
        return Ok(false);
    }
    let subject = subject(store, revocation);
    for _ in 0..ATTEMPTS {
        let found = api::last(&store.link, &store.names.state, &subject).await?;
        let revision = found.as_ref().map_or(0, |found| found.sequence);
        if let Some(found) = found
            && read(&found.data)?.until_ms >= revocation.until_ms
        {
            return Ok(true);
        }
        let json =
            serde_json::to_vec(revocation).map_err(|_| Fault::Unexpected("a revocation that cannot be written"))?;
        if api::store_after(&store.link, &subject, revision, json.into(), RESPONSE).await?.is_some() {
            return Ok(true);
        }
        tokio::time::sleep(random_between(Duration::ZERO, Duration::from_millis(10))).await;
    }
    Err(Fault::Unexpected("a revocation that other nodes change again and again"))
}

/// Returns the revocations that are stored.
pub(crate) async fn all(store: &Store) -> Result<Vec<Revocation>, Fault> {
    Ok(values(store).await?.into_iter().map(|(revocation, _)| revocation).collect())
}

/// Returns the values, each with its revision.
async fn values(store: &Store) -> Result<Vec<(Revocation, u64)>, Fault> {
    let filter = store.names.revoked(">");
    let reader = Reader::open(store.reads.connection()?, &store.names.state, Start::After(0), Some(&filter)).await?;
    let all = reader.read_present(usize::MAX).await?;
    all.iter().map(|value| Ok((read(&value.message.payload)?, value.sequence))).collect()
}

fn subject(store: &Store, revocation: &Revocation) -> String {
    // A token's id may have characters that a subject cannot have.
    store.names.revoked(&URL_SAFE_NO_PAD.encode(Sha256::digest(revocation.token.as_bytes())))
}

fn read(data: &[u8]) -> Result<Revocation, Fault> {
    serde_json::from_slice(data).map_err(|_| Fault::Unexpected("a revocation that cannot be read"))
}
