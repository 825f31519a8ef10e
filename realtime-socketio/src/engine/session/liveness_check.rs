//! Check whether a client is still connected, for when its user needs the slot.
//!
//! On a websocket a ping is written between two frames, whose pong engineioxide ignores. On long
//! polling the waiting GET gets its response, and the next request is the sign of life.

use std::time::Duration;

use tokio::time::timeout;

use crate::engine::session::EngineSession;

/// Number of intervals in which the client must be read for its silence to count.
const CHECKS: u32 = 8;

impl EngineSession {
    /// Requests a sign of life and waits for it. Returns false if there was none for this time,
    /// during which the client was read.
    pub(crate) async fn is_alive(&self, time: Duration) -> bool {
        if !self.liveness.request_sign_of_life() {
            // Another task waits for the sign of life.
            return true;
        }
        self.notify();
        self.wake_readers();
        let mut silent = 0;
        while silent < CHECKS {
            let answered = self.until(|| self.liveness.is_answered() || self.is_closing());
            if timeout(time / CHECKS, answered).await.is_ok() {
                return true;
            }
            silent = if self.is_read_paused() { 0 } else { silent + 1 };
        }
        false
    }

    /// Waits until a GET has to end with a noop packet, upon which a client that is still connected
    /// sends the next one.
    pub(crate) async fn liveness_noop_due(&self) {
        self.until(|| self.liveness.take_request()).await;
    }

    /// Returns whether reading from the client is paused. On long polling its GETs are always read.
    fn is_read_paused(&self) -> bool {
        self.upgrade.is_complete() && (self.is_paused() || self.liveness.is_blocked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::session::cause::Cause;
    use crate::engine::settings::Limits;
    use crate::engine::websocket::stream::SessionStream;
    use crate::engine::websocket::writer::BARE_CLOSE;
    use crate::engine::websocket::writer::PING;
    use crate::packet::frame::text_frame;
    use crate::packet::head::Head;
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, WriteHalf, duplex, split};
    use tokio::time::{Instant, sleep};

    const TIME: Duration = Duration::from_secs(2);
    const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];

    /// Creates a websocket's stream that buffers this number of bytes before its writes wait, and
    /// that is read all the time.
    fn stream(buffer: usize) -> (Arc<EngineSession>, WriteHalf<SessionStream<DuplexStream>>, DuplexStream) {
        let (io, peer) = duplex(buffer);
        let session = Arc::new(EngineSession::default());
        session.upgrade.complete();
        let limits = Limits { max_message: 1 << 20, write_stall: Duration::from_secs(30), probe: TIME };
        let (mut reader, writer) = split(SessionStream::new(io, Arc::clone(&session), limits));
        tokio::spawn(async move { while reader.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {} });
        (session, writer, peer)
    }

    /// Reads this number of bytes, which have to arrive soon.
    async fn read(peer: &mut DuplexStream, len: usize) -> Vec<u8> {
        let mut got = vec![0; len];
        timeout(TIME / 2, peer.read_exact(&mut got)).await.expect("the bytes in time").unwrap();
        got
    }

    fn check(session: &Arc<EngineSession>) -> tokio::task::JoinHandle<bool> {
        let session = Arc::clone(session);
        tokio::spawn(async move { session.is_alive(TIME).await })
    }

    #[tokio::test(start_paused = true)]
    async fn idle_websocket_gets_ping_even_with_small_buffer() {
        for buffer in [1, 2, 64] {
            let (session, _writer, mut peer) = stream(buffer);
            for _ in 0..3 {
                sleep(TIME).await;
                let check = check(&session);
                assert_eq!(read(&mut peer, PING.len()).await, PING);
                let start = Instant::now();
                peer.write_all(&PONG).await.unwrap();
                assert!(check.await.unwrap(), "{buffer}");
                assert_eq!(start.elapsed(), Duration::ZERO);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silent_client_is_not_alive_after_the_time() {
        for buffer in [1, 64] {
            let (session, _writer, _peer) = stream(buffer);
            let start = Instant::now();
            assert!(!session.is_alive(TIME).await);
            assert_eq!(start.elapsed(), TIME);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn any_byte_during_the_check_is_a_sign_of_life() {
        let (session, _writer, mut peer) = stream(64);
        peer.write_all(&PONG).await.unwrap();
        sleep(TIME).await;
        let check = check(&session);
        sleep(TIME - Duration::from_millis(10)).await;
        // The first byte of a frame.
        peer.write_all(&[0x81]).await.unwrap();
        assert!(check.await.unwrap());
        assert!(!session.is_alive(TIME).await, "sent before this check");
    }

    #[tokio::test(start_paused = true)]
    async fn second_check_sends_no_ping_while_one_waits() {
        let (session, _writer, mut peer) = stream(64);
        let first = check(&session);
        sleep(TIME / 2).await;
        assert!(session.is_alive(TIME).await);
        assert!(!first.await.unwrap());
        drop(session);
        let mut got = [0; 8];
        assert_eq!(peer.read(&mut got).await.unwrap(), PING.len());
    }

    #[tokio::test(start_paused = true)]
    async fn ping_is_written_between_two_frames() {
        let frames = [text_frame(&"x".repeat(200)), vec![0x82, 2, 0x88, 0], text_frame("2")];
        let all = frames.concat();
        let borders: Vec<_> = (0..=frames.len()).map(|n| frames[..n].concat().len()).collect();
        for split in 0..=all.len() {
            let (session, mut writer, mut peer) = stream(1000);
            writer.write_all(&all[..split]).await.unwrap();
            let _check = check(&session);
            sleep(Duration::from_millis(1)).await;
            writer.write_all(&all[split..]).await.unwrap();
            writer.flush().await.unwrap();
            let mut got = read(&mut peer, all.len() + PING.len()).await;
            let ping = borders.iter().find(|border| got[**border..].starts_with(&PING));
            let ping = *ping.unwrap_or_else(|| panic!("{split}: no ping between two frames"));
            got.drain(ping..ping + PING.len());
            assert_eq!(got, all, "{split}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn partly_written_ping_is_completed_before_next_frame() {
        let [first, second] = ["1234", "5678"].map(text_frame);
        for buffer in first.len()..first.len() + 4 {
            let (session, mut writer, mut peer) = stream(buffer);
            writer.write_all(&first).await.unwrap();
            let _check = check(&session);
            sleep(Duration::from_millis(1)).await;
            let (expected, second) = ([&first[..], &PING, &second].concat(), second.clone());
            let writing = tokio::spawn(async move {
                writer.write_all(&second).await.unwrap();
                writer.flush().await.unwrap();
                writer
            });
            sleep(Duration::from_millis(1)).await;
            assert_eq!(read(&mut peer, expected.len()).await, expected, "{buffer}");
            writing.await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn second_ping_is_written_after_the_first() {
        let (session, _writer, mut peer) = stream(1);
        let first = check(&session);
        sleep(Duration::from_millis(1)).await;
        // The client sends and does not read.
        peer.write_all(&[0x8a]).await.unwrap();
        assert!(first.await.unwrap());
        let second = check(&session);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(read(&mut peer, 2 * PING.len()).await, [PING, PING].concat());
        assert!(!second.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn no_ping_is_written_after_a_close_frame() {
        let (session, mut writer, mut peer) = stream(1000);
        writer.write_all(&BARE_CLOSE).await.unwrap();
        assert!(!session.is_alive(TIME).await);
        session.close();
        drop((session, writer));
        let mut got = Vec::new();
        peer.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, Cause::Malformed.last_frames());
    }

    /// The ping is behind data that the client has not read yet, but the client reads.
    #[tokio::test(start_paused = true)]
    async fn slow_reader_is_alive() {
        let (session, mut writer, mut peer) = stream(64);
        let writing = tokio::spawn(async move { writer.write_all(&text_frame(&"x".repeat(1000))).await });
        let check = check(&session);
        sleep(TIME / 2).await;
        peer.read_exact(&mut [0; 1]).await.unwrap();
        assert!(check.await.unwrap());
        assert!(!session.is_alive(TIME).await, "read only once");
        writing.abort();
    }

    /// The client is not read while its events wait for their handlers, or a CONNECT for others.
    #[tokio::test(start_paused = true)]
    async fn check_of_unread_client_starts_when_reading_resumes() {
        for pauses in [true, false] {
            for answers in [true, false] {
                let (session, _writer, mut peer) = stream(1000);
                let others = ["/a", "/b", "/c", "/d"].map(|name| Head::Connect(Some(name.as_bytes().into())));
                if pauses {
                    session.pause();
                } else {
                    for head in &others {
                        session.admit(head);
                    }
                    peer.write_all(b"\x81\x84\0\0\0\x0040/e").await.unwrap();
                    sleep(Duration::from_millis(1)).await;
                }
                let mut check = check(&session);
                assert!(timeout(TIME * 100, &mut check).await.is_err());
                let start = Instant::now();
                if answers {
                    peer.write_all(&PONG).await.unwrap();
                }
                session.resume();
                session.sent(&others[0]);
                assert_eq!(check.await.unwrap(), answers);
                let waited = start.elapsed();
                assert!(if answers { waited.is_zero() } else { waited > TIME * 3 / 4 }, "{waited:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn check_ends_when_session_closes() {
        let (session, _writer, _peer) = stream(64);
        let check = check(&session);
        sleep(TIME / 2).await;
        session.close();
        assert!(check.await.unwrap());
    }
}
