//! The periodic work of each node: it drops old records, and completes users' rooms first.

use std::sync::Weak;
use std::time::Duration;

use realtime_core::spi::random_between;
use tokio::time::Instant;

use crate::api;
use crate::clock;
use crate::error::Fault;
use crate::life::Life;
use crate::reader::{Reader, Start};
use crate::rooms;
use crate::store::Store;

/// The shortest and the longest interval.
const INTERVAL: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(3));
/// The interval of looking through all users' rooms.
const SWEEP: Duration = Duration::from_secs(3600);

/// Works until the log is dropped.
pub(crate) async fn run(store: Weak<Store>, age: Option<Duration>) {
    let interval = age.map_or(INTERVAL.1, |age| (age / 2).clamp(INTERVAL.0, INTERVAL.1));
    // The changes that were there at the last round: their nodes have had time to store them.
    let mut seen = (String::new(), 0);
    let mut swept = None;
    loop {
        tokio::time::sleep(random_between(interval / 2, interval)).await;
        let Some(store) = store.upgrade() else { return };
        if let Err(error) = round(&store, &mut seen, &mut swept).await {
            // Shows elsewhere, and the next round tries again.
            tracing::debug!(%error, "the upkeep of the log failed");
        }
    }
}

async fn round(store: &Store, seen: &mut (String, u64), swept: &mut Option<Instant>) -> Result<(), Fault> {
    let life = store.life().await?;
    if seen.0 != life.name {
        *seen = (life.name.clone(), 0);
    }
    let last = rooms::last_change(store, &life).await?;
    rooms::repair(store, &life, seen.1).await?;
    seen.1 = last;
    if let Some(age) = store.config.bounds.age {
        drop_old(store, &life, age).await?;
    }
    if swept.is_none_or(|swept| swept.elapsed() > SWEEP) {
        rooms::sweep(store, &life).await?;
        *swept = Some(Instant::now());
    }
    Ok(())
}

/// Drops the records that are too old by the server's clock; the newest stays, which a bound of the
/// stream itself would drop.
async fn drop_old(store: &Store, life: &Life, age: Duration) -> Result<(), Fault> {
    let Some(info) = store.extent(life).await? else { return Ok(()) };
    if info.state.messages < 2 {
        return Ok(());
    }
    let Some(since) = clock::now(store).await?.checked_sub(age.try_into().unwrap_or(time::Duration::MAX)) else {
        return Ok(());
    };
    if info.state.first_time().is_some_and(|first| first >= since) {
        return Ok(());
    }
    let stream = store.names.log(&life.name);
    let reader = Reader::open(store.reads.connection()?, &stream, Start::Since(since), None).await?;
    let oldest_kept = (reader.begins_after() + 1).min(info.state.last_seq);
    reader.close().await;
    // What changes rooms stays until it is in their values.
    rooms::repair(store, life, oldest_kept - 1).await?;
    api::purge(&store.link, &stream, None, Some(oldest_kept)).await
}
