use axum::Json;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use realtime_unified::Error;
use realtime_unified::spi::{DEFAULT_MAX_DEPTH, check_depth};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

/// An answer `{"error": {"code", "message"}}`.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    code: String,
    message: String,
}

impl Failure {
    pub(super) fn new(status: StatusCode, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into() }
    }

    pub(super) fn bad_request(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Refused(refusal) => refusal.kind().status(),
            Error::KeyReused { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Error::Backplane(_) | Error::Closed { .. } | Error::NotAttached { .. } | Error::OutcomeUnknown { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            // In this interface the caller chooses provider, event and target.
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.code(), error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": { "code": self.code, "message": self.message } }))).into_response()
    }
}

/// A JSON body, whatever its content type (curl sends forms by default); a wrong one is a
/// [`Failure`].
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let bytes = axum::body::Bytes::from_request(request, state)
            .await
            .map_err(|error| Failure::new(error.status(), "bad_body", error.body_text()))?;
        // serde reads structs from arrays too, which is no form of this API.
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return Err(Failure::bad_request("invalid_body", "the body must be a JSON object"));
        }
        check_depth(&bytes, DEFAULT_MAX_DEPTH).map_err(|error| Failure::bad_request(error.code(), error.message()))?;
        let value =
            serde_json::from_slice(&bytes).map_err(|error| Failure::bad_request("invalid_body", error.to_string()))?;
        Ok(Self(value))
    }
}

/// A query `?user=…`, of one tenant with `&tenant=…`.
#[derive(Deserialize)]
pub(super) struct Of {
    pub(super) user: String,
    pub(super) tenant: Option<String>,
}

impl Of {
    pub(super) fn from_query(query: Option<String>) -> Result<Self, Failure> {
        serde_urlencoded::from_str(query.as_deref().unwrap_or_default())
            .map_err(|error| Failure::bad_request("invalid_query", error.to_string()))
    }
}
