use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use realtime_core::spi::{Directory, DirectoryChange, Incarnation};
use realtime_core::{NodeId, Presence, Result};
use redis::Value;

use crate::entries::{into_array, into_text};
use crate::error::Fault;
use crate::keys::Keys;
use crate::link::Link;
use crate::script::{DROP, FIND, UPDATE};

/// The changes of one call: Redis does nothing else meanwhile.
const CHUNK: usize = 500;

/// The online users of all nodes, in Redis. Leases are measured by the server's clock. Cheap to
/// clone; [`RedisBackplane::directory`](crate::RedisBackplane::directory) creates it.
#[derive(Clone, Debug)]
pub struct RedisDirectory {
    link: Arc<Link>,
    keys: Arc<Keys>,
}

impl RedisDirectory {
    pub(crate) fn new(link: Arc<Link>, keys: Arc<Keys>) -> Self {
        Self { link, keys }
    }

    async fn try_update(
        &self,
        node: NodeId,
        changes: &[DirectoryChange],
        lease: Duration,
    ) -> Result<Incarnation, Fault> {
        let mut chunks = changes.chunks(CHUNK);
        let (incarnation, over) = self.update_some(node, chunks.next().unwrap_or_default(), lease).await?;
        for chunk in chunks {
            // The caller would take the new incarnation for that of all its changes.
            if self.update_some(node, chunk, lease).await?.0 != incarnation {
                return Err(Fault::NewIncarnation);
            }
        }
        for node in over {
            self.drop_entries(&node).await;
        }
        Ok(incarnation)
    }

    /// Removes the entries of a node whose lease is over. Nobody finds them any more, so that an
    /// error does not matter: a later update tries again.
    async fn drop_entries(&self, node: &str) {
        loop {
            match self.link.call(DROP.call(&self.keys_of(node)).arg(node)).await {
                Ok(Value::Int(1)) => {}
                Ok(_) => return,
                Err(error) => return tracing::debug!(node, %error, "the entries of a node could not be removed"),
            }
        }
    }

    /// Applies changes; returns the incarnation, and nodes whose lease is over.
    async fn update_some(
        &self,
        node: NodeId,
        changes: &[DirectoryChange],
        lease: Duration,
    ) -> Result<(Incarnation, Vec<String>), Fault> {
        let node = node.to_string();
        let lease = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        let mut call = UPDATE.call(&self.keys_of(&node)).arg(&node).arg(lease).arg(Incarnation::random().get());
        for change in changes {
            let (connection, json) = match change {
                DirectoryChange::Online(presence) => {
                    let json = serde_json::to_string(presence);
                    (presence.connection, json.map_err(|_| Fault::Unexpected("an entry that cannot be written"))?)
                }
                DirectoryChange::Offline(connection) => (*connection, String::new()),
                _ => return Err(Fault::Unexpected("an unknown change of the directory")),
            };
            call = call.arg(connection.to_string()).arg(json);
        }
        let [incarnation, over]: [Value; 2] =
            into_array(self.link.call(call).await?)?.try_into().map_err(|_| Fault::Unexpected("no incarnation"))?;
        let incarnation = into_text(incarnation)?.parse().map_err(|_| Fault::Unexpected("not an incarnation"))?;
        let over = into_array(over)?.into_iter().map(into_text).collect::<Result<_, _>>()?;
        Ok((Incarnation::new(incarnation), over))
    }

    fn keys_of(&self, node: &str) -> [String; 4] {
        [self.keys.node(node), self.keys.nodes.clone(), self.keys.users.clone(), self.keys.tenants.clone()]
    }

    /// Returns the entries of a name in an index: first their nodes and connections, then each
    /// node's entries.
    async fn find(&self, index: &str, name: &str) -> Result<Vec<Presence>, Fault> {
        let call = FIND.call(&[index, &self.keys.nodes]).arg(format!("{}:{name}:", name.len()));
        let mut found = into_array(self.link.call(call).await?)?.into_iter();
        let mut nodes: HashMap<String, Vec<String>> = HashMap::new();
        while let (Some(node), Some(connection)) = (found.next(), found.next()) {
            nodes.entry(into_text(node)?).or_default().push(into_text(connection)?);
        }
        if nodes.is_empty() {
            return Ok(Vec::new());
        }
        let mut entries = redis::pipe();
        for (node, connections) in &nodes {
            entries.cmd("HMGET").arg(self.keys.node(node)).arg(connections);
        }
        let mut presences = Vec::new();
        for of_node in self.link.pipeline(&entries).await? {
            for entry in into_array(of_node)? {
                // An entry that was removed since then is none.
                if entry != Value::Nil {
                    let entry = serde_json::from_str(&into_text(entry)?);
                    presences.push(entry.map_err(|_| Fault::Unexpected("an entry that cannot be read"))?);
                }
            }
        }
        Ok(presences)
    }
}

#[async_trait]
impl Directory for RedisDirectory {
    async fn update(&self, node: NodeId, changes: &[DirectoryChange], lease: Duration) -> Result<Incarnation> {
        Ok(self.try_update(node, changes, lease).await?)
    }

    async fn of_user(&self, user: &str) -> Result<Vec<Presence>> {
        Ok(self.find(&self.keys.users, user).await?)
    }

    async fn of_tenant(&self, tenant: &str) -> Result<Vec<Presence>> {
        Ok(self.find(&self.keys.tenants, tenant).await?)
    }
}
