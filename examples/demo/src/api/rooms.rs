use axum::Json;
use axum::extract::{RawQuery, State};
use realtime_unified::NotificationService;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::failure::{Body, Failure, Of};

/// A user and a room; without a tenant, the user of this name in every tenant.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Membership {
    user: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    room: String,
}

pub(super) async fn join(
    State(service): State<NotificationService>,
    Body(request): Body<Membership>,
) -> Result<Json<Membership>, Failure> {
    let Membership { user, tenant, room } = &request;
    match tenant {
        None => service.join_room(user, room).await,
        Some(tenant) => service.join_room_in(tenant, user, room).await,
    }?;
    Ok(Json(request))
}

pub(super) async fn leave(
    State(service): State<NotificationService>,
    Body(request): Body<Membership>,
) -> Result<Json<Membership>, Failure> {
    let Membership { user, tenant, room } = &request;
    match tenant {
        None => service.leave_room(user, room).await,
        Some(tenant) => service.leave_room_in(tenant, user, room).await,
    }?;
    Ok(Json(request))
}

pub(super) async fn list(
    State(service): State<NotificationService>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Failure> {
    let Of { user, tenant } = Of::from_query(query)?;
    let mut rooms = Map::new();
    for (name, _) in service.providers() {
        let Some(membership) = service.provider(name)?.rooms() else { continue };
        let names = match &tenant {
            None => membership.user_rooms(&user).await,
            Some(tenant) => membership.user_rooms_in(tenant, &user).await,
        };
        rooms.insert(name.to_owned(), json!(names?));
    }
    Ok(Json(json!({ "user": user, "rooms": rooms })))
}
