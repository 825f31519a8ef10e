use axum::Json;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::{CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use realtime_core::{Refusal, RefusalKind};

/// A refusal as an HTTP answer: its status, `Retry-After` where it has one, and `{"error":{"code","message"}}`.
pub fn refusal_response(refusal: &Refusal) -> Response {
    let kind = refusal.kind();
    let body = serde_json::json!({ "error": { "code": kind.code(), "message": refusal.message() } });
    let mut response = (kind.status(), Json(body)).into_response();
    if let Some(after) = refusal.retry_after() {
        // Whole seconds, rounded up (RFC 9110 §10.2.3).
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(after.as_secs_f64().ceil() as u64));
    }
    if kind == RefusalKind::Draining {
        // On the same connection the client would ask the same node again (RFC 9112 §9.6; HTTP/2 leaves the header out).
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if kind == RefusalKind::Unauthorized {
        // A 401 names a scheme (RFC 9110 §11.6.1).
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}
