use std::collections::HashMap;

use realtime_core::{Error, Result};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// The claims of a verified token, which handlers, hooks and policies find in the identity.
///
/// They are kept as the token's JSON, and read when they are asked for.
///
/// ```
/// use realtime_core::{Context, HandlerError};
/// use realtime_jwt::JwtClaims;
///
/// async fn publish(cx: Context, _text: String) -> Result<(), HandlerError> {
///     let role: Option<String> =
///         cx.identity().claims::<JwtClaims>().and_then(|claims| claims.get("role"));
///     if role.as_deref() != Some("editor") {
///         return Err(HandlerError::new("forbidden", "only editors publish"));
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct JwtClaims(Box<str>);

impl JwtClaims {
    /// Creates the claims of these values, as a test of a handler does.
    #[must_use]
    pub fn new(claims: &Map<String, Value>) -> Self {
        Self(serde_json::to_string(claims).unwrap_or_else(|_| "{}".to_owned()).into())
    }

    /// Returns a claim, if there is one and it has this type.
    #[must_use]
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let claims: HashMap<String, &RawValue> = serde_json::from_str(&self.0).ok()?;
        serde_json::from_str(claims.get(name)?.get()).ok()
    }

    /// Reads all claims into a type of the application's.
    ///
    /// # Errors
    /// [`Error::InvalidPayload`].
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.0).map_err(|error| Error::InvalidPayload(error.into()))
    }
}

impl Serialize for JwtClaims {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for JwtClaims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let claims: Map<String, Value> = serde_json::from_str(&text).map_err(D::Error::custom)?;
        Ok(Self::new(&claims))
    }
}

impl std::fmt::Debug for JwtClaims {
    /// Writes none of the claims: they may be personal.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JwtClaims").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_are_read_by_name_and_type_and_not_shown() {
        let claims = json!({"sub": "ann", "roles": ["a", "b"], "n": 7});
        let claims = JwtClaims::new(claims.as_object().unwrap());
        assert_eq!(claims.get::<Vec<String>>("roles"), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!((claims.get::<u8>("n"), claims.get::<String>("n"), claims.get::<u8>("m")), (Some(7), None, None));
        assert_eq!(claims.parse::<HashMap<String, Value>>().unwrap().len(), 3);
        assert!(claims.parse::<Vec<u8>>().is_err());
        assert!(!format!("{claims:?}").contains("ann"));
        let text = serde_json::to_string(&claims).unwrap();
        assert_eq!(serde_json::from_str::<JwtClaims>(&text).unwrap(), claims);
    }
}
