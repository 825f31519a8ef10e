//! Probe of a websocket by a session on long polling (Engine.IO protocol 4, "Upgrade").
//!
//! engineioxide would end the session when a probe fails, and would respond to each GET immediately
//! during a probe. So the probe is performed here, and engineioxide gets the websocket after the
//! client has switched to it.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use crate::engine::session::cause::Cause;
use crate::engine::session::{EngineSession, GRACE};

/// Upper bound of the time for a probe, regardless of the configuration; engine.io's default.
pub(crate) const MAX_PROBE: Duration = Duration::from_secs(10);
/// Number of frames that a client may send during one probe: two are needed, with pings in between.
const MAX_FRAMES: usize = 32;
/// The longest payload of a control frame (RFC 6455 §5.5); the probe's packets are shorter.
const MAX_PAYLOAD: usize = 125;

/// The only probe of its session. A probe that is dropped before it has succeeded leaves the
/// session on long polling.
pub(crate) struct Probe(Arc<EngineSession>);

/// Failure of a probe.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("closed by the client")]
    Closed,
    #[error("i/o error: {0}")]
    Io(#[from] io::Error),
    #[error("timed out")]
    TimedOut,
    #[error("the handshake was not completed")]
    Handshake,
    #[error("the session is closed")]
    SessionClosed,
    #[error("unexpected frame")]
    Unexpected,
}

impl Probe {
    /// Starts a probe; none while there is another one, and after the upgrade.
    pub(crate) fn start(session: Arc<EngineSession>) -> Option<Self> {
        // Only created after that: dropping a `Probe` aborts the probe.
        session.upgrade.start_probe().then(|| Self(session))
    }

    /// Runs the probe on the websocket that this future opens, and reads no byte behind the probe.
    ///
    /// Returns none if the probe has failed: the websocket is closed, and the session continues on
    /// long polling.
    pub(crate) async fn run<S, E>(
        self,
        open: impl Future<Output = Result<S, E>>,
        limit: Duration,
    ) -> Option<(S, Arc<EngineSession>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let session = Arc::clone(&self.0);
        let mut websocket = None;
        let exchange = async {
            let io = websocket.insert(open.await.map_err(|_| Failure::Handshake)?);
            self.exchange_packets(io).await
        };
        let result = tokio::select! {
            biased;
            () = session.closed() => Err(Failure::SessionClosed),
            result = timeout(limit, exchange) => result.unwrap_or(Err(Failure::TimedOut)),
        };
        match result {
            Ok(()) => {
                session.upgrade.complete_probe();
                session.notify();
                Some((websocket?, session))
            }
            Err(failure) => {
                tracing::debug!(%failure, "the probe of a websocket failed");
                let gets = session.polling.idle_count();
                // The next probe may start before this websocket is closed.
                drop(self);
                if let (Some(mut io), false) = (websocket, matches!(failure, Failure::Io(_))) {
                    let _ = timeout(GRACE, close_websocket(&mut io)).await;
                }
                if let (Failure::Closed, Some(gets)) = (failure, gets) {
                    close_if_disconnected(&session, gets).await;
                }
                None
            }
        }
    }

    async fn exchange_packets<S: AsyncRead + AsyncWrite + Unpin>(&self, io: &mut S) -> Result<(), Failure> {
        let mut answered = false;
        for _ in 0..MAX_FRAMES {
            let mut buffer = [0; MAX_PAYLOAD];
            let frame = read_frame(io, &mut buffer).await?;
            self.0.note_received();
            match frame {
                (TEXT, b"2probe") => {
                    write_frame(io, TEXT, b"3probe").await?;
                    self.0.upgrade.answer_probe();
                    answered = true;
                }
                (TEXT, b"5") if answered => return Ok(()),
                (PING, payload) => write_frame(io, PONG, payload).await?,
                (PONG, _) => {}
                (CLOSE, _) => return Err(Failure::Closed),
                _ => break,
            }
        }
        Err(Failure::Unexpected)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.0.upgrade.abort_probe();
    }
}

/// First bytes of frames that are complete messages or control frames (RFC 6455 §5.2).
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// Reads a client's frame, and no byte behind it. Returns its first byte and its payload.
async fn read_frame<'a, S: AsyncRead + Unpin>(
    io: &mut S,
    buffer: &'a mut [u8; MAX_PAYLOAD],
) -> Result<(u8, &'a [u8]), Failure> {
    let mut head = [0; 2];
    io.read_exact(&mut head).await?;
    let [first, second] = head;
    // An unmasked frame, or one longer than any expected frame, is an error.
    let Some(payload) = second.checked_sub(0x80).and_then(|len| buffer.get_mut(..len.into())) else {
        return Err(Failure::Unexpected);
    };
    let mut mask = [0; 4];
    io.read_exact(&mut mask).await?;
    io.read_exact(payload).await?;
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Ok((first, payload))
}

async fn write_frame<S: AsyncWrite + Unpin>(io: &mut S, first: u8, payload: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(2 + payload.len());
    frame.push(first);
    // Every payload here is as short as that of a control frame.
    frame.push(payload.len().min(MAX_PAYLOAD) as u8);
    frame.extend_from_slice(payload);
    io.write_all(&frame).await?;
    io.flush().await
}

/// Closes a websocket and waits for the client to do so, so that no reset discards what the client
/// has not read.
async fn close_websocket<S: AsyncRead + AsyncWrite + Unpin>(io: &mut S) -> io::Result<()> {
    write_frame(io, CLOSE, &[]).await?;
    io.shutdown().await?;
    let mut rest = [0; 512];
    while io.read(&mut rest).await? > 0 {}
    Ok(())
}

/// Closes the session of a client that has closed its websocket and does not continue with long
/// polling.
///
/// A client does so when it has dropped the session because a response did not arrive. There is no
/// other sign of that: the session would count as connected until the ping timeout.
async fn close_if_disconnected(session: &EngineSession, gets: usize) {
    sleep(GRACE).await;
    if session.polling.idle_count() == Some(gets) && session.upgrade.is_polling() {
        session.close_for(Cause::Lost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;
    use tokio::time::Instant;

    fn session() -> Arc<EngineSession> {
        Arc::new(EngineSession::default())
    }

    #[test]
    fn session_allows_one_probe_at_a_time_until_upgraded() {
        let session = session();
        let probe = Probe::start(Arc::clone(&session)).expect("the first");
        assert!(Probe::start(Arc::clone(&session)).is_none());
        assert!(Probe::start(Arc::clone(&session)).is_none(), "a rejected probe does not abort the first");
        drop(probe);
        assert!(Probe::start(Arc::clone(&session)).is_some());
        assert!(session.upgrade.complete());
        assert!(Probe::start(session).is_none());
    }

    /// The client does not even read.
    #[tokio::test(start_paused = true)]
    async fn probe_and_its_close_are_limited_in_time() {
        let session = session();
        let (io, _peer) = duplex(1);
        let start = Instant::now();
        let probe = Probe::start(Arc::clone(&session)).unwrap();
        let mut probing = Box::pin(probe.run(async { io::Result::Ok(io) }, MAX_PROBE));
        assert!(timeout(MAX_PROBE, &mut probing).await.is_err());
        let next = Probe::start(session);
        assert!(next.is_some(), "possible while the last websocket is closed");
        assert!(probing.await.is_none());
        assert_eq!(start.elapsed(), MAX_PROBE + GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn closed_probe_without_polling_closes_the_session() {
        const CLIENT_CLOSE: &[u8] = b"\x88\x80\0\0\0\0";
        // The bytes sent, whether a GET waits, whether one follows, whether the session is lost.
        let clients = [
            (CLIENT_CLOSE, false, false, true),
            (CLIENT_CLOSE, true, false, false),
            (CLIENT_CLOSE, false, true, false),
            (b"", false, false, false),
        ];
        for (sent, polls, polls_later, is_lost) in clients {
            let session = session();
            let (io, mut peer) = duplex(64);
            drop(session.start_poll());
            let poll_guard = polls.then(|| session.start_poll());
            peer.write_all(sent).await.unwrap();
            drop(peer);
            let probe = Probe::start(Arc::clone(&session)).unwrap();
            let probing = probe.run(async { io::Result::Ok(io) }, MAX_PROBE);
            let polling = async {
                sleep(GRACE / 2).await;
                if polls_later {
                    drop(session.start_poll());
                }
            };
            let (passed, ()) = tokio::join!(probing, polling);
            assert!(passed.is_none());
            assert_eq!(session.cause(), is_lost.then_some(Cause::Lost), "{polls} {polls_later}");
            drop(poll_guard);
        }
    }
}
