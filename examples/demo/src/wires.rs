//! The TCP connections of each link of a page, so that a page can cut or slow down its own.
//!
//! The faults are below HTTP, as on a bad network: no side is notified, and clients find out as
//! they always do.

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

/// The most links that are cut or slowed down at a time; one more replaces the least recently used.
const MAX_LINKS: usize = 1_000;

/// The most connections that are tracked; further ones have no faults.
const MAX_WIRES: usize = 10_000;

/// The time for which a link without a connection is remembered.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// The fault of a link's connections, existing and later ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fault {
    /// `true` if they are reset.
    pub(crate) cut: bool,
    /// The bytes per second from the server to the client; `None` for no bound.
    pub(crate) rate: Option<NonZeroU32>,
}

/// The links of all pages; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Wires(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    /// The links that are cut or slowed down, with the time of their last use.
    links: HashMap<String, (Fault, Instant)>,
    /// The connections by their address, which is unique for as long as the pointer is kept, with
    /// the link that used each of them last.
    wires: HashMap<usize, (Weak<Wire>, String)>,
}

impl Wires {
    /// Sets the fault of a link and returns the number of its connections at this moment.
    pub(crate) fn set(&self, link: &str, fault: Fault) -> usize {
        // All of it under the lock, so that no connection moves to another link in between;
        // waking a task does not wait for the lock.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.remember(link, fault);
        let wires = known.alive_of(link);
        for wire in &wires {
            wire.set_write_rate(fault.rate);
            if fault.cut {
                wire.kill();
            }
        }
        wires.len()
    }

    /// Assigns a connection to the link that uses it, and returns that link's fault.
    fn assign(&self, wire: &Arc<Wire>, link: Option<&str>) -> Fault {
        let address = Arc::as_ptr(wire) as usize;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(link) = link else {
            // Browsers reuse a connection for other requests.
            if known.wires.remove(&address).is_some() {
                wire.set_write_rate(None);
            }
            return Fault::default();
        };
        if known.wires.len() >= MAX_WIRES {
            known.wires.retain(|_, (wire, _)| is_alive(wire));
        }
        if known.wires.len() < MAX_WIRES {
            known.wires.insert(address, (Arc::downgrade(wire), link.to_owned()));
        }
        let fault = known.links.get_mut(link).map_or_else(Fault::default, |(fault, last_use)| {
            *last_use = Instant::now();
            *fault
        });
        wire.set_write_rate(fault.rate);
        fault
    }
}

impl Known {
    fn remember(&mut self, link: &str, fault: Fault) {
        if fault == Fault::default() {
            self.links.remove(link);
            return;
        }
        if !self.links.contains_key(link) && self.links.len() >= MAX_LINKS {
            self.forget();
        }
        self.links.insert(link.to_owned(), (fault, Instant::now()));
    }

    /// Makes room for one link.
    fn forget(&mut self) {
        let Self { links, wires } = self;
        wires.retain(|_, (wire, _)| is_alive(wire));
        links.retain(|link, (_, last_use)| {
            last_use.elapsed() < FORGET_AFTER || wires.values().any(|(_, of)| of == link)
        });
        if links.len() >= MAX_LINKS
            && let Some(oldest) = links.iter().min_by_key(|(_, (_, last_use))| *last_use).map(|(link, _)| link.clone())
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

/// The query of a request that belongs to a link.
#[derive(Deserialize)]
struct Named {
    link: Option<String>,
}

/// Assigns each request's connection to its link; resets that of a cut link without a response.
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
    if wires.assign(info.wire(), link.as_deref()).cut {
        info.wire().kill();
        // No longer reaches the client.
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    next.run(request).await
}

/// Returns whether the name may be a link's: 8 to 64 letters and digits.
pub(crate) fn is_link(name: &str) -> bool {
    (8..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use realtime_http::{Guard, GuardedStream, WireConfig};
    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    const CUT: Fault = Fault { cut: true, rate: None };

    /// Returns a guarded stream, and the far end of its pipe.
    fn stream() -> (GuardedStream<DuplexStream>, DuplexStream) {
        let (near, far) = duplex(64);
        (Guard::new(&WireConfig::default()).wrap(near, SocketAddr::from(([127, 0, 0, 1], 7))), far)
    }

    fn links(wires: &Wires) -> Vec<String> {
        wires.0.lock().unwrap().links.keys().cloned().collect()
    }

    #[test]
    fn oldest_link_is_replaced_at_the_bound() {
        let wires = Wires::default();
        for n in 0..=MAX_LINKS {
            wires.set(&format!("link{n:05}"), CUT);
        }
        let known = links(&wires);
        assert_eq!(known.len(), MAX_LINKS);
        assert!(!known.contains(&"link00000".to_owned()));

        wires.set("link00500", Fault::default());
        assert_eq!(links(&wires).len(), MAX_LINKS - 1, "a link without a fault needs no memory");
    }

    #[tokio::test]
    async fn connection_belongs_to_the_link_that_used_it_last() {
        let wires = Wires::default();
        let ((mut one, _far), (mut two, _also_far)) = (stream(), stream());
        assert!(!wires.assign(one.wire(), Some("first")).cut);
        assert!(!wires.assign(two.wire(), Some("first")).cut);
        assert!(!wires.assign(two.wire(), Some("second")).cut);

        assert_eq!(wires.set("first", CUT), 1);

        assert!(one.write_u8(1).await.is_err());
        assert!(two.write_u8(1).await.is_ok(), "the other link's connection is open");
        assert!(wires.assign(two.wire(), Some("first")).cut, "a cut link stays cut");
    }

    #[tokio::test]
    async fn closed_connections_are_forgotten() {
        let wires = Wires::default();
        for _ in 0..=MAX_WIRES {
            wires.assign(stream().0.wire(), Some("first"));
        }
        let (last, _far) = stream();
        wires.assign(last.wire(), Some("first"));
        assert!(wires.0.lock().unwrap().wires.len() <= 2);
        assert_eq!(wires.set("first", CUT), 1);
    }
}
