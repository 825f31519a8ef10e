use axum::Json;
use axum::extract::{RawQuery, State};
use realtime_unified::{NotificationService, Target};
use serde_json::{Value, json};

use super::failure::{Failure, Of};

/// Lists the statistics of a user's connections, by provider.
pub(super) async fn list(
    State(service): State<NotificationService>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Failure> {
    let Of { user, tenant } = Of::from_query(query)?;
    let target = tenant.map_or_else(|| Target::user(&*user), |tenant| Target::user_in(tenant, &*user));
    target.check()?;
    Ok(Json(json!({ "user": user, "connections": service.connections(&target) })))
}
