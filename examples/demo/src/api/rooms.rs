use axum::Json;
use axum::extract::{RawQuery, State};
use realtime_unified::NotificationService;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::failure::{Body, Failure, Of};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Membership {
    user: String,
    room: String,
}

pub(super) async fn join(
    State(service): State<NotificationService>,
    Body(request): Body<Membership>,
) -> Result<Json<Value>, Failure> {
    service.join_room(&request.user, &request.room).await.into_result()?;
    Ok(Json(json!({ "user": request.user, "room": request.room })))
}

pub(super) async fn leave(
    State(service): State<NotificationService>,
    Body(request): Body<Membership>,
) -> Result<Json<Value>, Failure> {
    service.leave_room(&request.user, &request.room).await.into_result()?;
    Ok(Json(json!({ "user": request.user, "room": request.room })))
}

pub(super) async fn list(
    State(service): State<NotificationService>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Failure> {
    let Of { user } = Of::from_query(query)?;
    let mut rooms = Map::new();
    for (provider, names) in service.user_rooms(&user).await {
        rooms.insert(provider, json!(names?));
    }
    Ok(Json(json!({ "user": user, "rooms": rooms })))
}
