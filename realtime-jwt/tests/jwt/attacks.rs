//! Tokens that an attacker may make.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header, encode};
use realtime_jwt::{JwtAlgorithm, JwtConfig, JwtKey};
use serde_json::{Value, json};

use crate::support::{ED25519_JWK, RSA, code, identify, in_seconds, jwk, secret, signed, signed_by};

fn rsa() -> JwtConfig {
    JwtConfig::default().with_key(JwtKey::from_pem(JwtAlgorithm::Rs256, RSA).unwrap())
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn valid() -> Value {
    json!({"sub": "ann", "exp": in_seconds(60)})
}

#[tokio::test]
async fn unsigned_token_is_refused() {
    for alg in ["none", "None", "NONE", "nOnE"] {
        let head = part(&json!({"alg": alg, "typ": "JWT"}));
        for signature in ["", "AA"] {
            let token = format!("{head}.{}.{signature}", part(&valid()));
            assert_eq!(code(secret(), &token).await, "token_malformed", "{alg}");
        }
    }
    let (unsigned, _) = signed(&valid()).rsplit_once('.').map(|(head, _)| (format!("{head}."), ())).unwrap();
    assert_eq!(code(secret(), &unsigned).await, "token_signature");
}

#[tokio::test]
async fn public_key_is_no_secret() {
    // The verifier that believed `alg` would take the PEM's text for the secret of an HMAC.
    let forged = encode(&Header::default(), &valid(), &EncodingKey::from_secret(RSA.as_bytes())).unwrap();
    assert_eq!(code(rsa(), &forged).await, "token_unknown_key");
    // Not even beside a secret.
    let both = secret().with_key(JwtKey::from_pem(JwtAlgorithm::Rs256, RSA).unwrap());
    assert_eq!(code(both, &forged).await, "token_signature");
}

#[tokio::test]
async fn key_in_the_header_is_not_used() {
    let with = |more: Value| {
        let mut head = json!({"alg": "EdDSA", "typ": "JWT"});
        head.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (_, rest) = signed_by(false, None).split_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        format!("{}.{rest}", part(&head))
    };
    let own = jwk(ED25519_JWK, json!({}));
    for more in [json!({"jwk": own}), json!({"jku": "http://127.0.0.1:9/keys"}), json!({"x5u": "http://127.0.0.1:9"})] {
        assert_eq!(code(rsa(), &with(more.clone())).await, "token_unknown_key", "{more}");
    }
}

#[tokio::test]
async fn oversized_token_is_refused_unread() {
    let claims = json!({"sub": "ann", "exp": in_seconds(60), "x": "a".repeat(8_000)});
    let token = signed(&claims);
    assert!(token.len() > 8 * 1024);
    assert_eq!(code(secret(), &token).await, "token_malformed");
    assert!(identify(secret().with_max_token_bytes(token.len()), &token).await.is_ok());
    assert_eq!(code(secret(), &"a".repeat(10_000_000)).await, "token_malformed");
}

#[tokio::test]
async fn deep_claims_are_refused() {
    // Signed, so that they are read.
    let deep = format!(r#"{{"sub":"ann","exp":{},"x":{}{}}}"#, in_seconds(60), "[".repeat(2_000), "]".repeat(2_000));
    let head = part(&json!({"alg": "HS256"}));
    let message = format!("{head}.{}", URL_SAFE_NO_PAD.encode(deep));
    let key = EncodingKey::from_secret(crate::support::SECRET.as_bytes());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap();
    assert_eq!(code(secret(), &format!("{message}.{signature}")).await, "token_malformed");
}

#[tokio::test]
async fn texts_that_are_no_tokens_are_refused() {
    let good = signed(&valid());
    let (head, signature) = good.rsplit_once('.').unwrap();
    let odd = [
        "ann",
        "a.b",
        "a.b.c",
        "....",
        "\u{0}.\u{0}.\u{0}",
        &format!("{good}."),
        &format!(" {good}"),
        &format!("{good}="),
        &format!("{head}.{signature}.{signature}"),
        &format!("{head}.!"),
    ];
    for token in odd {
        assert_eq!(code(secret(), token).await, "token_malformed", "{token:?}");
    }
    assert_eq!(code(secret(), "").await, "token_missing");
    for claims in [json!([]), json!("ann"), json!(7)] {
        assert_eq!(code(secret(), &signed(&claims)).await, "token_malformed", "{claims}");
    }
}

#[tokio::test]
async fn refusal_holds_nothing_of_the_token() {
    let head = part(&json!({"alg": "HS256", "kid": "marker-kid"}));
    let tokens = [
        signed(&json!({"sub": "marker", "exp": 1, "iss": "marker"})),
        signed(&json!({"sub": ["marker"], "exp": in_seconds(60)})),
        format!("{head}.{}.AAAA", part(&json!({"sub": "marker"}))),
        "marker.marker.marker".to_owned(),
    ];
    for token in tokens {
        let refusal = identify(secret().with_issuer("i"), &token).await.unwrap_err();
        assert!(!format!("{refusal} {refusal:?}").contains("marker"), "{refusal:?}");
    }
}
