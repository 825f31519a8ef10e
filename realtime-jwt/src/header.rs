use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use realtime_core::Refusal;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::algorithm::JwtAlgorithm;
use crate::refusals::malformed;

/// The parts of a token's header that count. Keys and addresses of keys that a header may have
/// (`jwk`, `jku`, `x5u`) do not: whoever made the token wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) algorithm: JwtAlgorithm,
    pub(crate) key_id: Option<String>,
}

#[derive(Deserialize)]
struct Fields {
    alg: String,
    kid: Option<String>,
    crit: Option<IgnoredAny>,
}

impl Header {
    /// Reads the header of a compact token: three parts of base64url (RFC 7515 §7.1).
    ///
    /// # Errors
    /// The refusal of a token that is none, or of an algorithm or an extension that is not known.
    pub(crate) fn read(token: &str) -> Result<Self, Refusal> {
        let mut parts = token.split('.');
        let (Some(header), Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(malformed("the token is no JWT: three parts with dots between them"));
        };
        let bytes = URL_SAFE_NO_PAD.decode(header).map_err(|_| malformed("the token's header is not base64url"))?;
        let fields: Fields =
            serde_json::from_slice(&bytes).map_err(|_| malformed("the token's header is not that of a JWT"))?;
        if fields.crit.is_some() {
            // RFC 7515 §4.1.11: what is not understood must be rejected.
            return Err(malformed("the token's header has an extension that is not known here"));
        }
        let algorithm = JwtAlgorithm::of_name(&fields.alg)
            .ok_or_else(|| malformed("the token is unsigned, or of an algorithm that is not known here"))?;
        Ok(Self { algorithm, key_id: fields.kid })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &str) -> Result<Header, Refusal> {
        Header::read(&format!("{}.e30.c2ln", URL_SAFE_NO_PAD.encode(header)))
    }

    #[test]
    fn header_has_algorithm_and_key_id() {
        let header = read(r#"{"typ":"JWT","alg":"ES256","kid":"a","jku":"https://evil.example"}"#).unwrap();
        assert_eq!(header, Header { algorithm: JwtAlgorithm::Es256, key_id: Some("a".to_owned()) });
        assert_eq!(read(r#"{"alg":"HS256"}"#).unwrap().key_id, None);
    }

    #[test]
    fn header_that_cannot_be_trusted_is_malformed() {
        let deep = format!(r#"{{"alg":"HS256","x":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
        let headers = [
            r#"{"alg":"none"}"#,
            r#"{"alg":"None","kid":"a"}"#,
            r#"{"alg":["HS256"]}"#,
            r#"{"kid":"a"}"#,
            r#"{"alg":"HS256","crit":["exp"]}"#,
            r#"{"alg":"HS256","kid":7}"#,
            "[]",
            "",
        ];
        for header in headers {
            assert_eq!(read(header).unwrap_err().code(), "token_malformed", "{header}");
        }
        // Nested as deep as a token may be long, it is read or refused, and nothing overflows.
        drop(read(&deep));
        for token in ["", ".", "..", "a.b", "a.b.c.d", "é.e30.x", "eyJhbGciOiJIUzI1NiJ9=.e30.x"] {
            assert_eq!(Header::read(token).unwrap_err().code(), "token_malformed", "{token}");
        }
    }
}
