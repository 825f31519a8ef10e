//! The token of a request, and the same request with another one.

use http::header::{AUTHORIZATION, COOKIE, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use serde_json::Value;

use super::ConnectRequest;
use crate::values::refusal::Refusal;

/// The name of the token in a cookie, a query and `auth`.
const NAME: &str = "token";

/// The mark of a request that refreshes a connection's credentials.
#[derive(Clone, Copy)]
struct Refresh;

impl ConnectRequest {
    /// Returns the same request with this token in the place of the one that
    /// [`ConnectRequest::token`] found; where there was none, in Socket.IO's `auth` if the client
    /// passed one, or else as `Authorization: Bearer …`. [`ConnectRequest::is_refresh`] holds for
    /// it.
    ///
    /// # Errors
    /// A [`Refusal`] when the token is empty, or has characters that it cannot have in its place.
    pub fn with_token(&self, token: &str) -> Result<Self, Refusal> {
        if token.is_empty() {
            return Err(Refusal::bad_request("the token is empty"));
        }
        let mut request = self.clone();
        let mut parts = self.parts().clone();
        parts.extensions.insert(Refresh);
        if self.bearer().is_some() {
            set_bearer(&mut parts, token)?;
        } else if self.cookie(NAME).is_some() {
            set_cookie(&mut parts, token)?;
        } else if self.query(NAME).is_some() {
            self.set_query(&mut parts, token)?;
        } else if let Some(Value::Object(auth)) = self.auth() {
            let mut auth = auth.clone();
            auth.insert(NAME.to_owned(), token.into());
            request = request.with_auth(Some(Value::Object(auth)));
        } else {
            set_bearer(&mut parts, token)?;
        }
        request.parts = parts.into();
        Ok(request)
    }

    /// Returns whether a client that is connected asks to be accepted with another token, and not
    /// one that connects.
    #[must_use]
    pub fn is_refresh(&self) -> bool {
        self.parts.extensions.get::<Refresh>().is_some()
    }

    fn set_query(&self, parts: &mut Parts, token: &str) -> Result<(), Refusal> {
        let mut token = Some(token);
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (key, value) in self.query_pairs() {
            let new = if key == NAME { token.take() } else { None };
            query.append_pair(&key, new.unwrap_or(&value));
        }
        let mut uri = parts.uri.clone().into_parts();
        let path = format!("{}?{}", parts.uri.path(), query.finish());
        uri.path_and_query = Some(PathAndQuery::try_from(path).map_err(|_| invalid())?);
        parts.uri = http::Uri::from_parts(uri).map_err(|_| invalid())?;
        Ok(())
    }
}

fn set_bearer(parts: &mut Parts, token: &str) -> Result<(), Refusal> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| invalid())?;
    value.set_sensitive(true);
    parts.headers.insert(AUTHORIZATION, value);
    Ok(())
}

fn set_cookie(parts: &mut Parts, token: &str) -> Result<(), Refusal> {
    // RFC 6265 §4.1.1.
    if !token.bytes().all(|byte| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte)) {
        return Err(invalid());
    }
    let mut token = Some(token);
    let mut lines = Vec::new();
    for line in parts.headers.get_all(COOKIE) {
        let cookies = line.as_bytes().split(|byte| *byte == b';').map(|cookie| {
            let text = std::str::from_utf8(cookie.trim_ascii()).ok();
            let is_token = text.and_then(|text| text.split_once('=')).is_some_and(|(key, _)| key == NAME);
            let new = if is_token { token.take() } else { None };
            new.map_or_else(|| cookie.to_vec(), |token| format!("{NAME}={token}").into_bytes())
        });
        let line = cookies.collect::<Vec<_>>().join(&b';');
        lines.push(HeaderValue::from_bytes(&line).map_err(|_| invalid())?);
    }
    parts.headers.remove(COOKIE);
    lines.into_iter().for_each(|line| {
        parts.headers.append(COOKIE, line);
    });
    Ok(())
}

fn invalid() -> Refusal {
    Refusal::bad_request("the token contains invalid characters")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, headers: &[(&str, &str)]) -> ConnectRequest {
        let request =
            headers.iter().fold(http::Request::get(uri), |request, (key, value)| request.header(*key, *value));
        ConnectRequest::new("sse", &request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn token_is_replaced_where_it_was_presented() {
        let all = [("authorization", "bearer a"), ("cookie", "x=1; token=\"b\"; y=2")];
        let uri = "/sse?channel=r%20r&token=c&token=d";
        let bearer = request(uri, &all).with_token("new").unwrap();
        assert_eq!(bearer.parts().headers[AUTHORIZATION], "Bearer new");
        assert_eq!((bearer.cookie("token"), bearer.query("token").as_deref()), (Some("b"), Some("c")));
        let cookie = request(uri, &all[1..]).with_token("new").unwrap();
        assert_eq!(cookie.parts().headers[COOKIE], "x=1;token=new; y=2");
        assert_eq!((cookie.token().as_deref(), cookie.query("token").as_deref()), (Some("new"), Some("c")));
        let query = request(uri, &[]).with_token("n&w").unwrap();
        assert_eq!(query.parts().uri, "/sse?channel=r+r&token=n%26w&token=d");
        assert_eq!((query.token().as_deref(), query.query("channel").as_deref()), (Some("n&w"), Some("r r")));
        let auth = serde_json::json!({"token": "a", "rooms": ["r"]});
        let auth = request("/socket.io/", &[]).with_auth(Some(auth)).with_token("new").unwrap();
        assert_eq!(auth.auth(), Some(&serde_json::json!({"token": "new", "rooms": ["r"]})));
    }

    #[test]
    fn token_of_a_request_without_one_is_found() {
        for first in [request("/sse", &[]), request("/sse?user=ann", &[]).with_auth(Some("x".into()))] {
            let refresh = first.with_token("new").unwrap();
            assert_eq!(refresh.token().as_deref(), Some("new"));
            assert!(refresh.is_refresh() && !first.is_refresh());
        }
        let auth = request("/sse", &[]).with_auth(Some(serde_json::json!({})));
        assert_eq!(auth.with_token("new").unwrap().auth_text("token"), Some("new"));
    }

    #[test]
    fn token_that_does_not_fit_its_place_is_refused() {
        let bearer = request("/sse", &[("authorization", "Bearer a")]);
        let cookie = request("/sse", &[("cookie", "token=a")]);
        let query = request("/sse?token=a", &[]);
        assert!([&bearer, &cookie, &query].iter().all(|request| request.with_token("").is_err()));
        assert!(bearer.with_token("a\r\nb").is_err() && query.with_token("a\r\nb").is_ok());
        for token in ["a;b", "a b", "a,b", "a\"b", "ä"] {
            assert!(cookie.with_token(token).is_err(), "{token}");
        }
    }
}
