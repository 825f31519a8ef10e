//! What each step of a schedule does.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::task::Poll;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use realtime_core::{Drain, Epoch};
use tokio::time::{Instant, sleep};

use crate::calls::{Done, Pending};
use crate::client::{Say, Wish, Word};
use crate::player::{Flow, Link};
use crate::schedule::{Call, Id, Kind, Present, Scope, Step};
use crate::server::{Server, room_name, tenant_name, user_name};
use crate::world::World;

impl World {
    pub(crate) async fn step(&mut self, step: &Step) -> Result<(), String> {
        self.hear_hooks()?;
        match step {
            Step::Calls(calls) => self.calls(calls).await?,
            Step::Connect { client, present, rooms } => self.connect(*client, *present, rooms),
            Step::Cut { client, up, after } => self.cut(*client, *up, *after)?,
            Step::Flow { client } => self.players[*client].flow = Flow::Flowing,
            Step::Goodbye { client } => self.goodbye(*client),
            Step::Restart { drain } => self.restart(*drain).await?,
            Step::Settle => self.settle().await?,
            Step::Sip { client, bytes } => {
                if self.players[*client].flow == Flow::Stalled {
                    self.pump(*client, *bytes)?;
                }
            }
            Step::Slow { client, bytes } => self.hinder(*client, Flow::Slow(*bytes)),
            Step::Stall { client } => self.hinder(*client, Flow::Stalled),
            Step::Subscribe { client, room } => self.request_room(*client, *room, true),
            Step::Unsubscribe { client, room } => self.request_room(*client, *room, false),
            Step::Vanish { client } => self.vanish(*client),
            Step::Wait(time) => self.wait(Duration::from_millis(*time)).await?,
            Step::Yield(rounds) => {
                for _ in 0..*rounds {
                    tokio::task::yield_now().await;
                }
            }
        }
        Ok(())
    }

    /// Everybody comes back and reads, and gets one more event; nobody misses anything.
    pub(crate) async fn finish(&mut self) -> Result<(), String> {
        self.hear_hooks()?;
        self.players.iter_mut().for_each(|player| player.flow = Flow::Flowing);
        self.settle().await?;
        for client in 0..self.players.len() {
            self.connect(client, Present::Own, &[]);
        }
        self.settle().await?;
        self.calls(&[Call::Send { scope: Scope::All, except: None, kind: Kind::Plain, pad: 5 }]).await?;
        self.settle().await?;
        if let Some(until) = self.asks.until() {
            self.wait(until.saturating_duration_since(Instant::now()) + Duration::from_secs(1)).await?;
            self.settle().await?;
        }
        self.stop().await
    }

    async fn calls(&mut self, calls: &[Call]) -> Result<(), String> {
        // So that the place of each call is known.
        while !self.server.tape().is_applied() {
            tokio::task::yield_now().await;
        }
        self.hear_hooks()?;
        self.reference.begin_calls();
        let mut pending: Vec<Option<Pending>> = calls.iter().map(|call| self.call(*call)).collect();
        let end = self.reference.log.end();
        self.note(|| format!("  the log ends at {end}"));
        for _ in 0..1_000 {
            let mut done = Vec::new();
            std::future::poll_fn(|cx| {
                for slot in &mut pending {
                    if let Some(future) = slot
                        && let Poll::Ready(result) = future.as_mut().poll(cx)
                    {
                        *slot = None;
                        done.push(result);
                    }
                }
                Poll::Ready(())
            })
            .await;
            for result in done {
                match result? {
                    Done::Ask(number, acks) => self.asks.collect(number, acks),
                    Done::Rooms => {}
                    Done::Send(predicted, receipt) => self.reference.receipt(&predicted, &receipt)?,
                }
            }
            if pending.iter().all(Option::is_none) {
                self.hear_log()?;
                return self.reference.check_window(&self.server.stats());
            }
            // Whoever reads does so while the calls are under way.
            self.look()?;
            tokio::task::yield_now().await;
        }
        Err("a call never ends".to_owned())
    }

    fn connect(&mut self, client: usize, present: Present, more: &[Id]) {
        if self.players[client].link.is_some() {
            return;
        }
        let presented = self.presented(client, present);
        let player = &mut self.players[client];
        let mut rooms: Vec<Id> = player.rooms.iter().copied().collect();
        rooms.extend(more.iter().filter(|room| !player.rooms.contains(room)));
        // It is no longer where it was, wherever that is.
        player.cursor = presented.clone().or(player.cursor.take());
        let moment = self.reference.moment(&self.server.stats());
        let serial = self.reference.ask_to_connect(client, present, presented.clone(), &rooms, moment);
        self.reference.conns[serial].calm = self.is_fair(self.players[client].flow);
        let person = self.setup.persons[client];
        let mut query = format!("serial={serial}");
        person.user.iter().for_each(|user| query += &format!("&user={}", user_name(*user)));
        person.tenant.iter().for_each(|tenant| query += &format!("&tenant={}", tenant_name(*tenant)));
        let wish = Wish { query, rooms: rooms.iter().map(|room| room_name(*room)).collect(), cursor: presented };
        let (link, ends) = Link::open(serial, self.setup.transport, &wish, serial.is_multiple_of(3), self.pipe());
        self.players[client].link = Some(link);
        ends.into_iter().for_each(|end| self.server.accept(end));
        self.note(|| format!("  c{client}#{serial} asks: {}", wish.query));
    }

    /// What a client presents as its place.
    fn presented(&mut self, client: usize, present: Present) -> Option<String> {
        let epoch = self.server.epoch();
        let own = self.players[client].cursor.clone();
        match present {
            Present::Altered(at) => own.map(|own| {
                let mut bytes = own.into_bytes();
                let at = at % bytes.len();
                bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
                String::from_utf8_lossy(&bytes).into_owned()
            }),
            Present::Future(by) => Some(guess(own.as_deref(), epoch, self.reference.log.end() + by, 0)),
            Present::Garbage => Some("not-a-place".to_owned()),
            Present::Guess(at, way) => {
                self.reference.cover("made-up place");
                Some(guess(own.as_deref(), epoch, at, way))
            }
            Present::None => None,
            Present::Old(back) => {
                let past = &self.players[client].past;
                past.len().checked_sub(back).map(|at| past[at].clone()).or(own)
            }
            Present::Own => own,
            Present::Stolen(other) => {
                let of_another = self.players[other].cursor.clone();
                if of_another.is_some() && other != client {
                    self.reference.cover("place of another client");
                    if self.setup.persons[client] != self.setup.persons[other] {
                        self.reference.cover("place of another identity");
                    }
                }
                of_another
            }
            Present::Stranger(at) => Some(guess(own.as_deref(), Epoch::new(epoch.get() ^ 0x5555), at, 0)),
            Present::Truncated(by) => own.map(|own| own[..own.len().saturating_sub(by).max(1)].to_owned()),
        }
    }

    /// Whether a client reads as fast as it must, so that it may not be cut: 4 KiB in a second do.
    fn is_fair(&self, flow: Flow) -> bool {
        flow == Flow::Flowing || matches!(flow, Flow::Slow(2_000..)) && self.setup.pipe_bytes >= 2_000
    }

    /// From here on a client's connection may end without being at fault.
    fn disturb(&mut self, client: usize) {
        if let Some(link) = &self.players[client].link {
            self.reference.conns[link.serial].calm = false;
        }
    }

    fn hinder(&mut self, client: usize, flow: Flow) {
        if !self.is_fair(flow) {
            self.disturb(client);
        }
        self.players[client].flow = flow;
    }

    fn cut(&mut self, client: usize, up: bool, after: usize) -> Result<(), String> {
        self.disturb(client);
        if let Some(link) = &self.players[client].link {
            link.cut_after(up, after);
            if up {
                self.reference.cover("cut on the way up");
            }
        }
        self.pump(client, 0).map(drop)
    }

    fn vanish(&mut self, client: usize) {
        self.disturb(client);
        if let Some(link) = self.players[client].link.take() {
            self.reference.conns[link.serial].over = true;
            self.players[client].late.clear();
            self.dead.extend(link.vanish());
            self.reference.cover("vanished");
        }
    }

    fn goodbye(&mut self, client: usize) {
        self.disturb(client);
        if let Some(link) = &mut self.players[client].link
            && self.setup.transport.is_bidirectional()
        {
            link.say(Say::Goodbye);
            self.reference.cover("goodbye");
        }
    }

    fn request_room(&mut self, client: usize, room: Id, enter: bool) {
        let ack = self.players[client].next_ack();
        let Some(link) = &mut self.players[client].link else { return };
        let conn = &self.reference.conns[link.serial];
        if !conn.connected || conn.request.is_some() {
            return;
        }
        let say = if enter {
            Say::Subscribe { room: room_name(room), ack }
        } else {
            Say::Unsubscribe { room: room_name(room), ack }
        };
        self.reference.request_room(link.serial, ack, room, enter);
        link.say(say);
    }

    async fn restart(&mut self, drain: Option<u64>) -> Result<(), String> {
        let flowing = self.players.iter().filter(|player| player.flow == Flow::Flowing);
        let links = flowing.filter_map(|player| player.link.as_ref()).map(|link| link.serial);
        let calm: Vec<usize> = links.filter(|serial| self.reference.conns[*serial].calm).collect();
        (0..self.players.len()).for_each(|client| self.disturb(client));
        let mut resume_at = Instant::now();
        if let Some(seconds) = drain {
            self.digest.paused = true;
            // Whoever is closed last decides when it is over, and that is drawn by lot.
            resume_at += Duration::from_secs(seconds + 10);
            self.serves_until = Some(Instant::now() + Duration::from_secs(seconds));
            let shutdown = tokio::spawn(self.server.shutdown(Drain::over(Duration::from_secs(seconds))));
            while !shutdown.is_finished() {
                self.flow().await?;
                sleep(Duration::from_millis(20)).await;
                self.look()?;
            }
            self.flow().await?;
            // Whoever has read all the time has received everything before it was told to go.
            for serial in calm {
                if self.reference.conns[serial].connected {
                    let end = self.reference.log.end();
                    self.reference.check_gap(serial, end).map_err(|what| format!("#{serial} drained: {what}"))?;
                }
            }
            self.reference.cover("drained restart");
        } else {
            self.reference.cover("restart without a drain");
        }
        self.stop().await?;
        tokio::time::sleep_until(resume_at).await;
        self.digest.paused = false;
        self.serves_until = None;
        self.server = Server::start(&self.setup).await.map_err(|error| error.to_string())?;
        self.reference.restart(self.server.epoch());
        Ok(())
    }
}

/// Ways to make up a place.
pub(crate) const WAYS: usize = 5;

/// What a client can make up of what it knows: the epoch of its welcome, and the rest of the last place it was given.
fn guess(own: Option<&str>, epoch: Epoch, place: u64, way: usize) -> String {
    let own = own.and_then(|own| URL_SAFE_NO_PAD.decode(own).ok()).filter(|own| own.len() == 37);
    let mut bytes = own.unwrap_or_else(|| [&[2][..], &[0; 36]].concat());
    bytes[1..9].copy_from_slice(&epoch.get().to_be_bytes());
    bytes[9..17].copy_from_slice(&place.to_be_bytes());
    match way {
        // Another record's rest.
        0 => {}
        // No record's mark.
        1 => bytes[17..21].fill(0),
        // No MAC.
        2 => bytes[21..].fill(0),
        3 => bytes.truncate(21),
        // As places were before they had one, with a checksum that anybody can make.
        _ => {
            bytes.truncate(17);
            bytes[0] = 1;
            let bit = |sum: u32| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
            let sum = !bytes.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| bit(sum)));
            bytes.extend(sum.to_be_bytes());
        }
    }
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A fingerprint of all that the clients have heard; random ids are left out, and so is what is heard in a drain, which
/// closes connections in random order.
#[derive(Default)]
pub(crate) struct Digest {
    hasher: DefaultHasher,
    pub(crate) paused: bool,
}

impl Digest {
    pub(crate) fn add(&mut self, at: Duration, client: usize, word: &Word) {
        if self.paused {
            return;
        }
        (at, client).hash(&mut self.hasher);
        match word {
            Word::Cursor(_) => 1.hash(&mut self.hasher),
            Word::Event { name, data, .. } => {
                (2, name, data["n"].as_u64(), data["reason"].as_str()).hash(&mut self.hasher);
            }
            Word::Goodbye => 3.hash(&mut self.hasher),
            Word::Refused(text) => text.hash(&mut self.hasher),
            Word::Reply { ack, ok } => (ack, ok).hash(&mut self.hasher),
        }
    }

    pub(crate) fn value(&self) -> u64 {
        self.hasher.finish()
    }
}
