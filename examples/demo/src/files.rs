//! Files of a page inside the program.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::routing::get;

/// Returns the routes of files: their paths, texts and types. Pages load from their own server
/// only.
pub(crate) fn routes(files: impl IntoIterator<Item = (&'static str, &'static str, &'static str)>) -> Router {
    files.into_iter().fold(Router::new(), |router, (path, text, kind)| {
        let policy = if kind.starts_with("text/html") {
            "default-src 'self'; img-src 'self' data:; base-uri 'none'; object-src 'none'"
        } else {
            "default-src 'none'"
        };
        let headers = [
            (CONTENT_TYPE, kind),
            (CACHE_CONTROL, "no-cache"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (CONTENT_SECURITY_POLICY, policy),
        ];
        router.route(path, get(async move || (headers, text)))
    })
}
