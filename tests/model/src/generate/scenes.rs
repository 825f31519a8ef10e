//! Scenes of several steps that chance alone would rarely produce.

use realtime_wire::Transport;

use super::{Generator, ROOMS};
use crate::schedule::{By, Call, Id, Kind, Loss, Member, Present, Providers, Scope, Setup, Step};

impl Generator {
    fn ensure_connected(&mut self, client: usize) {
        if !self.connected[client] {
            self.connect(client);
        }
    }

    /// Adds this many events for everyone.
    fn events(&mut self, count: usize) {
        let by = self.by(Kind::Plain);
        self.events_by(by, count);
    }

    /// Adds this many events for everyone, with this sender.
    fn events_by(&mut self, by: By, count: usize) {
        let send = Call::Send { scope: Scope::All, except: None, kind: Kind::Plain, pad: 5, by };
        self.steps.push(Step::Calls(vec![send; count]));
    }

    /// The log begins a new life while a client connects, or while an ask to one is under way.
    pub(super) fn new_life(&mut self, client: usize) {
        if self.rng.percent(30) {
            return self.ask_of_a_past_life(client);
        }
        let count = self.rng.between(1, 5);
        self.events(count);
        if self.rng.percent(50) {
            self.steps.push(Step::Settle);
        }
        if self.connected[client] && self.rng.percent(80) {
            self.steps.push(Step::Disconnect { client, up: false, after: 0 });
        }
        let (lost, others) = (self.rng.between(1, count) as u64, self.rng.between(0, 2 * count));
        let records = (!self.rng.percent(15)).then_some(lost);
        self.steps.push(Step::Lose(Loss { records, others }));
        if self.rng.percent(50) {
            self.steps.push(Step::Wait(self.rng.between(1, 900) as u64));
        }
        self.connect_slowly(client);
        if self.rng.percent(50) {
            self.steps.push(Step::Wait(self.rng.between(800, 1_200) as u64));
        }
        let count = self.rng.between(1, 2);
        self.events(count);
        self.steps.push(Step::Settle);
        self.connected.fill(false);
        self.connected[client] = true;
    }

    /// A client that an ask was sent to vanishes; then another ask gets the position of the first
    /// one.
    fn ask_of_a_past_life(&mut self, client: usize) {
        let is_asked = self.over[client].provider() == self.setup.transport.provider();
        let is_asked = is_asked && self.setup.transport.is_bidirectional();
        let Some(user) = self.setup.identities[client].user.filter(|_| is_asked) else { return };
        let ask = Call::Ask { scope: Scope::User(user), seconds: 40, answers: 0 };
        self.ensure_connected(client);
        self.steps.extend([
            Step::ReadAll { client },
            Step::Settle,
            Step::Stall { client },
            Step::Calls(vec![ask]),
            Step::Vanish { client },
            Step::Lose(Loss { records: Some(1), others: 0 }),
            Step::Wait(1_000),
            Step::ReadAll { client },
            Step::Calls(vec![ask]),
        ]);
        self.connected.fill(false);
        self.connect(client);
        self.steps.push(Step::Settle);
    }

    /// The log is rolled back while no process runs, and continues with other records beyond the
    /// positions of some clients.
    pub(super) fn rolled_back(&mut self, client: usize) {
        self.ensure_connected(client);
        let count = self.rng.between(1, 6);
        self.steps.extend([Step::ReadAll { client }, Step::Settle]);
        self.events(count);
        self.steps.push(Step::Settle);
        let (lost, others) = (self.rng.between(1, count) as u64, self.rng.between(0, count));
        let drain = self.rng.percent(20).then_some(0);
        self.steps.push(Step::Restart { drain, loss: Some(Loss { records: Some(lost), others }) });
        self.connected.fill(false);
        if self.rng.percent(70) {
            self.events(count);
        }
        self.steps.push(Step::Connect { client, present: Present::Own, rooms: Vec::new(), delay: 0 });
        self.connected[client] = true;
        self.steps.push(Step::Settle);
    }

    /// A member of a room is away for about as long as the window reaches, and the room continues.
    pub(super) fn absence(&mut self, client: usize) {
        let rng = &mut self.rng;
        let window = self.setup.window_seconds as usize * 1_000;
        let identity = self.setup.identities[client];
        let Some(user) = identity.user.filter(|_| window <= 20_000) else { return };
        let member = Member { user, tenant: identity.tenant.filter(|_| rng.percent(40)) };
        let room = rng.below(ROOMS) as Id;
        let by = By::Provider;
        let send = |scope| Step::Calls(vec![Call::Send { scope, except: None, kind: Kind::Plain, pad: 5, by }]);
        let away = rng.between(window / 2, window);
        let still_away = rng.between(window / 4, window);
        self.steps.extend([
            Step::ReadAll { client },
            Step::Calls(vec![Call::Room { member, room, enter: true }]),
            // So that its position outlives the window for as long as no other event is sent.
            send(Scope::User(user)),
            Step::Settle,
            Step::Disconnect { client, up: false, after: 0 },
            Step::Wait(away as u64),
            send(Scope::Room(room)),
            Step::Wait(still_away as u64),
        ]);
        self.connected[client] = false;
        self.connect(client);
        self.steps.push(Step::Settle);
    }

    /// No event is sent for longer than the window reaches; then a client is disconnected for a
    /// moment.
    pub(super) fn quiet(&mut self, client: usize) {
        let window = self.setup.window_seconds as usize * 1_000;
        if window > 20_000 {
            return;
        }
        self.ensure_connected(client);
        self.steps.extend([
            Step::ReadAll { client },
            Step::Settle,
            Step::Wait((window + self.rng.between(1_500, 4_000)) as u64),
            Step::Disconnect { client, up: false, after: 0 },
            Step::Wait(self.rng.between(1, window / 2) as u64),
        ]);
        self.connected[client] = false;
        if self.rng.percent(50) {
            self.calls();
        }
        self.steps.push(Step::Connect { client, present: Present::Own, rooms: Vec::new(), delay: 0 });
        self.connected[client] = true;
        self.steps.push(Step::Settle);
    }

    /// A client reads about as much as is sent, some way behind, while a series is renewed all the
    /// time.
    pub(super) fn renewal(&mut self, client: usize) {
        let Setup { outbox_frames, outbox_bytes, window_bytes, window_records, pipe, .. } = self.setup;
        let falls_behind = outbox_frames <= 16 || outbox_bytes <= 8_000;
        if !falls_behind || window_bytes < 1 << 20 || window_records < 60 || pipe.bytes < 16_000 {
            return;
        }
        let by = self.by(Kind::Plain);
        let send = |kind, pad| Call::Send { scope: Scope::All, except: None, kind, pad, by };
        let plain = || send(Kind::Plain, 20_000);
        let round = || Step::Calls(vec![plain(), send(Kind::Latest(0), 20), plain(), plain()]);
        self.steps.extend([Step::ReadAll { client }, Step::Settle, Step::Stall { client }]);
        self.steps.extend((0..4).map(|_| round()));
        for _ in 0..self.rng.between(6, 12) {
            self.steps.push(round());
            for _ in 0..60_000 / pipe.bytes.min(60_000) + 1 {
                self.steps.extend([Step::ReadSome { client, bytes: 60_000 }, Step::Yield(6)]);
            }
        }
        self.steps.extend([Step::ReadAll { client }, Step::Settle]);
    }

    /// A client is disconnected again and again while a large event, or one that is not quite
    /// large, is on its way to it.
    pub(super) fn disconnect_within(&mut self, client: usize) {
        let Setup { window_records, window_bytes, window_seconds, pipe, .. } = self.setup;
        let stays = window_records >= 8 && window_bytes >= 1 << 20 && window_seconds >= 20;
        let Some(user) = self.setup.identities[client].user.filter(|_| stays && pipe.bytes >= 2_000) else { return };
        let by = self.by(Kind::Plain);
        let send = |pad| Call::Send { scope: Scope::User(user), except: None, kind: Kind::Plain, pad, by };
        let pad = self.rng.pick(&[70_000, 70_000, 40_000]);
        let disconnect = || Step::Disconnect { client, up: false, after: 0 };
        let reconnect = || Step::Connect { client, present: Present::Own, rooms: Vec::new(), delay: 0 };
        if !self.connected[client] {
            self.steps.push(reconnect());
        }
        self.steps.extend([Step::ReadAll { client }, Step::Settle, disconnect()]);
        let small = self.rng.percent(50).then(|| send(20));
        self.steps.push(Step::Calls(small.into_iter().chain([send(pad), send(20)]).collect()));
        for _ in 0..self.rng.between(3, 6) {
            let after = self.rng.pick(&[0, 1_000, pad / 2, pad / 2, pad]) + self.rng.below(2_000);
            self.steps.extend([reconnect(), Step::Disconnect { client, up: false, after }]);
            let yields = self.rng.between(1, 30);
            self.steps.push(if self.rng.percent(70) { Step::Settle } else { Step::Yield(yields) });
            self.steps.push(disconnect());
        }
        self.steps.extend([reconnect(), Step::Settle]);
        self.connected[client] = true;
    }

    /// A client has not read its asks when it receives its cursor, and then its outbox overflows.
    pub(super) fn unread_asks(&mut self, client: usize) {
        let Some(user) = self.setup.identities[client].user else { return };
        let Setup { outbox_frames, window_records, window_seconds, .. } = self.setup;
        let quarter = window_records / 4;
        if outbox_frames > 4 || window_records <= outbox_frames + 1 || quarter > 15 && window_seconds > 3 {
            return;
        }
        let ask = || Step::Calls(vec![Call::Ask { scope: Scope::User(user), seconds: 40, answers: 0 }]);
        self.steps.extend([Step::ReadAll { client }, Step::Settle, Step::Stall { client }]);
        let asks = if window_seconds <= 3 { self.rng.between(1, 3) } else { quarter.max(1) };
        for _ in 0..asks {
            self.steps.extend([ask(), Step::Yield(12)]);
        }
        self.steps.push(Step::Wait(self.rng.between(1_000, 1_800) as u64));
        let by = self.by(Kind::Plain);
        let plain = Call::Send { scope: Scope::User(user), except: None, kind: Kind::Plain, pad: 5, by };
        self.steps.push(Step::Calls(vec![plain; outbox_frames + 1]));
        self.steps.extend([Step::ReadAll { client }, Step::Settle]);
    }

    /// A client is disconnected again and again, and reconnects each time over another transport
    /// with its own cursor, while everything else continues.
    pub(super) fn crossing(&mut self, client: usize) {
        self.ensure_connected(client);
        self.steps.extend([Step::ReadAll { client }, Step::Settle]);
        let mut others: Vec<_> = Transport::ALL.into_iter().filter(|other| *other != self.over[client]).collect();
        while !others.is_empty() {
            let to = others.swap_remove(self.rng.below(others.len()));
            let after = self.rng.pick(&[0, 0, 1, 100, 1_000]);
            self.steps.push(Step::Disconnect { client, up: false, after });
            self.calls();
            if self.rng.percent(50) {
                self.calls();
            }
            self.steps.push(Step::Disconnect { client, up: false, after: 0 });
            self.move_to(client, to);
            self.steps.push(Step::Connect { client, present: Present::Own, rooms: Vec::new(), delay: 0 });
            if self.rng.percent(50) {
                self.calls();
            }
            self.steps.push(Step::Settle);
        }
        self.connected[client] = true;
    }

    /// Records for other providers fill the window of a client's, about to its bound of positions,
    /// while it is away or does not read; then it reconnects or reads, over the same transport or
    /// another one.
    pub(super) fn filled_by_others(&mut self, client: usize) {
        let reconnect = || Step::Connect { client, present: Present::Own, rooms: Vec::new(), delay: 0 };
        let first = self.setup.transport.provider();
        if self.over[client].provider() == first && self.rng.percent(60) {
            // A record of the first provider takes a position in the windows of two others.
            let to = self.rng.pick(&others(first));
            self.steps.push(Step::Disconnect { client, up: false, after: 0 });
            self.move_to(client, to);
            self.steps.push(reconnect());
        } else if !self.connected[client] {
            self.connect(client);
        }
        let over = self.over[client];
        let is_first = over.provider() == first;
        // It leaves at a position that is not of the provider it moves to, whose window is filled.
        let leaves = is_first && self.rng.percent(60);
        let two = leaves || !is_first && self.rng.percent(70);
        let by_others = if two { By::Provider } else { By::Named(Providers::of(&others(over.provider()))) };
        // The transports whose windows are filled too, or might be.
        let filled = if two { others(first) } else { Transport::ALL.to_vec() };
        let Setup { window_records: records, outbox_frames, pipe, .. } = self.setup;
        self.steps.extend([Step::ReadAll { client }, Step::Settle]);
        // Its position is at the end, by a record for all or for its own provider.
        let last = if is_first && self.rng.percent(50) { By::Provider } else { By::All };
        self.events_by(last, 1);
        self.steps.push(Step::Settle);
        let is_away = leaves || outbox_frames > 4 || pipe.bytes > 16_000 || self.rng.percent(40);
        let missed = if is_away {
            self.steps.push(Step::Disconnect { client, up: false, after: 0 });
            self.rng.pick(&[0, 0, 1, 2, records])
        } else {
            // One fills its connection, the others its outbox.
            let (kind, pad, by) = (Kind::Plain, pipe.bytes + 20_000, By::All);
            let plug = Call::Send { scope: Scope::All, except: None, kind, pad, by };
            self.steps.extend([Step::Stall { client }, Step::Calls(vec![plug]), Step::Yield(12)]);
            outbox_frames + 1
        };
        self.events_by(By::All, missed);
        let positions = 8 * records - missed.min(8 * records);
        let most = positions + self.rng.pick(&[1, 2, missed + 2, 2 * records, 8 * records]);
        let count = self.rng.pick(&[positions / 2, positions.saturating_sub(1), positions, most, most]);
        for begun in (0..count).step_by(50) {
            self.events_by(by_others, 50.min(count - begun));
        }
        if self.rng.percent(30) {
            let count = self.rng.between(1, records.min(4));
            self.events_by(By::All, count);
        }
        if is_away {
            if leaves || self.rng.percent(70) {
                let to = self.rng.pick(&filled);
                self.move_to(client, to);
            }
            self.steps.push(reconnect());
        } else {
            self.steps.push(Step::ReadAll { client });
        }
        self.connected[client] = true;
        self.steps.push(Step::Settle);
    }
}

/// Returns the transports of the other providers.
fn others(provider: &str) -> Vec<Transport> {
    Transport::ALL.into_iter().filter(|other| other.provider() != provider).collect()
}
