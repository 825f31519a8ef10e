use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Uri, header};
use socketioxide::socket::Sid;

use crate::engine::sessions::secret::Secret;

/// Parameters of the protocol in a request's query, among those of the application.
///
/// A key may occur twice, once as the application's and once as the protocol's, in any order:
/// socket.io-client writes its own over the application's, which keeps its position before `EIO`
/// (engine.io-client 6.6, `createTransport`); python-engineio appends its own
/// (`_get_engineio_url`); SocketIOClient of .NET puts `EIO` and `transport` first and `sid` and `t`
/// last. npm's server reads a key that occurs twice as a list, which is not a valid value. So the
/// protocol's value is the one that is valid in the protocol, at any position.
///
/// A session's id is recognised by its form ([`Secret`]), at any position and however often `sid`
/// occurs. Any other `sid` is the application's, except behind both `EIO` and `transport`, where
/// the official clients put the protocol's: there it may be the id of another server's session, and
/// the client has to get the error for a closed session. A `sid` of the application at that
/// position, in a request that opens a session, cannot be distinguished from such an id; .NET's and
/// Java's clients write it there.
pub(crate) struct Query {
    pub(crate) protocol: bool,
    pub(crate) transport: Option<Transport>,
    pub(crate) sid: SessionParam,
    /// Values of `t`, which prevents caching, and identifies the request if each one has a value of
    /// its own.
    pub(crate) t_values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Polling,
    Websocket,
}

/// Session that a request names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SessionParam {
    /// The session of another server.
    Foreign,
    /// A new session.
    None,
    /// The session with one of these secrets.
    Session(Vec<Secret>),
}

impl Query {
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        Self::read(request.uri().query().unwrap_or_default(), request.headers())
    }

    pub(crate) fn read(query: &str, headers: &HeaderMap) -> Self {
        let values =
            |name: &'static str| query.split('&').filter_map(move |pair| pair.strip_prefix(name)?.strip_prefix('='));
        let names = |transport: &str| values("transport").any(|value| value == transport);
        let transport = match (names("polling"), names("websocket")) {
            // One of the two is the application's.
            (true, true) if headers.contains_key(header::UPGRADE) => Some(Transport::Websocket),
            (true, _) => Some(Transport::Polling),
            (false, true) => Some(Transport::Websocket),
            (false, false) => None,
        };
        Self {
            protocol: values("EIO").any(|value| value == "4"),
            transport,
            sid: SessionParam::among(query),
            t_values: values("t").filter(|mark| !mark.is_empty()).map(str::to_owned).collect(),
        }
    }
}

impl SessionParam {
    fn among(query: &str) -> Self {
        let secrets: Vec<_> =
            query.split('&').filter_map(|pair| pair.strip_prefix("sid=")).filter_map(Secret::parse).collect();
        if !secrets.is_empty() {
            return Self::Session(secrets);
        }
        let (mut version, mut transport) = (false, false);
        for pair in query.split('&') {
            version |= pair == "EIO=4";
            transport |= matches!(pair, "transport=polling" | "transport=websocket");
            if version && transport && pair.starts_with("sid=") {
                return Self::Foreign;
            }
        }
        Self::None
    }
}

/// Returns the URI by which engineioxide finds a session.
pub(crate) fn session_uri(path: &str, transport: Transport, sid: Sid) -> String {
    format!("{path}?EIO=4&transport={}&sid={}", transport.name(), sid.as_str())
}

/// Returns the URI of a request that opens a session as engineioxide has to read it, which takes
/// the first value of each key: the protocol's are put first, and the name of an application's
/// `sid` is escaped, which the application reads unescaped.
///
/// None when the URI needs no change.
///
/// # Errors
/// [`TooLong`] when the result would be longer than a URI can be: with the URI unchanged,
/// engineioxide would look for the session of its `sid`.
pub(crate) fn opening_uri(uri: &Uri, transport: Transport) -> Result<Option<Uri>, TooLong> {
    let query = uri.query().unwrap_or_default();
    let first = |name: &str| query.split('&').find(|pair| pair.starts_with(name)).unwrap_or_default();
    let named = format!("transport={}", transport.name());
    if first("EIO=") == "EIO=4" && first("transport=") == named && first("sid=").is_empty() {
        return Ok(None);
    }
    let pairs = query.split('&').map(|pair| match pair.strip_prefix("sid=") {
        Some(value) => format!("%73id={value}"),
        None => pair.to_owned(),
    });
    let query = ["EIO=4".to_owned(), named].into_iter().chain(pairs).collect::<Vec<_>>().join("&");
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(format!("{}?{query}", uri.path())).map_err(|_| TooLong)?);
    Uri::from_parts(parts).map(Some).map_err(|_| TooLong)
}

/// Error of a URI that would become too long.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Transport {
    fn name(self) -> &'static str {
        match self {
            Self::Polling => "polling",
            Self::Websocket => "websocket",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "realtime-AAAAAAAAAAAAAAAABBBBBBBBBBBBBBBB";

    fn read(query: &str) -> Query {
        Query::read(query, &HeaderMap::new())
    }

    #[test]
    fn protocol_keys_are_found_among_application_keys() {
        for query in [
            format!("EIO=4&transport=polling&sid={SECRET}&t=1"),
            format!("sid={SECRET}&t=1&EIO=4&transport=polling"),
            format!("sid=x&transport=fast&EIO=mine&t=1&transport=polling&EIO=4&sid={SECRET}"),
            format!("EIO=4&transport=polling&EIO=mine&transport=websocket&sid={SECRET}&sid=x&t=1"),
        ] {
            let found = read(&query);
            assert!(found.protocol, "{query}");
            assert_eq!(found.transport, Some(Transport::Polling), "{query}");
            assert_eq!(found.sid, SessionParam::Session(vec![Secret::parse(SECRET).unwrap()]), "{query}");
            assert_eq!(found.t_values, ["1"], "{query}");
        }
        assert_eq!(read("t=acme&t=&t=2").t_values, ["acme", "2"]);
    }

    #[test]
    fn upgrade_header_decides_between_two_transports() {
        let headers = HeaderMap::from_iter([(header::UPGRADE, http::HeaderValue::from_static("websocket"))]);
        for query in ["transport=polling&transport=websocket", "transport=websocket&transport=polling"] {
            assert_eq!(Query::read(query, &headers).transport, Some(Transport::Websocket));
            assert_eq!(read(query).transport, Some(Transport::Polling));
        }
        assert_eq!(Query::read("transport=polling", &headers).transport, Some(Transport::Polling));
        assert_eq!(read("transport=websocket").transport, Some(Transport::Websocket));
        assert_eq!(read("transport=pigeon").transport, None);
    }

    /// Ids of engineioxide and npm's server, ids of other forms, and values that are no ids.
    const OTHERS: [&str; 8] = [
        "",
        "x",
        "s%3Aabc.def",
        "AAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAA",
        "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "realtime-AAAAAAAAAAAAAAAABBBBBBBBBBBBBBB",
        "é",
    ];

    #[test]
    fn sid_behind_eio_and_transport_is_foreign() {
        assert_eq!(read("EIO=4&transport=polling").sid, SessionParam::None);
        for other in OTHERS {
            for behind in ["EIO=4&transport=polling", "transport=websocket&EIO=4", "t=1&EIO=4&a=b&transport=polling"] {
                assert_eq!(read(&format!("{behind}&sid={other}")).sid, SessionParam::Foreign, "{behind} {other}");
                assert_eq!(
                    read(&format!("sid=x&{behind}&sid={other}&t=1")).sid,
                    SessionParam::Foreign,
                    "{behind} {other}"
                );
            }
        }
    }

    #[test]
    fn application_sid_is_ignored() {
        for own in OTHERS {
            for query in [
                format!("sid={own}&EIO=4&transport=polling"),
                format!("EIO=4&sid={own}&transport=polling"),
                format!("transport=websocket&sid={own}&EIO=4"),
                format!("EIO=1&transport=fast&sid={own}&EIO=4&transport=polling"),
            ] {
                assert_eq!(read(&query).sid, SessionParam::None, "{query}");
            }
            let session = SessionParam::Session(vec![Secret::parse(SECRET).unwrap()]);
            for query in [
                format!("sid={own}&EIO=4&transport=polling&sid={SECRET}"),
                format!("EIO=4&transport=polling&sid={own}&sid={SECRET}&t=1"),
                format!("EIO=4&transport=polling&sid={SECRET}&sid={own}"),
                format!("sid={SECRET}&EIO=4&transport=polling&sid={own}"),
                format!("sid={SECRET}&sid={own}&EIO=4&transport=websocket"),
            ] {
                assert_eq!(read(&query).sid, session, "{query}");
            }
        }
    }

    #[test]
    fn opening_uri_is_rewritten_only_if_necessary() {
        let rewritten = |uri: &'static str| {
            let rewritten = opening_uri(&Uri::from_static(uri), Transport::Polling).unwrap();
            rewritten.map(|uri| uri.to_string())
        };
        assert_eq!(rewritten("/socket.io/?token=a&EIO=4&transport=polling&t=1"), None);
        assert_eq!(
            rewritten("/socket.io/?sid=x%20y&EIO=4&transport=polling").unwrap(),
            "/socket.io/?EIO=4&transport=polling&%73id=x%20y&EIO=4&transport=polling"
        );
        assert_eq!(
            rewritten("/socket.io/?EIO=a&transport=b&EIO=4&transport=polling").unwrap(),
            "/socket.io/?EIO=4&transport=polling&EIO=a&transport=b&EIO=4&transport=polling"
        );
    }

    #[test]
    fn opening_uri_that_becomes_too_long_is_an_error() {
        let long = format!("/socket.io/?sid=AAAAAAAAAAAAAAAA&{}EIO=4&transport=polling", "sid=&".repeat(9_400));
        assert_eq!(opening_uri(&long.parse().unwrap(), Transport::Polling), Err(TooLong));
    }
}
