//! The schedule of one case, drawn at random.

use proptest::prelude::*;

pub const USERS: [&str; 2] = ["ann", "bob"];
pub const TENANTS: [&str; 2] = ["acme", "globex"];
pub const ROOMS: [&str; 2] = ["lobby", "board"];

pub type Name = &'static str;

/// One client, over all its connections.
#[derive(Clone, Debug)]
pub struct Person {
    pub user: Option<Name>,
    pub tenant: Option<Name>,
    /// The rooms that it names whenever it connects.
    pub rooms: Vec<Name>,
}

/// The receivers that a send names.
#[derive(Clone, Debug)]
pub enum Scope {
    All,
    /// The connection that this client has now.
    Connection(usize),
    Room(Name, Option<Name>),
    Tenant(Name),
    User(Name, Option<Name>),
}

/// A target.
#[derive(Clone, Debug)]
pub struct Aim {
    pub scope: Scope,
    /// The users that are left out; of one tenant, or of each.
    pub except: Vec<(Name, Option<Name>)>,
    /// The client whose present connection is left out.
    pub except_connection: Option<usize>,
}

/// The cursor with which a client connects.
#[derive(Clone, Copy, Debug)]
pub enum Cursor {
    None,
    /// Another client's.
    Of(usize),
    Own,
}

/// One step.
#[derive(Clone, Debug)]
pub enum Step {
    Connect { client: usize, node: usize, transport: usize, cursor: Cursor },
    Disconnect { client: usize },
    Member { node: usize, user: Name, tenant: Option<Name>, room: Name, joins: bool },
    Pause,
    Send { node: usize, aim: Aim, over: Option<usize>, volatile: bool },
}

/// A case: the number of nodes, the clients, and what happens.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub nodes: usize,
    pub people: Vec<Person>,
    pub steps: Vec<Step>,
}

const PEOPLE: usize = 6;

/// Draws a schedule for clients over this number of transports.
pub fn schedules(transports: usize) -> impl Strategy<Value = Schedule> {
    let people = prop::collection::vec(person(), 2..=PEOPLE);
    let steps = prop::collection::vec(step(transports), 10..50);
    (1_usize..=2, people, steps).prop_map(|(nodes, people, steps)| Schedule { nodes, people, steps })
}

fn person() -> impl Strategy<Value = Person> {
    let rooms = prop::sample::subsequence(ROOMS.to_vec(), 0..=ROOMS.len());
    (maybe(&USERS), maybe(&TENANTS), rooms).prop_map(|(user, tenant, rooms)| Person { user, tenant, rooms })
}

fn step(transports: usize) -> impl Strategy<Value = Step> {
    let node = || 0_usize..2;
    let connect = (0..PEOPLE, node(), 0..transports, cursor());
    let member = (node(), one(&USERS), maybe(&TENANTS), one(&ROOMS), prop::bool::weighted(0.6));
    let send = (node(), aim(), prop::option::weighted(0.2, 0..transports), prop::bool::weighted(0.1));
    prop_oneof![
        3 => connect.prop_map(|(client, node, transport, cursor)| Step::Connect { client, node, transport, cursor }),
        2 => (0..PEOPLE).prop_map(|client| Step::Disconnect { client }),
        3 => member.prop_map(|(node, user, tenant, room, joins)| Step::Member { node, user, tenant, room, joins }),
        1 => Just(Step::Pause),
        8 => send.prop_map(|(node, aim, over, volatile)| Step::Send { node, aim, over, volatile }),
    ]
}

fn cursor() -> impl Strategy<Value = Cursor> {
    prop_oneof![5 => Just(Cursor::Own), 1 => Just(Cursor::None), 1 => (0..PEOPLE).prop_map(Cursor::Of)]
}

fn aim() -> impl Strategy<Value = Aim> {
    let scope = prop_oneof![
        1 => Just(Scope::All),
        1 => (0..PEOPLE).prop_map(Scope::Connection),
        3 => (one(&ROOMS), maybe(&TENANTS)).prop_map(|(room, tenant)| Scope::Room(room, tenant)),
        2 => one(&TENANTS).prop_map(Scope::Tenant),
        3 => (one(&USERS), maybe(&TENANTS)).prop_map(|(user, tenant)| Scope::User(user, tenant)),
    ];
    let except = prop::collection::vec((one(&USERS), maybe(&TENANTS)), 0..3);
    let connection = prop::option::weighted(0.2, 0..PEOPLE);
    (scope, except, connection).prop_map(|(scope, except, except_connection)| Aim { scope, except, except_connection })
}

fn one(names: &'static [Name]) -> impl Strategy<Value = Name> {
    prop::sample::select(names)
}

fn maybe(names: &'static [Name]) -> impl Strategy<Value = Option<Name>> {
    prop::option::weighted(0.6, one(names))
}
