use std::collections::HashSet;

use http::request::Parts;
use realtime_core::spi::{Admitted, Codec, Dispatcher, RefusedClient};
use realtime_core::{ConnectRequest, Identity, Refusal};

use crate::origin::Origins;
use crate::proxies::{TrustedProxies, notice_foreign_server};

/// The parameters that a client may give in the URL of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectQuery {
    /// The rooms named by `channel`, `room` or `rooms`, which may be repeated and written as a list
    /// (`channel[]`, `channel[0]`); each room once. At most one more than a connection may be in,
    /// which is enough to reject the request.
    pub channels: Vec<String>,
    /// The position to resume from, named by `lastEventId`.
    pub last_event_id: Option<String>,
}

impl ConnectQuery {
    /// Reads the parameters of a request; `most` is the number of rooms that are accepted.
    pub fn of(request: &ConnectRequest, most: usize) -> Self {
        let mut channels: Vec<String> = Vec::new();
        let mut known = HashSet::new();
        for channel in request.query_pairs().filter(|(key, _)| names_rooms(key)).map(|(_, room)| room) {
            if channels.len() > most {
                // Too many already: the rest need not be read before the client is authenticated.
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

/// The parameters by which a client names rooms when it connects.
pub const ROOM_PARAMETERS: [&str; 3] = ["channel", "room", "rooms"];

/// Returns whether a parameter names a room: one of the words, or as query builders write a list,
/// `channel[]` and `channel[0]`.
fn names_rooms(parameter: &str) -> bool {
    let (word, index) = parameter.split_once('[').unwrap_or((parameter, "]"));
    let digits = index.strip_suffix(']');
    ROOM_PARAMETERS.contains(&word) && digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Checks a request's origin, the rate of handshakes, the user, the rooms that it names and the
/// limits; `last_event_id` takes precedence over the query's. The client's address is the one that
/// the proxies report.
///
/// # Errors
/// A [`Refusal`], counted and logged.
pub async fn admit<C: Codec>(
    dispatcher: &Dispatcher<C>,
    origins: &Origins,
    proxies: &TrustedProxies,
    parts: &Parts,
    last_event_id: Option<String>,
) -> Result<Admitted, Refusal> {
    notice_foreign_server(parts);
    let address = proxies.client(parts);
    let config = dispatcher.config();
    origins.check(parts).map_err(|refusal| dispatcher.refuse(refusal, RefusedClient::at(address)))?;
    // After the origin: no page of others uses up what its visitors' address may make.
    dispatcher.check_handshake(address)?;
    let parts = origins.without_foreign_cookies(parts);
    let request = ConnectRequest::new(config.provider(), &parts).with_address(address);
    let query = ConnectQuery::of(&request, config.delivery().limits().rooms_per_connection());
    dispatcher.admit(&request, &query.channels, last_event_id.or(query.last_event_id)).await
}

/// Checks a request on a route of the application's own, which knows the user and the rooms to
/// enter: the origin, the rate of handshakes and the limits; `last_event_id` takes precedence over
/// the query's.
///
/// # Errors
/// A [`Refusal`], counted and logged.
pub fn admit_as<C: Codec>(
    dispatcher: &Dispatcher<C>,
    origins: &Origins,
    proxies: &TrustedProxies,
    parts: &Parts,
    identity: Identity,
    rooms: &[String],
    last_event_id: Option<String>,
) -> Result<Admitted, Refusal> {
    notice_foreign_server(parts);
    let address = proxies.client(parts);
    let asker = RefusedClient::at(address).with_identity(&identity);
    origins.check(parts).map_err(|refusal| dispatcher.refuse(refusal, asker))?;
    dispatcher.check_handshake(address)?;
    let request = ConnectRequest::new(dispatcher.config().provider(), parts).with_address(address);
    let cursor = last_event_id.or_else(|| ConnectQuery::of(&request, 0).last_event_id);
    let former = request.former_connection();
    Ok(dispatcher.admit_as(identity, rooms, cursor, address)?.with_former(former).with_request(&request))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels(query: &str) -> Vec<String> {
        let parts = http::Request::get(format!("/sse?{query}")).body(()).unwrap().into_parts().0;
        ConnectQuery::of(&ConnectRequest::new("sse", &parts), 100).channels
    }

    #[test]
    fn room_named_twice_is_listed_once() {
        assert_eq!(channels("channel=b&x=1&channel=a&channel=b&channel=%61"), ["b", "a"]);
        assert_eq!(channels(&"channel=a&".repeat(6_000)), ["a"]);
    }

    #[test]
    fn rooms_may_be_named_as_a_list() {
        assert_eq!(
            channels("channel[]=a&channel%5B%5D=b&channel[1]=c&channel=d&channel%5b0%5d=a"),
            ["a", "b", "c", "d"]
        );
        assert!(channels("channels=a&channel[x]=b&channel[=c&channel]=d&channelx[]=e&xchannel=f").is_empty());
    }

    #[test]
    fn rooms_may_be_named_by_several_parameters() {
        assert_eq!(channels("room=a&rooms=b&channel=c&rooms[]=d&room%5B1%5D=e&rooms=a"), ["a", "b", "c", "d", "e"]);
        assert!(channels("roomy=a&channels=b&room[x]=c&room[=d&[]=e&=f").is_empty());
    }

    #[test]
    fn rooms_beyond_the_limit_are_not_read() {
        let names: Vec<_> = (0..4_000).map(|n| format!("channel={n}")).collect();
        assert_eq!(channels(&names.join("&")).len(), 101);
        assert_eq!(channels(&names[..100].join("&")).len(), 100);
    }
}
