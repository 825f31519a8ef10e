//! The execution of each step of a schedule.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::task::Poll;
use std::time::Duration;

use realtime_wire::{ClientMessage, ConnectOptions, Connection, ServerMessage};
use tokio::time::Instant;

use crate::calls::{Done, Pending};
use crate::forgery::Forgery;
use crate::player::{Flow, Link};
use crate::schedule::{By, Call, Id, Kind, Present, Scope, Setup, Step};
use crate::server::{room_name, tenant_name, user_name};
use crate::world::World;

impl World {
    pub(crate) async fn step(&mut self, step: &Step) -> Result<(), String> {
        self.observe_hooks()?;
        match step {
            Step::Calls(calls) => self.calls(calls).await?,
            Step::Connect { client, present, rooms, delay } => self.connect(*client, *present, rooms, *delay),
            Step::Disconnect { client, up, after } => self.disconnect(*client, *up, *after)?,
            Step::ReadAll { client } => self.players[*client].flow = Flow::Flowing,
            Step::Close { client } => self.close(*client),
            Step::Lose(loss) => self.lose(*loss).await?,
            Step::Move { client, to } => self.players[*client].transport = *to,
            Step::Restart { drain, loss } => self.restart(*drain, *loss).await?,
            Step::Settle => self.settle().await?,
            Step::ReadSome { client, bytes } => {
                if self.players[*client].flow == Flow::Stalled {
                    self.read_client(*client, *bytes)?;
                }
            }
            Step::Slow { client, bytes } => self.slow_down(*client, Flow::Slow(*bytes)),
            Step::Stall { client } => self.slow_down(*client, Flow::Stalled),
            Step::Room { client, room, enter } => self.request_room(*client, *room, *enter),
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

    /// Reconnects every client and lets all of them read, sends one more event, and checks that no
    /// one misses anything.
    pub(crate) async fn finish(&mut self) -> Result<(), String> {
        self.observe_hooks()?;
        self.players.iter_mut().for_each(|player| player.flow = Flow::Flowing);
        self.settle().await?;
        self.applied().await?;
        for client in 0..self.players.len() {
            self.connect(client, Present::Own, &[], 0);
        }
        self.settle().await?;
        let by = if self.setup.mixed { By::All } else { By::Provider };
        self.calls(&[Call::Send { scope: Scope::All, except: None, kind: Kind::Plain, pad: 5, by }]).await?;
        self.settle().await?;
        if let Some(until) = self.asks.until() {
            self.wait(until.saturating_duration_since(Instant::now()) + Duration::from_secs(1)).await?;
            self.settle().await?;
        }
        self.stop().await
    }

    async fn calls(&mut self, calls: &[Call]) -> Result<(), String> {
        // So that the position of each call is known.
        self.applied().await?;
        self.reference.begin_calls();
        let mut pending: Vec<Option<Pending>> = calls.iter().map(|call| self.call(*call)).collect();
        let end = self.reference.log().end();
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
                    Done::Send(predicted, receipt) => self.reference.sent(&predicted, receipt.as_ref())?,
                }
            }
            if pending.iter().all(Option::is_none) {
                self.observe_log()?;
                return self.check_windows();
            }
            // Clients that read do so while the calls are under way.
            self.look()?;
            tokio::task::yield_now().await;
        }
        Err("a call never ends".to_owned())
    }

    /// Connects a client; the authenticator does not accept it for `delay` milliseconds.
    fn connect(&mut self, client: usize, present: Present, more: &[Id], delay: u64) {
        if self.players[client].link.is_some() {
            return;
        }
        let presented = self.presented(client, present);
        let player = &mut self.players[client];
        let mut rooms: Vec<Id> = player.rooms.iter().copied().collect();
        rooms.extend(more.iter().filter(|room| !player.rooms.contains(room)));
        // It forgets its previous position, whatever that was.
        player.cursor = presented.clone().or(player.cursor.take());
        let transport = self.players[client].transport;
        let moment = self.moment(transport);
        let serial = self.reference.ask_to_connect((client, transport), present, presented.clone(), &rooms, moment);
        let admitted = Instant::now() + Duration::from_millis(delay);
        let conn = &mut self.reference.conns[serial];
        conn.admitted = Some(admitted);
        conn.undisturbed = reads_fast_enough(&self.setup, self.players[client].flow);
        let mut query = format!("serial={serial}");
        if delay > 0 {
            query += &format!("&after={}", (admitted - self.begun).as_millis());
        }
        let identity = self.setup.identities[client];
        identity.user.iter().for_each(|user| query += &format!("&user={}", user_name(*user)));
        identity.tenant.iter().for_each(|tenant| query += &format!("&tenant={}", tenant_name(*tenant)));
        let (rooms, cursor_in_header) = (rooms.into_iter().map(room_name).collect(), !serial.is_multiple_of(3));
        let options = ConnectOptions { query, rooms, cursor: presented, cursor_in_header };
        let (link, ends) = Link::open(serial, Connection::new(transport, &options), self.setup.pipe);
        self.reference.conns[serial].probe = link.probe();
        self.players[client].link = Some(link);
        ends.into_iter().for_each(|end| self.server.accept(end));
        self.note(|| format!("  c{client}#{serial} asks: {}", options.query));
    }

    /// Returns the cursor that a client presents.
    fn presented(&mut self, client: usize, present: Present) -> Option<String> {
        let own = self.players[client].cursor.clone();
        match present {
            Present::Altered(at) => own.map(|own| {
                let mut bytes = own.into_bytes();
                let at = at % bytes.len();
                bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
                String::from_utf8_lossy(&bytes).into_owned()
            }),
            Present::Future(by) => Some(self.forge(client, Forgery::OtherPosition, self.reference.log().end() + by, 0)),
            Present::Garbage => Some("not-a-position".to_owned()),
            Present::Forged(forgery, at) => {
                self.reference.cover(forgery.name());
                Some(self.forge(client, forgery, at, 0))
            }
            Present::None => None,
            Present::Old(back) => {
                let past = &self.players[client].past;
                past.len().checked_sub(back).map(|at| past[at].clone()).or(own)
            }
            Present::Own => own,
            Present::Stolen(other) => {
                let of_another = self.players[other].cursor.clone();
                let is_stolen = of_another.is_some() && other != client;
                let is_foreign = self.setup.identities[client] != self.setup.identities[other];
                self.reference.cover_if(is_stolen, "cursor of another client");
                self.reference.cover_if(is_stolen && is_foreign, "cursor of another identity");
                of_another
            }
            Present::OtherEpoch(at) => Some(self.forge(client, Forgery::OtherPosition, at, 0x5555)),
            Present::Truncated(by) => own.map(|own| own[..own.len().saturating_sub(by).max(1)].to_owned()),
        }
    }

    /// Forges a cursor from what a client has received: the epoch, or one near it, and its current
    /// and previous cursors.
    fn forge(&self, client: usize, forgery: Forgery, at: u64, epoch_bits: u64) -> String {
        forgery.make(self.reference.epoch().get() ^ epoch_bits, at, &self.players[client])
    }

    /// Marks a client's connection as one that may end from this step on.
    pub(crate) fn disturb(&mut self, client: usize) {
        if let Some(link) = &self.players[client].link {
            self.reference.conns[link.serial].undisturbed = false;
        }
    }

    fn slow_down(&mut self, client: usize, flow: Flow) {
        if !reads_fast_enough(&self.setup, flow) {
            self.disturb(client);
        }
        self.players[client].flow = flow;
    }

    fn disconnect(&mut self, client: usize, up: bool, after: usize) -> Result<(), String> {
        self.disturb(client);
        if let Some(link) = &self.players[client].link {
            link.break_after(up, after);
            self.reference.cover_if(up, "disconnected while sending");
        }
        self.read_client(client, 0).map(drop)
    }

    fn vanish(&mut self, client: usize) {
        self.disturb(client);
        if let Some(link) = self.players[client].link.take() {
            self.reference.conns[link.serial].abandoned = true;
            self.players[client].late.clear();
            self.unread.extend(link.ends);
            self.reference.cover("vanished");
        }
    }

    fn close(&mut self, client: usize) {
        self.disturb(client);
        if let Some(link) = &mut self.players[client].link
            && self.reference.conns[link.serial].viewer.transport.is_bidirectional()
        {
            link.send(&ClientMessage::Close);
            self.reference.cover("closed by the client");
        }
    }

    fn request_room(&mut self, client: usize, room: Id, enter: bool) {
        let ack = self.players[client].next_ack();
        let Some(link) = &mut self.players[client].link else { return };
        let conn = &self.reference.conns[link.serial];
        if !conn.connected || conn.request.is_some() || !conn.viewer.transport.is_bidirectional() {
            return;
        }
        self.reference.request_room(link.serial, ack, room, enter);
        link.send(&ClientMessage::Room { room: room_name(room), ack, enter });
    }
}

/// Returns whether a client reads fast enough that the server may not close it: 4 KiB in a second
/// suffice.
fn reads_fast_enough(setup: &Setup, flow: Flow) -> bool {
    flow == Flow::Flowing || matches!(flow, Flow::Slow(2_000..)) && setup.pipe.bytes >= 2_000
}

/// A fingerprint of everything that the clients have received, without random ids, and without what
/// they receive in a drain, which closes connections in random order.
#[derive(Default)]
pub(crate) struct Digest {
    hasher: DefaultHasher,
    pub(crate) paused: bool,
}

impl Digest {
    pub(crate) fn add(&mut self, at: Duration, client: usize, message: &ServerMessage) {
        if self.paused {
            return;
        }
        (at, client).hash(&mut self.hasher);
        match message {
            ServerMessage::Cursor(_) => 1.hash(&mut self.hasher),
            ServerMessage::Event { name, data, .. } => {
                (2, name, data["n"].as_u64(), data["reason"].as_str()).hash(&mut self.hasher);
            }
            ServerMessage::Close => 3.hash(&mut self.hasher),
            ServerMessage::Refused(text) => text.hash(&mut self.hasher),
            ServerMessage::Reply { ack, ok } => (ack, ok).hash(&mut self.hasher),
        }
    }

    pub(crate) fn value(&self) -> u64 {
        self.hasher.finish()
    }
}
