//! The claims that decide whether a token is accepted (RFC 7519 §4.1).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use realtime_core::Refusal;
use serde_json::{Map, Value};

use crate::config::JwtConfig;
use crate::refusals::{expired, not_yet_valid, wrong_audience, wrong_claim, wrong_issuer};

/// Checks time, audience and issuer; returns until when a connection with this token may stay open,
/// if that is limited: its `exp`, or for a token that is accepted after it the end of the leeway.
pub(crate) fn check(
    claims: &Map<String, Value>,
    config: &JwtConfig,
    now: SystemTime,
) -> Result<Option<SystemTime>, Refusal> {
    let ends = match time(claims, "exp")? {
        None if config.expiry_required => return Err(wrong_claim("exp", "a number of seconds")),
        None => None,
        Some(end) if now < end => Some(end),
        Some(end) => match end.checked_add(config.leeway) {
            Some(late) if now < late => Some(late),
            _ => return Err(expired()),
        },
    };
    let soon = now.checked_add(config.leeway).unwrap_or(now);
    if time(claims, "nbf")?.is_some_and(|begin| soon < begin) {
        return Err(not_yet_valid());
    }
    let names_one = |claim: &str, accepted: &[String]| {
        texts(claims.get(claim)).iter().any(|text| accepted.iter().any(|own| own == text))
    };
    match claims.get("aud") {
        _ if config.any_audience => {}
        // A token for somebody else must not be accepted by who has no name (RFC 7519 §4.1.3).
        Some(_) if !names_one("aud", &config.audiences) => return Err(wrong_audience()),
        None if !config.audiences.is_empty() => return Err(wrong_audience()),
        _ => {}
    }
    if !config.issuers.is_empty() && !names_one("iss", &config.issuers) {
        return Err(wrong_issuer());
    }
    Ok(ends)
}

/// Returns a claim that is a text, or a list with texts.
fn texts(claim: Option<&Value>) -> Vec<&str> {
    match claim {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(text)) => vec![text],
        _ => Vec::new(),
    }
}

/// Returns a claim that is a time: seconds, perhaps with a fraction (RFC 7519 §2, NumericDate).
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<SystemTime>, Refusal> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let time = seconds.and_then(|seconds| UNIX_EPOCH.checked_add(seconds));
    time.map(Some).ok_or_else(|| wrong_claim(name, "a number of seconds"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// Checks claims at 1,000 s.
    fn checked(claims: Value, config: &JwtConfig) -> Result<Option<SystemTime>, &'static str> {
        check(claims.as_object().unwrap(), config, at(1000)).map_err(|refusal| refusal.code())
    }

    #[test]
    fn times_have_a_leeway_and_connections_none() {
        let config = JwtConfig::default().with_leeway(Duration::from_secs(30));
        for (claims, expected) in [
            (json!({"exp": 2000}), Ok(Some(at(2000)))),
            (json!({"exp": 1001}), Ok(Some(at(1001)))),
            (json!({"exp": 1000}), Ok(Some(at(1030)))),
            (json!({"exp": 971}), Ok(Some(at(1001)))),
            (json!({"exp": 970}), Err("token_expired")),
            (json!({"exp": 0}), Err("token_expired")),
            (json!({"exp": 2000, "nbf": 1030}), Ok(Some(at(2000)))),
            (json!({"exp": 2000, "nbf": 1031}), Err("token_not_yet_valid")),
            (json!({"exp": 1500.5}), Ok(Some(at(1500) + Duration::from_millis(500)))),
        ] {
            assert_eq!(checked(claims.clone(), &config), expected, "{claims}");
        }
    }

    #[test]
    fn times_that_are_none_are_refused() {
        for claims in [
            json!({}),
            json!({"exp": null}),
            json!({"exp": "2000"}),
            json!({"exp": -1}),
            json!({"exp": 1e300}),
            json!({"exp": 2000, "nbf": "soon"}),
            json!({"exp": 2000, "nbf": [1]}),
        ] {
            assert_eq!(checked(claims.clone(), &JwtConfig::default()), Err("token_claims"), "{claims}");
        }
        let unlimited = JwtConfig::default().with_expiry_required(false);
        assert_eq!(checked(json!({}), &unlimited), Ok(None));
        assert_eq!(checked(json!({"exp": 1}), &unlimited), Err("token_expired"));
    }

    #[test]
    fn audience_and_issuer_have_to_be_accepted_ones() {
        let config = JwtConfig::default().with_audience("a").with_audience("b").with_issuer("i");
        for (claims, expected) in [
            (json!({"exp": 2000, "aud": "a", "iss": "i"}), Ok(())),
            (json!({"exp": 2000, "aud": ["x", "b"], "iss": "i"}), Ok(())),
            (json!({"exp": 2000, "aud": ["x", 7], "iss": "i"}), Err("token_audience")),
            (json!({"exp": 2000, "aud": [], "iss": "i"}), Err("token_audience")),
            (json!({"exp": 2000, "iss": "i"}), Err("token_audience")),
            (json!({"exp": 2000, "aud": "a"}), Err("token_issuer")),
            (json!({"exp": 2000, "aud": "a", "iss": "I"}), Err("token_issuer")),
        ] {
            assert_eq!(checked(claims.clone(), &config).map(drop), expected, "{claims}");
        }
        let nobody = json!({"exp": 2000, "aud": "a"});
        assert_eq!(checked(nobody.clone(), &JwtConfig::default()), Err("token_audience"));
        assert!(checked(nobody, &JwtConfig::default().with_any_audience()).is_ok());
    }
}
