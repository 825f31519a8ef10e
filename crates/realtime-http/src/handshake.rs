use std::collections::HashSet;

use http::request::Parts;
use realtime_core::{Admitted, Codec, ConnectRequest, Dispatcher, MAX_ROOMS, Refusal};

use crate::Origins;

/// What a client may say in the URL of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectQuery {
    /// The rooms named by `channel`, which may be repeated; each once, and no more than one over [`MAX_ROOMS`], with which
    /// the request is refused.
    pub channels: Vec<String>,
    /// The place to go on from, named by `lastEventId`.
    pub last_event_id: Option<String>,
}

impl ConnectQuery {
    /// Reads it from a request.
    pub fn of(request: &ConnectRequest<'_>) -> Self {
        let mut channels: Vec<String> = Vec::new();
        let mut known = HashSet::new();
        for channel in request.query_all("channel") {
            if channels.len() > MAX_ROOMS {
                // Too many already: what else there is need not be looked at before anybody is known to ask.
                break;
            }
            if !known.contains(&*channel) {
                known.insert(channel.clone());
                channels.push(channel.into_owned());
            }
        }
        Self { channels, last_event_id: request.query("lastEventId").map(Into::into) }
    }
}

/// Checks a request's origin, who it is from, the rooms it names and the limits; `last_event_id` wins over the query's.
///
/// # Errors
/// A [`Refusal`], counted and logged.
pub async fn admit<C: Codec>(
    dispatcher: &Dispatcher<C>,
    origins: &Origins,
    parts: &Parts,
    last_event_id: Option<String>,
) -> Result<Admitted, Refusal> {
    origins.check(parts).map_err(|refusal| dispatcher.refuse(refusal))?;
    let request = ConnectRequest::new(dispatcher.config().provider, parts);
    let query = ConnectQuery::of(&request);
    dispatcher.admit(&request, &query.channels, last_event_id.or(query.last_event_id)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels(query: &str) -> Vec<String> {
        let parts = http::Request::get(format!("/sse?{query}")).body(()).unwrap().into_parts().0;
        ConnectQuery::of(&ConnectRequest::new("sse", &parts)).channels
    }

    #[test]
    fn a_room_that_is_named_twice_is_one() {
        assert_eq!(channels("channel=b&x=1&channel=a&channel=b&channel=%61"), ["b", "a"]);
        assert_eq!(channels(&"channel=a&".repeat(6_000)), ["a"]);
    }

    #[test]
    fn rooms_beyond_the_bound_are_not_read() {
        let names: Vec<_> = (0..4_000).map(|n| format!("channel={n}")).collect();
        assert_eq!(channels(&names.join("&")).len(), MAX_ROOMS + 1);
        assert_eq!(channels(&names[..MAX_ROOMS].join("&")).len(), MAX_ROOMS);
    }
}
