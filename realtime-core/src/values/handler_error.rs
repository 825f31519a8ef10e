use std::borrow::Cow;

use serde::Serialize;

use crate::values::error::Error;
use crate::values::json_error::describe_json_error;
use crate::values::refusal::Refusal;

/// An error for the client: a code for programs and a message for people, without secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message} ({code})")]
pub struct HandlerError {
    code: Cow<'static, str>,
    message: Cow<'static, str>,
}

impl HandlerError {
    /// An error with this code and message.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code: code.into(), message: message.into() }
    }

    /// An error that is logged here and shown to the client only as "internal error".
    pub fn internal(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "a handler failed");
        Self::new("internal", "internal error")
    }

    /// The code.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The message.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl From<Error> for HandlerError {
    /// What a client can have done wrong is told; the application's mistakes, and what failed, are logged and stay here.
    fn from(error: Error) -> Self {
        if error.is_client_error() { Self::new(error.code(), error.to_string()) } else { Self::internal(error) }
    }
}

impl From<Refusal> for HandlerError {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.kind().code(), refusal.message().to_owned())
    }
}

impl From<serde_json::Error> for HandlerError {
    fn from(error: serde_json::Error) -> Self {
        Self::new("invalid_payload", describe_json_error(&error))
    }
}
