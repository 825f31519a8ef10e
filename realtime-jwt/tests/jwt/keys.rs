//! Keys of each kind.

use std::collections::BTreeMap;

use realtime_jwt::{Jwks, JwtAlgorithm, JwtAuthenticator, JwtConfig, JwtKey};
use serde_json::json;

use crate::support::{
    ED25519, ED25519_JWK, ED25519B_JWK, P256, P256_JWK, P384, P384_JWK, RSA, RSA_JWK, SECRET, TOKENS, code, identify,
    in_seconds, jwk, secret, signed,
};

/// The algorithms with the key of the tests' tokens.
const KEYS: [(JwtAlgorithm, &str); 12] = [
    (JwtAlgorithm::EdDsa, ED25519),
    (JwtAlgorithm::Es256, P256),
    (JwtAlgorithm::Es384, P384),
    (JwtAlgorithm::Hs256, SECRET),
    (JwtAlgorithm::Hs384, SECRET),
    (JwtAlgorithm::Hs512, SECRET),
    (JwtAlgorithm::Ps256, RSA),
    (JwtAlgorithm::Ps384, RSA),
    (JwtAlgorithm::Ps512, RSA),
    (JwtAlgorithm::Rs256, RSA),
    (JwtAlgorithm::Rs384, RSA),
    (JwtAlgorithm::Rs512, RSA),
];

fn key(algorithm: JwtAlgorithm, key: &str) -> JwtKey {
    let made = if key == SECRET { JwtKey::from_secret(algorithm, key) } else { JwtKey::from_pem(algorithm, key) };
    made.unwrap()
}

fn tokens() -> BTreeMap<String, String> {
    serde_json::from_str(TOKENS).unwrap()
}

/// Writes a key set into a file, for as long as the directory exists.
fn file(document: &str) -> (tempfile::TempDir, Jwks) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    std::fs::write(&path, document).unwrap();
    (directory, Jwks::from_file(path))
}

#[tokio::test]
async fn token_of_another_library_is_accepted_by_its_key_only() {
    let tokens = tokens();
    assert_eq!(tokens.len(), KEYS.len());
    for (algorithm, text) in KEYS {
        let config = || JwtConfig::default().with_key(key(algorithm, text));
        for (name, token) in &tokens {
            let identified = identify(config(), token).await;
            if name == algorithm.name() {
                let identity = identified.unwrap();
                assert_eq!((identity.user_name(), identity.expiry().is_some()), (Some("ann"), true), "{name}");
            } else {
                assert_eq!(identified.unwrap_err().code(), "token_unknown_key", "{name} by {algorithm:?}");
            }
        }
        // Another signature, of the same length.
        let (head, signature) = tokens[algorithm.name()].rsplit_once('.').unwrap();
        let first = if signature.starts_with('A') { 'B' } else { 'A' };
        assert_eq!(code(config(), &format!("{head}.{first}{}", &signature[1..])).await, "token_signature");
        // Other claims.
        let payload = head.split_once('.').unwrap();
        assert_eq!(code(config(), &format!("{}.e30.{signature}", payload.0)).await, "token_signature");
    }
}

#[tokio::test]
async fn token_is_verified_by_whichever_key_signed_it() {
    let old = JwtKey::from_secret(JwtAlgorithm::Hs256, [1; 32]).unwrap();
    let config = || secret().with_key(old.clone()).with_key(key(JwtAlgorithm::Es256, P256));
    assert!(identify(config(), &signed(&json!({"sub": "ann", "exp": in_seconds(60)}))).await.is_ok());
    assert!(identify(config(), &tokens()["ES256"]).await.is_ok());
    assert_eq!(code(JwtConfig::default().with_key(old.with_id("a")), &tokens()["HS256"]).await, "token_signature");
}

#[tokio::test]
async fn key_set_from_a_file_verifies_each_algorithm() {
    let usable = [
        jwk(RSA_JWK, json!({"kid": "r", "use": "sig"})),
        jwk(P256_JWK, json!({"kid": "a", "alg": "ES256"})),
        jwk(P384_JWK, json!({"key_ops": ["verify"]})),
        jwk(ED25519_JWK, json!({"alg": "EdDSA"})),
    ];
    let skipped = [
        json!({"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2Vj", "alg": "HS256"}),
        json!({"kty": "future", "crv": "X"}),
        json!(7),
    ];
    let keys = [&skipped[..], &usable].concat();
    let (_directory, jwks) = file(&json!({ "keys": keys }).to_string());
    let authenticator = JwtAuthenticator::new(JwtConfig::default().with_jwks(jwks)).unwrap();
    for (algorithm, text) in KEYS {
        let identified = authenticator.identify(&tokens()[algorithm.name()]).await;
        assert_eq!(identified.is_ok(), text != SECRET, "{algorithm:?} {identified:?}");
    }
}

#[tokio::test]
async fn keys_of_a_set_that_are_for_something_else_are_skipped() {
    for (key, more, token) in [
        (RSA_JWK, json!({"use": "enc"}), "RS256"),
        (RSA_JWK, json!({"key_ops": ["encrypt"]}), "RS256"),
        (RSA_JWK, json!({"alg": "RSA-OAEP"}), "RS256"),
        (RSA_JWK, json!({"alg": "PS256"}), "RS256"),
        (RSA_JWK, json!({"alg": "HS256"}), "HS256"),
        // 1,024 bits.
        (RSA_JWK, json!({"n": "x".repeat(171)}), "RS256"),
        (P256_JWK, json!({"alg": "ES384"}), "ES256"),
        (P256_JWK, json!({"crv": "P-384"}), "ES256"),
        (P256_JWK, json!({"x": "AA"}), "ES256"),
        (ED25519_JWK, json!({"x": "AA"}), "EdDSA"),
    ] {
        let (_directory, jwks) = file(&json!({"keys": [jwk(key, more.clone())]}).to_string());
        assert_eq!(code(JwtConfig::default().with_jwks(jwks), &tokens()[token]).await, "token_unknown_key", "{more}");
    }
    // With many keys the first hundred count.
    let other = jwk(ED25519B_JWK, json!({}));
    let keys = |before: usize| [vec![other.clone(); before], vec![jwk(ED25519_JWK, json!({}))]].concat();
    for (before, accepted) in [(99, true), (100, false)] {
        let (_directory, jwks) = file(&json!({"keys": keys(before)}).to_string());
        let identified = identify(JwtConfig::default().with_jwks(jwks), &tokens()["EdDSA"]).await;
        assert_eq!(identified.is_ok(), accepted, "{before}");
    }
}

#[test]
fn keys_that_cannot_work_are_rejected() {
    for (algorithm, length) in [(JwtAlgorithm::Hs256, 32), (JwtAlgorithm::Hs384, 48), (JwtAlgorithm::Hs512, 64)] {
        assert!(JwtKey::from_secret(algorithm, vec![1; length]).is_ok());
        assert!(JwtKey::from_secret(algorithm, vec![1; length - 1]).is_err());
        assert!(JwtKey::from_pem(algorithm, RSA).is_err());
    }
    assert!(JwtKey::from_secret(JwtAlgorithm::Rs256, RSA).is_err());
    let private = include_str!("../keys/rsa.pem");
    for (algorithm, pem) in [
        (JwtAlgorithm::Rs256, P256),
        (JwtAlgorithm::Rs256, private),
        (JwtAlgorithm::Ps512, include_str!("../keys/rsa1024.pub.pem")),
        (JwtAlgorithm::Rs256, "-----BEGIN CERTIFICATE-----"),
        (JwtAlgorithm::Es256, P384),
        (JwtAlgorithm::Es384, P256),
        (JwtAlgorithm::Es256, ED25519),
        (JwtAlgorithm::EdDsa, RSA),
        (JwtAlgorithm::EdDsa, "secret"),
    ] {
        let error = JwtKey::from_pem(algorithm, pem).unwrap_err().to_string();
        assert!(error.contains(algorithm.name()), "{algorithm:?} {error}");
    }
}

#[test]
fn configurations_that_cannot_work_are_rejected() {
    let url = || Jwks::from_url("https://id.example/keys");
    let missing = Jwks::from_file("/nowhere/keys.json");
    let (_directory, no_keys) = file(r#"{"key": []}"#);
    for (config, what) in [
        (JwtConfig::default(), "no key"),
        (secret().with_sources([]), "no source"),
        (secret().with_max_token_bytes(0), "max_token_bytes"),
        (secret().with_jwks(url()), "with_audience"),
        (secret().with_any_audience().with_jwks(url().with_max_age(std::time::Duration::ZERO)), "max_age"),
        (secret().with_any_audience().with_jwks(Jwks::from_url("http://id.example/keys")), "https"),
        (secret().with_jwks(missing), "/nowhere/keys.json"),
        (secret().with_jwks(no_keys), "no key set"),
    ] {
        let error = JwtAuthenticator::new(config).unwrap_err().to_string();
        assert!(error.contains(what), "{what}: {error}");
    }
    assert!(JwtAuthenticator::new(JwtConfig::default().with_audience("a").with_jwks(url())).is_ok());
}

#[test]
fn debug_output_has_no_secret() {
    let text = format!("{:?}", JwtAuthenticator::new(secret()).unwrap());
    assert!(!text.contains("sixty-four") && text.contains("Hs256"), "{text}");
}
