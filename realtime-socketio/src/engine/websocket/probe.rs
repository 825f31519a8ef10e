//! Probe of a websocket by a session on long polling (Engine.IO protocol 4, "Upgrade").
//!
//! engineioxide would end the session when a probe fails, and would answer each GET at once during a probe. So the probe is made
//! here, and engineioxide gets the websocket after the client has switched to it.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use crate::engine::session::cause::Cause;
use crate::engine::session::{EngineSession, GRACE};

/// Upper bound of a probe's time, whatever the configuration says; engine.io's default.
pub(crate) const MAX_PROBE: Duration = Duration::from_secs(10);
/// Frames that a client may send during one probe: two are needed, with pings between.
const MAX_FRAMES: usize = 32;
/// Payload bytes of a control frame (RFC 6455 §5.5); the probe's packets are shorter.
const MAX_PAYLOAD: usize = 125;

/// The only probe of its session. Dropped before it has succeeded, it leaves the session on long polling.
pub(crate) struct Probe(Arc<EngineSession>);

/// Failure of a probe.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("its client closed it")]
    Closed,
    #[error("it broke: {0}")]
    Io(#[from] io::Error),
    #[error("its client took too long")]
    Late,
    #[error("its handshake broke off")]
    NotOpened,
    #[error("the session is at its end")]
    Over,
    #[error("its client sent something else")]
    Unexpected,
}

impl Probe {
    /// Starts a probe; none while there is another one, and after the upgrade.
    pub(crate) fn begin(session: Arc<EngineSession>) -> Option<Self> {
        // Made only then: its drop ends the probe.
        session.upgrade.begin_probe().then(|| Self(session))
    }

    /// Runs the probe on the websocket that this future opens; not a byte more is read from it.
    ///
    /// Returns none if it has failed: the websocket is closed, and the session continues on long polling.
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
        let talk = async {
            let io = websocket.insert(open.await.map_err(|_| Failure::NotOpened)?);
            self.exchange_packets(io).await
        };
        let result = tokio::select! {
            biased;
            () = session.closed() => Err(Failure::Over),
            result = timeout(limit, talk) => result.unwrap_or(Err(Failure::Late)),
        };
        match result {
            Ok(()) => {
                session.upgrade.pass_probe();
                session.notify();
                Some((websocket?, session))
            }
            Err(failure) => {
                tracing::debug!(%failure, "a websocket was not upgraded to");
                let polls_so_far = session.polls_so_far();
                // The next probe may come before this websocket is closed.
                drop(self);
                if let (Some(mut io), false) = (websocket, matches!(failure, Failure::Io(_))) {
                    let _ = timeout(GRACE, close_websocket(&mut io)).await;
                }
                if let (Failure::Closed, Some(polls_so_far)) = (failure, polls_so_far) {
                    close_if_gone(&session, polls_so_far).await;
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
        self.0.upgrade.abandon_probe();
    }
}

/// First bytes of frames that are whole messages or control frames (RFC 6455 §5.2).
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// Reads the first byte and the payload of a client's frame, and not a byte more of the stream.
async fn read_frame<'a, S: AsyncRead + Unpin>(
    io: &mut S,
    buffer: &'a mut [u8; MAX_PAYLOAD],
) -> Result<(u8, &'a [u8]), Failure> {
    let mut head = [0; 2];
    io.read_exact(&mut head).await?;
    let [first, second] = head;
    // A frame that is not masked, or longer than any that is due.
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
    // Everything here is as short as a control frame.
    frame.push(payload.len().min(MAX_PAYLOAD) as u8);
    frame.extend_from_slice(payload);
    io.write_all(&frame).await?;
    io.flush().await
}

/// Closes a websocket and waits for the client to do so, so that no reset discards what the client has not read.
async fn close_websocket<S: AsyncRead + AsyncWrite + Unpin>(io: &mut S) -> io::Result<()> {
    write_frame(io, CLOSE, &[]).await?;
    io.shutdown().await?;
    let mut rest = [0; 512];
    while io.read(&mut rest).await? > 0 {}
    Ok(())
}

/// Ends the session of a client that has closed its websocket and does not return to long polling.
///
/// A client does so that has given up the session because a response did not arrive. Nothing else shows it: the session would
/// count as connected until the ping timeout.
async fn close_if_gone(session: &EngineSession, polls_so_far: usize) {
    sleep(GRACE).await;
    if session.polls_so_far() == Some(polls_so_far) && session.upgrade.is_polling() {
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
    fn one_probe_at_a_time_and_none_after_the_upgrade() {
        let session = session();
        let probe = Probe::begin(Arc::clone(&session)).expect("the first");
        assert!(Probe::begin(Arc::clone(&session)).is_none());
        assert!(Probe::begin(Arc::clone(&session)).is_none(), "a refusal ends no probe");
        drop(probe);
        assert!(Probe::begin(Arc::clone(&session)).is_some());
        assert!(session.upgrade.finish());
        assert!(Probe::begin(session).is_none());
    }

    /// A client that does not even read.
    #[tokio::test(start_paused = true)]
    async fn a_probe_has_its_limit_and_its_end_another_one() {
        let session = session();
        let (io, _peer) = duplex(1);
        let begun = Instant::now();
        let probe = Probe::begin(Arc::clone(&session)).unwrap();
        let mut probing = Box::pin(probe.run(async { io::Result::Ok(io) }, MAX_PROBE));
        assert!(timeout(MAX_PROBE, &mut probing).await.is_err());
        let next = Probe::begin(session);
        assert!(next.is_some(), "while the last one says goodbye");
        assert!(probing.await.is_none());
        assert_eq!(begun.elapsed(), MAX_PROBE + GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_closes_its_websocket_and_asks_no_more_is_gone() {
        const CLIENT_CLOSE: &[u8] = b"\x88\x80\0\0\0\0";
        // What it sends, whether it asks then and whether it asks soon.
        let clients = [
            (CLIENT_CLOSE, false, false, true),
            (CLIENT_CLOSE, true, false, false),
            (CLIENT_CLOSE, false, true, false),
            (b"", false, false, false),
        ];
        for (sent, asks, comes, is_lost) in clients {
            let session = session();
            let (io, mut peer) = duplex(64);
            drop(session.begin_poll());
            let asking = asks.then(|| session.begin_poll());
            peer.write_all(sent).await.unwrap();
            drop(peer);
            let probe = Probe::begin(Arc::clone(&session)).unwrap();
            let probing = probe.run(async { io::Result::Ok(io) }, MAX_PROBE);
            let coming = async {
                sleep(GRACE / 2).await;
                if comes {
                    drop(session.begin_poll());
                }
            };
            let (passed, ()) = tokio::join!(probing, coming);
            assert!(passed.is_none());
            assert_eq!(session.cause(), is_lost.then_some(Cause::Lost), "{asks} {comes}");
            drop(asking);
        }
    }
}
