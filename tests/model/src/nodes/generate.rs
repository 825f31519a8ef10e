//! From a seed to a schedule with several nodes.

use crate::nodes::schedule::{Fault, Id, NodesSchedule, Present, Setup, Step, To, Who};
use crate::rng::Rng;

const USERS: usize = 6;
const TENANTS: usize = 2;
const ROOMS: usize = 3;

struct Generator {
    rng: Rng,
    setup: Setup,
    steps: Vec<Step>,
}

impl NodesSchedule {
    /// Returns the schedule of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x6e6f_6465_7300);
        let nodes = rng.pick(&[1, 2, 2, 3, 3, 3]);
        let clients: Vec<_> = (0..rng.between(8, 16))
            .map(|number| Who {
                user: if number < USERS { number as Id } else { rng.below(USERS) as Id },
                tenant: rng.percent(60).then(|| rng.below(TENANTS) as Id),
            })
            .collect();
        let answers = clients.iter().map(|_| rng.pick(&[Some(0), Some(0), Some(300), Some(1_500), None])).collect();
        let (window_records, age) = (rng.pick(&[12, 30, 200]), rng.pick(&[8, 15, 25]));
        let setup = Setup { nodes, clients, answers, window_records, age };
        let mut generator = Generator { rng, setup, steps: Vec::new() };
        generator.fill();
        Self { seed, setup: generator.setup, steps: generator.steps }
    }
}

impl Generator {
    fn fill(&mut self) {
        for _ in 0..self.rng.between(4, 12) {
            let client = self.client();
            self.connect(client);
        }
        for _ in 0..self.rng.between(2, 5) {
            self.room(true);
        }
        let scenes = self.rng.between(5, 10);
        for _ in 0..scenes {
            for _ in 0..self.rng.between(2, 8) {
                self.ordinary();
            }
            self.scene();
        }
        self.steps.push(Step::Settle);
    }

    fn node(&mut self) -> usize {
        self.rng.below(self.setup.nodes)
    }

    fn client(&mut self) -> usize {
        self.rng.below(self.setup.clients.len())
    }

    fn to(&mut self) -> To {
        let (user, tenant, room) = (self.user(), self.rng.below(TENANTS) as Id, self.rng.below(ROOMS) as Id);
        match self.rng.weighted(&[3, 5, 2, 2, 4, 2]) {
            0 => To::All,
            1 => To::Room(room),
            2 => To::RoomIn(tenant, room),
            3 => To::Tenant(tenant),
            4 => To::User(user),
            _ => To::UserIn(tenant, user),
        }
    }

    fn user(&mut self) -> Id {
        self.rng.below(USERS) as Id
    }

    fn wait(&mut self, low: usize, high: usize) {
        let wait = self.rng.between(low, high) as u64;
        self.steps.push(Step::Wait(wait));
    }

    fn connect(&mut self, client: usize) {
        let node = self.node();
        let present = match self.rng.weighted(&[12, 2, 2]) {
            0 => Present::Own,
            1 => Present::Old(self.rng.below(6)),
            _ => Present::None,
        };
        let late = self.rng.percent(10);
        self.steps.push(Step::Connect { client, node, present, late });
    }

    fn room(&mut self, enter: bool) {
        let (node, user, room) = (self.node(), self.user(), self.rng.below(ROOMS) as Id);
        let tenant = self.rng.percent(35).then(|| self.rng.below(TENANTS) as Id);
        self.steps.push(Step::Room { node, user, tenant, room, enter });
    }

    fn send(&mut self) {
        let (node, retry, to, key) = (self.node(), self.node(), self.to(), self.rng.percent(40));
        self.steps.push(Step::Send { node, to, key, retry });
    }

    fn sends(&mut self, most: usize) {
        for _ in 0..self.rng.between(1, most) {
            self.send();
        }
    }

    /// Adds a step of ordinary operation.
    fn ordinary(&mut self) {
        match self.rng.weighted(&[10, 8, 5, 3, 1, 2, 1, 6, 2, 2]) {
            0 => self.sends(5),
            1 => {
                let client = self.client();
                self.connect(client);
            }
            2 => {
                let client = self.client();
                self.steps.push(Step::Disconnect { client });
            }
            3 => self.room(true),
            4 => self.room(false),
            5 => {
                let (node, to, seconds) = (self.node(), self.to(), self.rng.pick(&[4, 8]));
                self.steps.push(Step::Ask { node, to, seconds });
            }
            6 => {
                let (node, to) = (self.node(), self.to());
                self.steps.push(Step::Close { node, to });
            }
            7 => self.wait(0, 900),
            8 => {
                let (node, back) = (self.node(), self.rng.below(4));
                self.steps.push(Step::Repeat { node, back });
            }
            _ => {
                let client = self.client();
                self.steps.push(Step::Enter { client });
            }
        }
    }

    /// Adds a fault, or something else that takes several steps.
    fn scene(&mut self) {
        let node = self.node();
        match self.rng.weighted(&[4, 5, 3, 2, 4, 2, 2, 3, 3, 4, 3, 4, 3, 4]) {
            0 => {
                let (append, tail) = (self.rng.pick(&[0, 40, 300, 900]), self.rng.pick(&[0, 100, 500, 1_800]));
                self.steps.push(Step::Delay { node, append, tail });
            }
            1 => {
                let (fault, appends) = (self.rng.pick(&Fault::ALL), self.rng.between(1, 3));
                self.steps.push(Step::Fail { node, fault, appends });
                self.sends(4);
                self.wait(0, 3_000);
            }
            2 => {
                let messages = self.rng.between(1, 3);
                self.steps.push(Step::LoseMessages { node, messages });
                let (asker, to) = (self.node(), self.to());
                self.steps.push(Step::Ask { node: asker, to, seconds: 8 });
            }
            3 => {
                let reads = self.rng.between(1, 4);
                self.steps.push(Step::FailReads { node, reads });
                self.wait(500, 3_000);
            }
            4 => self.outage(node),
            5 => {
                let directory = Step::CutDirectory { node, up: false };
                self.steps.push(if self.rng.percent(60) { directory } else { Step::LoseDirectory });
                self.wait(0, 5_000);
                self.steps.push(Step::CutDirectory { node, up: true });
            }
            6 => self.end_node(node),
            7 => self.loss(),
            8 => {
                let records = self.rng.between(0, 6);
                self.steps.push(Step::RestartAll { records });
                self.wait(50, 800);
                self.sends(8);
                self.reconnect_all();
            }
            9 => self.absence(),
            10 => self.quiet_ask_or_close(),
            11 => self.steps.push(Step::Settle),
            12 => self.reconnect_elsewhere(),
            _ => self.close_and_new_life(),
        }
    }

    fn outage(&mut self, node: usize) {
        let all = self.rng.percent(40);
        let cut = |up| if all { Step::CutAll { up } } else { Step::Cut { node, up } };
        self.steps.push(cut(false));
        let age = self.setup.age as usize * 1_000;
        match self.rng.weighted(&[5, 2]) {
            0 => self.wait(100, 4_000),
            _ => self.wait(age, age * 5 / 2),
        }
        self.sends(2);
        self.wait(0, 500);
        self.steps.push(cut(true));
        self.wait(0, 2_000);
    }

    fn end_node(&mut self, node: usize) {
        if self.rng.percent(50) {
            // Its connections have no outcome when it ends.
            let (asker, to) = (self.node(), self.to());
            self.steps.push(Step::Ask { node: asker, to, seconds: 20 });
            self.wait(100, 1_000);
        }
        self.steps.push(if self.rng.percent(40) { Step::Stop { node } } else { Step::Kill { node } });
        for _ in 0..self.rng.below(4) {
            self.ordinary();
        }
        self.wait(0, 4_000);
        self.steps.push(Step::Start { node });
        self.wait(100, 1_000);
        for _ in 0..self.rng.between(1, 5) {
            let client = self.client();
            let present = if self.rng.percent(70) { Present::Own } else { Present::Old(1) };
            self.steps.push(Step::Connect { client, node, present, late: false });
        }
        self.sends(5);
    }

    fn loss(&mut self) {
        let records = self.rng.percent(70).then(|| self.rng.between(1, 8));
        if self.rng.percent(40) {
            let (node, tail) = (self.node(), self.rng.pick(&[100, 500, 1_800]));
            self.steps.push(Step::Delay { node, append: 0, tail });
            self.sends(3);
        }
        self.steps.push(Step::Lose { records });
        self.sends(6);
        if self.rng.percent(50) {
            let client = self.client();
            self.steps.push(Step::Disconnect { client });
            self.connect(client);
        }
        self.wait(0, 3_500);
        self.reconnect_all();
    }

    fn reconnect_all(&mut self) {
        for client in 0..self.setup.clients.len() {
            if self.rng.percent(60) {
                self.connect(client);
            }
        }
    }

    /// A user with rooms disconnects everywhere, for longer than the age or not quite.
    fn absence(&mut self) {
        let (user, node, room) = (self.user(), self.node(), self.rng.below(ROOMS) as Id);
        let tenant = self.rng.percent(40).then(|| self.rng.below(TENANTS) as Id);
        self.steps.push(Step::Room { node, user, tenant, room, enter: true });
        let age = self.setup.age as usize * 1_000;
        if self.rng.percent(40) {
            self.wait(200, age * 3);
        }
        self.steps.push(Step::DisconnectUser { user });
        let long = age + age.min(12_000);
        match self.rng.weighted(&[3, 3, 2]) {
            0 => self.wait(long + 3_000, long + 10_000),
            1 => self.wait(age / 2, age),
            _ => self.wait(age, long),
        }
        for client in 0..self.setup.clients.len() {
            if self.setup.clients[client].user == user && self.rng.percent(70) {
                self.connect(client);
            }
        }
        let node = self.node();
        self.steps.push(Step::Send { node, to: To::Room(room), key: false, retry: 0 });
    }

    /// An ask or a close after which nothing else happens, so that its outcome is known exactly.
    fn quiet_ask_or_close(&mut self) {
        self.steps.push(Step::Settle);
        for _ in 0..3 {
            let client = self.client();
            self.connect(client);
        }
        if self.rng.percent(50) {
            let (node, messages) = (self.node(), self.rng.between(1, 2));
            self.steps.push(Step::LoseMessages { node, messages });
        }
        self.wait(2_500, 3_000);
        let (node, to) = (self.node(), self.to());
        if self.rng.percent(60) {
            self.steps.push(Step::Ask { node, to, seconds: 8 });
            let client = self.client();
            if self.rng.percent(40) {
                self.wait(100, 400);
                self.steps.push(Step::Disconnect { client });
            }
            self.wait(9_000, 11_000);
        } else {
            self.steps.push(Step::Close { node, to });
            self.wait(2_500, 3_500);
        }
    }

    /// Clients move to another node with the cursor of what they have just received.
    fn reconnect_elsewhere(&mut self) {
        let (node, tail) = (self.node(), self.rng.pick(&[0, 100, 500]));
        self.steps.push(Step::Delay { node, append: 0, tail });
        self.send();
        self.wait(50, 700);
        for _ in 0..self.rng.between(1, 4) {
            let client = self.client();
            self.steps.push(Step::Disconnect { client });
            self.steps.push(Step::Connect { client, node, present: Present::Own, late: false });
        }
    }

    /// A close, and then a new life of the log that still holds it, into which clients come that
    /// were admitted before.
    fn close_and_new_life(&mut self) {
        let (node, to) = (self.node(), self.rng.pick(&[To::All, To::Tenant(0), To::User(0), To::User(1)]));
        self.steps.push(Step::Close { node, to });
        self.wait(200, 2_800);
        self.sends(3);
        self.wait(100, 300);
        let tail = self.rng.pick(&[0, 500]);
        for node in 0..self.setup.nodes {
            self.steps.push(Step::Delay { node, append: 0, tail });
        }
        let from = self.steps.len();
        self.reconnect_all();
        for step in &mut self.steps[from..] {
            if let Step::Connect { late, .. } = step {
                *late = true;
            }
        }
        self.steps.push(Step::Lose { records: Some(1) });
        self.wait(600, 1_600);
        for client in 0..self.setup.clients.len() {
            self.steps.push(Step::Enter { client });
        }
        self.wait(100, 900);
    }
}
