use std::collections::HashMap;

use axum::Json;
use axum::extract::{RawQuery, State};
use realtime_unified::NotificationService;
use realtime_unified::stats::{OnlineIn, OnlineUser};
use serde::Deserialize;
use serde_json::{Value, json};

use super::failure::Failure;

/// The most users whose connections [`list`] looks up.
const MOST_USERS: usize = 500;

/// Lists the nodes with their connections, by the directory: those of the first 500 users who are
/// online; `more` says whether there are others.
pub(super) async fn list(State(service): State<NotificationService>) -> Result<Json<Value>, Failure> {
    let users = service.online_users(&OnlineIn::Everywhere, None, MOST_USERS).await?;
    let mut connections: HashMap<_, Vec<Value>> = HashMap::new();
    // Of each name once: `online` answers for all tenants of a user.
    let mut names: Vec<_> = users.iter().map(|user| user.user.as_str()).collect();
    names.dedup();
    for user in names {
        for one in service.online(user).await? {
            connections.entry(one.node).or_default().push(json!({
                "connection": one.connection,
                "provider": one.provider,
                "user": one.user,
                "tenant": one.tenant,
            }));
        }
    }
    let here = service.health().map(|health| health.node.id);
    let nodes = service.nodes().await?.into_iter().map(|node| {
        let connections = connections.remove(&node.id).unwrap_or_default();
        let here = here == Some(node.id);
        json!({ "id": node.id, "name": node.name, "reads": node.reads, "here": here, "connections": connections })
    });
    let nodes: Vec<_> = nodes.collect();
    Ok(Json(json!({ "nodes": nodes, "more": users.len() == MOST_USERS })))
}

/// A query `?tenant=…` or `?room=…`, of the page after a user of a tenant, with at most so many
/// users; or `?user=…`, of one tenant with `&tenant=…`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    user: Option<String>,
    tenant: Option<String>,
    room: Option<String>,
    after: Option<String>,
    after_tenant: Option<String>,
    #[serde(default = "most")]
    most: usize,
}

fn most() -> usize {
    100
}

/// Lists one page of the users who are online on any node, and counts all of them; or lists the
/// connections of one user.
pub(super) async fn online(
    State(service): State<NotificationService>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Failure> {
    let page: Page = serde_urlencoded::from_str(query.as_deref().unwrap_or_default())
        .map_err(|error| Failure::bad_request("invalid_query", error.to_string()))?;
    if let Some(user) = page.user {
        let online = match &page.tenant {
            None => service.online(&user).await?,
            Some(tenant) => service.online_in(tenant, &user).await?,
        };
        return Ok(Json(json!({ "user": user, "online": online })));
    }
    let online = match (page.tenant, page.room) {
        (None, None) => OnlineIn::Everywhere,
        (Some(tenant), None) => OnlineIn::Tenant(tenant),
        (None, Some(room)) => OnlineIn::Room(room),
        (Some(_), Some(_)) => return Err(Failure::bad_request("invalid_query", "name a tenant or a room, not both")),
    };
    let after = page.after.map(|after| OnlineUser::new(after, page.after_tenant.as_deref()));
    let users = service.online_users(&online, after, page.most).await?;
    let count = service.online_count(&online).await?;
    Ok(Json(json!({ "users": users, "count": count })))
}
