use realtime_core::Identity;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The JSON form of the claims of one type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClaimsCodec {
    /// The type, by the name that all nodes of one build know it by.
    pub(crate) type_name: &'static str,
    encode: fn(&Identity) -> Option<Value>,
    decode: fn(Identity, Value) -> Option<Identity>,
}

impl ClaimsCodec {
    pub(crate) fn of<T: Serialize + DeserializeOwned + Send + Sync + 'static>() -> Self {
        Self {
            type_name: std::any::type_name::<T>(),
            encode: |identity| serde_json::to_value(identity.claims::<T>()?).ok(),
            decode: |identity, value| Some(identity.with_claims(serde_json::from_value::<T>(value).ok()?)),
        }
    }

    /// Returns the claims of an identity, if they are of this type.
    pub(crate) fn encode(&self, identity: &Identity) -> Option<Value> {
        (self.encode)(identity)
    }

    /// Returns the identity with these claims.
    pub(crate) fn decode(&self, identity: Identity, claims: Value) -> Option<Identity> {
        (self.decode)(identity, claims)
    }
}
