//! The servers that our transports are compared with.

use std::sync::Arc;

use axum::http::Uri;
use bytes::Bytes;

use crate::Result;
use crate::server::Audience;

pub mod axum_sse;
pub mod floor;
pub mod mailboxes;
pub mod plain;
pub mod socketioxide;
pub mod tungstenite;

/// The number of events that may wait in a `tokio::sync::broadcast`.
const BROADCAST: usize = 1024;

/// A text as long as a cursor: the peers send as many bytes as our transports do.
const ID: &str = "AgFdG7_mlwdnoAAAAAAAAAABAAAAAYb3p0d1Q2kzX1mWq8sT5u";

/// A published text, shared by all connections.
type Text = Arc<str>;

/// Encodes the envelope that our WebSocket provider writes.
fn envelope(json: &Bytes) -> Result<String> {
    let event = crate::payload::EVENT;
    Ok(format!("{{\"type\":\"{event}\",\"payload\":{},\"id\":\"{ID}\"}}", std::str::from_utf8(json)?))
}

/// Returns the user in a client's URL.
fn user_in(uri: &Uri) -> Option<String> {
    let pairs = uri.query().unwrap_or_default().split('&');
    pairs.filter_map(|pair| pair.split_once('=')).find_map(|(name, value)| (name == "user").then(|| value.to_owned()))
}

/// Rejects audiences that a peer without users does not have.
fn everyone(audience: &Audience) -> Result<()> {
    match audience {
        Audience::All => Ok(()),
        Audience::Room(_) | Audience::User(_) => Err("this server has no rooms and users".into()),
    }
}
