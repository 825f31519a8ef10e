use http::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_PROTOCOL};

/// The subprotocol that carries a token: in a browser `new WebSocket(url, ['bearer', token])`,
/// since a page can set no header of a handshake but this one.
const BEARER: &str = "bearer";

/// The default of the most subprotocols that a client may offer.
pub const MAX_SUBPROTOCOLS: usize = 32;

/// The subprotocols that a client offers for a WebSocket (RFC 6455 §4.1), without the token that
/// may be among them: the offer after `bearer`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Subprotocols<'a> {
    offers: Vec<&'a str>,
    bearer: Option<&'a str>,
    token: Option<&'a str>,
}

/// The reason why the header `Sec-WebSocket-Protocol` cannot be read.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubprotocolError {
    /// An offer of characters that no token has (RFC 9110 §5.6.2).
    #[error("invalid subprotocol name in Sec-WebSocket-Protocol; allowed: letters, digits and !#$%&'*+-.^_`|~")]
    Malformed,
    /// The subprotocol `bearer`, which the application does not speak otherwise, and nothing after
    /// it.
    #[error("the subprotocol bearer is followed by a token: new WebSocket(url, ['bearer', token])")]
    NoToken,
    /// The subprotocol `bearer` more than once.
    #[error("sec-websocket-protocol has more than one token")]
    SeveralTokens,
    /// More offers than are read.
    #[error("sec-websocket-protocol has too many offers")]
    TooMany,
}

impl<'a> Subprotocols<'a> {
    /// Reads the offers of all lines of the header, up to [`MAX_SUBPROTOCOLS`].
    ///
    /// # Errors
    /// [`SubprotocolError`], for the answer 400.
    pub fn read(headers: &'a HeaderMap) -> Result<Self, SubprotocolError> {
        Self::read_up_to(headers, MAX_SUBPROTOCOLS)
    }

    /// Reads the offers of all lines of the header, up to so many.
    ///
    /// # Errors
    /// [`SubprotocolError`], for the answer 400.
    pub fn read_up_to(headers: &'a HeaderMap, most: usize) -> Result<Self, SubprotocolError> {
        let lines = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter().map(HeaderValue::as_bytes);
        let offers = lines.flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
        let mut read = Self::default();
        let mut carries = false;
        // A list may have empty elements (RFC 9110 §5.6.1.2).
        for (at, offer) in offers.filter(|offer| !offer.is_empty()).enumerate() {
            if at == most {
                return Err(SubprotocolError::TooMany);
            }
            let offer = std::str::from_utf8(offer).ok().filter(|offer| offer.bytes().all(is_token_byte));
            let offer = offer.ok_or(SubprotocolError::Malformed)?;
            if std::mem::take(&mut carries) {
                read.token = Some(offer);
            } else if offer.eq_ignore_ascii_case(BEARER) {
                if read.bearer.replace(offer).is_some() {
                    return Err(SubprotocolError::SeveralTokens);
                }
                carries = true;
            } else {
                read.offers.push(offer);
            }
        }
        Ok(read)
    }

    /// Returns the token after `bearer`, if there is one.
    #[must_use]
    pub fn token(&self) -> Option<&'a str> {
        self.token
    }

    /// Returns the subprotocol to answer, of those that are spoken here: the first offer that is,
    /// or else `bearer`, which only carried the token. Never the token. `None` means no subprotocol
    /// in the answer (RFC 6455 §4.2.2).
    ///
    /// # Errors
    /// [`SubprotocolError::NoToken`].
    pub fn answer(&self, spoken: &[String]) -> Result<Option<&'a str>, SubprotocolError> {
        let is_spoken = |offer: &str| spoken.iter().any(|spoken| spoken == offer);
        match (self.bearer, self.token) {
            // A subprotocol of the application's own that has this name.
            (Some(bearer), None) if is_spoken(bearer) => {}
            (Some(_), None) => return Err(SubprotocolError::NoToken),
            _ => {}
        }
        Ok(self.offers.iter().copied().find(|offer| is_spoken(offer)).or(self.bearer))
    }
}

/// Returns whether a byte may be in a token (RFC 9110 §5.6.2).
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

impl std::fmt::Debug for Subprotocols<'_> {
    /// Writes the offers without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subprotocols").field("offers", &self.offers).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lines<'a> = &'a [&'a [u8]];

    fn headers(lines: Lines<'_>) -> HeaderMap {
        lines.iter().map(|line| (SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_bytes(line).unwrap())).collect()
    }

    /// Returns the token and the answer where `v1` and `v2` are spoken.
    fn read(lines: Lines<'_>) -> Result<(Option<String>, Option<String>), SubprotocolError> {
        let headers = headers(lines);
        let read = Subprotocols::read(&headers)?;
        let answer = read.answer(&["v1".to_owned(), "v2".to_owned()])?;
        Ok((read.token().map(str::to_owned), answer.map(str::to_owned)))
    }

    #[test]
    fn token_follows_bearer_and_is_never_answered() {
        let cases: [(Lines<'_>, Option<&str>, Option<&str>); 9] = [
            (&[], None, None),
            (&[b""], None, None),
            (&[b"bearer, a.b-c_d"], Some("a.b-c_d"), Some("bearer")),
            (&[b"Bearer", b" ,a.b"], Some("a.b"), Some("Bearer")),
            (&[b"bearer,v1"], Some("v1"), Some("bearer")),
            (&[b"bearer,a,v2,v1"], Some("a"), Some("v2")),
            (&[b"v3,v1", b"bearer,bearer"], Some("bearer"), Some("v1")),
            (&[b"v3, V1"], None, None),
            (&[b"v2, v1"], None, Some("v2")),
        ];
        for (lines, token, answer) in cases {
            let expected = (token.map(str::to_owned), answer.map(str::to_owned));
            assert_eq!(read(lines), Ok(expected), "{lines:?}");
        }
    }

    #[test]
    fn malformed_offers_are_errors() {
        let many = "a,".repeat(33);
        let cases: [(Lines<'_>, SubprotocolError); 7] = [
            (&[b"bearer"], SubprotocolError::NoToken),
            (&[b"bearer, , "], SubprotocolError::NoToken),
            (&[b"bearer, a, bearer, b"], SubprotocolError::SeveralTokens),
            (&[b"bearer a"], SubprotocolError::Malformed),
            (&[b"v1, \"a\""], SubprotocolError::Malformed),
            (&[b"v1, \xff"], SubprotocolError::Malformed),
            (&[many.as_bytes()], SubprotocolError::TooMany),
        ];
        for (lines, error) in cases {
            assert_eq!(read(lines), Err(error), "{lines:?}");
        }
    }

    #[test]
    fn bearer_of_the_application_itself_needs_no_token() {
        let headers = headers(&[b"bearer"]);
        let read = Subprotocols::read(&headers).unwrap();
        assert_eq!(read.answer(&["bearer".to_owned()]), Ok(Some("bearer")));
    }

    #[test]
    fn debug_shows_no_token() {
        let headers = headers(&[b"v1,bearer,secret"]);
        assert!(!format!("{:?}", Subprotocols::read(&headers).unwrap()).contains("secret"));
    }
}
