use axum::Json;
use axum::extract::{RawQuery, State};
use realtime_unified::NotificationService;
use serde::Deserialize;
use serde_json::{Value, json};

use super::failure::Failure;

/// A query `?event=…&user=…`, of one tenant with `&tenant=…`.
#[derive(Deserialize)]
struct Question {
    event: String,
    user: String,
    tenant: Option<String>,
}

/// Explains what became of an event for a user, as values and in words.
pub(super) async fn explain(
    State(service): State<NotificationService>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Failure> {
    let Question { event, user, tenant } = serde_urlencoded::from_str(query.as_deref().unwrap_or_default())
        .map_err(|error| Failure::bad_request("invalid_query", error.to_string()))?;
    let event = event.parse()?;
    let explanation = match &tenant {
        None => service.explain(event, &user).await?,
        Some(tenant) => service.explain_in(tenant, event, &user).await?,
    };
    Ok(Json(json!({ "text": explanation.to_string(), "explanation": explanation })))
}
