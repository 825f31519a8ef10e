/// What answers say in `Cache-Control` that must reach the client at once and as they are: a proxy that compresses or
/// transforms a stream would hold it back until it has enough of it (RFC 9111 §5.2.2.6).
pub const NO_TRANSFORM: &str = "no-cache, no-transform";
