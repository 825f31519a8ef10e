use std::any::Any;
use std::borrow::Cow;
use std::error::Error as StdError;

use serde::Serialize;

use crate::values::error::Error;
use crate::values::json_error::describe_json_error;
use crate::values::refusal::Refusal;

/// An error for the client: a code for programs and a message for users, without secrets.
///
/// Every [`std::error::Error`] turns into one by `?`. A [`Refusal`], a `serde_json::Error` and an
/// [`Error`] that a client can have caused keep their code and message; any other error is logged,
/// and the client gets `internal`. For another code: `.map_err(|error| HandlerError::new(…))?`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HandlerError {
    code: Cow<'static, str>,
    message: Cow<'static, str>,
}

impl HandlerError {
    /// Creates an error with this code and message.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code: code.into(), message: message.into() }
    }

    /// Logs an error, and creates the one that the client gets instead: `internal`, "internal
    /// error".
    pub fn internal(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "a handler failed");
        Self::new("internal", "internal error")
    }

    /// Returns the code.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Returns the message.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl std::fmt::Display for HandlerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

// `HandlerError` is not a `std::error::Error` itself: this impl would overlap with the reflexive
// `From`.
impl<E: StdError + 'static> From<E> for HandlerError {
    fn from(error: E) -> Self {
        let any: &dyn Any = &error;
        if let Some(error) = any.downcast_ref::<Error>()
            && error.is_client_error()
        {
            return Self::new(error.code(), error.to_string());
        }
        if let Some(refusal) = any.downcast_ref::<Refusal>() {
            return Self::new(refusal.code(), refusal.message().to_owned());
        }
        if let Some(error) = any.downcast_ref::<serde_json::Error>() {
            return Self::new("invalid_payload", describe_json_error(error));
        }
        Self::internal(WithSources(&error))
    }
}

/// An error with the errors that caused it, on one line.
struct WithSources<'a>(&'a dyn StdError);

impl std::fmt::Display for WithSources<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no database")]
    struct NoDatabase(#[source] std::io::Error);

    #[test]
    fn client_errors_keep_their_code_and_others_are_internal() {
        let code = |error: HandlerError| error.code().to_owned();
        let source = std::io::Error::other("connection refused");
        assert_eq!(WithSources(&NoDatabase(source)).to_string(), "no database: connection refused");
        let internal = HandlerError::from(NoDatabase(std::io::Error::other("secret")));
        assert_eq!((internal.code(), internal.message()), ("internal", "internal error"));
        assert_eq!(code(Refusal::unauthorized("no").into()), "unauthorized");
        assert_eq!(code(serde_json::from_str::<u8>("x").unwrap_err().into()), "invalid_payload");
        assert_eq!(code(Error::TooLarge { size: 2, limit: 1 }.into()), Error::TooLarge { size: 2, limit: 1 }.code());
        assert_eq!(code(Error::NotAttached { provider: Some("ws".to_owned()) }.into()), "internal");
    }
}
