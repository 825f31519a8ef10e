//! The way from a seed to a schedule.

mod scenes;

use realtime_wire::Transport;

use crate::forgery::Forgery;
use crate::pipe::PipeConfig;
use crate::rng::Rng;
use crate::schedule::{
    By, Call, Except, Id, Identity, Kind, Loss, Member, Present, Providers, Schedule, Scope, Setup, Step,
};

const USERS: usize = 3;
const TENANTS: usize = 2;
/// The number of rooms. The last one is closed to clients, the one before shows only what is sent
/// after the entry.
pub(crate) const ROOMS: usize = 4;
/// The percentage of schedules in which clients change their transports.
const MIXED: usize = 20;
/// The percentage of these in which the windows are small.
const SMALL: usize = 40;
/// The room that no client may enter by itself.
pub(crate) const CLOSED_ROOM: Id = 3;
/// The room whose past is not shown to clients that name it.
pub(crate) const FROM_NOW_ROOM: Id = 2;

impl Schedule {
    /// Returns the schedule of a seed, on its own transport or on this one.
    #[must_use]
    pub fn of(seed: u64, transport: Option<Transport>) -> Self {
        let mut rng = Rng::new(seed);
        let drawn = rng.pick(&Transport::ALL);
        let mut setup = setup(&mut rng, transport.unwrap_or(drawn));
        // From random numbers of their own, so that the other schedules stay as they are.
        let mut extra = Rng::new(!seed);
        if extra.percent(MIXED) {
            setup = mixed(setup);
        }
        setup.at_once = extra.percent(50);
        if setup.mixed && extra.percent(SMALL) {
            setup = small(setup, &mut extra);
        }
        let (connected, over) = setup.identities.iter().map(|_| (false, setup.transport)).unzip();
        let mut generator = Generator { connected, over, setup, rng, steps: Vec::new() };
        generator.run();
        Self { seed, setup: generator.setup, steps: generator.steps }
    }
}

fn setup(rng: &mut Rng, transport: Transport) -> Setup {
    let identities = (0..rng.between(2, 5)).map(|_| Identity {
        user: (!rng.percent(10)).then(|| rng.below(USERS) as Id),
        tenant: (!rng.percent(20)).then(|| rng.below(TENANTS) as Id),
    });
    let mut identities: Vec<Identity> = identities.collect();
    if rng.percent(50) {
        // Two users of one name, in two tenants.
        identities[0].tenant = Some(0);
        identities[1] = Identity { tenant: Some(1), ..identities[0] };
    }
    Setup {
        transport,
        mixed: false,
        at_once: false,
        identities,
        everyone: transport == Transport::Sse && rng.percent(20),
        window_records: rng.pick(&[3, 8, 20, 60, 10_000]),
        window_bytes: rng.pick(&[3_000, 12_000, 1 << 20, 1 << 20]),
        window_seconds: rng.pick(&[3, 20, 300, 300]),
        window_keys: rng.pick(&[1, 3, 1_000]),
        outbox_frames: rng.pick(&[1, 2, 4, 16, 256]),
        outbox_bytes: rng.pick(&[1_000, 8_000, 256 * 1024, 256 * 1024]),
        pipe: PipeConfig {
            bytes: rng.pick(&[64, 300, 2_000, 16_000, 64 * 1024]),
            vectored: rng.percent(50),
            reset: rng.percent(50),
        },
    }
}

/// Attaches all providers, with windows that hold everything, so that no client loses its position.
fn mixed(setup: Setup) -> Setup {
    Setup {
        mixed: true,
        everyone: false,
        window_records: 10_000,
        window_bytes: 1 << 30,
        window_seconds: 100_000,
        ..setup
    }
}

/// Makes the windows hold few records, by count or by bytes. Their age stays, for absence has its
/// own schedules.
fn small(setup: Setup, extra: &mut Rng) -> Setup {
    let (window_records, window_bytes) =
        extra.pick(&[(3, 1 << 30), (3, 1 << 30), (8, 1 << 30), (20, 1 << 30), (20, 4_000)]);
    Setup { window_records, window_bytes, ..setup }
}

struct Generator {
    setup: Setup,
    rng: Rng,
    steps: Vec<Step>,
    /// `true` for clients that are connected, as far as that can be known beforehand.
    connected: Vec<bool>,
    /// The transport of each client's next connection.
    over: Vec<Transport>,
}

impl Generator {
    fn run(&mut self) {
        for client in 0..self.connected.len() {
            if self.rng.percent(80) {
                self.connect(client);
            }
        }
        if self.rng.percent(70) {
            self.steps.push(Step::Settle);
        }
        for _ in 0..self.rng.between(20, 60) {
            self.step();
        }
    }

    fn step(&mut self) {
        let client = self.rng.below(self.connected.len());
        let talks = usize::from(self.over[client].is_bidirectional());
        let crosses = 4 * usize::from(self.setup.mixed);
        // A client that is not connected reconnects soon.
        if !self.connected[client] && self.rng.percent(30) {
            return self.connect(client);
        }
        let fills = 6 * usize::from(self.setup.mixed && self.setup.window_records < 10_000);
        let weights =
            [34, 10, 2, 2, 5, 5, 4, 6, 4 * talks, 3 * talks, 1, 10, 8, 1, 1, 10, 2, talks, 1, 3, crosses, fills];
        let step = match self.rng.weighted(&weights) {
            0 => return self.calls(),
            1 => {
                self.connected[client] = false;
                let after = self.rng.pick(&[0, 0, 1, 10, 100, 1_000]);
                Step::Disconnect {
                    client,
                    up: self.rng.percent(25),
                    after: if after > 1 { self.rng.below(after) } else { after },
                }
            }
            2 => {
                self.connected[client] = false;
                Step::Vanish { client }
            }
            3 => {
                self.connected[client] = false;
                Step::Close { client }
            }
            4 => Step::Stall { client },
            5 => Step::ReadAll { client },
            6 => Step::Slow { client, bytes: self.rng.pick(&[40, 200, 2_000]) },
            7 => Step::ReadSome { client, bytes: self.rng.pick(&[1, 50, 500, 10_000]) },
            number @ (8 | 9) => Step::Room { client, room: self.rng.below(ROOMS) as Id, enter: number == 8 },
            10 => {
                self.connected.fill(false);
                let drain = self.rng.percent(60).then(|| self.rng.pick(&[0, 0, 1, 4]));
                Step::Restart { drain, loss: self.rng.percent(70).then(|| self.loss()) }
            }
            11 => Step::Settle,
            12 => self.wait(),
            13 => return self.absence(client),
            14 => return self.quiet(client),
            16 => return self.renewal(client),
            17 => return self.unread_asks(client),
            18 => match self.rng.weighted(&[3, 4, 4]) {
                0 => Step::Lose(self.loss()),
                1 => return self.new_life(client),
                _ => return self.rolled_back(client),
            },
            19 => return self.disconnect_within(client),
            20 => return self.crossing(client),
            21 => return self.filled_by_others(client),
            _ => Step::Yield(self.rng.between(1, 12)),
        };
        self.steps.push(step);
    }

    fn wait(&mut self) -> Step {
        let window = self.setup.window_seconds as usize * 1_000;
        Step::Wait(match self.rng.below(10) {
            0 => self.rng.between(20_000, 60_000),
            // So that several fit into a short window, and some do not.
            1..5 if window <= 3_000 => self.rng.between(window / 3, window),
            1..4 => self.rng.between(1_000, 6_000),
            _ => self.rng.between(1, 400),
        } as u64)
    }

    /// Returns a loss that keeps the log's epoch or not.
    fn loss(&mut self) -> Loss {
        let rng = &mut self.rng;
        let records = (!rng.percent(40)).then(|| rng.pick(&[1, 1, 2, 3, 5, 10, 100]));
        Loss { records, others: if records.is_some() || rng.percent(20) { rng.pick(&[0, 0, 1, 2, 5, 12]) } else { 0 } }
    }

    fn connect(&mut self, client: usize) {
        if self.rng.percent(8) { self.connect_slowly(client) } else { self.connect_in(client, 0) }
    }

    /// Connects with an authenticator that takes its time.
    fn connect_slowly(&mut self, client: usize) {
        let delay = self.rng.between(1, 1_400) as u64;
        self.connect_in(client, delay);
    }

    fn connect_in(&mut self, client: usize, delay: u64) {
        self.connected[client] = true;
        if self.setup.mixed && self.rng.percent(40) {
            let to = self.rng.pick(&Transport::ALL);
            self.move_to(client, to);
        }
        let rng = &mut self.rng;
        let others = self.setup.identities.len();
        let any = rng.below(224) as u64;
        let present = match rng.weighted(&[80, 4, 4, 3, 2, 2, 2, 2, 2, 4]) {
            0 => Present::Own,
            1 => Present::None,
            2 => Present::Old(rng.between(1, 6)),
            3 => Present::Stolen(rng.below(others)),
            4 => Present::Altered(rng.below(50)),
            5 => Present::Truncated(rng.between(1, 49)),
            6 => Present::Garbage,
            7 => Present::Future(rng.between(1, 1_000) as u64),
            8 => Present::OtherEpoch(rng.below(20) as u64),
            _ => Present::Forged(rng.pick(&Forgery::ALL), rng.pick(&[0, 0, 1, 2, 5, 12, any])),
        };
        // The rooms that it names in addition to those that it was in.
        let rooms = (0..ROOMS as Id - 1).filter(|_| rng.percent(25)).collect::<Vec<_>>();
        let closed = rng.percent(2).then_some(CLOSED_ROOM);
        let rooms = rooms.into_iter().chain(closed).collect();
        self.steps.push(Step::Connect { client, present, rooms, delay });
    }

    fn calls(&mut self) {
        // Socket.IO has a window of 64 packets of its own under way.
        let bursts = if matches!(self.setup.transport, Transport::Polling | Transport::SocketIo) { 10 } else { 4 };
        let count = match self.rng.weighted(&[60, 25, 10, bursts]) {
            0 => 1,
            1 => self.rng.between(2, 4),
            2 => self.rng.between(5, 20),
            _ => self.rng.between(40, 110),
        };
        let pad = match self.rng.weighted(&[80, 15, 5]) {
            0 => 60,
            1 => 1_500,
            _ if count < 20 => 20_000,
            _ => 500,
        };
        let calls = (0..count).map(|_| self.call(pad)).collect();
        self.steps.push(Step::Calls(calls));
    }

    fn call(&mut self, pad: usize) -> Call {
        let rng = &mut self.rng;
        let (user, room) = (rng.below(USERS) as Id, rng.below(ROOMS) as Id);
        let tenant = rng.percent(40).then(|| rng.below(TENANTS) as Id);
        // Mostly a user that has a client.
        let member = match self.setup.identities[rng.below(self.setup.identities.len())] {
            Identity { user: Some(user), tenant: own } if rng.percent(80) => {
                Member { user, tenant: tenant.and(own.or(tenant)) }
            }
            _ => Member { user, tenant },
        };
        let asks = if self.setup.transport.is_bidirectional() { 6 } else { 0 };
        match rng.weighted(&[70, 12, 10, asks]) {
            0 => {
                let scope = self.scope();
                let rng = &mut self.rng;
                let except = match rng.below(10) {
                    0 => Some(Except::User(Member { user, tenant })),
                    1 => Some(Except::Client(rng.below(self.setup.identities.len()))),
                    _ => None,
                };
                let kind = match rng.weighted(&[70, 12, 8, 10]) {
                    0 => Kind::Plain,
                    1 => Kind::Latest(rng.below(2) as Id),
                    2 => Kind::Once(rng.below(4) as Id),
                    _ => Kind::Volatile,
                };
                let pad = rng.below(pad);
                Call::Send { scope, except, kind, pad, by: self.by(kind) }
            }
            number @ (1 | 2) => Call::Room { member, room, enter: number == 1 },
            _ => Call::Ask {
                scope: match (rng.percent(50), tenant) {
                    (true, None) => Scope::User(user),
                    (true, Some(tenant)) => Scope::UserIn(tenant, user),
                    (false, None) => Scope::Room(room),
                    (false, Some(tenant)) => Scope::RoomIn(tenant, room),
                },
                seconds: rng.pick(&[2, 10, 40]),
                answers: rng.below(3usize.pow(5)) as u16,
            },
        }
    }

    /// Returns the sender of an event.
    fn by(&mut self, kind: Kind) -> By {
        let rng = &mut self.rng;
        if !self.setup.mixed {
            return By::Provider;
        }
        let (one, other) = (rng.pick(&Transport::ALL), rng.pick(&Transport::ALL));
        // A key only counts over the same providers.
        let narrow = if matches!(kind, Kind::Once(_)) { 0 } else { 20 };
        match rng.weighted(&[35, 25, narrow, narrow]) {
            0 => By::All,
            1 => By::Handler(rng.below(self.connected.len())),
            2 if one.provider() != other.provider() => By::Named(Providers::of(&[one, other])),
            _ => By::Provider,
        }
    }

    fn move_to(&mut self, client: usize, to: Transport) {
        self.over[client] = to;
        self.steps.push(Step::Move { client, to });
    }

    fn scope(&mut self) -> Scope {
        let rng = &mut self.rng;
        let (user, tenant, room) = (rng.below(USERS) as Id, rng.below(TENANTS) as Id, rng.below(ROOMS) as Id);
        match rng.weighted(&[20, 20, 20, 10, 25, 12]) {
            0 => Scope::All,
            1 => Scope::Tenant(tenant),
            2 => Scope::User(user),
            3 => Scope::UserIn(tenant, user),
            4 => Scope::Room(room),
            _ => Scope::RoomIn(tenant, room),
        }
    }
}
