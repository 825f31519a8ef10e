use http::request::Parts;
use realtime_core::{Admitted, Codec, ConnectRequest, Dispatcher, Refusal};

use crate::Origins;

/// What a client may say in the URL of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectQuery {
    /// The rooms named by `channel`, which may be repeated; each once.
    pub channels: Vec<String>,
    /// The place to go on from, named by `lastEventId`.
    pub last_event_id: Option<String>,
}

impl ConnectQuery {
    /// Reads it from a request.
    pub fn of(request: &ConnectRequest<'_>) -> Self {
        let mut channels: Vec<String> = Vec::new();
        for channel in request.query_all("channel") {
            if !channels.iter().any(|known| *known == channel) {
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
