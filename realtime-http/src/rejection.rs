use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use realtime_core::{Error, Refusal};

use crate::refusal::refusal_response;

/// An [`Error`] as the response of an axum handler, so that `?` works in one.
///
/// | error | status | body |
/// |---|---|---|
/// | [`Error::Refused`] | the refusal's | code and message |
/// | [`Error::InvalidName`], [`Error::TooLarge`] | 400 | code and message |
/// | [`Error::NotInRoom`] | 403 | code and message |
/// | [`Error::KeyReused`] | 422 | code and message |
/// | [`Error::OutcomeUnknown`] | 503 | that the request may be repeated with the same key |
/// | [`Error::Backplane`], [`Error::Closed`] | 503 | "temporarily unavailable" |
/// | any other: a mistake of the application's own | 500 | "internal error" |
///
/// A response of 500 or 503 is logged as an error.
#[derive(Debug)]
pub struct Rejection(Error);

impl From<Error> for Rejection {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self(refusal.into())
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let error = self.0;
        if let Error::Refused(refusal) = &error {
            return refusal_response(refusal);
        }
        let (status, code, message) = match &error {
            Error::KeyReused { .. } => (StatusCode::UNPROCESSABLE_ENTITY, error.code(), error.to_string()),
            Error::NotInRoom { .. } => (StatusCode::FORBIDDEN, error.code(), error.to_string()),
            error if error.is_client_error() => (StatusCode::BAD_REQUEST, error.code(), error.to_string()),
            Error::OutcomeUnknown { .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                error.code(),
                "the outcome is not known yet: repeat the request with the same idempotency key".to_owned(),
            ),
            Error::Backplane(_) | Error::Closed { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, error.code(), "temporarily unavailable".to_owned())
            }
            // A client could not act on names of providers and features.
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error".to_owned()),
        };
        if !error.is_client_error() {
            tracing::error!(code = error.code(), %error, status = status.as_u16(), "a request failed");
        }
        let body = serde_json::json!({ "error": { "code": code, "message": message } });
        (status, Json(body)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use realtime_core::{EventId, Refusal};
    use serde_json::{Value, json};

    use super::*;

    async fn answer(error: Error) -> (u16, Value) {
        let response = Rejection::from(error).into_response();
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap())
    }

    #[tokio::test]
    async fn client_errors_have_their_code_and_message() {
        let name = Error::InvalidName { what: "room", reason: "it is empty" };
        let message = "invalid room name: it is empty";
        assert_eq!(answer(name).await, (400, json!({"error": {"code": "invalid_name", "message": message}})));
        assert_eq!(answer(Error::TooLarge { size: 2, limit: 1 }).await.0, 400);
        assert_eq!(answer(Error::NotInRoom { room: "lobby".to_owned() }).await.0, 403);
        let (status, body) = answer(Error::KeyReused { key: "order 7".to_owned() }).await;
        assert_eq!((status, body["error"]["code"].as_str()), (422, Some("key_reused")));
        assert_eq!(answer(Refusal::unauthorized("who is it?").into()).await.0, 401);
        assert_eq!(Rejection::from(Refusal::forbidden("not you")).into_response().status(), 403);
    }

    #[tokio::test]
    async fn application_errors_are_internal_errors() {
        let provider = || "socket".to_owned();
        let mistakes = [
            Error::UnknownProvider { name: "sokcet".to_owned(), registered: vec![provider()] },
            Error::FeatureOff { provider: provider(), feature: "socketio" },
            Error::ReservedName { name: "connected".to_owned() },
            Error::Unsupported { provider: Some(provider()), what: "binary events" },
            Error::NotAttached { provider: Some(provider()) },
            Error::Config("of no use".to_owned()),
            Error::InvalidPayload("key must be a string".into()),
        ];
        for error in mistakes {
            let internal = json!({"error": {"code": "internal", "message": "internal error"}});
            let text = error.to_string();
            assert_eq!(answer(error).await, (500, internal), "{text}");
        }
    }

    #[tokio::test]
    async fn unknown_outcome_says_that_a_request_may_be_repeated() {
        let (status, body) = answer(Error::OutcomeUnknown { id: EventId::random() }).await;
        assert_eq!((status, body["error"]["code"].as_str()), (503, Some("outcome_unknown")));
        assert!(body["error"]["message"].as_str().unwrap().contains("the same idempotency key"), "{body}");
        let unavailable = json!({"error": {"code": "backplane", "message": "temporarily unavailable"}});
        assert_eq!(answer(Error::Backplane("redis://secret".into())).await, (503, unavailable));
    }
}
