use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use realtime_core::{Refusal, RefusalKind};

/// Returns the HTTP response of a refusal: its status, `Retry-After` where it has one, and
/// `{"error":{"code","message"}}`.
pub fn refusal_response(refusal: &Refusal) -> Response {
    let kind = refusal.kind();
    let mut response = error_response(kind.status(), refusal.code(), refusal.message());
    if let Some(after) = refusal.retry_after() {
        // Whole seconds, rounded up (RFC 9110 §10.2.3).
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(after.as_secs_f64().ceil() as u64));
    }
    if kind == RefusalKind::Draining {
        // On the same connection the client would reach the same node again (RFC 9112 §9.6; HTTP/2
        // omits the header).
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if kind == RefusalKind::Unauthorized {
        // A 401 has to name a scheme (RFC 9110 §11.6.1); one for a token says that it is of no use
        // (RFC 6750 §3.1).
        let has_token = refusal.code() != kind.code() && refusal.code() != "token_missing";
        let challenge = if has_token { "Bearer error=\"invalid_token\"" } else { "Bearer" };
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    response
}

/// Returns the response to a request with a method that the route does not have: 405 with the
/// methods that it has (RFC 9110 §15.5.6).
pub fn method_response(refusal: &Refusal, allowed: &'static str) -> Response {
    let mut response = refusal_response(refusal);
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// Returns a response of this status with the body `{"error":{"code","message"}}`.
#[must_use]
pub fn error_response(status: StatusCode, code: &str, message: &str) -> Response {
    let body = serde_json::json!({ "error": { "code": code, "message": message } });
    (status, Json(body)).into_response()
}
