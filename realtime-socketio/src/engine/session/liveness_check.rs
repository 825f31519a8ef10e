//! Check whether a client is still connected, made when its user needs the place.
//!
//! On a websocket a ping is written between two frames, whose pong engineioxide ignores. On long polling the waiting GET is
//! answered, and the next request is the sign of life.

use std::time::Duration;

use tokio::time::timeout;

use crate::engine::session::EngineSession;

/// Number of intervals in which the client must be read for its silence to count.
const LOOKS: u32 = 8;

impl EngineSession {
    /// Requests a sign of life and waits for it. Returns false if there was none for this time, during which the client was read.
    pub(crate) async fn shows_life(&self, time: Duration) -> bool {
        if !self.liveness.request_sign() {
            // Somebody else waits for it.
            return true;
        }
        self.notify();
        self.wake_readers();
        let mut silent = 0;
        while silent < LOOKS {
            let sign = self.until(|| self.liveness.is_settled() || self.is_closing());
            if timeout(time / LOOKS, sign).await.is_ok() {
                return true;
            }
            silent = if self.is_unread() { 0 } else { silent + 1 };
        }
        false
    }

    /// Waits until a GET is to end with a noop packet, upon which a client that is still connected sends the next one.
    pub(crate) async fn noop_due_for_life(&self) {
        self.until(|| self.liveness.takes_request()).await;
    }

    /// Returns whether nothing from the client is read. On long polling its GETs always are.
    fn is_unread(&self) -> bool {
        self.upgrade.is_finished() && (self.is_paused() || self.liveness.is_blocked())
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

    /// A websocket's stream that takes so many bytes before its writes wait, and is read all the time.
    fn stream(room: usize) -> (Arc<EngineSession>, WriteHalf<SessionStream<DuplexStream>>, DuplexStream) {
        let (io, peer) = duplex(room);
        let session = Arc::new(EngineSession::default());
        session.upgrade.finish();
        let limits = Limits { max_message: 1 << 20, write_stall: Duration::from_secs(30), probe: TIME };
        let (mut reader, writer) = split(SessionStream::new(io, Arc::clone(&session), limits));
        tokio::spawn(async move { while reader.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {} });
        (session, writer, peer)
    }

    /// So many bytes, which come soon.
    async fn read(peer: &mut DuplexStream, len: usize) -> Vec<u8> {
        let mut got = vec![0; len];
        timeout(TIME / 2, peer.read_exact(&mut got)).await.expect("so many bytes").unwrap();
        got
    }

    fn asking(session: &Arc<EngineSession>) -> tokio::task::JoinHandle<bool> {
        let session = Arc::clone(session);
        tokio::spawn(async move { session.shows_life(TIME).await })
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_websocket_is_sent_a_ping_however_little_it_takes() {
        for room in [1, 2, 64] {
            let (session, _writer, mut peer) = stream(room);
            for _ in 0..3 {
                sleep(TIME).await;
                let asking = asking(&session);
                assert_eq!(read(&mut peer, PING.len()).await, PING);
                let begun = Instant::now();
                peer.write_all(&PONG).await.unwrap();
                assert!(asking.await.unwrap(), "{room}");
                assert_eq!(begun.elapsed(), Duration::ZERO);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_silent_has_its_time_and_no_more() {
        for room in [1, 64] {
            let (session, _writer, _peer) = stream(room);
            let begun = Instant::now();
            assert!(!session.shows_life(TIME).await);
            assert_eq!(begun.elapsed(), TIME);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn anything_that_comes_is_a_sign_of_life_and_only_while_somebody_wants_one() {
        let (session, _writer, mut peer) = stream(64);
        peer.write_all(&PONG).await.unwrap();
        sleep(TIME).await;
        let asking = asking(&session);
        sleep(TIME - Duration::from_millis(10)).await;
        // The begin of a frame.
        peer.write_all(&[0x81]).await.unwrap();
        assert!(asking.await.unwrap());
        assert!(!session.shows_life(TIME).await, "that was before");
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_question_is_not_asked_while_one_waits() {
        let (session, _writer, mut peer) = stream(64);
        let first = asking(&session);
        sleep(TIME / 2).await;
        assert!(session.shows_life(TIME).await);
        assert!(!first.await.unwrap());
        drop(session);
        let mut got = [0; 8];
        assert_eq!(peer.read(&mut got).await.unwrap(), PING.len());
    }

    #[tokio::test(start_paused = true)]
    async fn a_ping_goes_between_two_frames() {
        let frames = [text_frame(&"x".repeat(200)), vec![0x82, 2, 0x88, 0], text_frame("2")];
        let all = frames.concat();
        let borders: Vec<_> = (0..=frames.len()).map(|n| frames[..n].concat().len()).collect();
        for cut in 0..=all.len() {
            let (session, mut writer, mut peer) = stream(1000);
            writer.write_all(&all[..cut]).await.unwrap();
            let _asking = asking(&session);
            sleep(Duration::from_millis(1)).await;
            writer.write_all(&all[cut..]).await.unwrap();
            writer.flush().await.unwrap();
            let mut got = read(&mut peer, all.len() + PING.len()).await;
            let ping = borders.iter().find(|border| got[**border..].starts_with(&PING));
            let ping = *ping.unwrap_or_else(|| panic!("{cut}: no ping between two frames"));
            got.drain(ping..ping + PING.len());
            assert_eq!(got, all, "{cut}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_ping_that_was_begun_goes_on_before_the_next_frame() {
        let [first, second] = ["1234", "5678"].map(text_frame);
        for room in first.len()..first.len() + 4 {
            let (session, mut writer, mut peer) = stream(room);
            writer.write_all(&first).await.unwrap();
            let _asking = asking(&session);
            sleep(Duration::from_millis(1)).await;
            let (expected, second) = ([&first[..], &PING, &second].concat(), second.clone());
            let writing = tokio::spawn(async move {
                writer.write_all(&second).await.unwrap();
                writer.flush().await.unwrap();
                writer
            });
            sleep(Duration::from_millis(1)).await;
            assert_eq!(read(&mut peer, expected.len()).await, expected, "{room}");
            writing.await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_ping_waits_for_the_first() {
        let (session, _writer, mut peer) = stream(1);
        let first = asking(&session);
        sleep(Duration::from_millis(1)).await;
        // One that sends and does not read.
        peer.write_all(&[0x8a]).await.unwrap();
        assert!(first.await.unwrap());
        let second = asking(&session);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(read(&mut peer, 2 * PING.len()).await, [PING, PING].concat());
        assert!(!second.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_comes_behind_a_close_frame() {
        let (session, mut writer, mut peer) = stream(1000);
        writer.write_all(&BARE_CLOSE).await.unwrap();
        assert!(!session.shows_life(TIME).await);
        session.close();
        drop((session, writer));
        let mut got = Vec::new();
        peer.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, Cause::Malformed.last_frames());
    }

    /// Its pong stands behind what it has not read, but it takes what is written.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_slowly_is_there() {
        let (session, mut writer, mut peer) = stream(64);
        let writing = tokio::spawn(async move { writer.write_all(&text_frame(&"x".repeat(1000))).await });
        let asking = asking(&session);
        sleep(TIME / 2).await;
        peer.read_exact(&mut [0; 1]).await.unwrap();
        assert!(asking.await.unwrap());
        assert!(!session.shows_life(TIME).await, "once");
        writing.abort();
    }

    /// While its events wait for their handlers, or a CONNECT of its for others.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_not_read_has_its_time_from_then_on_when_it_is() {
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
                let mut asking = asking(&session);
                assert!(timeout(TIME * 100, &mut asking).await.is_err());
                let begun = Instant::now();
                if answers {
                    peer.write_all(&PONG).await.unwrap();
                }
                session.resume();
                session.sent(&others[0]);
                assert_eq!(asking.await.unwrap(), answers);
                let waited = begun.elapsed();
                assert!(if answers { waited.is_zero() } else { waited > TIME * 3 / 4 }, "{waited:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_ends_needs_no_sign() {
        let (session, _writer, _peer) = stream(64);
        let asking = asking(&session);
        sleep(TIME / 2).await;
        session.close();
        assert!(asking.await.unwrap());
    }
}
