use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Request};

/// Returns whether a header that is a list contains this token: over all lines, split at commas,
/// without surrounding white space, case-insensitive (RFC 9110 §5.3, §5.6.1).
pub fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let lines = headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
    lines
        .flat_map(|line| line.split(|byte| *byte == b','))
        .any(|own| own.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Returns the request of a WebSocket's handshake (RFC 6455 §4.2.1) for parsers that read only one
/// line of a header, and that as a whole: `Connection` and `Upgrade` have the one value for a
/// websocket, if the request contains that value at all.
pub fn websocket_request<B>(request: &Request<B>) -> Request<()> {
    let mut headers = request.headers().clone();
    for (name, token) in [(CONNECTION, "upgrade"), (UPGRADE, "websocket")] {
        if has_token(request.headers(), name.clone(), token) {
            headers.insert(name, HeaderValue::from_static(token));
        }
    }
    let mut plain = Request::new(());
    plain.method_mut().clone_from(request.method());
    *plain.version_mut() = request.version();
    *plain.headers_mut() = headers;
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(lines: &[(HeaderName, &'static [u8])]) -> Request<()> {
        let mut request = Request::new(());
        for (name, value) in lines {
            request.headers_mut().append(name, HeaderValue::from_bytes(value).unwrap());
        }
        request
    }

    #[test]
    fn header_lists_are_read_over_all_lines_by_token() {
        let requests: [&[(HeaderName, &'static [u8])]; 5] = [
            &[(CONNECTION, b"Upgrade"), (UPGRADE, b"websocket")],
            &[(CONNECTION, b"keep-alive"), (CONNECTION, b"Upgrade"), (UPGRADE, b"h2c, websocket")],
            &[(CONNECTION, b"keep-alive,\tUpgrade\t"), (UPGRADE, b"h2c"), (UPGRADE, b"WebSocket")],
            &[(CONNECTION, b",, upgrade ,"), (UPGRADE, b" websocket ,x")],
            &[(CONNECTION, b"\xff, upgrade"), (UPGRADE, b"\xff,websocket")],
        ];
        for lines in requests {
            let request = websocket_request(&request(lines));
            assert_eq!(request.headers()[CONNECTION], "upgrade", "{lines:?}");
            assert_eq!(request.headers()[UPGRADE], "websocket", "{lines:?}");
            assert_eq!(request.headers().len(), 2, "{lines:?}");
        }
        for lines in [&[(CONNECTION, &b"upgrades"[..]), (UPGRADE, b"websockets")][..], &[(CONNECTION, b"up, grade")]] {
            let request = request(lines);
            assert_eq!(websocket_request(&request).headers(), request.headers());
        }
    }
}
