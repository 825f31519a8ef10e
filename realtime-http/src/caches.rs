/// The `Cache-Control` of responses that must reach the client immediately and unchanged: a proxy
/// that compresses or transforms a stream would delay it until there is enough of it (RFC 9111
/// §5.2.2.6).
pub const NO_TRANSFORM: &str = "no-cache, no-transform";
