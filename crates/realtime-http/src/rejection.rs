use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use realtime_core::Error;

use crate::refusal_response;

/// An [`Error`] as the answer of an axum handler, so that `?` works in one: what the caller did wrong is told with 400,
/// what failed on the server is logged and answered with 500 or 503.
#[derive(Debug)]
pub struct Rejection(Error);

impl From<Error> for Rejection {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let error = self.0;
        if let Error::Refused(refusal) = &error {
            return refusal_response(refusal);
        }
        let (status, message) = match &error {
            error if error.is_callers_fault() => (StatusCode::BAD_REQUEST, error.to_string()),
            Error::Backplane(_) | Error::Closed { .. } | Error::NotAttached { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "not available now".to_owned())
            }
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal error".to_owned()),
        };
        if !error.is_callers_fault() {
            tracing::error!(%error, "a request failed");
        }
        let body = serde_json::json!({ "error": { "code": error.code(), "message": message } });
        (status, Json(body)).into_response()
    }
}
