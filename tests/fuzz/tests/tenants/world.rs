//! Nodes, clients, and what each client got.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use realtime_core::{ConnectRequest, ConnectionId, Event, Identity, MemoryBackplane, MemoryDirectory, Refusal, Target};
use realtime_unified::config::RoomDelivery;
use realtime_unified::{
    AllowRooms, NotificationService, SocketIoConfig, SocketIoProvider, SseConfig, SseProvider, WsConfig, WsProvider,
};
use serde_json::Value;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender};

use crate::oracle::{Verdict, verdict};
use crate::schedule::{Aim, Cursor, Name, Person, Schedule, Scope, Step};

/// An event as a client read it.
#[derive(Debug)]
pub struct Got {
    pub name: String,
    pub data: Value,
    pub cursor: Option<String>,
}

/// A connection; dropping the guard ends it.
pub struct Connection {
    pub got: Receiver<Got>,
    pub _guard: Box<dyn Any + Send>,
}

/// The room for what a client has got and not read: more than any case sends.
pub const ROOM: usize = 1024;

/// Hands on what a client got; the end of a client shows up as the end of its connection.
pub fn hand_on(sender: &Sender<Got>, got: Got) {
    let sent = sender.try_send(got);
    assert!(!matches!(sent, Err(TrySendError::Full(_))), "more than a case sends");
}

/// The way in which clients connect.
pub trait Door {
    /// The providers of the transports, by their number.
    fn providers(&self) -> &'static [&'static str];

    /// Connects a client to a node.
    fn connect(&mut self, arrival: Arrival<'_>) -> impl Future<Output = Connection>;
}

/// A client that connects.
pub struct Arrival<'a> {
    pub node: &'a Node,
    pub transport: usize,
    pub person: &'a Person,
    pub cursor: Option<String>,
    pub former: Option<ConnectionId>,
}

/// A service, and its address if it is served.
pub struct Node {
    pub service: NotificationService,
    pub address: Option<std::net::SocketAddr>,
}

struct Client {
    person: Person,
    open: Option<(Connection, &'static str)>,
    /// The connections that it has had, the newest last.
    ids: Vec<ConnectionId>,
    cursor: Option<String>,
    /// The first event that it has to get.
    since: usize,
    /// `true` if the present connection has resumed.
    resumed: bool,
    got: Vec<usize>,
    /// The newest event of the present connection that has a cursor.
    last: Option<usize>,
}

struct Sent {
    aim: Aim,
    provider: Option<&'static str>,
    verdicts: Vec<Verdict>,
    /// The client whose connection is left out, and the number of that connection.
    excluded: Option<(usize, usize)>,
}

struct World<D> {
    door: D,
    nodes: Vec<Node>,
    clients: Vec<Client>,
    members: Vec<Step>,
    sent: Vec<Sent>,
}

const DEADLINE: Duration = Duration::from_secs(20);

/// Plays a schedule; panics when a client gets what is not for it, or misses what is.
pub async fn play<D: Door>(schedule: &Schedule, door: D, served: bool) {
    let (backplane, directory) = (MemoryBackplane::default(), Arc::new(MemoryDirectory::default()));
    let mut nodes = Vec::new();
    for _ in 0..schedule.nodes {
        nodes.push(node(&backplane, &directory, served).await);
    }
    let client = |person: &Person| Client {
        person: person.clone(),
        open: None,
        ids: Vec::new(),
        cursor: None,
        since: 0,
        resumed: false,
        got: Vec::new(),
        last: None,
    };
    let clients = schedule.people.iter().map(client).collect();
    let mut world = World { door, nodes, clients, members: Vec::new(), sent: Vec::new() };
    let transports = world.door.providers().len();
    for client in 0..world.clients.len() {
        world.connect(client, client, client % transports, Cursor::None).await;
    }
    for step in &schedule.steps {
        world.step(step).await;
    }
    world.finish().await;
    for node in world.nodes {
        node.service.shutdown(realtime_unified::Drain::now().with_hold(Duration::ZERO)).await;
    }
}

async fn by_query(request: ConnectRequest) -> Result<Identity, Refusal> {
    let identity = request.query("user").map_or(Identity::anonymous(), |user| Identity::user(&*user));
    Ok(match request.query("tenant") {
        Some(tenant) => identity.with_tenant(&*tenant),
        None => identity,
    })
}

async fn node(backplane: &MemoryBackplane, directory: &Arc<MemoryDirectory>, served: bool) -> Node {
    let service = NotificationService::builder()
        .provider(SseProvider::new(SseConfig::default().with_room_delivery(RoomDelivery::Members)))
        .provider(WsProvider::new(WsConfig::default()))
        .provider(SocketIoProvider::new(SocketIoConfig::default()))
        .authenticator(by_query)
        .room_policy(AllowRooms)
        .backplane(backplane.clone())
        .directory(Arc::clone(directory))
        .build()
        .await
        .unwrap();
    let mut address = None;
    if served {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        address = Some(listener.local_addr().unwrap());
        tokio::spawn(realtime_unified::serve(listener, service.router()).into_future());
    }
    Node { service, address }
}

impl<D: Door> World<D> {
    async fn step(&mut self, step: &Step) {
        match step {
            Step::Connect { client, node, transport, cursor } => {
                self.connect(*client, *node, *transport, *cursor).await;
            }
            Step::Disconnect { client } => {
                let client = client % self.clients.len();
                self.disconnect(client);
            }
            Step::Member { node, user, tenant, room, joins } => {
                let service = &self.nodes[node % self.nodes.len()].service;
                let outcome = match (tenant, joins) {
                    (None, true) => service.join_room(user, room).await,
                    (None, false) => service.leave_room(user, room).await,
                    (Some(tenant), true) => service.join_room_in(tenant, user, room).await,
                    (Some(tenant), false) => service.leave_room_in(tenant, user, room).await,
                };
                outcome.unwrap();
                self.members.push(step.clone());
                if !joins {
                    self.forgive(user, *tenant, room);
                }
            }
            Step::Pause => {
                for _ in 0..50 {
                    tokio::task::yield_now().await;
                }
                (0..self.clients.len()).for_each(|client| self.read(client));
            }
            Step::Send { node, aim, over, volatile } => self.send(*node, aim, *over, *volatile).await,
        }
    }

    /// A leave removes a user also from a room that its connection has named: when it names the
    /// room again, it gets what was sent from the leave on, and nothing earlier.
    fn forgive(&mut self, user: Name, tenant: Option<Name>, room: Name) {
        for (index, Client { person, .. }) in self.clients.iter().enumerate() {
            let is_meant = person.user == Some(user) && (tenant.is_none() || tenant == person.tenant);
            if !is_meant || !person.rooms.contains(&room) {
                continue;
            }
            let of_room =
                self.sent.iter_mut().filter(|sent| matches!(sent.aim.scope, Scope::Room(name, _) if name == room));
            of_room
                .filter(|sent| sent.verdicts[index] == Verdict::Must)
                .for_each(|sent| sent.verdicts[index] = Verdict::May);
        }
    }

    async fn connect(&mut self, client: usize, node: usize, transport: usize, cursor: Cursor) {
        let client = client % self.clients.len();
        self.disconnect(client);
        let presented = match cursor {
            Cursor::None => None,
            Cursor::Of(other) => self.clients[other % self.clients.len()].cursor.clone(),
            Cursor::Own => self.clients[client].cursor.clone(),
        };
        let Client { person, ids, .. } = &self.clients[client];
        let (node, former) = (&self.nodes[node % self.nodes.len()], ids.last().copied());
        let connecting = self.door.connect(Arrival { node, transport, person, cursor: presented.clone(), former });
        let mut connection = tokio::time::timeout(DEADLINE, connecting).await.expect("connected");
        let welcome = tokio::time::timeout(DEADLINE, connection.got.recv()).await.expect("a welcome").expect("open");
        assert_eq!((&*welcome.name, &welcome.data["resumed"]), ("connected", &Value::from(presented.is_some())));
        let provider = self.door.providers()[transport];
        let client = &mut self.clients[client];
        client.resumed = presented.is_some();
        client.ids.push(welcome.data["connectionId"].as_str().unwrap().parse().unwrap());
        // With another's cursor it may miss, or get again, what its own is before or behind.
        if !matches!(cursor, Cursor::Own) || presented.is_none() {
            client.since = self.sent.len();
        }
        (client.cursor, client.last) = (welcome.cursor.or(presented), None);
        client.open = Some((connection, provider));
    }

    fn disconnect(&mut self, client: usize) {
        self.read(client);
        self.clients[client].open = None;
    }

    async fn send(&mut self, node: usize, aim: &Aim, over: Option<usize>, volatile: bool) {
        let provider = over.map(|transport| self.door.providers()[transport]);
        let mut target = match &aim.scope {
            Scope::All => Target::all(),
            Scope::Connection(client) => {
                let client = &self.clients[client % self.clients.len()];
                Target::connection(*client.ids.last().expect("every client has connected"))
            }
            Scope::Room(room, None) => Target::room(room),
            Scope::Room(room, Some(tenant)) => Target::room_in(tenant, room),
            Scope::Tenant(tenant) => Target::tenant(tenant),
            Scope::User(user, None) => Target::user(user),
            Scope::User(user, Some(tenant)) => Target::user_in(tenant, user),
        };
        for (user, tenant) in &aim.except {
            target = match tenant {
                Some(tenant) => target.except_user_in(tenant, user),
                None => target.except_user(user),
            };
        }
        let excluded = aim.except_connection.map(|client| client % self.clients.len());
        if let Some(client) = excluded {
            target = target.except_connection(*self.clients[client].ids.last().expect("every client has connected"));
        }
        let scope = match aim.scope {
            Scope::Connection(client) => Scope::Connection(client % self.clients.len()),
            ref other => other.clone(),
        };
        let aim = Aim { scope, ..aim.clone() };
        let of = |(index, client): (usize, &Client)| match verdict(index, &client.person, &aim, &self.members) {
            Verdict::Must if volatile || provider.is_some() => Verdict::May,
            verdict => verdict,
        };
        let verdicts = self.clients.iter().enumerate().map(of).collect();
        let event = Event::json("n", &self.sent.len()).unwrap();
        let event = if volatile { event.as_volatile() } else { event };
        let excluded = excluded.map(|client| (client, self.clients[client].ids.len()));
        self.sent.push(Sent { aim, provider, verdicts, excluded });
        let service = &self.nodes[node % self.nodes.len()].service;
        match provider {
            Some(provider) => service.broadcast(&[provider], target, event).await,
            None => service.send(target, event).await,
        }
        .unwrap();
    }

    /// Reads what a client has got so far.
    fn read(&mut self, client: usize) {
        let index = client;
        let client = &mut self.clients[index];
        let Some((connection, provider)) = &mut client.open else { return };
        while let Ok(got) = connection.got.try_recv() {
            client.cursor = got.cursor.clone().or(client.cursor.take());
            if got.name != "n" {
                continue;
            }
            let number = got.data.as_u64().unwrap() as usize;
            let sent = &self.sent[number];
            let detail = || format!("event {number} for {:?}, and client {index} is {:?}", sent.aim, client.person);
            assert_ne!(sent.verdicts[index], Verdict::Never, "not for it: {}", detail());
            // The connection that is left out, or the next one, which names it if it resumes.
            let reached = client.ids.len() - usize::from(client.resumed);
            let is_excluded = sent.excluded.is_some_and(|(of, number)| of == index && reached <= number);
            assert!(!is_excluded, "its connection is left out: {}", detail());
            assert!(sent.provider.is_none_or(|over| over == *provider), "over {provider}: {}", detail());
            if got.cursor.is_some() {
                assert!(client.last.is_none_or(|last| last < number), "out of order: {}", detail());
                client.last = Some(number);
            }
            client.got.push(number);
        }
    }

    /// Lets every client read to the end, and checks that none misses anything.
    async fn finish(&mut self) {
        for client in 0..self.clients.len() {
            if self.clients[client].open.is_none() {
                self.connect(client, client + 1, client % self.door.providers().len(), Cursor::Own).await;
            }
        }
        let all = Aim { scope: Scope::All, except: Vec::new(), except_connection: None };
        self.send(0, &all, None, false).await;
        let end = self.sent.len() - 1;
        let deadline = tokio::time::Instant::now() + DEADLINE;
        for client in 0..self.clients.len() {
            loop {
                self.read(client);
                if self.clients[client].got.contains(&end) {
                    break;
                }
                assert!(tokio::time::Instant::now() < deadline, "client {client} does not get to the end");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let client_of = &self.clients[client];
            for number in client_of.since..self.sent.len() {
                let Sent { aim, verdicts, excluded, .. } = &self.sent[number];
                if verdicts[client] == Verdict::Must && excluded.is_none_or(|(of, _)| of != client) {
                    let person = &client_of.person;
                    assert!(client_of.got.contains(&number), "event {number} for {aim:?} is missing for {person:?}");
                }
            }
        }
    }
}
