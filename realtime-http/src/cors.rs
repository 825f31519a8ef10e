//! Cross-origin requests of pages: the headers with which they can read responses, and a layer that
//! sets them.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

use crate::origin::Origins;
use crate::refusal::refusal_response;

/// The time in seconds for which a browser may cache the response to a preflight.
const PREFLIGHT_AGE: HeaderValue = HeaderValue::from_static("600");

/// The headers that a script may read besides those that it always may: with a refusal.
const EXPOSED: HeaderValue = HeaderValue::from_static("retry-after, www-authenticate");

impl Origins {
    /// Sets the headers with which the requesting page can read the response, if it may connect
    /// (Fetch §3.2.3).
    ///
    /// Cookies are allowed for listed origins and the same host only: with [`Origins::any`] every
    /// page could use them.
    pub fn allow(&self, parts: &Parts, answer: &mut HeaderMap) {
        answer.append(VARY, HeaderValue::from_static("origin"));
        let Some(origin) = parts.headers.get(ORIGIN).filter(|_| self.check(parts).is_ok()) else { return };
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        if self.trusts(parts) {
            answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }

    /// Sets the headers of the response to a preflight (Fetch §4.8): a page that may connect may
    /// use these methods, and all headers that it requests, such as a CSRF token or those of
    /// tracing.
    pub fn allow_preflight(&self, parts: &Parts, methods: &'static str, answer: &mut HeaderMap) {
        self.allow(parts, answer);
        answer.insert(VARY, HeaderValue::from_static("origin, access-control-request-headers"));
        if !answer.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            return;
        }
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
        answer.insert(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE);
        for asked in parts.headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS) {
            answer.append(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
    }
}

/// A layer for routes that pages of other origins may call: it answers their preflights, and lets
/// them read the responses. The routes of the providers have it already.
///
/// A request of a page that may not connect is answered with 403, as a provider does, and does not
/// reach the route. Cookies that may be another page's doing are removed
/// ([`Origins::without_foreign_cookies`]).
///
/// ```
/// use axum::{Router, routing::post};
/// use realtime_http::{Cors, Origins};
///
/// let cors = Cors::new(Origins::only(["https://app.example"])).with_methods("POST");
/// let routes: Router = Router::new().route("/orders", post(async || "ordered")).layer(cors);
/// ```
#[derive(Clone, Debug)]
pub struct Cors {
    origins: Arc<Origins>,
    methods: &'static str,
}

impl Cors {
    /// Creates a layer that allows these pages every method.
    #[must_use]
    pub fn new(origins: Origins) -> Self {
        Self { origins: Arc::new(origins), methods: "GET, HEAD, POST, PUT, PATCH, DELETE" }
    }

    /// Sets the methods that a preflight names.
    #[must_use]
    pub fn with_methods(mut self, methods: &'static str) -> Self {
        self.methods = methods;
        self
    }

    /// Answers a preflight or the request of a page that may not connect.
    fn answer(&self, parts: &Parts) -> Option<Response> {
        if let Err(refusal) = self.origins.check(parts) {
            tracing::info!(path = parts.uri.path(), detail = ?refusal.message(), "request of a page refused");
            return Some(refusal_response(&refusal));
        }
        let is_preflight = parts.method == Method::OPTIONS && parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        is_preflight.then(|| StatusCode::NO_CONTENT.into_response())
    }
}

impl<S> Layer<S> for Cors {
    type Service = CorsService<S>;

    fn layer(&self, inner: S) -> CorsService<S> {
        CorsService { cors: self.clone(), inner }
    }
}

/// The service that [`Cors`] makes of a route.
#[derive(Clone, Debug)]
pub struct CorsService<S> {
    cors: Cors,
    inner: S,
}

impl<S> Service<Request> for CorsService<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let (parts, body) = request.into_parts();
        let (origins, mut headers) = (&self.cors.origins, HeaderMap::new());
        if let Some(mut response) = self.cors.answer(&parts) {
            origins.allow_preflight(&parts, self.cors.methods, &mut headers);
            response.headers_mut().extend(headers);
            return std::future::ready(Ok(response)).boxed();
        }
        origins.allow(&parts, &mut headers);
        let parts = origins.without_foreign_cookies(&parts).into_owned();
        let response = self.inner.call(Request::from_parts(parts, body));
        async move {
            let mut response = response.await?;
            // The route may have named headers too.
            let vary = headers.remove(VARY);
            response.headers_mut().extend(headers);
            if let Some(vary) = vary {
                response.headers_mut().append(VARY, vary);
            }
            Ok(response)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::routing::{get, post};
    use http::header::{COOKIE, HOST};

    use super::*;

    fn parts(host: &str, origin: Option<&str>) -> Parts {
        let request = http::Request::get("/sse").header(HOST, host);
        let request = origin.into_iter().fold(request, |request, origin| request.header(ORIGIN, origin));
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn preflight_allows_the_requested_headers() {
        let mut asked = parts("api.example", Some("https://app.example"));
        for names in ["traceparent, x-csrf-token", "sentry-trace"] {
            asked.headers.append(ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_static(names));
        }
        let answer = |origins: Origins| {
            let mut answer = HeaderMap::new();
            origins.allow_preflight(&asked, "GET", &mut answer);
            assert_eq!(answer[VARY], "origin, access-control-request-headers");
            let names = answer.get_all(ACCESS_CONTROL_ALLOW_HEADERS);
            let names: Vec<_> = names.iter().map(|names| names.to_str().unwrap().to_owned()).collect();
            let max_age = answer.get(ACCESS_CONTROL_MAX_AGE).map(|age| age.to_str().unwrap().to_owned());
            (names, max_age.unwrap_or_default())
        };
        for origins in [Origins::only(["https://app.example"]), Origins::any()] {
            let mirrored = vec!["traceparent, x-csrf-token".to_owned(), "sentry-trace".to_owned()];
            assert_eq!(answer(origins), (mirrored, "600".to_owned()));
        }
        assert_eq!(answer(Origins::default()), (Vec::new(), String::new()));
    }

    #[test]
    fn cookies_are_not_allowed_for_every_page() {
        let asked = parts("api.example", Some("https://app.example"));
        let answer = |origins: Origins| {
            let mut answer = HeaderMap::new();
            origins.allow(&asked, &mut answer);
            (answer.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN), answer.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS))
        };
        assert_eq!(answer(Origins::default()), (false, false));
        assert_eq!(answer(Origins::only(["https://app.example"])), (true, true));
        assert_eq!(answer(Origins::any()), (true, false));
    }

    /// Calls routes with these headers; the response's status and headers.
    async fn call(routes: &Router, method: Method, headers: &[(&str, &str)]) -> (u16, HeaderMap) {
        let request = http::Request::builder().method(method).uri("/orders").header(HOST, "api.example");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let response = routes.clone().call(request.body(Body::empty()).unwrap()).await.unwrap();
        (response.status().as_u16(), response.headers().clone())
    }

    #[tokio::test]
    async fn layer_answers_preflights_and_refuses_foreign_pages() {
        let routes = post(async || "ordered").get(async || ([(VARY, "accept")], "orders"));
        let cors = Cors::new(Origins::only(["https://*.app.example"])).with_methods("GET, POST");
        let routes = Router::new().route("/orders", routes).layer(cors);
        let page = ("origin", "https://a.app.example");
        let asked = [("access-control-request-method", "POST"), ("access-control-request-headers", "authorization")];

        let (status, headers) = call(&routes, Method::OPTIONS, &[page, asked[0], asked[1]]).await;
        assert_eq!((status, &headers[ACCESS_CONTROL_ALLOW_METHODS]), (204, &"GET, POST".parse().unwrap()));
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], page.1);
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_HEADERS], "authorization");
        let (status, headers) = call(&routes, Method::GET, &[page]).await;
        assert_eq!((status, &headers[ACCESS_CONTROL_ALLOW_CREDENTIALS]), (200, &"true".parse().unwrap()));
        let vary: Vec<_> = headers.get_all(VARY).iter().collect();
        assert_eq!(vary, ["accept", "origin"]);

        for foreign in [&[("origin", "https://evil.example")][..], &[("sec-fetch-site", "cross-site")]] {
            for method in [Method::OPTIONS, Method::POST] {
                let (status, headers) = call(&routes, method, &[foreign, &asked].concat()).await;
                assert_eq!(status, 403, "{foreign:?}");
                assert!(!headers.keys().any(|name| name.as_str().starts_with("access-control")), "{headers:?}");
            }
        }
        assert_eq!(call(&routes, Method::POST, &[]).await.0, 200, "a program");
    }

    #[tokio::test]
    async fn layer_removes_cookies_of_unlisted_pages() {
        let status = async |headers: HeaderMap| {
            if headers.contains_key(COOKIE) { StatusCode::CREATED } else { StatusCode::ACCEPTED }
        };
        let origins = Origins::any().and("https://app.example").and("null");
        let routes = Router::new().route("/orders", get(status)).layer(Cors::new(origins));
        for (headers, expected) in [
            (&[][..], 201),
            (&[("origin", "https://app.example")], 201),
            (&[("origin", "https://api.example")], 201),
            (&[("origin", "https://evil.example")], 202),
            (&[("origin", "null")], 202),
            (&[("sec-fetch-site", "cross-site")], 202),
            (&[("sec-fetch-site", "same-origin")], 201),
        ] {
            let headers = [headers, &[("cookie", "session=1")]].concat();
            let (status, answer) = call(&routes, Method::GET, &headers).await;
            assert_eq!(status, expected, "{headers:?}");
            let page = headers.iter().any(|(name, _)| *name == "origin");
            assert_eq!(answer.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS), page && expected == 201, "{headers:?}");
        }
    }
}
