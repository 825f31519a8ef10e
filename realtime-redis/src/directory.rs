use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use realtime_core::spi::{Directory, DirectoryChange, Incarnation};
use realtime_core::{NodeInfo, OnlineCount, OnlineIn, OnlineUser, Presence, Result};
use redis::Value;

use crate::entries::{into_array, into_bytes, into_text};
use crate::error::Fault;
use crate::keys::Keys;
use crate::link::Link;
use crate::script::{COUNT, DROP, FIND, NODES, PAGE, UPDATE};

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

    async fn apply(&self, node: &NodeInfo, changes: &[DirectoryChange], lease: Duration) -> Result<Incarnation, Fault> {
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
        node: &NodeInfo,
        changes: &[DirectoryChange],
        lease: Duration,
    ) -> Result<(Incarnation, Vec<String>), Fault> {
        let info = serde_json::to_string(node).map_err(|_| Fault::Unexpected("a node that cannot be written"))?;
        let node = node.id.to_string();
        let lease = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        let mut call = UPDATE.call(&self.keys_of(&node)).arg(&node).arg(info);
        call = call.arg(lease).arg(Incarnation::random().get());
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
        let [incarnation, over]: [Value; 2] = parts(self.link.call(call).await?)?;
        let incarnation = into_text(incarnation)?.parse().map_err(|_| Fault::Unexpected("not an incarnation"))?;
        let over = into_array(over)?.into_iter().map(into_text).collect::<Result<_, _>>()?;
        Ok((Incarnation::new(incarnation), over))
    }

    fn keys_of(&self, node: &str) -> [String; 4] {
        [self.keys.node(node), self.keys.nodes.clone(), self.keys.names.clone(), self.keys.online.clone()]
    }

    /// Returns the keys of the scripts that read the index.
    fn index(&self) -> [&str; 2] {
        [&self.keys.online, &self.keys.nodes]
    }

    /// Returns the entries of a user: first their nodes and connections, then each node's entries.
    async fn find(&self, user: &str) -> Result<Vec<Presence>, Fault> {
        let mut found = into_array(self.link.call(FIND.call(&self.index()).arg(user)).await?)?.into_iter();
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

    async fn try_nodes(&self) -> Result<Vec<NodeInfo>, Fault> {
        let call = NODES.call(&[&self.keys.nodes, &self.keys.names]);
        let nodes = into_array(self.link.call(call).await?)?.into_iter();
        nodes
            .map(|node| {
                let node = serde_json::from_str(&into_text(node)?);
                node.map_err(|_| Fault::Unexpected("a node that cannot be read"))
            })
            .collect()
    }

    async fn page(&self, online: &OnlineIn, after: Option<OnlineUser>, most: usize) -> Result<Vec<OnlineUser>, Fault> {
        let group = group(online)?;
        let mut from = after.map(|after| format!("({group}\0{}\0", identity(&after)).into_bytes()).unwrap_or_default();
        if !from.is_empty() {
            // After all connections of that user.
            from.push(0xff);
        }
        let mut users = Vec::new();
        loop {
            let call = PAGE.call(&self.index()).arg(&group).arg(&from[..]).arg(most - users.len());
            let [found, next]: [Value; 2] = parts(self.link.call(call).await?)?;
            for user in into_array(found)? {
                users.push(into_user(&into_text(user)?)?);
            }
            from = into_bytes(next)?.to_vec();
            if users.len() >= most || from.is_empty() {
                return Ok(users);
            }
        }
    }

    async fn try_count(&self, online: &OnlineIn) -> Result<OnlineCount, Fault> {
        let group = group(online)?;
        let (mut from, mut last) = (Vec::new(), Vec::new());
        let (mut users, mut connections) = (0, 0);
        loop {
            let call = COUNT.call(&self.index()).arg(&group).arg(&from[..]).arg(&last[..]);
            let [more_users, more_connections, next, counted]: [Value; 4] = parts(self.link.call(call).await?)?;
            users += into_number(more_users)?;
            connections += into_number(more_connections)?;
            (from, last) = (into_bytes(next)?.to_vec(), into_bytes(counted)?.to_vec());
            if from.is_empty() {
                return Ok(OnlineCount::new(users, connections));
            }
        }
    }
}

/// Returns the part of the index that a question is about.
fn group(online: &OnlineIn) -> Result<String, Fault> {
    match online {
        OnlineIn::Everywhere => Ok("e".to_owned()),
        OnlineIn::Tenant(tenant) => Ok(format!("t{tenant}")),
        OnlineIn::Room(room) => Ok(format!("r{room}")),
        _ => Err(Fault::Unexpected("an unknown group of users")),
    }
}

/// Returns a user as the index has it.
fn identity(user: &OnlineUser) -> String {
    format!("{}\0{}", user.user, user.tenant.as_deref().unwrap_or_default())
}

fn into_user(identity: &str) -> Result<OnlineUser, Fault> {
    let (user, tenant) = identity.split_once('\0').ok_or(Fault::Unexpected("a user that cannot be read"))?;
    Ok(OnlineUser::new(user, Some(tenant).filter(|tenant| !tenant.is_empty())))
}

fn parts<const COUNT: usize>(answer: Value) -> Result<[Value; COUNT], Fault> {
    into_array(answer)?.try_into().map_err(|_| Fault::Unexpected("wrong number of fields in the answer"))
}

fn into_number(value: Value) -> Result<u64, Fault> {
    match value {
        Value::Int(number) => u64::try_from(number).map_err(|_| Fault::Unexpected("a negative count")),
        _ => Err(Fault::Unexpected("not a count")),
    }
}

#[async_trait]
impl Directory for RedisDirectory {
    async fn update(&self, node: &NodeInfo, changes: &[DirectoryChange], lease: Duration) -> Result<Incarnation> {
        Ok(self.apply(node, changes, lease).await?)
    }

    async fn nodes(&self) -> Result<Vec<NodeInfo>> {
        Ok(self.try_nodes().await?)
    }

    async fn of_user(&self, user: &str) -> Result<Vec<Presence>> {
        Ok(self.find(user).await?)
    }

    async fn users(&self, online: &OnlineIn, after: Option<OnlineUser>, most: usize) -> Result<Vec<OnlineUser>> {
        Ok(self.page(online, after, most).await?)
    }

    async fn count(&self, online: &OnlineIn) -> Result<OnlineCount> {
        Ok(self.try_count(online).await?)
    }
}
