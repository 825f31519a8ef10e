//! The identity that a token makes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use realtime_core::{Identity, Refusal};
use realtime_jwt::{JwtClaims, JwtConfig};
use serde_json::{Value, json};

use crate::support::{code, identify, in_seconds, secret, signed};

fn token(more: Value) -> String {
    let mut claims = json!({"sub": "ann", "exp": in_seconds(60)});
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    signed(&claims)
}

#[tokio::test]
async fn claims_make_user_tenant_rooms_and_token_id() {
    let config = || secret().with_tenant_claim("org").with_rooms_claim("rooms");
    let exp = in_seconds(60);
    let claims = json!({"exp": exp, "org": "acme", "rooms": ["a", "b"], "jti": "t-1", "role": "editor"});
    let identity = identify(config(), &token(claims)).await.unwrap();
    assert_eq!((identity.user_name(), identity.tenant_name()), (Some("ann"), Some("acme")));
    assert_eq!((identity.rooms().collect::<Vec<_>>(), identity.token_id()), (vec!["a", "b"], Some("t-1")));
    assert_eq!(identity.expiry(), Some(UNIX_EPOCH + Duration::from_secs(exp.unsigned_abs())));
    assert_eq!(identity.claims::<JwtClaims>().unwrap().get::<String>("role").as_deref(), Some("editor"));

    let numbers = identify(config().with_user_claim("id"), &token(json!({"id": 7, "org": -8, "rooms": "a"}))).await;
    let numbers = numbers.unwrap();
    assert_eq!((numbers.user_name(), numbers.tenant_name()), (Some("7"), Some("-8")));
    assert_eq!(numbers.rooms().collect::<Vec<_>>(), ["a"]);
    assert_eq!(identify(config(), &token(json!({"org": "acme"}))).await.unwrap().rooms().len(), 0);
}

#[tokio::test]
async fn claims_of_a_wrong_type_are_refused() {
    let config = || secret().with_tenant_claim("org").with_rooms_claim("rooms");
    for more in [
        json!({}),
        json!({"org": null}),
        json!({"org": ["acme"]}),
        json!({"org": 1.5}),
        json!({"org": "acme", "sub": true}),
        json!({"org": "acme", "rooms": {"a": 1}}),
        json!({"org": "acme", "rooms": ["a", 1]}),
    ] {
        assert_eq!(code(config(), &token(more.clone())).await, "token_claims", "{more}");
    }
    assert_eq!(code(secret().with_user_claim("id"), &token(json!({}))).await, "token_claims");
}

#[tokio::test]
async fn function_makes_the_identity_within_the_tokens_time() {
    let config = |until: Option<SystemTime>| -> JwtConfig {
        secret().with_identity(move |claims: &JwtClaims| {
            let user: String = claims.get("email").ok_or_else(|| Refusal::forbidden("no email"))?;
            let identity = Identity::user(user).with_claims(claims.get::<Vec<String>>("roles").unwrap_or_default());
            Ok(until.map_or(identity.clone(), |until| identity.with_expiry(until)))
        })
    };
    let exp = in_seconds(60);
    let at = UNIX_EPOCH + Duration::from_secs(exp.unsigned_abs());
    let claims = token(json!({"email": "a@b.example", "roles": ["r"], "jti": "t", "exp": exp}));
    let earlier = at - Duration::from_secs(30);
    for (own, ends) in [(None, at), (Some(earlier), earlier), (Some(at + Duration::from_secs(30)), at)] {
        let identity = identify(config(own), &claims).await.unwrap();
        assert_eq!((identity.user_name(), identity.expiry()), (Some("a@b.example"), Some(ends)));
        assert_eq!((identity.claims::<Vec<String>>().unwrap().len(), identity.token_id()), (1, Some("t")));
    }
    assert_eq!(code(config(None), &token(json!({}))).await, "forbidden");
}

#[tokio::test]
async fn times_audience_and_issuer_are_checked() {
    let config = || secret().with_audience("app").with_issuer("login");
    let fits = json!({"aud": ["app", "other"], "iss": "login", "nbf": in_seconds(-5)});
    assert!(identify(config(), &token(fits)).await.is_ok());
    for (more, expected) in [
        (json!({"aud": "app", "iss": "login", "exp": in_seconds(-60)}), "token_expired"),
        (json!({"aud": "app", "iss": "login", "nbf": in_seconds(60)}), "token_not_yet_valid"),
        (json!({"aud": "other", "iss": "login"}), "token_audience"),
        (json!({"iss": "login"}), "token_audience"),
        (json!({"aud": "app", "iss": "evil"}), "token_issuer"),
        (json!({"aud": "app", "iss": "login", "exp": null}), "token_claims"),
    ] {
        assert_eq!(code(config(), &token(more.clone())).await, expected, "{more}");
    }
    // Within the leeway, with which the connection ends.
    let late = identify(secret(), &token(json!({"exp": in_seconds(-10)}))).await.unwrap();
    assert!(!late.is_expired(SystemTime::now()), "{late:?}");
}
