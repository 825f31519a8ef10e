//! Which connections belong to which link of a page, so that a page can have its own cut or slowed.
//!
//! It happens below HTTP, as in a tunnel: nobody is told anything, and clients find out as they always do.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use realtime_http::{Wire, WireInfo};
use serde::Deserialize;

/// How many links may be cut or slowed at a time; one more makes the one forgotten that was not heard of for the longest time.
const MAX_LINKS: usize = 1_000;

/// How many connections are known to belong to a link; more are left alone.
const MAX_WIRES: usize = 10_000;

/// How long a link that has no connection is remembered.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// What is done to the connections of a link, now and later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weather {
    /// Whether they are killed.
    pub(crate) cut: bool,
    /// Bytes per second from the server to the client.
    pub(crate) rate: Option<NonZeroU32>,
}

/// The links of all pages; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Wires(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    /// The links whose weather is not fair, and when they were heard of last.
    links: HashMap<String, (Weather, Instant)>,
    /// Each connection by its address, which is nobody else's for as long as the pointer is kept, and whose link used it last.
    wires: HashMap<usize, (Weak<Wire>, String)>,
}

impl Wires {
    /// Changes the weather of a link and answers how many connections it has at this moment.
    pub(crate) fn set(&self, link: &str, weather: Weather) -> usize {
        // All of it under the lock, so that no connection changes hands in between; waking a task does not wait for it.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.remember(link, weather);
        let wires = known.alive_of(link);
        for wire in &wires {
            wire.set_write_rate(weather.rate);
            if weather.cut {
                wire.kill();
            }
        }
        wires.len()
    }

    /// Notes which link a connection works for now, and answers its weather.
    fn meet(&self, wire: &Arc<Wire>, link: Option<&str>) -> Weather {
        let address = Arc::as_ptr(wire) as usize;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(link) = link else {
            // Browsers use a connection again for whatever comes next.
            if known.wires.remove(&address).is_some() {
                wire.set_write_rate(None);
            }
            return Weather::default();
        };
        if known.wires.len() >= MAX_WIRES {
            known.wires.retain(|_, (wire, _)| is_alive(wire));
        }
        if known.wires.len() < MAX_WIRES {
            known.wires.insert(address, (Arc::downgrade(wire), link.to_owned()));
        }
        let weather = known.links.get_mut(link).map_or_else(Weather::default, |(weather, heard)| {
            *heard = Instant::now();
            *weather
        });
        wire.set_write_rate(weather.rate);
        weather
    }
}

impl Known {
    fn remember(&mut self, link: &str, weather: Weather) {
        if weather == Weather::default() {
            self.links.remove(link);
            return;
        }
        if !self.links.contains_key(link) && self.links.len() >= MAX_LINKS {
            self.forget();
        }
        self.links.insert(link.to_owned(), (weather, Instant::now()));
    }

    /// Makes room for one link.
    fn forget(&mut self) {
        let Self { links, wires } = self;
        wires.retain(|_, (wire, _)| is_alive(wire));
        links.retain(|link, (_, heard)| heard.elapsed() < FORGET_AFTER || wires.values().any(|(_, of)| of == link));
        if links.len() >= MAX_LINKS
            && let Some(oldest) = links.iter().min_by_key(|(_, (_, heard))| *heard).map(|(link, _)| link.clone())
        {
            links.remove(&oldest);
        }
    }

    fn alive_of(&self, link: &str) -> Vec<Arc<Wire>> {
        let of_link = self.wires.values().filter(|(_, of)| of == link);
        of_link.filter_map(|(wire, _)| wire.upgrade()).filter(|wire| !wire.closed()).collect()
    }
}

fn is_alive(wire: &Weak<Wire>) -> bool {
    wire.upgrade().is_some_and(|wire| !wire.closed())
}

/// What a request says of the link it belongs to.
#[derive(Deserialize)]
struct Named {
    link: Option<String>,
}

/// Follows each request's connection; one of a cut link is killed without an answer.
pub(crate) async fn follow(
    State(wires): State<Wires>,
    ConnectInfo(info): ConnectInfo<WireInfo>,
    request: Request,
    next: Next,
) -> Response {
    let link = request
        .uri()
        .query()
        .and_then(|query| serde_urlencoded::from_str::<Named>(query).ok()?.link)
        .filter(|link| is_link(link));
    if wires.meet(info.wire(), link.as_deref()).cut {
        info.wire().kill();
        // It has no way to the client any more.
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    next.run(request).await
}

/// Whether this can name a link: 8 to 64 letters and digits.
pub(crate) fn is_link(name: &str) -> bool {
    (8..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use realtime_http::{Guard, GuardedStream, WireConfig};
    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    const CUT: Weather = Weather { cut: true, rate: None };

    /// A guarded stream, and the far end of its pipe.
    fn stream() -> (GuardedStream<DuplexStream>, DuplexStream) {
        let (near, far) = duplex(64);
        (Guard::new(&WireConfig::default()).wrap(near, SocketAddr::from(([127, 0, 0, 1], 7))), far)
    }

    fn links(wires: &Wires) -> Vec<String> {
        wires.0.lock().unwrap().links.keys().cloned().collect()
    }

    #[test]
    fn links_are_bounded_and_the_oldest_makes_room() {
        let wires = Wires::default();
        for n in 0..=MAX_LINKS {
            wires.set(&format!("link{n:05}"), CUT);
        }
        let known = links(&wires);
        assert_eq!(known.len(), MAX_LINKS);
        assert!(!known.contains(&"link00000".to_owned()));

        wires.set("link00500", Weather::default());
        assert_eq!(links(&wires).len(), MAX_LINKS - 1, "fair weather needs no memory");
    }

    #[tokio::test]
    async fn a_wire_belongs_to_the_link_that_used_it_last() {
        let wires = Wires::default();
        let ((mut one, _far), (mut two, _also_far)) = (stream(), stream());
        assert!(!wires.meet(one.wire(), Some("first")).cut);
        assert!(!wires.meet(two.wire(), Some("first")).cut);
        assert!(!wires.meet(two.wire(), Some("second")).cut);

        assert_eq!(wires.set("first", CUT), 1);

        assert!(one.write_u8(1).await.is_err());
        assert!(two.write_u8(1).await.is_ok(), "the other link's wire lives");
        assert!(wires.meet(two.wire(), Some("first")).cut, "a cut link stays cut");
    }

    #[tokio::test]
    async fn wires_that_are_gone_are_forgotten() {
        let wires = Wires::default();
        for _ in 0..=MAX_WIRES {
            wires.meet(stream().0.wire(), Some("first"));
        }
        let (last, _far) = stream();
        wires.meet(last.wire(), Some("first"));
        assert!(wires.0.lock().unwrap().wires.len() <= 2);
        assert_eq!(wires.set("first", CUT), 1);
    }
}
