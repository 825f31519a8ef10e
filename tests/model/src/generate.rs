//! From a seed to a schedule.

use crate::guess::Guess;
use crate::rng::Rng;
use crate::schedule::{Call, Except, Id, Kind, Loss, Member, Person, Present, Schedule, Scope, Setup, Step, Transport};

const USERS: usize = 3;
const TENANTS: usize = 2;
/// The last of them is closed to clients, the one before shows only what is sent from now on.
pub(crate) const ROOMS: usize = 4;
/// The room that no client may enter by itself.
pub(crate) const CLOSED_ROOM: Id = 3;
/// The room whose past is not shown to those who name it.
pub(crate) const FROM_NOW_ROOM: Id = 2;

impl Schedule {
    /// The schedule of a seed, on its own transport or on this one.
    pub fn of(seed: u64, transport: Option<Transport>) -> Self {
        let mut rng = Rng::new(seed);
        let drawn = rng.pick(&Transport::ALL);
        let setup = setup(&mut rng, transport.unwrap_or(drawn));
        let mut generator = Generator { connected: vec![false; setup.persons.len()], setup, rng, steps: Vec::new() };
        generator.run();
        Self { seed, setup: generator.setup, steps: generator.steps }
    }
}

fn setup(rng: &mut Rng, transport: Transport) -> Setup {
    let persons = (0..rng.between(2, 5)).map(|_| Person {
        user: (!rng.percent(10)).then(|| rng.below(USERS) as Id),
        tenant: (!rng.percent(20)).then(|| rng.below(TENANTS) as Id),
    });
    let mut persons: Vec<Person> = persons.collect();
    if rng.percent(50) {
        // Two users of one name, in two tenants.
        persons[0].tenant = Some(0);
        persons[1] = Person { tenant: Some(1), ..persons[0] };
    }
    Setup {
        transport,
        persons,
        everyone: transport == Transport::Sse && rng.percent(20),
        window_records: rng.pick(&[3, 8, 20, 60, 10_000]),
        window_bytes: rng.pick(&[3_000, 12_000, 1 << 20, 1 << 20]),
        window_seconds: rng.pick(&[3, 20, 300, 300]),
        window_keys: rng.pick(&[1, 3, 1_000]),
        outbox_frames: rng.pick(&[1, 2, 4, 16, 256]),
        outbox_bytes: rng.pick(&[1_000, 8_000, 256 * 1024, 256 * 1024]),
        pipe_bytes: rng.pick(&[64, 300, 2_000, 16_000, 64 * 1024]),
        vectored: rng.percent(50),
        reset: rng.percent(50),
    }
}

struct Generator {
    setup: Setup,
    rng: Rng,
    steps: Vec<Step>,
    /// Whether a client is connected, as far as that can be known beforehand.
    connected: Vec<bool>,
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
        let talks = usize::from(self.setup.transport.is_bidirectional());
        // Who is away comes back soon.
        if !self.connected[client] && self.rng.percent(30) {
            return self.connect(client);
        }
        let weights = [34, 10, 2, 2, 5, 5, 4, 6, 4 * talks, 3 * talks, 1, 10, 8, 1, 1, 10, 2, talks, 1, 3];
        let step = match self.rng.weighted(&weights) {
            0 => return self.calls(),
            1 => {
                self.connected[client] = false;
                let after = self.rng.pick(&[0, 0, 1, 10, 100, 1_000]);
                Step::Cut {
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
                Step::Goodbye { client }
            }
            4 => Step::Stall { client },
            5 => Step::Flow { client },
            6 => Step::Slow { client, bytes: self.rng.pick(&[40, 200, 2_000]) },
            7 => Step::Sip { client, bytes: self.rng.pick(&[1, 50, 500, 10_000]) },
            8 => Step::Subscribe { client, room: self.rng.below(ROOMS) as Id },
            9 => Step::Unsubscribe { client, room: self.rng.below(ROOMS) as Id },
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
            19 => return self.cut_within(client),
            _ => Step::Yield(self.rng.between(1, 12)),
        };
        self.steps.push(step);
    }

    fn wait(&mut self) -> Step {
        let window = self.setup.window_seconds as usize * 1_000;
        Step::Wait(match self.rng.below(10) {
            0 => self.rng.between(20_000, 60_000),
            // So that several fit into a window that is short, and some of them not.
            1..5 if window <= 3_000 => self.rng.between(window / 3, window),
            1..4 => self.rng.between(1_000, 6_000),
            _ => self.rng.between(1, 400),
        } as u64)
    }

    /// A log that keeps its epoch, or becomes another one.
    fn loss(&mut self) -> Loss {
        let rng = &mut self.rng;
        let records = (!rng.percent(40)).then(|| rng.pick(&[1, 1, 2, 3, 5, 10, 100]));
        Loss { records, others: if records.is_some() || rng.percent(20) { rng.pick(&[0, 0, 1, 2, 5, 12]) } else { 0 } }
    }

    /// So many events for everybody.
    fn events(&mut self, count: usize) {
        let send = Call::Send { scope: Scope::All, except: None, kind: Kind::Plain, pad: 5 };
        self.steps.push(Step::Calls(vec![send; count]));
    }

    /// The log begins anew while a client connects, or while one is asked something.
    fn new_life(&mut self, client: usize) {
        if self.rng.percent(30) {
            return self.ask_of_before(client);
        }
        let count = self.rng.between(1, 5);
        self.events(count);
        if self.rng.percent(50) {
            self.steps.push(Step::Settle);
        }
        if self.connected[client] && self.rng.percent(80) {
            self.steps.push(Step::Cut { client, up: false, after: 0 });
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

    /// Whoever is asked something is gone without a word; then another ask gets that one's place.
    fn ask_of_before(&mut self, client: usize) {
        let Some(user) = self.setup.persons[client].user.filter(|_| self.setup.transport.is_bidirectional()) else {
            return;
        };
        let ask = Call::Ask { scope: Scope::User(user), seconds: 40, answers: 0 };
        if !self.connected[client] {
            self.connect(client);
        }
        self.steps.extend([
            Step::Flow { client },
            Step::Settle,
            Step::Stall { client },
            Step::Calls(vec![ask]),
            Step::Vanish { client },
            Step::Lose(Loss { records: Some(1), others: 0 }),
            Step::Wait(1_000),
            Step::Flow { client },
            Step::Calls(vec![ask]),
        ]);
        self.connected.fill(false);
        self.connect(client);
        self.steps.push(Step::Settle);
    }

    /// The log is set back while nothing runs, and goes on with other records beyond the places of some clients.
    fn rolled_back(&mut self, client: usize) {
        if !self.connected[client] {
            self.connect(client);
        }
        let count = self.rng.between(1, 6);
        self.steps.extend([Step::Flow { client }, Step::Settle]);
        self.events(count);
        self.steps.push(Step::Settle);
        let (lost, others) = (self.rng.between(1, count) as u64, self.rng.between(0, count));
        let drain = self.rng.percent(20).then_some(0);
        self.steps.push(Step::Restart { drain, loss: Some(Loss { records: Some(lost), others }) });
        self.connected.fill(false);
        if self.rng.percent(70) {
            self.events(count);
        }
        self.steps.push(Step::Connect { client, present: Present::Own, rooms: Vec::new(), door: 0 });
        self.connected[client] = true;
        self.steps.push(Step::Settle);
    }

    /// A member of a room is away for about as long as the window reaches, and the room goes on.
    fn absence(&mut self, client: usize) {
        let rng = &mut self.rng;
        let window = self.setup.window_seconds as usize * 1_000;
        let person = self.setup.persons[client];
        let Some(user) = person.user.filter(|_| window <= 20_000) else { return };
        let member = Member { user, tenant: person.tenant.filter(|_| rng.percent(40)) };
        let room = rng.below(ROOMS) as Id;
        let send = |scope| Step::Calls(vec![Call::Send { scope, except: None, kind: Kind::Plain, pad: 5 }]);
        let away = rng.between(window / 2, window);
        let still_away = rng.between(window / 4, window);
        self.steps.extend([
            Step::Flow { client },
            Step::Calls(vec![Call::Join { member, room }]),
            // So that its place outlives the window for as long as nothing else is sent.
            send(Scope::User(user)),
            Step::Settle,
            Step::Cut { client, up: false, after: 0 },
            Step::Wait(away as u64),
            send(Scope::Room(room)),
            Step::Wait(still_away as u64),
        ]);
        self.connected[client] = false;
        self.connect(client);
        self.steps.push(Step::Settle);
    }

    /// Nothing is sent for longer than the window reaches; then a client is cut for a moment.
    fn quiet(&mut self, client: usize) {
        let window = self.setup.window_seconds as usize * 1_000;
        if window > 20_000 {
            return;
        }
        if !self.connected[client] {
            self.connect(client);
        }
        self.steps.extend([
            Step::Flow { client },
            Step::Settle,
            Step::Wait((window + self.rng.between(1_500, 4_000)) as u64),
            Step::Cut { client, up: false, after: 0 },
            Step::Wait(self.rng.between(1, window / 2) as u64),
        ]);
        self.connected[client] = false;
        if self.rng.percent(50) {
            self.calls();
        }
        self.steps.push(Step::Connect { client, present: Present::Own, rooms: Vec::new(), door: 0 });
        self.connected[client] = true;
        self.steps.push(Step::Settle);
    }

    /// A client reads about as much as is sent, some way behind, while a series is renewed all the time.
    fn renewal(&mut self, client: usize) {
        let Setup { outbox_frames, outbox_bytes, window_bytes, window_records, pipe_bytes, .. } = self.setup;
        let falls_behind = outbox_frames <= 16 || outbox_bytes <= 8_000;
        if !falls_behind || window_bytes < 1 << 20 || window_records < 60 || pipe_bytes < 16_000 {
            return;
        }
        let send = |kind, pad| Call::Send { scope: Scope::All, except: None, kind, pad };
        let plain = || send(Kind::Plain, 20_000);
        let round = || Step::Calls(vec![plain(), send(Kind::Latest(0), 20), plain(), plain()]);
        self.steps.extend([Step::Flow { client }, Step::Settle, Step::Stall { client }]);
        self.steps.extend((0..4).map(|_| round()));
        for _ in 0..self.rng.between(6, 12) {
            self.steps.push(round());
            for _ in 0..60_000 / pipe_bytes.min(60_000) + 1 {
                self.steps.extend([Step::Sip { client, bytes: 60_000 }, Step::Yield(6)]);
            }
        }
        self.steps.extend([Step::Flow { client }, Step::Settle]);
    }

    /// A client is cut again and again while a large event, or one that is not quite large, is on its way to it.
    fn cut_within(&mut self, client: usize) {
        let Setup { window_records, window_bytes, window_seconds, pipe_bytes, .. } = self.setup;
        let stays = window_records >= 8 && window_bytes >= 1 << 20 && window_seconds >= 20;
        let Some(user) = self.setup.persons[client].user.filter(|_| stays && pipe_bytes >= 2_000) else { return };
        let send = |pad| Call::Send { scope: Scope::User(user), except: None, kind: Kind::Plain, pad };
        let pad = self.rng.pick(&[70_000, 70_000, 40_000]);
        let gone = || Step::Cut { client, up: false, after: 0 };
        let back = || Step::Connect { client, present: Present::Own, rooms: Vec::new(), door: 0 };
        if !self.connected[client] {
            self.steps.push(back());
        }
        self.steps.extend([Step::Flow { client }, Step::Settle, gone()]);
        let small = self.rng.percent(50).then(|| send(20));
        self.steps.push(Step::Calls(small.into_iter().chain([send(pad), send(20)]).collect()));
        for _ in 0..self.rng.between(3, 6) {
            let after = self.rng.pick(&[0, 1_000, pad / 2, pad / 2, pad]) + self.rng.below(2_000);
            self.steps.extend([back(), Step::Cut { client, up: false, after }]);
            let yields = self.rng.between(1, 30);
            self.steps.push(if self.rng.percent(70) { Step::Settle } else { Step::Yield(yields) });
            self.steps.push(gone());
        }
        self.steps.extend([back(), Step::Settle]);
        self.connected[client] = true;
    }

    /// A client has not read its asks when it is told its place, and then its outbox overflows.
    fn unread_asks(&mut self, client: usize) {
        let Some(user) = self.setup.persons[client].user else { return };
        let Setup { outbox_frames, window_records, window_seconds, .. } = self.setup;
        let quarter = window_records / 4;
        if outbox_frames > 4 || window_records <= outbox_frames + 1 || quarter > 15 && window_seconds > 3 {
            return;
        }
        let ask = || Step::Calls(vec![Call::Ask { scope: Scope::User(user), seconds: 40, answers: 0 }]);
        self.steps.extend([Step::Flow { client }, Step::Settle, Step::Stall { client }]);
        let asks = if window_seconds <= 3 { self.rng.between(1, 3) } else { quarter.max(1) };
        for _ in 0..asks {
            self.steps.extend([ask(), Step::Yield(12)]);
        }
        self.steps.push(Step::Wait(self.rng.between(1_000, 1_800) as u64));
        let plain = Call::Send { scope: Scope::User(user), except: None, kind: Kind::Plain, pad: 5 };
        self.steps.push(Step::Calls(vec![plain; outbox_frames + 1]));
        self.steps.extend([Step::Flow { client }, Step::Settle]);
    }

    fn connect(&mut self, client: usize) {
        if self.rng.percent(8) { self.connect_slowly(client) } else { self.connect_in(client, 0) }
    }

    /// Connects, and the authenticator takes its time.
    fn connect_slowly(&mut self, client: usize) {
        let door = self.rng.between(1, 1_400) as u64;
        self.connect_in(client, door);
    }

    fn connect_in(&mut self, client: usize, door: u64) {
        self.connected[client] = true;
        let rng = &mut self.rng;
        let others = self.setup.persons.len();
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
            8 => Present::Stranger(rng.below(20) as u64),
            _ => Present::Guess(rng.pick(&Guess::ALL), rng.pick(&[0, 0, 1, 2, 5, 12, any])),
        };
        // What it names beside the rooms that it was in.
        let rooms = (0..ROOMS as Id - 1).filter(|_| rng.percent(25)).collect::<Vec<_>>();
        let closed = rng.percent(2).then_some(CLOSED_ROOM);
        let rooms = rooms.into_iter().chain(closed).collect();
        self.steps.push(Step::Connect { client, present, rooms, door });
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
        // Mostly of people there are.
        let member = match self.setup.persons[rng.below(self.setup.persons.len())] {
            Person { user: Some(user), tenant: own } if rng.percent(80) => {
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
                    0 => Some(tenant.map_or(Except::User(user), |tenant| Except::UserIn(tenant, user))),
                    1 => Some(Except::Client(rng.below(self.setup.persons.len()))),
                    _ => None,
                };
                let kind = match rng.weighted(&[70, 12, 8, 10]) {
                    0 => Kind::Plain,
                    1 => Kind::Latest(rng.below(2) as Id),
                    2 => Kind::Once(rng.below(4) as Id),
                    _ => Kind::Volatile,
                };
                Call::Send { scope, except, kind, pad: rng.below(pad) }
            }
            1 => Call::Join { member, room },
            2 => Call::Leave { member, room },
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
