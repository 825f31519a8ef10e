use std::time::Duration;

use realtime_core::Presence;
use realtime_core::spi::Directory;

use super::in_time;

/// Waits until `count` connections of ann are in the directory, and returns them, sorted.
pub async fn until_online(directory: &dyn Directory, count: usize) -> Vec<Presence> {
    let online = async {
        loop {
            let mut online = directory.of_user("ann").await.unwrap();
            if online.len() == count {
                online.sort_by_key(|presence| presence.connection);
                return online;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    in_time(format!("{count} connections in the directory"), online).await
}
