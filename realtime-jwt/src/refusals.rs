//! The refusals of tokens, each with a stable code. None of them holds anything of the token.

use realtime_core::{Refusal, RefusalKind};

pub(crate) fn missing() -> Refusal {
    Refusal::unauthorized("a token is needed").with_code("token_missing")
}

pub(crate) fn malformed(what: &'static str) -> Refusal {
    Refusal::unauthorized(what).with_code("token_malformed")
}

pub(crate) fn unknown_key() -> Refusal {
    Refusal::unauthorized("the token is signed with a key that is not known here").with_code("token_unknown_key")
}

pub(crate) fn wrong_signature() -> Refusal {
    Refusal::unauthorized("the token's signature is wrong").with_code("token_signature")
}

pub(crate) fn expired() -> Refusal {
    Refusal::unauthorized("the token has expired").with_code("token_expired")
}

pub(crate) fn not_yet_valid() -> Refusal {
    Refusal::unauthorized("the token is not valid yet").with_code("token_not_yet_valid")
}

pub(crate) fn wrong_audience() -> Refusal {
    Refusal::unauthorized("the token is not for this audience").with_code("token_audience")
}

pub(crate) fn wrong_issuer() -> Refusal {
    Refusal::unauthorized("the token's issuer is not accepted").with_code("token_issuer")
}

/// A claim that is missing or has a wrong type; `claim` is a name of the configuration.
pub(crate) fn wrong_claim(claim: &str, expected: &'static str) -> Refusal {
    Refusal::unauthorized(format!("the token's claim {claim:?} is missing, or is not {expected}"))
        .with_code("token_claims")
}

/// The keys could not be fetched, so nothing can be said about the token.
pub(crate) fn keys_unavailable() -> Refusal {
    Refusal::new(RefusalKind::Unavailable, "the token signing keys are unavailable")
        .with_code("keys_unavailable")
        .with_setting("jwks")
}
