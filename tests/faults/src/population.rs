//! The users of a run: their connections, rooms and targets.

use realtime_bench::client::Transport;
use serde_json::{Value, json};

/// The number of connections of a user who has several.
const SEVERAL: usize = 3;
/// One client of so many is of a user who has several connections.
const SHARED: usize = 10;
/// The number of clients in a room, about.
const IN_ROOM: usize = 30;

/// Everyone, by the numbers of their connections.
#[derive(Debug)]
pub struct Population {
    /// The connections.
    pub people: Vec<Person>,
    /// The number of users.
    pub users: usize,
    /// The number of rooms.
    pub rooms: usize,
}

/// One client.
#[derive(Clone, Copy, Debug)]
pub struct Person {
    /// The number of its user.
    pub user: usize,
    /// The number of its user's room.
    pub room: usize,
    /// `true` if the server joined the user to the room, `false` if the client names it.
    pub joined: bool,
    /// The transport.
    pub transport: Transport,
}

/// The receivers of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Everyone.
    All,
    /// The members of a room.
    Room(usize),
    /// One user.
    User(usize),
}

impl Population {
    /// Creates the users of so many clients; with `join` half of them are joined to their rooms by
    /// the server.
    #[must_use]
    pub fn new(clients: usize, join: bool) -> Self {
        let shared = clients / SHARED / SEVERAL * SEVERAL;
        let (users, rooms) = (shared / SEVERAL + clients - shared, clients.div_ceil(IN_ROOM));
        let person = |number: usize| {
            let user = if number < shared { number / SEVERAL } else { shared / SEVERAL + number - shared };
            let transport = Transport::ALL[number % Transport::ALL.len()];
            Person { user, room: user % rooms, joined: join && (user / rooms).is_multiple_of(2), transport }
        };
        Self { people: (0..clients).map(person).collect(), users, rooms }
    }

    /// Returns the users that the server joins to rooms, each once.
    pub fn joined(&self) -> impl Iterator<Item = Person> {
        let mut next = 0;
        let first = move |person: &Person| {
            let is_first = person.user >= next;
            next = next.max(person.user + 1);
            is_first
        };
        self.people.iter().copied().filter(first).filter(|person| person.joined)
    }

    /// Returns the number of a user's connections.
    #[must_use]
    pub fn connections_of(&self, user: usize) -> usize {
        self.people.iter().filter(|person| person.user == user).count()
    }

    /// Returns the audience of the `n`th event: one of ten for all, two for a room, the rest for a
    /// user.
    #[must_use]
    pub fn audience(&self, n: usize) -> Audience {
        match n % 10 {
            0 => Audience::All,
            3 | 7 => Audience::Room(mixed(n) % self.rooms),
            _ => Audience::User(mixed(n) % self.users),
        }
    }
}

impl Person {
    /// Returns whether events for this audience are for the client.
    #[must_use]
    pub fn is_in(&self, audience: Audience) -> bool {
        match audience {
            Audience::All => true,
            Audience::Room(room) => room == self.room,
            Audience::User(user) => user == self.user,
        }
    }
}

impl Audience {
    /// Returns it as the demo's interface takes it.
    #[must_use]
    pub fn target(self) -> Value {
        match self {
            Self::All => json!("all"),
            Self::Room(room) => json!({ "room": room_name(room) }),
            Self::User(user) => json!({ "user": user_name(user) }),
        }
    }
}

/// Returns a number that has nothing in common with the last digit of `n`.
fn mixed(n: usize) -> usize {
    (n.wrapping_mul(0x9e37_79b9) >> 7) & 0xffff
}

/// Returns the name of a room.
#[must_use]
pub fn room_name(room: usize) -> String {
    format!("room-{room}")
}

/// Returns the name of a user.
#[must_use]
pub fn user_name(user: usize) -> String {
    format!("user-{user}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_users_have_several_connections_over_all_transports() {
        let population = Population::new(300, true);
        assert_eq!(population.users, 10 + 270);
        assert_eq!((population.connections_of(0), population.connections_of(9)), (3, 3));
        assert_eq!((population.connections_of(10), population.connections_of(279)), (1, 1));
        let of_first: Vec<_> = population.people[..3].iter().map(|person| person.transport).collect();
        assert_eq!(of_first, Transport::ALL);
        let joined = population.joined().count();
        assert!((130..=150).contains(&joined), "{joined}");
    }

    #[test]
    fn each_audience_comes_in_turn() {
        let population = Population::new(300, true);
        let rooms = (0..1000).filter(|n| matches!(population.audience(*n), Audience::Room(_))).count();
        let all = (0..1000).filter(|n| population.audience(*n) == Audience::All).count();
        assert_eq!((all, rooms), (100, 200));
        for user in 0..population.users {
            assert!((0..20_000).any(|n| population.audience(n) == Audience::User(user)), "{user}");
        }
    }
}
