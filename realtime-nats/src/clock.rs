//! The server's clock, and the proof that it writes and reads.

use async_nats::HeaderMap;
use time::OffsetDateTime;

use crate::api::{self, RESPONSE};
use crate::error::Fault;
use crate::store::Store;
use crate::streams::ensure;

/// Writes a message and reads it back; returns the time at which the server stored it.
pub(crate) async fn now(store: &Store) -> Result<OffsetDateTime, Fault> {
    let (link, names) = (&store.link, &store.names);
    let subject = names.probe();
    let write = || api::store(link, &subject, HeaderMap::new(), bytes::Bytes::from_static(b"probe"), RESPONSE);
    let stored = match write().await {
        Err(fault) if fault.is_missing_stream() => {
            let [.., settings, _] = names.shared(&store.config);
            ensure(link, &settings).await?;
            write().await?
        }
        stored => stored?,
    };
    // Another node may have written a later one meanwhile.
    match api::last(link, &names.probe, &subject).await? {
        Some(found) if found.sequence >= stored.sequence => Ok(found.time),
        _ => Err(Fault::Lost),
    }
}
