//! The probe of a websocket by a session on long polling (Engine.IO protocol 4, "Upgrade").
//!
//! engineioxide would end the session with a probe that fails, and answers each GET at once while one lasts. So it is
//! carried out here, and engineioxide sees a websocket only when its client has changed over.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::engine::cause::Cause;
use crate::engine::session::{EngineSession, GRACE};

/// How long a probe may take, whatever the configuration says; engine.io's default.
pub(crate) const MAX_PROBE: Duration = Duration::from_secs(10);
/// How long a GET waits before it ends for the sake of a probe; engine.io's interval.
const NOOP_AFTER: Duration = Duration::from_millis(100);
/// Frames that a client may send during one probe: two are needed, and pings may come between.
const MAX_FRAMES: usize = 32;
/// Payload bytes of a control frame (RFC 6455 §5.5), which is more than the probe's packets have.
const MAX_PAYLOAD: usize = 125;

/// Where a session stands between long polling and a websocket.
#[derive(Default)]
pub(crate) struct Passage {
    stage: AtomicU8,
    /// Told when the stage has changed.
    changed: Notify,
}

const POLLING: u8 = 0;
/// A websocket has been attached, which has proved nothing yet.
const PROBING: u8 = 1;
/// The probe has been answered: the client waits for its GET to end before it changes over.
const ANSWERED: u8 = 2;
const WEBSOCKET: u8 = 3;

impl Passage {
    /// The session is on a websocket from here on. False: it was already, or another websocket is probed.
    pub(crate) fn finish(&self) -> bool {
        self.enter(POLLING, WEBSOCKET)
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.stage() == WEBSOCKET
    }

    /// Waits until a GET is to end with nothing to say, so that its client can go on with a probe.
    pub(crate) async fn noop_due(&self) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            match self.stage() {
                ANSWERED => tokio::select! {
                    () = sleep(NOOP_AFTER) => return,
                    () = changed => {}
                },
                // The client has changed over without waiting for its GET.
                WEBSOCKET => return,
                _ => changed.await,
            }
        }
    }

    fn stage(&self) -> u8 {
        self.stage.load(Ordering::SeqCst)
    }

    fn enter(&self, from: u8, to: u8) -> bool {
        let entered = self.stage.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if entered {
            self.changed.notify_waiters();
        }
        entered
    }
}

/// The only probe of its session. Dropped before it has passed, it leaves the session on long polling.
pub(crate) struct Probe(Arc<EngineSession>);

/// How a probe went wrong.
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
    /// None while another websocket is probed, and after the upgrade.
    pub(crate) fn begin(session: Arc<EngineSession>) -> Option<Self> {
        // Made only then: its drop ends the probe.
        session.passage.enter(POLLING, PROBING).then(|| Self(session))
    }

    /// Carries it out on the stream of the websocket that this future opens, from which nothing more is read than that.
    ///
    /// None when it failed: the websocket has been closed, and the session goes on as if nothing had been.
    pub(crate) async fn carry_out<S, E>(
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
            self.talk(io).await
        };
        let result = tokio::select! {
            biased;
            () = session.closed() => Err(Failure::Over),
            result = timeout(limit, talk) => result.unwrap_or(Err(Failure::Late)),
        };
        match result {
            Ok(()) => {
                session.passage.enter(ANSWERED, WEBSOCKET);
                session.heard();
                Some((websocket?, session))
            }
            Err(failure) => {
                tracing::debug!(%failure, "a websocket was not upgraded to");
                let silence = session.silence();
                // The next one may come before this one is gone.
                drop(self);
                if let (Some(mut io), false) = (websocket, matches!(failure, Failure::Io(_))) {
                    let _ = timeout(GRACE, hang_up(&mut io)).await;
                }
                if let (Failure::Closed, Some(silence)) = (failure, silence) {
                    miss(&session, silence).await;
                }
                None
            }
        }
    }

    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(&self, io: &mut S) -> Result<(), Failure> {
        let mut answered = false;
        for _ in 0..MAX_FRAMES {
            let mut buffer = [0; MAX_PAYLOAD];
            let frame = read_frame(io, &mut buffer).await?;
            self.0.hear();
            match frame {
                (TEXT, b"2probe") => {
                    write_frame(io, TEXT, b"3probe").await?;
                    self.0.passage.enter(PROBING, ANSWERED);
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
        let passage = &self.0.passage;
        let _ = passage.enter(PROBING, POLLING) || passage.enter(ANSWERED, POLLING);
    }
}

/// First bytes of frames that are whole messages or control frames (RFC 6455 §5.2).
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// The first byte and the payload of a client's frame, and not a byte more of the stream.
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

/// Says goodbye and waits for the client to go, so that what it has not read is not taken from it.
async fn hang_up<S: AsyncRead + AsyncWrite + Unpin>(io: &mut S) -> io::Result<()> {
    write_frame(io, CLOSE, &[]).await?;
    io.shutdown().await?;
    let mut rest = [0; 512];
    while io.read(&mut rest).await? > 0 {}
    Ok(())
}

/// Ends the session of a client that has closed its websocket and does not come back to long polling.
///
/// So does one that has given the session up because an answer did not arrive, and nothing else tells: it would be taken
/// for connected until the ping timeout.
async fn miss(session: &EngineSession, silence: usize) {
    sleep(GRACE).await;
    if session.silence() == Some(silence) && session.passage.stage() == POLLING {
        session.close_for(Cause::Lost);
    }
}

/// The stream of a websocket as engineioxide gets it: after a probe, it sees one of its own first.
///
/// What it writes and flushes before that is over goes nowhere: it is the answer that the client has got already, and a
/// flush would tell the session that the channel was drained.
pub(crate) struct Handover<S> {
    stream: S,
    probe: &'static [&'static [u8]],
}

/// The client's frames, masked with zeros. They are read one by one: the answer is written between them.
const PROBE: &[&[u8]] = &[b"\x81\x86\0\0\0\x002probe", b"\x81\x81\0\0\0\x005"];

impl<S> Handover<S> {
    /// A websocket that was the session's beginning.
    pub(crate) fn opened(stream: S) -> Self {
        Self { stream, probe: &[] }
    }

    /// A websocket that has been probed.
    pub(crate) fn probed(stream: S) -> Self {
        Self { stream, probe: PROBE }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Handover<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some((first, rest)) = self.probe.split_first() else {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        };
        if buf.remaining() < first.len() {
            return Poll::Ready(Err(io::ErrorKind::InvalidInput.into()));
        }
        buf.put_slice(first);
        self.probe = rest;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Handover<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.probe {
            [] => Pin::new(&mut self.stream).poll_write(cx, buf),
            _ => Poll::Ready(Ok(buf.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.probe {
            [] => Pin::new(&mut self.stream).poll_flush(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::settings::Limits;
    use crate::engine::stream::SessionStream;
    use futures_util::FutureExt;
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
        assert!(session.passage.finish());
        assert!(Probe::begin(session).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_get_ends_100_ms_after_the_answer_to_a_probe_or_with_the_upgrade() {
        let session = session();
        let passage = &session.passage;
        let mut noop = Box::pin(passage.noop_due());
        let failed = Probe::begin(Arc::clone(&session)).unwrap();
        assert!(timeout(MAX_PROBE, &mut noop).await.is_err(), "not before the probe has come");
        passage.enter(PROBING, ANSWERED);
        assert!(timeout(Duration::from_millis(99), &mut noop).await.is_err());
        drop(failed);
        assert!(timeout(MAX_PROBE, &mut noop).await.is_err(), "there is no probe");
        let _probe = Probe::begin(Arc::clone(&session)).unwrap();
        passage.enter(PROBING, ANSWERED);
        let begun = Instant::now();
        noop.await;
        assert_eq!(begun.elapsed(), NOOP_AFTER);
        assert!(passage.noop_due().now_or_never().is_none(), "the next one waits as long");
        passage.enter(ANSWERED, WEBSOCKET);
        passage.noop_due().now_or_never().expect("at once");
    }

    /// A client that does not even read.
    #[tokio::test(start_paused = true)]
    async fn a_probe_has_its_limit_and_its_end_another_one() {
        let session = session();
        let (io, _peer) = duplex(1);
        let begun = Instant::now();
        let probe = Probe::begin(Arc::clone(&session)).unwrap();
        let mut probing = Box::pin(probe.carry_out(async { io::Result::Ok(io) }, MAX_PROBE));
        assert!(timeout(MAX_PROBE, &mut probing).await.is_err());
        let next = Probe::begin(session);
        assert!(next.is_some(), "while the last one says goodbye");
        assert!(probing.await.is_none());
        assert_eq!(begun.elapsed(), MAX_PROBE + GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_closes_its_websocket_and_asks_no_more_is_gone() {
        const GOODBYE: &[u8] = b"\x88\x80\0\0\0\0";
        // What it sends, whether it asks then and whether it asks soon.
        let clients = [
            (GOODBYE, false, false, true),
            (GOODBYE, true, false, false),
            (GOODBYE, false, true, false),
            (b"", false, false, false),
        ];
        for (sent, asks, comes, is_lost) in clients {
            let session = session();
            let (io, mut peer) = duplex(64);
            drop(session.ask());
            let asking = asks.then(|| session.ask());
            peer.write_all(sent).await.unwrap();
            drop(peer);
            let probe = Probe::begin(Arc::clone(&session)).unwrap();
            let probing = probe.carry_out(async { io::Result::Ok(io) }, MAX_PROBE);
            let coming = async {
                sleep(GRACE / 2).await;
                if comes {
                    drop(session.ask());
                }
            };
            let (passed, ()) = tokio::join!(probing, coming);
            assert!(passed.is_none());
            assert_eq!(session.cause(), is_lost.then_some(Cause::Lost), "{asks} {comes}");
            drop(asking);
        }
    }

    /// As engineioxide does: reads, answers with a flush, reads again.
    #[tokio::test]
    async fn a_probe_is_played_again_without_a_word_to_the_client_or_the_session() {
        let limits = Limits { max_message: 10, write_stall: MAX_PROBE, probe: MAX_PROBE };
        let (io, mut peer) = duplex(64);
        let session = session();
        session.credit.spend(1);
        let mut stream = Handover::probed(SessionStream::new(io, Arc::clone(&session), limits));
        let mut buffer = [0; 64];
        let read = stream.read(&mut buffer).await.unwrap();
        assert_eq!(&buffer[6..read], b"2probe");
        stream.write_all(b"\x81\x063probe").await.unwrap();
        stream.flush().await.unwrap();
        assert!(!session.credit.is_idle(), "nothing was drained");
        let read = stream.read(&mut buffer).await.unwrap();
        assert_eq!(&buffer[6..read], b"5");
        stream.write_all(b"\x81\x012").await.unwrap();
        stream.flush().await.unwrap();
        assert!(session.credit.is_idle());
        peer.write_all(b"\x81\x81\0\0\0\x003").await.unwrap();
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 7);
        drop(stream);
        let mut got = Vec::new();
        peer.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"\x81\x012");
    }
}
